"""Cut a WAV at the borders of its blocks, without a decoder: each part's blocks are the original's bytes.

All but GSM decode to exactly the whole; a decoder of GSM starts with an empty memory: for speech it is right again
after a quarter of a second. Facts about the header: Microsoft's Multimedia Programming Interface.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO

from watcher.audio.riff import Blocks
from watcher.errors import RecordingChanged
from watcher.folders import disk
from watcher.journey.prepare.made import Channels, Facts, Made, Order, Outcome, Span, wanted_channels
from watcher.journey.prepare.part_file import writing
from watcher.journey.prepare.quiet import WIDTHS, Levels, Listener, Ruler, cuts
from watcher.journey.prepare.sound import Comparison, Silence

_CHUNK = 1 << 20
_LARGEST = (1 << 32) - 64  # what a RIFF header can count
_PCM, _EXTENSIBLE = 1, 0xFFFE
_FRONT_CENTRE = 4


@dataclass(frozen=True, slots=True)
class Heard:
    """What the samples tell, and how loud each channel is that is to be sent; nothing where it takes a decoder."""

    facts: Facts
    levels: dict[int | None, Levels]


def listen(file: BinaryIO, blocks: Blocks, channels: Channels = "together") -> Heard:
    """Read all samples once, where no decoder is needed for that. Raises as `cut` does."""
    form = blocks.form
    if form not in WIDTHS:
        return Heard(Facts(blocks.seconds, blocks.channels, blocks.rate), {})
    wanted = wanted_channels(channels, blocks.channels)
    ears = {one: Listener(form, blocks.channels if one is None else 1, blocks.rate) for one in wanted}
    silence, comparison = Silence(form, blocks.channels), Comparison(blocks.channels)
    for data in _pieces(file, blocks, 0, blocks.count):
        silence.note(data)
        comparison.note(data, WIDTHS[form])
        for channel, ear in ears.items():
            ear.hear(data if channel is None else one_channel(data, channel, blocks.channels, WIDTHS[form]))
    facts = Facts(blocks.seconds, blocks.channels, blocks.rate, silence.of_channels(), comparison.same_as())
    return Heard(facts, {channel: ear.levels() for channel, ear in ears.items()})


def cut(file: BinaryIO, blocks: Blocks, folder: int, order: Order, levels: Levels | None = None) -> Outcome:
    """Write the parts into the open `folder`, each whole and synced or not at all. Memory is constant.

    `levels`: the loudness, where only a decoder knows it; without it such codecs are cut in the middle of each
    window. Raises OSError, of the folder; what `file.read` raises; RecordingChanged where it ends too early;
    TooDense where one block is larger than a part may be; ValueError where channels are asked for that only a
    decoder can tell apart.
    """
    facts, spans = Facts(blocks.seconds, blocks.channels, blocks.rate), order.spans
    if wanted_channels(order.channels, blocks.channels) != [None] and blocks.form not in WIDTHS:
        raise ValueError("only a decoder can tell these channels apart")
    if spans is None:
        heard = listen(file, blocks, order.channels)
        if levels is not None and not heard.levels:
            heard = Heard(heard.facts, {None: levels})
        facts, spans = heard.facts, _spans(file, blocks, order, heard)
    made: list[Made] = []
    for span in filter(order.asks_for, spans):
        made.append(_write(file, blocks, folder, order, span, made))
    if len(spans) == 1 and spans[0].channel is None:
        made = [replace(one, how="remux") for one in made]
    return Outcome(facts, spans, tuple(made))


def overhead(blocks: Blocks) -> int:
    """Return how many bytes a part has besides its blocks, the padding byte included."""
    return len(header(blocks, 0, 0)) + 1


def one_channel(data: bytes, channel: int, channels: int, width: int) -> bytes:
    """Return every sample of one channel out of interleaved ones."""
    if channels == 1:
        return data
    taken = bytearray(len(data) // channels)
    for byte in range(width):
        taken[byte::width] = data[channel * width + byte :: width * channels]
    return bytes(taken)


def _spans(file: BinaryIO, blocks: Blocks, order: Order, heard: Heard) -> tuple[Span, ...]:
    spans: list[Span] = []
    for channel in heard.facts.distinct(wanted_channels(order.channels, blocks.channels)):
        part = _blocks_of(blocks, channel)
        levels = heard.levels.get(channel)
        ruler = Ruler(
            part.count,
            lambda at, part=part: min(at * part.block_bytes, part.size),  # type: ignore[misc]
            lambda at, part=part: min(at * part.block_samples, part.samples) / part.rate,  # type: ignore[misc]
        )
        is_silent = heard.facts.is_silent(channel)
        limit = min(order.max_bytes, _LARGEST) - overhead(part)
        for start, end in pairwise([0, part.count] if is_silent else cuts(ruler, limit, levels)):
            begin, finish = ruler.seconds_before(start), ruler.seconds_before(end)
            may_be = blocks.form in WIDTHS and levels is not None and levels.is_faint(begin, finish)
            silent = is_silent or (may_be and _is_silent(file, blocks, start, end, channel))
            spans.append(Span(len(spans) + 1, channel, start, end, begin, finish, silent))
    return tuple(spans)


def _is_silent(file: BinaryIO, blocks: Blocks, start: int, end: int, channel: int | None) -> bool:
    silence = Silence(blocks.form or "", blocks.channels)
    for data in _pieces(file, blocks, start, end):
        silence.note(data)
    found = silence.of_channels()
    return all(found) if channel is None else found[channel]


def _write(file: BinaryIO, blocks: Blocks, folder: int, order: Order, span: Span, before: Sequence[Made]) -> Made:
    part = _blocks_of(blocks, span.channel)
    width = WIDTHS.get(blocks.form or "", 1)
    last = span.end == blocks.count
    size = min(span.end * part.block_bytes, part.size) - span.start * part.block_bytes
    samples = (part.samples if last else span.end * part.block_samples) - span.start * part.block_samples
    total, whole, written = hashlib.sha256(), hashlib.sha256(), 0
    with writing(folder) as draft:
        made, head = draft.opened, header(part, size, samples)
        disk.write(made, head)
        whole.update(head)
        for data in _pieces(file, blocks, span.start, span.end):
            piece = data if span.channel is None else one_channel(data, span.channel, blocks.channels, width)
            disk.write(made, piece)
            total.update(piece)
            whole.update(piece)
            written += len(piece)
        if written != size:
            raise OSError(f"{written:,} bytes of sound are there instead of {size:,}")
        padding = bytes(size & 1)
        disk.write(made, padding)
        whole.update(padding)
        if disk.digest(made, [(len(head), len(head) + size)]) != total.hexdigest():
            raise OSError("what was written is not what is read back")
        if order.keeps(before, len(head) + size + len(padding)):
            draft.name = order.name(span, ".wav")
    return Made(
        span=span,
        name=draft.name,
        how="cut",
        sha256=whole.hexdigest(),
        size=len(head) + size + len(padding),
        media_type="audio/wav",
        extension=".wav",
        proof={"of": "blocks", "sha256": total.hexdigest(), "decoder": None},
    )


def _pieces(file: BinaryIO, blocks: Blocks, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of these blocks, some whole ones at a time. RecordingChanged; what `file.read` raises."""
    at = blocks.start + start * blocks.block_bytes
    stop = blocks.start + min(end * blocks.block_bytes, blocks.size)
    step = max(1, _CHUNK // blocks.block_bytes) * blocks.block_bytes
    while at < stop:
        data = b""
        wanted = min(step, stop - at)
        file.seek(at)  # others read from it between two pieces
        while len(data) < wanted and (more := file.read(wanted - len(data))):
            data += more
        if len(data) < wanted:
            raise RecordingChanged(f"it ends at byte {at + len(data):,} now, before its sound does")
        yield data
        at += wanted


def _blocks_of(blocks: Blocks, channel: int | None) -> Blocks:
    """Return how the blocks of one channel are described; all channels for None."""
    if channel is None:
        return blocks
    width = blocks.block_bytes // blocks.channels
    fields = bytearray(blocks.format)
    struct.pack_into("<HIIH", fields, 2, 1, blocks.rate, blocks.rate * width, width)
    if blocks.format[:2] == _EXTENSIBLE.to_bytes(2, "little") and len(fields) >= 24:
        struct.pack_into("<I", fields, 20, _FRONT_CENTRE)
    size = blocks.size // blocks.block_bytes * width
    return replace(blocks, format=bytes(fields), channels=1, block_bytes=width, size=size)


def header(blocks: Blocks, size: int, samples: int) -> bytes:
    """Return what stands before so many bytes of sound; an odd number of them wants a padding byte behind it."""
    chunks = _chunk(b"fmt ", blocks.format)
    if blocks.format[:2] != _PCM.to_bytes(2, "little"):
        chunks += _chunk(b"fact", struct.pack("<I", min(samples, 0xFFFFFFFF)))
    whole = 4 + len(chunks) + 8 + size + (size & 1)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + chunks + struct.pack("<4sI", b"data", size)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) & 1)
