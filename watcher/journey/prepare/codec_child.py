"""The process in which recordings are taken apart, decoded and encoded: what is broken in them ends here.

`python -m watcher.journey.prepare.codec_child`: an order as JSON on standard input, the recording and the folder
as inherited descriptors; one line of JSON on standard output. It needs no other file, no network, no key.
"""

import io
import json
import os
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from watcher.text import JsonObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

NICE = 10
_BUFFER_BYTES = 1 << 16


def main() -> int:
    """Do what is asked for, and say in one line what came of it."""
    told = json.load(sys.stdin)
    _limit(told["limits"])
    print(json.dumps(_answer(told)), flush=True)  # noqa: T201 — the protocol
    os._exit(0)  # no library's last breath can spoil what is done


def _limit(limits: dict[str, int]) -> None:
    """Take no more than this. Where the unit's filter refuses the call, the parent watches alone."""
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
    with suppress(OSError):
        os.nice(NICE)
    os.umask(0o027)


def _answer(told: JsonObject) -> JsonObject:
    from watcher.journey.prepare.impossible import Refused  # noqa: PLC0415 — within the limits

    recording = _Recording(told["recording"], "rb", closefd=False)
    try:
        with io.BufferedReader(recording, _BUFFER_BYTES) as file:
            answer = _do(told, file)
    except Refused as refused:
        answer = {"refused": {"code": refused.code, "message": refused.message, "hint": refused.hint}}
    except OSError as error:
        answer = {"disk": error.errno or 0, "reason": str(error)}
    if recording.failed is not None:  # whatever was made of what could be read
        return {"unread": recording.failed.errno or 0}
    return answer


class _Recording(io.FileIO):
    """Remembers that it could not be read: FFmpeg takes that for a broken recording, or for its end."""

    failed: OSError | None = None

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        try:
            return cast("int", super().readinto(buffer))
        except OSError as error:
            self.failed = error
            raise


def _do(told: JsonObject, file: BinaryIO) -> JsonObject:
    import av.error  # noqa: PLC0415 — within the limits
    import av.logging  # noqa: PLC0415

    from watcher.journey.prepare.copying import copy  # noqa: PLC0415
    from watcher.journey.prepare.encoding import encode  # noqa: PLC0415
    from watcher.journey.prepare.impossible import undecodable  # noqa: PLC0415
    from watcher.journey.prepare.listening import listen  # noqa: PLC0415
    from watcher.journey.prepare.made import Order  # noqa: PLC0415

    av.logging.set_level(av.logging.PANIC)
    order: Any = Order.of(told["order"])
    deed = {"copy": copy, "flac": encode}.get(told["deed"])
    try:
        if deed is None:
            facts, levels = listen(file, order.raw)
            values = [round(value) for value in levels.values]
            return {"facts": facts.as_json(), "levels": {"values": values, "grain_seconds": levels.grain_seconds}}
        return deed(file, told["folder"], order).as_json()
    except av.error.FFmpegError as error:  # some are OSErrors too, and yet nothing that a disk said
        raise undecodable(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
