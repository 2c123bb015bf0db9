"""A maker of parts that tests can lead: it cuts a WAV as `wav()` writes it, at equal lengths."""

import hashlib
import os
import struct
from typing import BinaryIO

from watcher.domain import Mode
from watcher.journey.prepare.made import Facts, Made, Order, Outcome, Span

_FRAME_BYTES, _RATE = 2, 8000


class Cutter:
    """Parts of so many seconds. What is in `troubles` is raised first, one a time; `salt` changes every part."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.orders: list[Order] = []
        self.troubles: list[Exception] = []
        self.salt = b""
        self.lost_seconds = 0.0  # at its end, that no decoder finds
        self.silent: frozenset[int] = frozenset()  # the indices of parts without sound

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:  # noqa: ARG002
        self.orders.append(order)
        if self.troubles:
            raise self.troubles.pop(0)
        file.seek(0)
        content = file.read()
        at = content.index(b"data")
        sound = content[at + 8 :]
        frames = len(sound) // _FRAME_BYTES - round(self.lost_seconds * _RATE)
        spans = order.spans or self._spans(frames)
        made: list[Made] = []
        for span in spans:
            if order.asks_for(span):
                made.append(_write(content[:at], sound, order, span, folder, self.salt, made))
        return Outcome(Facts(frames / _RATE, 1, _RATE), tuple(spans), tuple(made))

    def _spans(self, frames: int) -> tuple[Span, ...]:
        step = round(self.seconds * _RATE)
        starts = range(0, frames, step)
        ends = [min(start + step, frames) for start in starts]
        return tuple(
            Span(n, None, start, end, start / _RATE, end / _RATE, n in self.silent)
            for n, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
        )


def _write(
    head: bytes, sound: bytes, order: Order, span: Span, folder: int, salt: bytes, before: list[Made]
) -> Made:
    data = sound[span.start * _FRAME_BYTES : span.end * _FRAME_BYTES]
    body = head[:4] + struct.pack("<I", len(head) + len(data) + len(salt)) + head[8:]
    content = body + b"data" + struct.pack("<I", len(data)) + data + salt
    name: str | None = order.name(span, ".wav")
    if order.keeps(before, len(content)):
        opened = os.open(name or "", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        with os.fdopen(opened, "wb") as file:
            file.write(content)
    else:
        name = None
    return Made(
        span=span,
        name=name,
        how="cut",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        media_type="audio/wav",
        extension=".wav",
        proof={"of": "blocks", "sha256": hashlib.sha256(data).hexdigest(), "decoder": None},
    )
