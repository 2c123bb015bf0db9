"""ASF, the container of WMA. Facts: Microsoft's Advanced Systems Format specification 1.20."""

import struct
from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.riff import Format
from watcher.audio.source import Source

MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_STREAM = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_AUDIO = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ENCRYPTION = (  # objects of an ASF header: Content Encryption, and its extended form
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_OBJECTS = 256
_HEADER = 24
_IS_LIVE, _IS_ENCRYPTED = 1, 0x8000
_DATA_HEADER = 50
_PLACEHOLDER = 1 << 62


@dataclass(slots=True)
class _Layout:
    file_bytes: int = 0  # by the header; 0: not known
    duration: int = 0  # in units of 100 ns
    preroll_ms: int = 0
    is_live: bool = False
    format: bytes | None = None  # of the first stream of sound
    is_encrypted: bool = False
    header_end: int = 0
    data_end: int | None = None
    data_bytes: int = 0
    packets: int = 0
    end: int | None = None  # of the last object
    ended: bool = True


def is_protected(head: bytes) -> bool:
    """Return whether the header says that the sound is encrypted."""
    return any(mark in head for mark in _ENCRYPTION)


def examine_asf(source: Source) -> Examination:
    """Examine the WMA, or other ASF, in `source`."""
    layout = _read(source)
    completeness, missing = _judge(layout, source)
    described = Format.of(layout.format or b"")
    damage = None
    if layout.data_end is None and layout.data_bytes == 0:
        damage = "it has no sound behind its header"
    elif layout.is_encrypted:
        damage = "its sound is encrypted"
    elif described is not None and layout.format is not None:
        damage = described.damage()
    seconds = layout.duration / 1e7 - layout.preroll_ms / 1e3
    told = Lengths(
        completeness,
        missing,
        seconds if 0 < seconds < 1e9 and not layout.is_live else None,
        described is not None and source.size > layout.header_end + _DATA_HEADER and layout.data_bytes != 0,
        damage,
    )
    if described is None:
        return foreign("WMA", None, None, None, told)
    return foreign("WMA", described.codec, described.channels, described.rate, told)


def _read(source: Source) -> _Layout:
    layout = _Layout(header_end=int.from_bytes(source.at(16, 8), "little"))
    at = 30
    for _ in range(_OBJECTS):
        header = source.at(at, _HEADER)
        if at + _HEADER > layout.header_end or len(header) < _HEADER:
            break
        length = int.from_bytes(header[16:], "little")
        if header[:16] == _FILE:
            _note_file(layout, source.at(at + _HEADER, 80))
        elif header[:16] == _STREAM and layout.format is None:
            _note_stream(layout, source.at(at + _HEADER, 54 + 64))
        if length < _HEADER:
            break
        at += length
    _find_data(layout, source)
    return layout


def _note_file(layout: _Layout, content: bytes) -> None:
    if len(content) < 80:
        return
    total, packets, duration, preroll, flags = struct.unpack_from("<16xQ8xQQ8xQI", content)
    layout.is_live = bool(flags & _IS_LIVE)
    layout.preroll_ms = preroll
    if not layout.is_live:
        layout.file_bytes, layout.packets, layout.duration = total, packets, duration


def _note_stream(layout: _Layout, content: bytes) -> None:
    if content[:16] != _AUDIO or len(content) < 54:
        return
    length, flags = struct.unpack_from("<40xI4xH", content)
    layout.format = content[54 : 54 + min(length, 64)]
    layout.is_encrypted = bool(flags & _IS_ENCRYPTED)


def _find_data(layout: _Layout, source: Source) -> None:
    """Find the object with the sound, and the end of the last one behind it."""
    at = layout.header_end
    for _ in range(_OBJECTS):
        header = source.at(at, _HEADER)
        if len(header) < _HEADER:
            layout.end = at if not header else at + _HEADER
            return
        length = int.from_bytes(header[16:], "little")
        if header[:16] == _DATA and layout.data_end is None:
            is_open = length <= _DATA_HEADER or length >= _PLACEHOLDER or layout.is_live
            layout.data_bytes = max(0, min(source.size, at + length) - at - _DATA_HEADER)
            if is_open:
                layout.data_bytes = max(0, source.size - at - _DATA_HEADER)
                return
            layout.data_end = at + length
        if length < _HEADER:
            break
        at += length
    layout.ended = False


def _judge(layout: _Layout, source: Source) -> tuple[Completeness, int]:
    if layout.data_end is None:
        is_cut = layout.data_bytes == 0 and layout.ended
        missing = max(0, max(layout.file_bytes, layout.header_end) - source.size) if layout.file_bytes else 0
        return (Completeness.SHORT, missing) if is_cut else (Completeness.UNKNOWN, 0)
    if layout.data_end > source.size:
        return Completeness.SHORT, layout.data_end - source.size
    if layout.end == source.size == layout.file_bytes and not source.ends_in_zeros():
        return Completeness.PROVEN, 0
    return Completeness.UNKNOWN, 0
