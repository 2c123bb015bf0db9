"""Put a recording's packets, unchanged, into a container that the service takes, in parts that fit: in the child.

Together the parts have exactly the packets of the whole. Where a decoder needs what is before a cut, a part begins
with that besides: Opus with 250 ms that are decoded and dropped, MP3 with a silent frame that carries its
reservoir. AAC, AMR and Vorbis begin a part with an empty memory, like every recording.
"""

import hashlib
import os
from array import array
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import IO, BinaryIO

import av
import av.error

from watcher.audio.riff import find_blocks
from watcher.audio.source import Source
from watcher.folders import disk
from watcher.journey.prepare import mp3_reservoir, ogg_opus, wav_cut
from watcher.journey.prepare.decoding import Opened, decoder_name, opened
from watcher.journey.prepare.impossible import Refused, undecodable
from watcher.journey.prepare.listening import listen
from watcher.journey.prepare.made import Facts, Made, Order, Outcome, Span
from watcher.journey.prepare.part_file import writing
from watcher.journey.prepare.quiet import Ruler, TooDense, cuts

_TRIES = 4
_TIGHTER = 0.97
_LEAD_PACKETS = 128  # more than the largest reservoir of MP3, and than the pre-roll of Opus, can span
_Packets = Iterable["av.Packet[av.AudioStream]"]


@dataclass(frozen=True, slots=True)
class _Target:
    """A kind of file for these packets, and about how many bytes it takes besides them."""

    muxer: str  # FFmpeg's word; "" for one of ours
    extension: str
    media_type: str
    each: float  # bytes per packet
    once: int
    can_be_cut: bool = True


_WAV = _Target("wav", ".wav", "audio/wav", 0, 0)
_MP3 = _Target("mp3", ".mp3", "audio/mpeg", 0, 4096)
_FRAMES = _Target("", ".mp3", "audio/mpeg", 0, 0)
_ADTS = _Target("", ".aac", "audio/aac", 0, 0)
_M4A = _Target("ipod", ".m4a", "audio/m4a", 20, 8192)
_3GP = _Target("3gp", ".3gp", "audio/3gp", 20, 8192)
_OGG = _Target("ogg", ".ogg", "audio/ogg", 4, 64 * 1024)
_OPUS = _Target("", ".ogg", "audio/ogg", 4, 16 * 1024)
_FLAC = _Target("flac", ".flac", "audio/flac", 0, 16 * 1024, can_be_cut=False)

_TARGETS = {
    "opus": _OPUS,
    "vorbis": _OGG,
    "speex": _OGG,
    "mp3": _MP3,
    "mp2": _FRAMES,
    "aac": _M4A,
    "alac": _M4A,
    "amr_nb": _3GP,
    "amr_wb": _3GP,
    "flac": _FLAC,
    **dict.fromkeys(("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"), _WAV),
    **dict.fromkeys(("pcm_mulaw", "pcm_alaw", "adpcm_ms", "adpcm_ima_wav", "gsm_ms"), _WAV),
}


@dataclass(slots=True)
class _Index:
    """Where each packet begins: its bytes and its time, and the end of all."""

    bytes_before: "array[int]"
    seconds: "array[float]"
    sha256: str

    @property
    def count(self) -> int:
        return len(self.bytes_before) - 1


def copy(file: BinaryIO, folder: int, order: Order) -> Outcome:
    """Make the parts. Refused where the service takes no such packets, or there are none. OSError."""
    with closing(opened(file, order.raw)) as recording:
        target = _target(recording, order)
        facts = Facts(0.0, _channels(recording), recording.stream.codec_context.sample_rate)
        if target is _WAV:
            return _as_wav(recording, folder, order)
        index = _index(recording)
    facts = Facts(index.seconds[-1], facts.channels, facts.rate)
    if order.spans is not None:
        made = _make(file, folder, order, order.spans, target)
        return Outcome(facts, order.spans, made)
    limit = float(order.max_bytes - target.once)
    whole = Ruler(index.count, lambda at: index.bytes_before[at] + at * target.each, lambda at: index.seconds[at])
    levels = None
    if whole.bytes_before(index.count) > limit:
        if not target.can_be_cut:
            raise Refused("no_copy", "FLAC cannot be cut without being encoded again.", "")
        facts, levels = listen(file, order.raw)
        if not facts.has_sound:
            raise Refused("no_sound", "There is no sound in it, only silence.", "")
    for _ in range(_TRIES):
        try:
            borders = cuts(whole, limit, levels)
        except TooDense:
            raise Refused("too_large", f"One packet alone is larger than {limit:,.0f} bytes.", "") from None
        spans = tuple(
            Span(at, None, start, end, index.seconds[start], index.seconds[end], silent=False)
            for at, (start, end) in enumerate(pairwise(borders), 1)
        )
        made = _make(file, folder, order, spans, target)
        if all(part.size <= order.max_bytes for part in made):
            return Outcome(facts, spans, made)
        limit *= _TIGHTER
        if levels is None:
            facts, levels = listen(file, order.raw)
    raise Refused("too_large", "Its parts cannot be made small enough.", "")


