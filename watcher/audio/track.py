"""A sound track of an MP4: its codec, its length, and where its samples are.

Facts: ISO/IEC 14496-12 (tables and fragments), 14496-14 (`mp4a`), 3GPP TS 26.244 (AMR), and the registered
descriptions of Opus, FLAC and ALAC.
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from sys import byteorder
from typing import Self

from watcher.audio import aac
from watcher.audio.boxes import Box, content, descend, inner
from watcher.audio.source import Source

_ENTRY_BYTES = 4096
_EDITS = 1000
_TABLE_BYTES = 32 * 1024  # the most to read of a table unless thorough
_WHOLE_TABLE_BYTES = 8_000_000

_CODECS = {
    b"mp4a": "AAC",
    b"samr": "AMR",
    b"sawb": "AMR-WB",
    b"sawp": "AMR-WB+",
    b"Opus": "Opus",
    b"fLaC": "FLAC",
    b"alac": "ALAC",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b".mp3": "MP3",
    b"ulaw": "µ-law",
    b"alaw": "A-law",
    b"ipcm": "PCM",
    b"fpcm": "IEEE float",
    b"sowt": "PCM",
    b"twos": "PCM",
    b"lpcm": "PCM",
    b"raw ": "PCM",
    b"in24": "PCM",
    b"in32": "PCM",
    b"fl32": "IEEE float",
    b"fl64": "IEEE float",
    b"ima4": "IMA ADPCM",
    b"agsm": "GSM 6.10",
    b"sqcp": "QCELP",
    b"Qclp": "QCELP",
    b"sevc": "EVRC",
    b"dtsc": "DTS",
    b"ms\x00\x02": "MS ADPCM",
    b"ms\x00\x11": "IMA ADPCM",
}
_PACKED = frozenset(("AAC", "AMR", "AMR-WB", "Opus", "FLAC", "MP3", "Vorbis", "QCELP"))
_ENCRYPTED = (b"enca", b"drms")


@dataclass(slots=True)
class Track:
    """One track of sound."""

    number: int = 0
    kind: bytes = b""  # of its sample entry
    voice: aac.Voice | None = None
    timescale: int = 0
    duration: int = 0  # in the track's timescale
    edited_seconds: float | None = None
    samples: int = 0
    total_bytes: int | None = None
    chunks: "list[tuple[int, int]]" = field(default_factory=list)  # where each begins and ends
    default_duration: int = 0  # of a fragment's sample
    fault: str | None = None  # in its tables

    @property
    def is_packed(self) -> bool:
        """Whether its codec compresses, so that silence is not a run of zeros."""
        return self.voice is not None and self.voice.codec in _PACKED

    def seconds(self) -> float | None:
        """How long it lasts: the part that its edit list shows, else all of it."""
        whole = self.duration / self.timescale if self.timescale and self.duration else None
        edited = self.edited_seconds
        if edited and (whole is None or edited <= 1.05 * whole):
            return edited
        return whole

    def damage(self, size: int, structure: Iterable[Box]) -> str | None:
        """Return why no decoder can play its samples, in a file of this size; None if one can."""
        if self.kind in _ENCRYPTED:
            return "its sound is encrypted"
        if self.voice is None:
            return "its codec is missing or unknown"
        if self.fault is not None:
            return self.fault
        if max((end for _, end in self.chunks), default=0) > size:
            return "its tables place sound beyond the end of the file"
        ordered = sorted(self.chunks)
        for box in structure:
            at = bisect_right(ordered, (box.start, size))
            if (at and ordered[at - 1][1] > box.start) or (at < len(ordered) and ordered[at][0] < box.end):
                return "its tables place sound where there is none"
        if self.total_bytes is not None and self.total_bytes > size:
            return "its tables count more sound than the file has bytes"
        return None


def sound_tracks(source: Source, moov: Box) -> list[Track]:
    """Return the sound tracks that the movie describes."""
    scale = 0
    tracks: list[Track] = []
    defaults: dict[int, int] = {}
    for box in inner(source, moov):
        if box.kind == b"mvhd":
            scale, _ = times(content(source, box, 32))
        elif box.kind == b"trak" and (track := _track(source, box, scale)):
            tracks.append(track)
        elif box.kind == b"mvex":
            for default in inner(source, box):
                if default.kind == b"trex" and len(row := content(source, default, 24)) == 24:
                    number, duration = struct.unpack_from(">4xI4xI", row)
                    defaults[number] = duration
    for track in tracks:
        track.default_duration = defaults.get(track.number, 0)
    return tracks


def times(header: bytes) -> tuple[int, int]:
    """Return timescale and duration by a movie's or a track's header; 0 if not given. Version 1 has 64 bits."""
    form = ">20xIQ" if header[:1] == b"\1" else ">12xII"
    if len(header) < struct.calcsize(form):
        return 0, 0
    scale, duration = struct.unpack_from(form, header)
    return scale, 0 if duration in (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF) else duration


def _track(source: Source, box: Box, movie_scale: int) -> Track | None:
    """Return the track in a `trak` box if it is a sound track."""
    media = descend(source, box, b"mdia")
    handler = descend(source, media, b"hdlr") if media else None
    if media is None or handler is None or content(source, handler, 12)[8:] != b"soun":
        return None
    track = Track()
    if (header := descend(source, box, b"tkhd")) and len(row := content(source, header, 24)) == 24:
        (track.number,) = struct.unpack_from(">20xI" if row[0] == 1 else ">12xI", row)
    if edits := descend(source, box, b"edts", b"elst"):
        track.edited_seconds = _edited(content(source, edits, 8 + 20 * _EDITS), movie_scale)
    if header := descend(source, media, b"mdhd"):
        track.timescale, track.duration = times(content(source, header, 32))
    if tables := descend(source, media, b"minf", b"stbl"):
        _read_tables(source, track, {part.kind: part for part in inner(source, tables)})
    return track


def _edited(table: bytes, movie_scale: int) -> float | None:
    """Return the seconds that an edit list shows, without its empty edits."""
    if not movie_scale or len(table) < 8:
        return None
    form = ">Qq4x" if table[0] == 1 else ">Ii4x"
    width = struct.calcsize(form)
    rows = table[8 : 8 + width * int.from_bytes(table[4:8], "big")]
    rows = rows[: len(rows) // width * width]
    shown: int = sum(length for length, start in struct.iter_unpack(form, rows) if start != -1)
    return shown / movie_scale


def _read_tables(source: Source, track: Track, tables: dict[bytes, Box]) -> None:
    if (described := tables.get(b"stsd")) is not None:
        entry = content(source, described, _ENTRY_BYTES)
        track.kind = entry[12:16]
        is_described = entry[4:8] != bytes(4)
        track.voice = _voice(entry[8 : 8 + int.from_bytes(entry[8:12], "big")]) if is_described else None
    sizes = tables.get(b"stsz") or tables.get(b"stz2")
    header = content(source, sizes, 12) if sizes else b""
    if sizes is None or len(header) < 12:
        return
    each, track.samples = struct.unpack_from(">4xII", header)
    if not track.samples or sizes.kind == b"stz2":
        return
    offsets, wide = _Table.of(source, tables, b"stco", "I"), _Table.of(source, tables, b"co64", "Q")
    runs, times = _Table.of(source, tables, b"stsc", "III"), _Table.of(source, tables, b"stts", "II")
    places = offsets or wide
    if places is None or runs is None or times is None:
        track.fault = "the tables for the position and time of its sound are missing"
    elif not (
        places.fits and runs.fits and times.fits and (each or 12 + 4 * track.samples <= sizes.end - sizes.start)
    ):
        track.fault = "a table for the position of its sound is shorter than its header says"
    else:
        _place(source, track, sizes, each, places, runs)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of numbers after a count of its rows."""

    box: Box
    form: str
    rows: int

    @classmethod
    def of(cls, source: Source, tables: dict[bytes, Box], kind: bytes, form: str) -> Self | None:
        """Return the table of this kind, if there is one with rows."""
        box = tables.get(kind)
        rows = int.from_bytes(content(source, box, 8)[4:], "big") if box else 0
        return cls(box, form, rows) if box and rows else None

    @property
    def size(self) -> int:
        return 8 + self.rows * struct.calcsize(f">{self.form}")

    @property
    def fits(self) -> bool:
        return self.size <= self.box.end - self.box.start

    def read(self, source: Source) -> "array[int]":
        return _numbers(content(source, self.box, self.size)[8:], self.form[0])


