"""What an open file is, and how it is made acceptable: for whoever admits it, or only wants to know."""

from dataclasses import dataclass
from typing import BinaryIO

from watcher.audio import Examination
from watcher.audio.riff import find_blocks
from watcher.audio.source import Source as Content
from watcher.config import Config
from watcher.domain import Fault
from watcher.errors import RecordingRefused
from watcher.journey.arrive.foreign import find_raw, look_into
from watcher.journey.arrive.lack import lack_of
from watcher.journey.prepare.codec import has_codec
from watcher.journey.prepare.plan import Plan, Source, make_plan, may_be_sent, too_large


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found. A plan stands beside a refusal only where it says what the recording would have cost."""

    examination: Examination | None
    refusal: RecordingRefused | None
    plan: Plan | None

    @property
    def found(self) -> Examination | RecordingRefused | None:
        """What a look at the content alone gives."""
        return self.examination or self.refusal


def judge(
    config: Config, file: BinaryIO, size: int, path: bytes, *, name: bytes = b"", thorough: bool = True
) -> Judged:
    """Return what is in the file of this path in the drop folder, and how it is made acceptable.

    One that could not be sent whatever is in it is not read through. `name` stands in hints. OSError.
    """
    audio, limit = config.audio, config.limits.max_upload_bytes
    if (refusal := refuse_unread(config, size)) is not None:
        return Judged(None, refusal, None)
    raw = find_raw(audio, path)
    looks = (
        (False, True) if thorough and size > limit else (thorough,)
    )  # a look ahead spares reading what is refused
    judged = Judged(None, None, None)
    for is_thorough in looks:
        found = look_into(file, size, name or path, thorough=is_thorough, raw=raw)
        if not isinstance(found, Examination):
            return Judged(None, found, None)
        judged = _judged(config, file, size, name or path, found)
        if judged.refusal is not None:
            break
    return judged


def refuse_unread(config: Config, size: int) -> RecordingRefused | None:
    """Return why a recording of so many bytes could not be sent, whatever is in it; None where it may be."""
    audio, limit = config.audio, config.limits.max_upload_bytes
    return None if may_be_sent(size, audio, limit) else _refusal(too_large(size, limit, audio))


def _judged(config: Config, file: BinaryIO, size: int, name: bytes, found: Examination) -> Judged:
    lack = lack_of(found, lenient=config.arrivals.lengths == "lenient")
    if lack is not None:
        return Judged(found, lack, None)
    limit = config.limits.max_upload_bytes
    needs_blocks = found.container == "WAV" and (size > limit or config.audio.channels != "together")
    blocks = find_blocks(Content(file, size)) if needs_blocks else None
    plan = make_plan(Source(found, size, blocks, name), config.audio, limit, has_codec=has_codec())
    return Judged(found, None if plan.fault is None else _refusal(plan.fault), plan)


def _refusal(fault: Fault) -> RecordingRefused:
    return RecordingRefused(fault.code, fault.message, hint=fault.hint)