def _target(recording: Opened, order: Order) -> _Target:
    codec = recording.codec
    target = _ADTS if codec == "aac" and recording.demuxer == "aac" else _TARGETS.get(codec)
    if target is None:
        raise Refused("no_copy", f"No container that the service takes can hold {codec}.", "")
    if order.channels != "together" and _channels(recording) > 1 and target is not _WAV:
        raise Refused("no_copy", f"One channel of {codec} cannot be copied by itself.", "")
    return target


def _channels(recording: Opened) -> int:
    return len(recording.stream.codec_context.layout.channels)


def _index(recording: Opened) -> _Index:
    """Look at every packet once."""
    total, index = hashlib.sha256(), _Index(array("Q", [0]), array("d"), "")
    unit = float(recording.stream.time_base or 0)
    first: int | None = None
    at, end = 0.0, 0.0
    for packet in recording.copied():
        data = bytes(packet)
        if packet.pts is not None:
            first = packet.pts if first is None else first
            at = max(at, (packet.pts - first) * unit)
        else:
            at = end
        end = max(end, at + (packet.duration or 0) * unit)
        index.seconds.append(at)
        index.bytes_before.append(index.bytes_before[-1] + len(data))
        total.update(data)
    if not index.seconds:
        raise Refused("no_sound", "There is no sound in it.", "")
    index.seconds.append(max(end, at))
    index.sha256 = total.hexdigest()
    return index


def _make(file: BinaryIO, folder: int, order: Order, spans: tuple[Span, ...], target: _Target) -> tuple[Made, ...]:
    made: list[Made] = []
    for span in filter(order.asks_for, spans):
        made.append(_part(file, folder, order, span, target, made, is_only=len(spans) == 1))
    return tuple(made)


def _part(
    file: BinaryIO, folder: int, order: Order, span: Span, target: _Target, before: list[Made], *, is_only: bool
) -> Made:
    with closing(opened(file, order.raw)) as recording, writing(folder) as draft:
        packets = recording.copied()
        lead = deque((bytes(packet) for packet in islice(packets, span.start)), maxlen=_LEAD_PACKETS)
        body = islice(packets, span.end - span.start)
        first = next(body, None)
        if first is None:
            raise undecodable("its packets are not where they were")
        put_before = _needed_before(target, list(lead), bytes(first))
        total, everything = hashlib.sha256(), hashlib.sha256(b"".join(put_before))

        count = 0

        def counted() -> _Packets:
            nonlocal count
            for packet in chain((first,), body):
                count += 1
                total.update(bytes(packet))
                everything.update(bytes(packet))
                yield packet

        if target is _OPUS:
            _write_opus(draft.opened, recording, counted(), put_before, is_first=not lead)
        elif target.muxer:
            _write_muxed(draft.opened, recording, target, counted(), put_before, is_first=not lead)
        else:
            for packet in counted():
                disk.write(draft.opened, bytes(packet))
        if count != span.end - span.start:
            raise undecodable("its packets are not where they were")
        if _packets_in(draft.opened) != everything.hexdigest():
            raise undecodable("its packets are not the same in another container")
        size = os.fstat(draft.opened).st_size
        if order.keeps(before, size):
            draft.name = order.name(span, target.extension)
        return Made(
            span=span,
            name=draft.name,
            how="remux" if is_only else "copy",
            sha256=disk.digest(draft.opened),
            size=size,
            media_type=target.media_type,
            extension=target.extension,
            proof={
                "of": "packets",
                "sha256": total.hexdigest(),
                "decoder": decoder_name(recording.codec),
                "packets": count,
                "put_before": len(put_before),
            },
        )


