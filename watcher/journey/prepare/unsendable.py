"""Why a recording is not sent, as found only while it was prepared. Nothing was sent or paid."""

from watcher.domain import Fault
from watcher.errors import CodecDied, RecordingRefused

INSTALL = "pip install 'identifai-watcher[audio]'"
SILENT = Fault("no_sound", "There is no sound in this part: it was not sent, and is not judged.")


def no_sound() -> RecordingRefused:
    return RecordingRefused(
        "no_sound",
        "There is no sound in it: every sample is silent.",
        hint="It may be of a call that nobody answered. If it should have sound, export it again. "
        "Nothing was sent or paid.",
    )


def too_short(seconds: float, least: float) -> RecordingRefused:
    return RecordingRefused(
        "too_short",
        f"The recording lasts {seconds:.1f} s, less than {least:g} s (audio.min_seconds).",
        hint="Nothing was sent or paid. To have it sent all the same, lower audio.min_seconds and retry it.",
    )


def too_long(parts: int, most: int) -> RecordingRefused:
    return RecordingRefused(
        "too_long",
        f"The recording would take {parts:,} submissions, more than {most:,} (audio.max_parts).",
        hint="Nothing was sent or paid. To have it sent all the same, raise audio.max_parts and retry it.",
    )


def undecodable(error: CodecDied) -> RecordingRefused:
    return RecordingRefused(
        "undecodable",
        f"The recording cannot be decoded: {error.message}.",
        hint="Export it again, and play it before you drop it. Nothing was sent or paid.",
    )


def codec_missing(container: str) -> RecordingRefused:
    return RecordingRefused(
        "codec_missing",
        f"This {container} has to be converted before it can be sent, and what converts is not installed.",
        hint=f"Install it ({INSTALL}), restart the service, and `watcher retry` this one. Nothing was paid.",
    )
