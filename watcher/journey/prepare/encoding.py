"""Encode a recording's samples as FLAC, in parts that fit; as WAV where FLAC cannot hold them: in the child.

How large FLAC becomes is known only afterwards. So the first pass encodes all of it: where that fits, it is the
result. Where not, it has told how many bytes each stretch takes and how loud it is, and a second one makes parts.
"""

import hashlib
import os
import struct
from array import array
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, BinaryIO

import av

from watcher.audio.riff import Blocks
from watcher.folders import disk
from watcher.journey.prepare.decoding import Opened, decoder_name, opened, widened
from watcher.journey.prepare.impossible import Refused, undecodable
from watcher.journey.prepare.made import Facts, How, Made, Order, Outcome, Span, wanted_channels
from watcher.journey.prepare.part_file import Draft, writing
from watcher.journey.prepare.quiet import WIDTHS, Levels, Listener, Ruler, TooDense, cuts
from watcher.journey.prepare.sound import Comparison, Silence
from watcher.journey.prepare.wav_cut import header, one_channel

_LAYOUTS = ("", "mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_HEADER_BYTES = 16 * 1024  # of a FLAC, its padding included
_MARGIN = 0.985  # a part's blocks begin elsewhere than those that were measured
_TRIES = 4
_TIGHTER = 0.95


class _Flac:
    """FLAC by FFmpeg's encoder. Beyond `most_bytes` it only counts, and the file is not whole."""

    extension, media_type = ".flac", "audio/flac"

    def __init__(self, file: int, form: str, rate: int, channels: int, most_bytes: int | None = None) -> None:
        self._form, self._layout, self._rate, self._most = form, _LAYOUTS[channels], rate, most_bytes
        self._sample_fmt = "s16" if form == "s16" else "s32"
        self._file = os.fdopen(os.dup(file), "r+b")
        self._container = av.open(self._file, "w", format="flac", options={"fflags": "+bitexact"})
        stream: Any = self._container.add_stream("flac", rate=rate, layout=self._layout)
        stream.format = self._sample_fmt
        self._stream: Any = stream
        self._container.start_encoding()
        self._width = WIDTHS[form] * channels
        self._block = stream.codec_context.frame_size or 4096
        self._rest = b""
        self._samples = 0
        self._sizes = array("Q", [0])  # of all blocks up to each

    @property
    def fits(self) -> bool:
        return self._most is None or self._sizes[-1] + _HEADER_BYTES <= self._most

    def feed(self, samples: bytes) -> None:
        self._rest += samples
        step = self._block * self._width
        at = 0
        for at in range(0, len(self._rest) - step + 1, step):
            self._encode(self._rest[at : at + step])
        if len(self._rest) >= step:
            self._rest = self._rest[at + step :]

    def finish(self) -> None:
        if self._rest:
            self._encode(self._rest)
        self._take(self._stream.encode(None))
        self._container.close()
        self._file.close()

    def bytes_before(self, sample: int) -> float:
        block, within = divmod(sample, self._block)
        if block >= len(self._sizes) - 1:
            return self._sizes[-1]
        return self._sizes[block] + (self._sizes[block + 1] - self._sizes[block]) * within / self._block

    def _encode(self, samples: bytes) -> None:
        count = len(samples) // self._width
        frame = av.AudioFrame(format=self._sample_fmt, layout=self._layout, samples=count)
        data = widened(samples) if self._form == "s24" else samples
        frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts = self._rate, self._samples
        self._samples += count
        self._take(self._stream.encode(frame))

    def _take(self, packets: "Sequence[av.Packet[av.AudioStream]]") -> None:
        for packet in packets:
            self._sizes.append(self._sizes[-1] + packet.size)
            if self.fits:
                self._container.mux(packet)


class _Wav:
    """A WAV of the samples as they are, whose header is written at the end."""

    extension, media_type = ".wav", "audio/wav"

    def __init__(self, file: int, form: str, rate: int, channels: int, most_bytes: int | None = None) -> None:
        width = WIDTHS[form] * channels
        tag = 3 if form.startswith("f") else 1
        fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, 8 * WIDTHS[form])
        self._blocks = Blocks(
            fmt + bytes(2 * (tag == 3)), tag, channels, rate, 0, 0, width, 1, 8 * WIDTHS[form], 0
        )
        self._file, self._most, self._size = file, most_bytes, 0
        self._head = len(header(self._blocks, 0, 0))
        disk.write(file, bytes(self._head))

    @property
    def fits(self) -> bool:
        return self._most is None or self._head + self._size + 1 <= self._most

    def feed(self, samples: bytes) -> None:
        self._size += len(samples)
        if self.fits:
            disk.write(self._file, samples)

    def finish(self) -> None:
        disk.write(self._file, bytes(self._size & 1))
        os.pwrite(self._file, header(self._blocks, self._size, self._size // self._blocks.block_bytes), 0)

    def bytes_before(self, sample: int) -> float:
        return sample * self._blocks.block_bytes


class _Exceeds(Exception):
    """A part became larger than was foreseen."""


@dataclass(slots=True)
class _View:
    """The whole recording, or one channel of it, in the first pass."""

    channel: int | None
    draft: Draft
    sink: "_Flac | _Wav"
    ear: Listener
    total: Any = field(default_factory=hashlib.sha256)

    def feed(self, samples: bytes) -> None:
        self.sink.feed(samples)
        self.ear.hear(samples)
        self.total.update(samples)


def encode(file: BinaryIO, folder: int, order: Order) -> Outcome:
    """Make the parts. Refused where it cannot be decoded, has no sound, or not even a moment fits. OSError."""
    if order.spans is not None:
        return _make(file, folder, order, order.spans, None)
    with ExitStack() as stack:
        recording = stack.enter_context(closing(opened(file, order.raw)))
        facts, views = _survey(recording, folder, order, stack)
        if not facts.has_sound:
            raise Refused("no_sound", "There is no sound in it, only silence.", "")
        distinct = [view for view in views if view.channel in facts.distinct([one.channel for one in views])]
        if all(facts.is_silent(view.channel) for view in distinct):
            raise Refused(
                "no_sound", "There is no sound in the channel that is to be sent.", "Look at audio.channels."
            )
        if all(view.sink.fits or facts.is_silent(view.channel) for view in distinct):
            return _as_surveyed(recording, order, facts, distinct)
        heard = [(view.channel, view.sink.bytes_before, view.ear.levels()) for view in distinct]
        samples, rate = round(facts.seconds * facts.rate), facts.rate
    share = _MARGIN
    for _ in range(_TRIES):
        spans: list[Span] = []
        for channel, bytes_before, levels in heard:
            ruler = Ruler(samples, bytes_before, lambda at: at / rate)
            borders = [0, samples] if facts.is_silent(channel) else _cuts(ruler, order.max_bytes, share, levels)
            for start, end in pairwise(borders):
                silent = facts.is_silent(channel)
                spans.append(Span(len(spans) + 1, channel, start, end, start / rate, end / rate, silent))
        try:
            return _make(file, folder, order, tuple(spans), facts)
        except _Exceeds:
            share *= _TIGHTER
    raise Refused("undecodable", "Its parts cannot be made small enough.", "Export it as WAV, and drop that.")


def _cuts(ruler: Ruler, max_bytes: int, share: float, levels: Levels) -> list[int]:
    try:
        return cuts(ruler, (max_bytes - _HEADER_BYTES) * share, levels)
    except TooDense:
        raise Refused("too_large", f"Not even one sample fits into {max_bytes:,} bytes.", "") from None


def _sink(draft: Draft, recording: Opened, channels: int, most_bytes: int | None = None) -> "_Flac | _Wav":
    kind = _Flac if recording.form in ("s16", "s24") else _Wav
    return kind(draft.opened, recording.form, recording.rate, channels, most_bytes)


def _survey(recording: Opened, folder: int, order: Order, stack: ExitStack) -> tuple[Facts, list[_View]]:
    """Encode all of it, as far as one part may be large, and listen."""
    views: list[_View] = []
    silence, comparison = Silence("s16", 0), Comparison(0)
    samples = 0
    for piece in recording.samples():
        channels, width = recording.channels, WIDTHS[recording.form]
        if not views:
            silence, comparison = Silence(recording.form, channels), Comparison(channels)
            for channel in wanted_channels(order.channels, channels):
                draft = stack.enter_context(writing(folder))
                count = channels if channel is None else 1
                sink = _sink(draft, recording, count, order.max_bytes)
                views.append(_View(channel, draft, sink, Listener(recording.form, count, recording.rate)))
        samples += len(piece) // width // channels
        silence.note(piece)
        comparison.note(piece, width)
        for view in views:
            view.feed(piece if view.channel is None else one_channel(piece, view.channel, channels, width))
    for view in views:
        view.sink.finish()
    facts = Facts(
        seconds=samples / recording.rate,
        channels=recording.channels,
        rate=recording.rate,
        silent=silence.of_channels(),
        same_as=comparison.same_as(),
        damaged_packets=recording.damaged,
    )
    return facts, views


def _as_surveyed(recording: Opened, order: Order, facts: Facts, views: list[_View]) -> Outcome:
    """Each channel fits into one part: what the first pass wrote is the result."""
    samples = round(facts.seconds * facts.rate)
    spans: list[Span] = []
    made: list[Made] = []
    for index, view in enumerate(views, 1):
        silent = facts.is_silent(view.channel)
        span = Span(index, view.channel, 0, samples, 0.0, facts.seconds, silent)
        spans.append(span)
        if order.asks_for(span):
            made.append(_completed(recording, view.draft, view.sink, span, view.total.hexdigest(), order, made))
    return Outcome(facts, tuple(spans), tuple(made))


@dataclass(slots=True)
class _Part:
    """A part of the second pass, while it is written."""

    span: Span
    draft: Draft
    sink: "_Flac | _Wav"
    silence: Silence
    stack: ExitStack
    total: Any = field(default_factory=hashlib.sha256)

    def feed(self, samples: bytes) -> None:
        self.sink.feed(samples)
        self.silence.note(samples)
        self.total.update(samples)


def _make(file: BinaryIO, folder: int, order: Order, spans: tuple[Span, ...], facts: Facts | None) -> Outcome:
    """Make exactly these parts, in one pass from the beginning to the end of the last."""
    waiting = {
        channel: [s for s in spans if s.channel == channel and order.asks_for(s)]
        for channel in {s.channel for s in spans}
    }
    writing_now: dict[int | None, _Part] = {}
    made: list[Made] = []
    silent: set[int] = set()
    at = 0
    with ExitStack() as stack:
        recording = stack.enter_context(closing(opened(file, order.raw)))
        for piece in recording.samples():
            channels, width = recording.channels, WIDTHS[recording.form]
            count = len(piece) // width // channels
            for channel, pending in waiting.items():
                samples = piece if channel is None else one_channel(piece, channel, channels, width)
                step = width * (channels if channel is None else 1)
                while pending and pending[0].start < at + count:
                    span = pending[0]
                    part = writing_now.get(channel) or _begin(recording, folder, span, stack)
                    writing_now[channel] = part
                    part.feed(samples[max(0, span.start - at) * step : max(0, span.end - at) * step])
                    if span.end > at + count:
                        break
                    del pending[0], writing_now[channel]
                    done = _end(recording, part, order, made)
                    if done is None:
                        silent.add(span.index)
                    else:
                        made.append(done)
            at += count
            if not any(waiting.values()):
                break
        if any(waiting.values()):
            raise undecodable(f"it ended after {at:,} samples")
        if facts is None:
            facts = Facts(spans[-1].end_seconds, recording.channels, recording.rate)
    told = tuple(replace(span, silent=span.silent or span.index in silent) for span in spans)
    return Outcome(facts, told, tuple(sorted(made, key=lambda one: one.span.index)))


def _begin(recording: Opened, folder: int, span: Span, outer: ExitStack) -> _Part:
    stack = outer.enter_context(ExitStack())
    draft = stack.enter_context(writing(folder))
    channels = recording.channels if span.channel is None else 1
    return _Part(span, draft, _sink(draft, recording, channels), Silence(recording.form, channels), stack)


def _end(recording: Opened, part: _Part, order: Order, made: list[Made]) -> Made | None:
    """Complete the part; None where it turns out to be silent, and is not kept."""
    part.sink.finish()
    if all(part.silence.of_channels()):
        part.stack.close()
        return None
    if os.fstat(part.draft.opened).st_size > order.max_bytes:
        raise _Exceeds
    done = _completed(recording, part.draft, part.sink, part.span, part.total.hexdigest(), order, made)
    part.stack.close()
    return done


def _completed(
    recording: Opened, draft: Draft, sink: "_Flac | _Wav", span: Span, pcm: str, order: Order, before: list[Made]
) -> Made:
    """Read the part back, and give it its name if its samples are what was put in."""
    with open(os.dup(draft.opened), "rb") as file, closing(opened(file)) as again:
        found = hashlib.sha256()
        for piece in again.samples():
            found.update(piece)
        if found.hexdigest() != pcm or again.form != recording.form:
            raise Refused("undecodable", "What was encoded is not what is decoded from it.", "Please report it.")
    size = os.fstat(draft.opened).st_size
    if order.keeps(before, size):
        draft.name = order.name(span, sink.extension)
    how: How = "flac" if sink.extension == ".flac" else "cut"
    return Made(
        span=span,
        name=draft.name,
        how=how,
        sha256=disk.digest(draft.opened),
        size=size,
        media_type=sink.media_type,
        extension=sink.extension,
        proof={
            "of": "pcm",
            "sha256": pcm,
            "bits": 8 * WIDTHS[recording.form],
            "decoder": decoder_name(recording.codec),
            "damaged_packets": recording.damaged,
        },
    )
