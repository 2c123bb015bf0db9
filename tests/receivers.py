"""Who is told, for real: a receiver of webhooks and a mail server, on 127.0.0.1."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from watcher.text import JsonObject


class Webhook:
    """Takes what is posted. `status`: what it answers; `garbles`: without a proper header."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.garbles = False
        self.taken: list[JsonObject] = []
        self.begun = 0
        self.free = threading.Event()
        self.free.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.begun += 1
                hook.taken.append(content | {"answered": hook.free.is_set()})
                hook.free.wait()
                self.send_response(hook.status)
                self.flush_headers()
                self.wfile.write(b"this is no header\r\n" if hook.garbles else b"")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, with secrets in it."""
        return f"json://desk:{SECRETS[0]}@127.0.0.1:{self.port}/{SECRETS[1]}/?-token={SECRETS[2]}"

    @property
    def titles(self) -> list[str]:
        """The subjects of what it took, without the host's name."""
        return [one["title"].partition(": ")[2] for one in self.taken]

    @property
    def texts(self) -> list[str]:
        return [one["message"] for one in self.taken]

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


SECRETS = ("pass-8471-word", "path-token-5566", "query-token-9012")
"""What stands in a webhook's address, and must stand nowhere else."""


@contextmanager
def webhook(port: int = 0) -> Iterator[Webhook]:
    """A receiver of webhooks."""
    running = Webhook(port)
    try:
        yield running
    finally:
        running.close()


class Mailbox:
    """Takes mail."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=watcher@example.org&to=desk@example.org"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 — the library's
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"


class _OnAnyPort(Controller):
    """A mail server on a port that the system chose; the library would ask port 0 whether it is there."""

    server: Any

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        trigger: Any = super()._trigger_server
        trigger()


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mail server with one mailbox."""
    box = Mailbox()
    controller = _OnAnyPort(box, hostname="127.0.0.1", port=0)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()