def _place(source: Source, track: Track, sizes: Box, each: int, places: _Table, runs: _Table) -> None:
    """Find the track's chunks, if its tables are small enough to be read."""
    most = _WHOLE_TABLE_BYTES if source.is_thorough else _TABLE_BYTES
    if max(sizes.end - sizes.start, places.size, runs.size) > most:
        return
    rows = runs.read(source)
    if 0 in rows or any(first >= second for first, second in pairwise(rows[::3])):
        track.fault = "the table for the chunks of its sound is malformed"
        return
    if each > 1:
        track.total_bytes = each * track.samples
        lengths = array("I", [each]) * min(track.samples, most // 4)
    else:  # a size of 1 means PCM, counted in samples: only the beginnings of the chunks are known
        lengths = _numbers(content(source, sizes, most)[12:], "I")[: track.samples]
        track.total_bytes = sum(lengths)
    track.chunks = list(
        _chunks(lengths or array("I", [1]) * min(track.samples, most // 4), places.read(source), rows)
    )


def _numbers(data: bytes, form: str) -> "array[int]":
    numbers = array(form)
    numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
    if byteorder == "little":
        numbers.byteswap()
    return numbers


def _chunks(lengths: "array[int]", places: "array[int]", runs: "array[int]") -> Iterator[tuple[int, int]]:
    """Yield where each chunk begins and ends; `runs`: from which chunk on a chunk has so many samples."""
    ends = [0, *accumulate(lengths)]
    first = 0
    for run in range(0, len(runs) - 2, 3):
        count = runs[run + 1]
        after = runs[run + 3] - 1 if run + 3 < len(runs) else len(places)
        for chunk in range(max(0, runs[run] - 1), min(after, len(places))):
            last = min(first + count, len(lengths))
            if first == last:
                return
            yield places[chunk], places[chunk] + ends[last] - ends[first]
            first = last


def _voice(entry: bytes) -> aac.Voice | None:
    """Parse a sample entry; None where it cannot be played."""
    kind = entry[4:8]
    codec = _CODECS.get(kind)
    if codec is None or len(entry) < 36:
        return None
    if kind in (b"samr", b"sawb"):
        return aac.Voice(
            codec, 1, 8000 if kind == b"samr" else 16000
        )  # the entry's own numbers are fixed and wrong
    version, channels, rate = struct.unpack_from(">16xH6xH6xH", entry)
    if version == 2 and len(entry) >= 52:
        precise, channels = struct.unpack_from(">40xdI", entry)
        rate = int(precise) if 0 < precise < 1 << 31 else 0
    told = aac.Voice(codec, channels or None, rate or None)
    if kind == b"mp4a":
        inside = aac.describe(_inside(entry, b"esds"))
        return inside and aac.Voice(inside.codec, inside.channels or told.channels, inside.rate or told.rate)
    if kind == b"Opus" and len(box := _inside(entry, b"dOps")) >= 2:
        return aac.Voice(codec, box[1] or None, 48000)
    if kind == b"fLaC" and len(box := _inside(entry, b"dfLa")) >= 26:
        packed = int.from_bytes(box[18:26], "big")
        return aac.Voice(codec, (packed >> 41 & 7) + 1, packed >> 44 or None)
    if kind == b"alac" and len(box := _inside(entry, b"alac")) >= 28:
        return aac.Voice(codec, box[13] or None, int.from_bytes(box[24:28], "big") or None)
    return told


def _inside(entry: bytes, kind: bytes) -> bytes:
    """Return the content of a box in a sample entry, in QuickTime's or ISO's layout."""
    at = 35
    while (at := entry.find(kind, at + 1)) >= 4:  # the name may also stand where no box begins
        end = at - 4 + int.from_bytes(entry[at - 4 : at], "big")
        if at + 4 <= end <= len(entry):
            return entry[at + 4 : end]
    return b""
