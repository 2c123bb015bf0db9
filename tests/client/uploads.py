"""The client under test, and what is uploaded with it."""

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator

import pytest

from tests.client.servers import Seen
from watcher.clock import SystemClock
from watcher.errors import ServiceError, Throttled
from watcher.identifai.client import Client
from watcher.identifai.upload import Upload

KEY = "0123456789abcdef-secret"
AUDIO = bytes(range(256)) * 1600  # 409,600 bytes: several parts and a last one


class Key:
    def __init__(self, text: str = KEY) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text


class ShiftedClock(SystemClock):
    """The machine's clock, as it would be some seconds later."""

    shift_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_seconds


@contextlib.contextmanager
def client_of(
    url: str,
    *,
    connect: float = 5,
    read: float = 5,
    deadline: float = 10,
    key: str = KEY,
    clock: SystemClock | None = None,
) -> Iterator[Client]:
    client = Client(
        base_url=url,
        key=Key(key),
        connect_timeout_seconds=connect,
        read_timeout_seconds=read,
        deadline_seconds=deadline,
        version="1.2.3",
        clock=clock or SystemClock(),
    )
    with contextlib.closing(client):
        yield client


def upload_of(audio: bytes = AUDIO, **changes: object) -> Upload:
    facts: dict[str, object] = {
        "file": io.BytesIO(audio),
        "size": len(audio),
        "sha256": hashlib.sha256(audio).hexdigest(),
        "filename": "0190.wav",
        "media_type": "audio/wav",
        "fields": {"ref_id": "0190"},
    }
    return Upload(**(facts | changes))  # type: ignore[arg-type]


def go() -> None:
    """A release that lets the last part go at once."""


def failure_of(
    url: str, upload: Upload | None = None, release: Callable[[], None] = go, **timeouts: float
) -> ServiceError:
    """The error that an upload ends with."""
    with client_of(url, **timeouts) as client, pytest.raises(ServiceError) as caught:  # type: ignore[arg-type]
        client.submit(upload or upload_of(), release)
    assert KEY not in f"{caught.value!r} {caught.value.message} {caught.value.hint}"
    assert caught.value.message
    assert caught.value.hint or isinstance(caught.value, Throttled)
    return caught.value


def parts_of(seen: Seen) -> list[tuple[str, bytes]]:
    """The head and the content of each part of a multipart body, strictly by the book."""
    found = re.fullmatch(r"multipart/form-data; boundary=(\S+)", seen.headers["content-type"])
    assert found is not None
    line = b"--" + found[1].encode()
    body = bytes(seen.body)
    assert body.startswith(line + b"\r\n")
    assert body.endswith(b"\r\n" + line + b"--\r\n")
    inner = body[len(line) + 2 : -len(line) - 6]
    pairs = [part.partition(b"\r\n\r\n") for part in inner.split(b"\r\n" + line + b"\r\n")]
    return [(head.decode(), content) for head, _, content in pairs]
