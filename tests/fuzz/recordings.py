"""Recordings as anybody may drop them: each parser, the recognition, and what takes recordings apart."""

import hashlib
import io
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.audio_files import ACCEPTED, FOREIGN, REFUSED, recording
from tests.fuzz.target import Check, Target, is_safe, plain
from tests.looks import looked
from watcher.audio import Raw
from watcher.audio.riff import find_blocks
from watcher.audio.source import Source
from watcher.errors import CodecDied, RecordingChanged, RecordingRefused
from watcher.journey.prepare.codec import Bounds, Codec
from watcher.journey.prepare.made import Channels, Order, Outcome
from watcher.journey.prepare.mp3_reservoir import carrier, needs_before, sound_of
from watcher.journey.prepare.ogg_opus import OggOpus, pre_skip_of, samples_of, with_pre_skip
from watcher.journey.prepare.quiet import TooDense
from watcher.journey.prepare.wav_cut import cut, overhead

_WORDS = (
    *(b"RIFF", b"RF64", b"WAVE", b"fmt ", b"data", b"LIST", b"fact", b"ds64", b"fLaC", b"OggS", b"OpusHead"),
    *(b"\x01vorbis", b"ID3\4\0\0", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"Xing", b"Info", b"VBRI", b"LAME"),
    *(b"ftyp", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"stsz", b"stco", b"co64", b"stts", b"esds"),
    *(b"moof", b"traf", b"tfhd", b"trun", b"sidx", b"mdat", b"free", b"wide", b"qt  ", b"FORM", b"AIFC", b"COMM"),
    *(b"SSND", b".snd", b"caff", b"desc", b"pakt", b"#!AMR\n", b"FLV\1", b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"),
    *(
        b"\x1f\x43\xb6\x75",
        b"\xa3\x80",
        b"\xff\xfb\x90\x00",
        b"\xff\xf1\x50\x80",
        b"\xff\xf8",
        b"\xff" * 4,
        bytes(8),
    ),
    *(
        b"jumdc2pa",
        b"\x01\xff\xff\xff\xff\xff\xff\xff",
        b"<?xml ",
        b"%PDF-",
        b"PK\3\4",
        b"GIF8",
        b"{",
        b"\xef\xbb\xbf",
    ),
)
_FORMATS = {
    "wav": ("wav",),
    "flac": ("flac", "ogg.flac"),
    "ogg": ("ogg",),
    "mpeg": ("mp3", "mp2"),
    "aac": ("aac",),
    "mp4": ("m4a", "mp4", "3gp", "mov"),
    "matroska": ("webm", "matroska"),
    "asf": ("wma",),
    "others": ("aiff", "aifc", "au", "caf", "wave64", "amr", "flv"),
}
_KINDS = (*ACCEPTED, *FOREIGN, *REFUSED)
_RAWS = ("mulaw", "alaw", "pcm", "s16be", "gsm", "g722", "g729")
_CHANNELS: tuple[Channels, ...] = ("together", "apart", "first", "second")


def _of_format(beginnings: Sequence[str]) -> list[bytes]:
    kinds = [kind for kind in _KINDS if kind.startswith(tuple(beginnings))]
    return [recording(kind, seconds) for kind in kinds for seconds in (0.2, 1.0)]


def _every_kind() -> list[bytes]:
    return [recording(kind) for kind in _KINDS] + [recording(kind)[:n] for kind in _KINDS for n in (5, 60)]


def _look(data: bytes) -> None:
    """Of the whole, of a file that has shrunk since, and of its first bytes alone."""
    if not data:
        return
    looked(data)
    match zlib.crc32(data) % 4:
        case 0:
            looked(data, len(data) + 5000)
        case 1:
            first = 1 + len(data) // 2
            assert looked(data, first) == looked(data[:first])


def _look_at_raw(data: bytes) -> None:
    """As what each rule of the configuration may say that it is."""
    if data:
        chosen = zlib.crc32(data)
        raw = Raw(_RAWS[chosen % len(_RAWS)], (8000, 16000, 44100)[chosen // 8 % 3], 1 + chosen // 32 % 2)
        looked(data, raw=raw)


# What is made of them


@contextmanager
def _folder() -> Iterator[tuple[Path, int]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        opened = os.open(name, os.O_RDONLY)
        try:
            yield Path(name), opened
        finally:
            os.close(opened)


def _order(data: bytes) -> Order:
    """What is to be made of it: the same for the same bytes."""
    chosen = zlib.crc32(data)
    keep = (None, None, 1, 40_000)[chosen // 8 % 4]
    most = (1_000, 8_000, 50_000, 15_000_000)[chosen // 32 % 4]
    return Order("it", most, channels=_CHANNELS[chosen % 4], keep_bytes=keep)


@contextmanager
def _cutting() -> Iterator[Check]:
    with _folder() as (folder, opened):
        yield partial(_cut, folder, opened)


def _cut(folder: Path, opened: int, data: bytes) -> None:
    """The parts hold the blocks of the whole, one after the other, and what is made again is the same."""
    blocks, order = find_blocks(Source(io.BytesIO(data), len(data))) if data else None, _order(data)
    if blocks is None or blocks.size // max(order.max_bytes - overhead(blocks), blocks.block_bytes) > 500:
        return  # so many parts are refused before any is made
    try:
        outcome = cut(io.BytesIO(data), blocks, opened, order)
    except (RecordingChanged, TooDense):
        return
    except ValueError as error:
        assert "only a decoder" in str(error)
        return
    made = _taken(folder, outcome, order)
    if order.channels == "together" and order.keep_bytes is None and not any(s.silent for s in outcome.spans):
        inside = []
        for content in made.values():
            own = find_blocks(Source(io.BytesIO(content), len(content)))
            assert own is not None
            inside.append(content[own.start : own.start + own.size])
        assert b"".join(inside) == data[blocks.start : blocks.start + blocks.size]
    again = Order(order.stem, order.max_bytes, order.channels, outcome.spans, None, order.keep_bytes)
    assert cut(io.BytesIO(data), blocks, opened, again).made == outcome.made
    assert _taken(folder, outcome, order) == made


def _taken(folder: Path, outcome: Outcome, order: Order) -> dict[str, bytes]:
    """What was made, by name; nothing else lies there, and it is as it is said to be."""
    files = {one.name: one.read_bytes() for one in folder.iterdir()}
    for name in files:
        (folder / name).unlink()
    kept = {one.name: one for one in outcome.made if one.name is not None}
    assert files.keys() == kept.keys()
    for name, one in kept.items():
        assert (one.size, one.sha256) == (len(files[name]), hashlib.sha256(files[name]).hexdigest())
    assert all(one.size <= order.max_bytes for one in outcome.made)
    return {name: files[name] for name in sorted(files, key=lambda name: kept[name].span.index)}


@contextmanager
def _coding() -> Iterator[Check]:
    with _folder() as (folder, opened), _folder() as (other, _):
        codec = Codec(bounds=Bounds(seconds=10.0))
        yield partial(_code, folder, opened, other / "recording", codec)


def _code(folder: Path, opened: int, path: Path, codec: Codec, data: bytes) -> None:
    """The child makes parts, or says why not; whatever becomes of it, it leaves nothing behind."""
    path.write_bytes(data)
    order = _order(data)
    deeds: tuple[Callable[..., Outcome], ...] = (codec.copy, codec.flac)
    with path.open("rb") as file:
        try:
            if zlib.crc32(data) % 3 == 2:
                codec.listen(file)
                return
            outcome = deeds[zlib.crc32(data) % 3](file, opened, order)
        except (RecordingRefused, CodecDied) as error:
            assert is_safe(error.message)
            assert is_safe(error.hint)
            assert list(folder.iterdir()) == []
            return
    _taken(folder, outcome, order)


def _packets(data: bytes) -> None:
    """What is asked of single packets, before they are put into another container."""
    needed, sound = needs_before(data), sound_of(data)
    assert 0 <= needed < 512
    before = data[::-1]
    silent = carrier(data, before)
    if silent:
        assert silent.endswith(before[-needed:])
        assert needs_before(silent) == 0
        assert len(sound_of(silent)) >= needed
    assert len(sound) <= len(data)
    assert 0 <= samples_of(data) <= 63 * 2880
    head = recording("ogg.opus")[28:47]
    assert pre_skip_of(with_pre_skip(head, zlib.crc32(data) & 0xFFFF)) == zlib.crc32(data) & 0xFFFF
    written = io.BytesIO()
    stream = OggOpus(lambda page: _write(written, page), head)
    with suppress(ValueError):  # a packet larger than a page may be
        for start in range(0, min(len(data), 100_000), 700):
            stream.add(data[start : start + 700])
        stream.add(data)
    stream.close(zlib.crc32(data))
    found = looked(written.getvalue())
    assert found is not None
    assert found.container == "Ogg"


def _write(file: io.BytesIO, page: bytes) -> None:
    file.write(page)


def _wavs() -> list[bytes]:
    return [*_of_format(["wav"]), *(recording("wav", seconds) for seconds in (5.0, 20.0))]


TARGETS = (
    *(plain(name, _look, partial(_of_format, kinds), words=_WORDS) for name, kinds in _FORMATS.items()),
    plain("raw", _look_at_raw, _every_kind, words=_WORDS),
    plain("recognition", _look, _every_kind, words=_WORDS),
    plain(
        "packets",
        _packets,
        lambda: [recording("mp3")[417:900], recording("ogg.opus")[200:500]],
        most_bytes=200_000,
    ),
    Target("cutting", _cutting, _wavs, words=_WORDS),
    Target("codec", _coding, _every_kind, words=_WORDS),
)
