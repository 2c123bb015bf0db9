"""A way to a PostgreSQL server that loses the answer to a commit: it is done, and who asked for it cannot know."""

import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.postgresql import Server

_BEGIN, _COMMIT = b"BEGIN ISOLATION", b"COMMIT\0"


class LossyWay:
    """Passes on what clients and server say. Its socket is in `folder`, with the port of a pooler.

    `lost`: expressions; the first transaction whose statements match one is committed, and its connection cut
    before the server's answer is passed on. Each is used once.
    """

    def __init__(self, server: Server, folder: Path, *lost: bytes) -> None:
        self.folder = folder
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._lost = [re.compile(one, re.DOTALL) for one in lost]
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.6432"))
        self._listener.listen(64)

    @property
    def left(self) -> list[bytes]:
        """The expressions that no transaction has matched yet."""
        return [one.pattern for one in self._lost]

    def serve(self) -> None:
        """Accept clients until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, client: socket.socket) -> None:
        is_lost = threading.Event()
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            threading.Thread(target=self._answer, args=(server, client, is_lost), daemon=True).start()
            said = b""
            while part := client.recv(1 << 16):
                said = said[said.rfind(_BEGIN) :] + part if _BEGIN in said else said[-len(_BEGIN) :] + part
                if _COMMIT in part and self._is_to_be_lost(said):
                    is_lost.set()  # before the server can answer
                server.sendall(part)
            server.shutdown(socket.SHUT_WR)

    def _is_to_be_lost(self, said: bytes) -> bool:
        with self._lock:
            found = next((one for one in self._lost if one.search(said)), None)
            if found is not None:
                self._lost.remove(found)
        return found is not None

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket, is_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while answer := server.recv(1 << 16):
                if is_lost.is_set():  # the commit is done: that is what the server says
                    break
                client.sendall(answer)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def losing(server: Server, *lost: bytes) -> Iterator[LossyWay]:
    """See LossyWay."""
    with tempfile.TemporaryDirectory(prefix="way-", dir="/tmp") as folder:
        way = LossyWay(server, Path(folder), *lost)
        threading.Thread(target=way.serve, daemon=True).start()
        try:
            yield way
        finally:
            way.close()