def _needed_before(target: _Target, lead: list[bytes], first: bytes) -> list[bytes]:
    """Return what a decoder needs before the first packet of a part; `lead`: the packets that precede it."""
    if not lead:
        return []
    if target is _MP3:
        carrier = mp3_reservoir.carrier(first, b"".join(map(mp3_reservoir.sound_of, lead)))
        return [carrier] if carrier else []
    if target is not _OPUS:
        return []
    roll: list[bytes] = []
    for packet in reversed(lead):
        if sum(map(ogg_opus.samples_of, roll)) >= ogg_opus.PRE_ROLL:
            break
        roll.insert(0, packet)
    return roll


def _write_opus(file: int, recording: Opened, packets: _Packets, roll: list[bytes], *, is_first: bool) -> None:
    """Write Ogg; a player decodes the `roll`, and drops what it hears of it."""
    head = recording.stream.codec_context.extradata or b""
    if head[:8] != b"OpusHead":
        raise undecodable("it has no Opus header")
    samples = sum(map(ogg_opus.samples_of, roll))
    writer = ogg_opus.OggOpus(
        lambda data: disk.write(file, data), head if is_first else ogg_opus.with_pre_skip(head, samples)
    )
    for data in roll:
        writer.add(data)
    trimmed, granule = 0, samples
    for packet in packets:
        data = bytes(packet)
        writer.add(data)
        lasting = ogg_opus.samples_of(data)
        granule += lasting
        told = round(float((packet.duration or 0) * (packet.time_base or 0)) * ogg_opus.RATE)
        trimmed = max(0, lasting - told) if told else 0
    writer.close(granule - trimmed)


def _write_muxed(
    file: int, recording: Opened, target: _Target, packets: _Packets, put_before: list[bytes], *, is_first: bool
) -> None:
    """Write by FFmpeg's muxer, each part from the time 0 on."""
    with os.fdopen(os.dup(file), "r+b") as output:
        try:
            _mux(output, recording, target, packets, put_before, is_first=is_first)
        except av.error.FFmpegError as error:  # some are OSErrors too, and yet nothing that a disk said
            raise Refused("no_copy", f"Its packets cannot stand in {target.extension}: {error}.", "") from error


def _mux(
    output: IO[bytes],
    recording: Opened,
    target: _Target,
    packets: _Packets,
    put_before: list[bytes],
    *,
    is_first: bool,
) -> None:
    with av.open(output, "w", format=target.muxer, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream_from_template(recording.stream)
        shift: int | None = None
        for packet in packets:
            if shift is None:
                start = packet.dts if packet.dts is not None else packet.pts or 0
                shift = start - len(put_before) * (packet.duration or 0)
                if is_first:
                    shift = max(0, start)  # what lies before 0 is an encoder's delay, which players drop
                for at, data in enumerate(put_before):
                    extra = av.Packet(data)
                    extra.time_base, extra.duration, extra.stream = packet.time_base, packet.duration, stream
                    extra.pts = extra.dts = at * (packet.duration or 0)
                    container.mux_one(extra)
            packet.stream = stream
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            container.mux_one(packet)


def _packets_in(file: int) -> str:
    """Return the sha256 over all packets of a file that was made."""
    found = hashlib.sha256()
    with open(os.dup(file), "rb") as again, closing(opened(again)) as recording:
        for packet in recording.copied():
            found.update(bytes(packet))
    return found.hexdigest()


def _as_wav(recording: Opened, folder: int, order: Order) -> Outcome:
    """Put all of it into one WAV, prove that, and cut it at its blocks."""
    with disk.draft(folder) as (draft, name):
        total = hashlib.sha256()
        with os.fdopen(os.dup(draft), "r+b") as output:
            container = av.open(output, "w", format="wav", options={"fflags": "+bitexact"})
            stream = container.add_stream_from_template(recording.stream)
            for packet in recording.copied():
                total.update(bytes(packet))
                packet.stream = stream
                container.mux_one(packet)
            container.close()
        size = os.fstat(draft).st_size
        with open(os.dup(draft), "rb") as written:
            blocks = find_blocks(Source(written, size))
            if (
                blocks is None
                or disk.digest(draft, [(blocks.start, blocks.start + blocks.size)]) != total.hexdigest()
            ):
                raise undecodable("its sound is not the same in a WAV")
            try:
                made = wav_cut.cut(written, blocks, folder, order)
            except TooDense:
                raise Refused(
                    "too_large", f"One block alone is larger than {order.max_bytes:,} bytes.", ""
                ) from None
        os.unlink(name, dir_fd=folder)
    if made.facts.has_sound is False:
        raise Refused("no_sound", "There is no sound in it, only silence.", "")
    return made
