"""The gate before the routes, as ASGI has it, and what every answer carries."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from email.utils import formatdate

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher import logs
from watcher.clock import Clock
from watcher.web.gate import (
    CROWDED,
    MOST_BYTES,
    TOO_LARGE,
    UNKNOWN,
    Head,
    Refusal,
    Rules,
    refuse_deed,
    refuse_origin,
)
from watcher.web.password import PasswordHash

_log = logs.get_logger(__name__)

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that a browser sends "Origin: null" with our own forms (measured).
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_GUESS_SECONDS = 1.0  # between two wrong passwords, whoever sends them
_MOST_GUESSES = 4  # that wait for their turn: without a bound they would take every connection, and memory


class Gate:
    """Refuses what the rules refuse, and hands the whole body to the routes."""

    def __init__(self, app: ASGIApp, rules: Rules, password: PasswordHash | None, clock: Clock) -> None:
        self._app = app
        self._rules = rules
        self._lock = None if password is None else _Lock(password)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["method"], scope["path"], scope["headers"])
        answer = _Answer(send, formatdate(self._clock.now(), usegmt=True))
        refusal = refuse_origin(head, self._rules)
        if refusal is None and self._lock is not None:
            refusal = await self._lock.refuse(head)
        refusal = refusal or refuse_deed(head, self._rules)
        if refusal is None:
            body = await _read_body(receive)
            if body is not None:
                await self._serve(scope, _Once(body, receive), answer)
                return
            refusal = TOO_LARGE
        await _refuse(refusal, scope, receive, answer)

    async def _serve(self, scope: Scope, receive: "_Once", answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception:  # noqa: BLE001 — a fault of the page, which has answered, ends one request and no more
            _log.exception("web.failed")


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    # The rest of what is being sent is not read: the connection ends with the answer.
    headers = {"connection": "close"} if refusal is TOO_LARGE else {}
    if refusal.asks_password:
        headers["www-authenticate"] = 'Basic realm="watcher", charset="UTF-8"'
    await PlainTextResponse(refusal.words + "\n", refusal.status, headers)(scope, receive, send)


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or what came of it before the end; None where it is too large."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return body


class _Once:
    """Gives the body, which is here already, and then whatever else comes: the end of the connection."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._body: bytes | None = body
        self._rest = rest

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._rest()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Answer:
    """Adds what every answer carries, unless the route has said otherwise."""

    def __init__(self, send: Send, date: str) -> None:
        self._send = send
        self._date = date

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in (_HEADERS | {"date": self._date}).items():
                headers.setdefault(name, value)
        await self._send(message)


@dataclass
class _Lock:
    """Compares the password that a request brings: the right one by its hash once, and then cheaply."""

    password: PasswordHash
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _known: bytes = b""
    _guessing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _guesses: int = 0

    async def refuse(self, head: Head) -> Refusal | None:
        """Return why the request is refused; None: it has the password."""
        given = _given_password(head.only("authorization") or "")
        if given is None:
            return UNKNOWN
        mark = hmac.digest(self._secret, given.encode("utf-8", "surrogateescape"), hashlib.sha256)
        if self._known and hmac.compare_digest(mark, self._known):
            return None
        if self._guesses >= _MOST_GUESSES:
            return CROWDED
        self._guesses += 1
        try:
            async with self._guessing:  # one at a time: a guess costs us as much as whoever guesses
                if await to_thread.run_sync(self.password.fits, given):
                    self._known = mark
                    return None
                await asyncio.sleep(_GUESS_SECONDS)
                return UNKNOWN
        finally:
            self._guesses -= 1


def _given_password(header: str) -> str | None:
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(text.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if colon else None
