"""The plan: how a recording is made acceptable to the service, and what that costs. Pure."""

from dataclasses import dataclass

from watcher.audio import Examination
from watcher.config import AudioConfig
from watcher.domain import Fault, Mode

_HEADER_BYTES = 4096  # more than the header of any part takes


@dataclass(frozen=True, slots=True)
class Plan:
    """How a recording is made acceptable, and how many submissions that comes to."""

    mode: Mode
    fewest: int
    most: int
    reason: str
    fault: Fault | None = None  # why it is refused


def make_plan(examination: Examination, size: int, audio: AudioConfig, max_bytes: int) -> Plan:
    """Return what becomes of a recording of so many bytes."""
    if size <= max_bytes:
        return Plan(Mode.AS_IS, 1, 1, "The service takes it as it is.")
    if not may_be_sent(size, audio, max_bytes) or examination.container != "WAV":
        return Plan(Mode.REFUSE, 0, 0, "It is too large.", _too_large(size, max_bytes))
    most = (
        -(-size // max(max_bytes - _HEADER_BYTES, 1)) + 1
    )  # the windows in which a pause is looked for are smaller
    reason = f"It has {size:,} bytes, and the service takes {max_bytes:,} at the most: it is cut, without loss."
    return Plan(Mode.CUT, 2, most, reason)


def may_be_sent(size: int, audio: AudioConfig, max_bytes: int) -> bool:
    """Return whether a recording of so many bytes could be made acceptable: else it need not be read."""
    return size <= max_bytes or (audio.prepare and audio.oversize == "split")


def _too_large(size: int, limit: int) -> Fault:
    return Fault(
        "too_large",
        f"The recording has {size:,} bytes; the service takes {limit:,} at the most.",
        "Split it, or export it in a compressed format (8 kHz mono, MP3 or Opus). Nothing was sent or paid.",
    )
