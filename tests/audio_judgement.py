"""Our judgement of a recording beside a full decode of it by FFmpeg's libraries, or else by libsndfile."""

import io
import random
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import av
import soundfile
from av.error import FFmpegError

from tests.audio_writers import Kind, made
from watcher.audio import Completeness, Examination, examine
from watcher.errors import RecordingRefused

av.logging.set_level(None)
_MOST_ERRORS = 10_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder makes of all of a file's sound."""

    samples: int = 0
    largest: int = 0  # samples in one frame
    rate: int = 0
    channels: int = 0

    @property
    def seconds(self) -> float:
        return self.samples / self.rate if self.rate else 0.0


def decode(data: bytes) -> Decoded:
    """The sound of the first track of sound, to its end; what cannot be decoded is left out."""
    samples = largest = rate = channels = errors = 0
    try:
        with av.open(io.BytesIO(data), "r", metadata_errors="ignore") as container:
            packets = container.demux(container.streams.audio[0])
            while errors < _MOST_ERRORS:
                try:
                    if (packet := next(packets, None)) is None:
                        break
                    for frame in packet.decode():
                        samples, largest = samples + frame.samples, max(largest, frame.samples)
                        rate, channels = frame.sample_rate, frame.layout.nb_channels
                except FFmpegError:
                    errors += 1
    except (FFmpegError, ValueError, OverflowError, IndexError):
        pass
    if not samples and data[:3] == b"ID3":  # FFmpeg passes over such a tag in front of some kinds only
        try:
            told = soundfile.info(io.BytesIO(data))
        except soundfile.LibsndfileError:
            return Decoded()
        return Decoded(told.frames, 0, told.samplerate, told.channels)
    return Decoded(samples, largest, rate, channels)


class Truth(StrEnum):
    """What a full decode says of a file that was made of a whole one."""

    WHOLE = "whole"  # as many samples, but for a frame
    PART = "part"
    DEAF = "deaf"  # less than a tenth of them, or none


