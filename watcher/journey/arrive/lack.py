"""Why a recording must not be paid for, as its own content tells."""

from watcher.audio import Completeness, Examination
from watcher.errors import RecordingRefused


def lack_of(examination: Examination, *, lenient: bool) -> RecordingRefused | None:
    """Return why a recording must not be paid for; None if it may. `lenient`: one that is cut short may."""
    if examination.completeness is Completeness.SHORT and not (lenient and examination.has_sound):
        return _truncated(examination.missing_bytes)
    if examination.damage is not None:
        return _undecodable(examination.damage)
    return None if examination.has_sound else _no_sound(examination.container)


def _truncated(missing: int) -> RecordingRefused:
    return RecordingRefused(
        "truncated",
        f"The recording is cut short{lacking(missing)}: its own header says that more should follow.",
        hint="Export it again and drop the whole file. Nothing was sent or paid. If it does play to its end, "
        'set arrivals.lengths = "lenient" and retry it.',
    )


def _no_sound(container: str) -> RecordingRefused:
    return RecordingRefused(
        "no_sound",
        f"There is no sound in it: this {container} file has a header, but no audio after it.",
        hint="It may be from a call that nobody answered. If it should have sound, export it again. "
        "Nothing was sent or paid.",
    )


def _undecodable(damage: str) -> RecordingRefused:
    return RecordingRefused(
        "undecodable",
        f"The recording is damaged and cannot be played: {damage}.",
        hint="Export it again, and play it before you drop it. Nothing was sent or paid.",
    )


def lacking(missing: int) -> str:
    return f" by {missing:,} bytes" if missing else ""
