"""WAV: RIFF, and its 64-bit forms RF64 and BW64. Chunks of any codec, by their own lengths.

Facts: Microsoft's Multimedia Programming Interface (RIFF, WAVE), EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64).
"""

import struct
from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source

_CHUNKS = 256

# What writers that can not seek back put in place of a length: 0, 0xFFFFFFFF, 0x80000000, 0x7FFFF000 and
# neighbours. A recording of two gigabytes is beyond any upload anyway.
_PLACEHOLDER = 0x7FFF_0000
_PLACEHOLDER_64 = 1 << 62
_SEE_DS64 = 0xFFFF_FFFF

_CODECS = {
    0x01: "PCM",
    0x02: "MS ADPCM",
    0x03: "IEEE float",
    0x06: "A-law",
    0x07: "µ-law",
    0x11: "IMA ADPCM",
    0x14: "G.723 ADPCM",
    0x22: "TrueSpeech",
    0x31: "GSM 6.10",
    0x40: "G.721",
    0x42: "G.723.1",
    0x45: "G.726",
    0x50: "MPEG Layer II",
    0x55: "MP3",
    0x64: "G.726",
    0x65: "G.722",
    0x83: "G.729",
    0xFF: "AAC",
    0x161: "WMA",
}
_EXTENSIBLE = 0xFFFE
_BLOCKWISE = (0x02, 0x11, 0x31)  # their format says how many samples a block holds


@dataclass(slots=True)
class _Layout:
    """Where the chunks say that things lie."""

    riff_bytes: int
    placeholder: int
    format: bytes = b""
    data_start: int | None = None
    data_bytes: int = 0
    ended: bool = True  # the walk went on until `data` or the end of the file

    def open_ended(self) -> bool:
        """Whether a length is one that a writer leaves until it knows better."""
        return self.data_bytes == 0 or self.data_bytes >= self.placeholder or self.riff_open_ended()

    def riff_open_ended(self) -> bool:
        return self.riff_bytes == 0 or self.riff_bytes >= self.placeholder


def examine_wav(source: Source) -> Examination:
    """What the WAV in `source` is; its first four bytes name one of the three forms."""
    layout = _walk(source)
    completeness, missing = _judge(layout, source)
    codec, channels, rate, byte_rate = _describe(layout.format)
    seconds = None
    if layout.data_start is not None and byte_rate:
        present = max(0, source.size - layout.data_start)
        seconds = (present if layout.open_ended() else layout.data_bytes) / byte_rate
    return Examination(
        container="WAV",
        codec=codec,
        media_type="audio/wav",
        extension=".wav",
        seconds=seconds,
        channels=channels,
        sample_rate=rate,
        completeness=completeness,
        missing_bytes=missing,
        has_sound=layout.data_start is None or layout.data_start < source.size,
    )


def _walk(source: Source) -> _Layout:
    head = source.head
    riff_bytes = int.from_bytes(head[4:8], "little")
    wide = head[:4] != b"RIFF"
    layout = _Layout(riff_bytes, _PLACEHOLDER_64 if wide else _PLACEHOLDER)
    wide_data = 0
    if wide and riff_bytes == _SEE_DS64:
        layout.riff_bytes = 0  # not known until `ds64` is found
    offset = 12
    for _ in range(_CHUNKS):
        header = source.at(offset, 8)
        if len(header) < 8:
            return layout
        kind, length = struct.unpack("<4sI", header)
        if kind == b"data":
            layout.data_start = offset + 8
            layout.data_bytes = wide_data if wide and length == _SEE_DS64 else length
            return layout
        if kind == b"fmt ":
            layout.format = source.at(offset + 8, min(length, 40))
        elif kind == b"ds64" and wide:
            sizes = source.at(offset + 8, 16)
            if length >= 16 and len(sizes) == 16:
                wide_riff, wide_data = struct.unpack("<QQ", sizes)
                layout.riff_bytes = layout.riff_bytes or wide_riff
        elif not (kind.isascii() and kind.decode("ascii").isprintable()):
            break
        offset += 8 + length + (length & 1)
    layout.ended = False
    return layout


def _judge(layout: _Layout, source: Source) -> tuple[Completeness, int]:
    """The `data` chunk decides what is missing; the RIFF length must agree before anything is proven.

    A file longer than its RIFF length is not proven: somebody appends, or never finished the header; only a
    padding byte may lie uncounted behind an odd `data`. One whose `data` ends with the file while the RIFF
    length wants more is not called short: writers that count their own header, or a padding byte that they
    never write, are commoner than a cut at exactly that place.
    """
    size = source.size
    riff_end = layout.riff_bytes + 8
    if layout.data_start is None:
        if not layout.ended:
            return Completeness.UNKNOWN, 0
        return Completeness.SHORT, 0 if layout.riff_open_ended() else max(0, riff_end - size)
    data_end = layout.data_start + layout.data_bytes
    padded_end = data_end + (layout.data_bytes & 1)
    if data_end > size and layout.data_bytes < layout.placeholder:
        return Completeness.SHORT, (data_end if layout.riff_open_ended() else max(data_end, riff_end)) - size
    if layout.open_ended():
        return Completeness.UNKNOWN, 0
    ends = (data_end, padded_end)
    if riff_end == size or (riff_end, size) == ends:
        proven = len(layout.format) >= 16 and not source.ends_in_zeros()
        return (Completeness.PROVEN if proven else Completeness.UNKNOWN), 0
    if riff_end > size and size not in ends and riff_end - size not in (1, 8):
        return Completeness.SHORT, riff_end - size
    return Completeness.UNKNOWN, 0


def _describe(chunk: bytes) -> tuple[str | None, int | None, int | None, int]:
    """Codec, channels, samples a second, bytes a second, from the `fmt ` chunk."""
    if len(chunk) < 16:
        return None, None, None, 0
    tag, channels, rate, byte_rate, block_bytes = struct.unpack("<HHIIH", chunk[:14])
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = int.from_bytes(chunk[24:26], "little")  # a sub-format's GUID begins with the plain tag
    if byte_rate == 0:
        block_samples = int.from_bytes(chunk[18:20], "little") if tag in _BLOCKWISE else 1
        byte_rate = rate * block_bytes // (block_samples or 1)
    return _CODECS.get(tag, f"WAV format 0x{tag:04X}"), channels or None, rate or None, byte_rate