def truth(found: Decoded, whole: Decoded) -> Truth:
    slack = max(whole.largest, whole.rate // 20)
    if not found.samples or found.samples < whole.samples / 10 - slack:
        return Truth.DEAF
    is_whole = found.samples * whole.rate >= (whole.samples - slack) * found.rate
    return Truth.WHOLE if is_whole else Truth.PART


class Answer(StrEnum):
    """What becomes of a file, by our judgement."""

    SENT = "sent"
    WAITS = "waits"  # and fails as truncated, or for want of sound
    REFUSED = "refused"


def answer(data: bytes) -> tuple[Answer, Examination | None]:
    """What becomes of the file, and what is known of it."""
    try:
        found = examine(io.BytesIO(data), len(data), thorough=True)
    except RecordingRefused:
        return Answer.REFUSED, None
    if found.completeness is Completeness.SHORT or not found.has_sound:
        return Answer.WAITS, found
    return Answer.REFUSED if found.damage is not None else Answer.SENT, found


def variants(whole: bytes, seed: str) -> Iterator[tuple[str, str, bytes]]:
    """Files made of a whole one: what was done, in short and in full."""
    chance = random.Random(seed)
    size = len(whole)
    for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99):
        yield "cut", f"cut to {part}", whole[: max(1, int(size * part))]
    for less in (1, 3, 8, 44, 129):
        yield "cut", f"cut by {less} bytes", whole[: max(1, size - less)]
    for at in (20, 44, 300):
        yield "cut", f"cut to {at} bytes", whole[:at]
    for name, first, last in (
        ("bit in the head", 0, 200),
        ("bit anywhere", 0, size),
        ("bit in the tail", -300, size),
    ):
        for _ in range(3 if first else 8):
            at = chance.randrange(max(0, first % size if first else 0), min(size, last))
            bit = chance.randrange(8)
            yield (
                name,
                f"bit {bit} at {at} of {size}",
                whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :],
            )
    middle = size // 2
    yield "zeros", "zeros in the middle", whole[:middle] + bytes(min(4096, size - middle)) + whole[middle + 4096 :]
    yield "zeros", "zeros to the end", whole[: size * 6 // 10].ljust(size, b"\0")
    yield "bytes lost", "1,000 bytes lost in the middle", whole[:middle] + whole[middle + 1000 :]
    for name, tail in TAILS.items():
        yield "tail", f"{name} behind it", whole + tail
    yield "ID3 in front", "ID3v2 in front", ID3V2 + whole
    yield "twice", "joined with itself", whole + whole


ID3V2 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
ID3V1 = b"TAG".ljust(127, b" ") + b"\x0c"
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
TAILS = {
    "CR LF": b"\r\n",
    "7 bytes": b"padding",
    "40 bytes": b"forty bytes of a text that is no chunk...",
    "1,000 zeros": bytes(1000),
    "ID3v1": ID3V1,
    "APEv2 and ID3v1": APE + ID3V1,
    "20,000 random bytes": random.Random(3).randbytes(20_000),
}

COLUMNS = ("agreed", "false refusals", "false waits", "undecodable sent", "damaged sent")


@dataclass(slots=True)
class Comparison:
    """How our judgement and the decoder's agree, by what was done to the recordings."""

    rows: dict[str, Counter[str]] = field(default_factory=dict)
    facts: Counter[str] = field(default_factory=Counter)
    apart: list[str] = field(default_factory=list)

    def compare(self, kinds: Iterable[Kind], seconds: float, *, with_variants: bool) -> None:
        """The recordings of these kinds, and what can be made of them, are compared too."""
        for kind in kinds:
            whole = made(kind, seconds)
            if whole is None:
                continue
            decoded = decode(whole)
            self._add("whole", f"{kind} {seconds}", whole, decoded, decoded)
            for short, full, data in variants(whole, f"{kind}/{seconds}") if with_variants else ():
                self._add(short, f"{kind} {seconds} {full}", data, decode(data), decoded)

    def total(self) -> Counter[str]:
        return sum(self.rows.values(), Counter())

    def __str__(self) -> str:
        width = max(map(len, self.rows))
        lines = [" " * width + "".join(f"{column:>18}" for column in COLUMNS)]
        for name, row in (*self.rows.items(), ("all", self.total())):
            lines.append(f"{name:{width}}" + "".join(f"{row[column]:18,}" for column in COLUMNS))
        told = ", ".join(f"{name} {count:,}" for name, count in self.facts.items())
        return "\n".join((*lines, f"facts right, of those sent whole: {told}"))

    def _add(self, short: str, full: str, data: bytes, decoded: Decoded, whole: Decoded) -> None:
        ours, found = answer(data)
        theirs = truth(decoded, whole)
        column = "agreed"
        if theirs is not Truth.WHOLE and ours is Answer.SENT:
            column = "damaged sent" if theirs is Truth.PART else "undecodable sent"
        elif theirs is Truth.WHOLE and ours is not Answer.SENT and short not in ("cut", "bytes lost"):
            # Bytes that are missing are missing, even where what is left of a frame still sounds.
            column = "false refusals" if ours is Answer.REFUSED else "false waits"
        self.rows.setdefault(short, Counter())[column] += 1
        if column != "agreed":
            self.apart.append(f"{column}: {full} ({decoded.samples:,} of {whole.samples:,} samples)")
        if theirs is Truth.WHOLE and ours is Answer.SENT and found is not None:
            self._add_facts(full, found, decoded)

    def _add_facts(self, full: str, found: Examination, decoded: Decoded) -> None:
        rights = {
            "seconds": abs((found.seconds or 0.0) - decoded.seconds) <= 0.02 * decoded.seconds + 0.15,
            "channels": found.channels == decoded.channels,
            "rate": found.sample_rate == decoded.rate,
        }
        self.facts["all"] += 1
        for name, is_right in rights.items():
            self.facts[name] += is_right
            if not is_right:
                self.apart.append(f"{name}: {full}: {found} against {decoded}")
