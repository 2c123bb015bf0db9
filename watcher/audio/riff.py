"""WAV: RIFF, and its 64-bit forms RF64 and BW64. Chunks of any codec, found by their lengths.

Facts: Microsoft's Multimedia Programming Interface (RIFF, WAVE), EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64); which
codecs can be played, and what their formats must say, from FFmpeg's decoders.
"""

import struct
from dataclasses import dataclass
from typing import Self

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import HOLE_BYTES, Source

_CHUNKS = 256
_FORMAT_BYTES = 1024  # with the tables that some codecs have in it

# Writers that cannot seek back put these in place of a length: 0, 0xFFFFFFFF, 0x80000000, 0x7FFFF000 and
# neighbours. A recording of two gigabytes is beyond any upload anyway.
_PLACEHOLDER = 0x7FFF_0000
_PLACEHOLDER_64 = 1 << 62
_SEE_DS64 = 0xFFFF_FFFF

# Some writers include their header, of 44 bytes or more, in a length: no sound is missing then.
_HEADER_BYTES = 44
_LONG_HEADER_BYTES = 128

_USUAL_CHANNELS = 8
_MOST_CHANNELS = 512
_HIGHEST_RATE = 1_000_000

_PCM, _MS_ADPCM, _FLOAT, _ALAW, _MULAW, _IMA_ADPCM, _GSM = 0x01, 0x02, 0x03, 0x06, 0x07, 0x11, 0x31
_EXTENSIBLE = 0xFFFE
_CODECS = {
    _PCM: "PCM",
    _MS_ADPCM: "MS ADPCM",
    _FLOAT: "IEEE float",
    _ALAW: "A-law",
    _MULAW: "µ-law",
    0x10: "OKI ADPCM",
    _IMA_ADPCM: "IMA ADPCM",
    0x14: "G.723 ADPCM",
    0x17: "OKI ADPCM",
    0x20: "Yamaha ADPCM",
    0x22: "TrueSpeech",
    _GSM: "GSM 6.10",
    0x32: "GSM 6.10",
    0x38: "NMS ADPCM",
    0x40: "G.721",
    0x41: "G.728",
    0x42: "G.723.1",
    0x45: "G.726",
    0x50: "MPEG Layer II",
    0x55: "MP3",
    0x57: "AMR",
    0x58: "AMR-WB",
    0x64: "G.726",
    0x65: "G.722",
    0x83: "G.729",
    0xFF: "AAC",
    0x111: "G.723.1",
    0x160: "WMA",
    0x161: "WMA",
    0x162: "WMA",
    0x163: "WMA",
    0x28F: "G.722",
    0x1500: "GSM 6.10",
    0x1600: "AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x5346: "Flash ADPCM",
    0x6C75: "µ-law",
    0x706D: "AAC",
    0x729A: "G.729",
    0xA100: "G.723.1",
    0xA106: "AAC",
    0xA109: "Speex",
    0xF1AC: "FLAC",
}
# Others that can be played, though no call recorder is known to write them.
_PLAYABLE = frozenset(
    (
        *(0x0A, 0x44, 0x49, 0x61, 0x62, 0x69, 0x70, 0x75, 0x77, 0x78, 0x125, 0x130, 0x135, 0x141, 0x142, 0x143),
        *(0x145, 0x146, 0x166, 0x180, 0x200, 0x215, 0x216, 0x250, 0x270, 0x28E, 0x350, 0x370, 0x401, 0x402),
        *(0x500, 0x501, 0x1501, 0x1602, 0x1610, 0x2222, 0x4143, 0x566F, 0x594A, 0xCD02),
    )
)
_SUBFORMATS = (  # the ends of the GUIDs that begin with a format tag: Microsoft's, and the one for ambisonics
    bytes.fromhex("0000000000001000800000aa00389b71")[2:],
    bytes.fromhex("000000002107d3118644c8c1ca000000")[2:],
)
_PACKED = (0x50, 0x55, 0xFF, 0x1600, 0x706D, 0xA106)  # MPEG audio and AAC: their silence is no run of zeros
_BITS = {_PCM: (*range(1, 33), 64), _FLOAT: (32, 64), _IMA_ADPCM: (2, 3, 4, 5)}


@dataclass(frozen=True, slots=True)
class Format:
    """What the `fmt ` chunk says; `bits` are those of one sample."""

    tag: int
    channels: int
    rate: int
    byte_rate: int
    block_bytes: int
    bits: int
    block_samples: int = 0  # samples per block, by the codec's extension of the chunk
    is_known: bool = True  # false: an unknown sub-format

    @classmethod
    def of(cls, chunk: bytes) -> Self | None:
        if len(chunk) < 14:
            return None
        plain = chunk[:16] if len(chunk) >= 16 else chunk[:14] + b"\x08\0"
        tag, channels, rate, byte_rate, block_bytes, bits = struct.unpack("<HHIIHH", plain)
        is_known = True
        if tag == _EXTENSIBLE and len(chunk) >= 40:
            used_bits, tag = struct.unpack_from("<H4xH", chunk, 18)
            is_known = chunk[26:40] in _SUBFORMATS
            bits = max(bits, used_bits)
        block_samples = int.from_bytes(chunk[18:20], "little") if tag in (_MS_ADPCM, _IMA_ADPCM, _GSM, 0x32) else 0
        return cls(tag, channels, rate, byte_rate, block_bytes, bits, block_samples, is_known)

    @property
    def codec(self) -> str:
        return _CODECS.get(self.tag, f"WAV format 0x{self.tag:04X}")

    @property
    def frame_bytes(self) -> int:
        """The bytes of one sample of all channels, whatever the header says; 0 for compressed codecs."""
        if self.tag in (_ALAW, _MULAW, 0x6C75):
            return self.channels
        return self.channels * ((self.bits + 7) // 8) if self.tag in (_PCM, _FLOAT) else 0

    def seconds_of(self, sound_bytes: int, counted: int) -> float | None:
        """Return how long so many bytes of sound last; `counted`: samples by the `fact` chunk, if there is one."""
        if not self.rate:
            return None
        if self.frame_bytes:
            return sound_bytes / self.frame_bytes / self.rate
        if self.block_samples and self.block_bytes:
            return sound_bytes / self.block_bytes * self.block_samples / self.rate
        if counted:
            return counted / self.rate
        return sound_bytes / self.byte_rate if self.byte_rate else None

    def damage(self) -> str | None:
        """Return why no decoder can play this; None if one can."""
        if not self.channels or self.channels > _MOST_CHANNELS:
            return f"its header says {self.channels} channels"
        if not self.rate or self.rate > _HIGHEST_RATE:
            return f"its header says {self.rate} samples a second"
        if self.channels > _USUAL_CHANNELS and self.frame_bytes not in (0, self.block_bytes):
            return f"its header says {self.channels} channels, in {self.block_bytes} bytes"
        if self.bits not in _BITS.get(self.tag, (self.bits,)):
            return f"its header says {self.bits} bits a sample of {self.codec}"
        if (self.tag in _CODECS or self.tag in _PLAYABLE) and self.is_known:
            return None
        return f"its header names an unknown codec ({self.codec})"


@dataclass(slots=True)
class _Layout:
    """The layout of the file by its chunks."""

    riff_bytes: int
    placeholder: int
    wide_data_bytes: int = 0  # by `ds64`
    format: bytes | None = None
    counted: int = 0  # samples, by `fact`
    data_start: int | None = None
    data_bytes: int = 0
    ended: bool = True  # the walk reached `data` or the end of the file over plausible chunks

    def open_ended(self) -> bool:
        """Whether a length is a placeholder, which a writer replaces at the end."""
        return self.data_bytes == 0 or self.data_bytes >= self.placeholder or self.riff_open_ended()

    def riff_open_ended(self) -> bool:
        return self.riff_bytes == 0 or self.riff_bytes >= self.placeholder


def examine_wav(source: Source) -> Examination:
    """Examine the WAV in `source`; its first four bytes name one of the three forms."""
    layout = _walk(source)
    described = Format.of(layout.format or b"")
    completeness, missing = _judge(layout, source)
    seconds = None
    present = _sound_bytes(layout, source)
    hole: int | None = None
    if described is not None and described.tag in _PACKED and layout.data_start is not None:
        hole = source.hole(layout.data_start, layout.data_start + present)
        if hole == source.size - HOLE_BYTES:
            completeness = Completeness.SHORT  # the space is allocated, and the copy goes on
    damage = None
    if completeness is not Completeness.SHORT:
        damage = _damage(layout, described)
        if damage is None and hole is not None:
            damage = f"from byte {hole:,} on it has zeros instead of sound"
    if layout.data_start is not None and described is not None:
        seconds = described.seconds_of(present if layout.open_ended() else layout.data_bytes, layout.counted)
    return Examination(
        container="WAV",
        codec=described.codec if described else None,
        media_type="audio/wav",
        extension=".wav",
        seconds=seconds,
        channels=described.channels or None if described else None,
        sample_rate=described.rate or None if described else None,
        completeness=completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=missing,
        has_sound=present >= max(1, described.frame_bytes if described else 1),
        damage=damage,
        bits=described.bits if described and described.codec in ("PCM", "IEEE float") else None,
    )


@dataclass(frozen=True, slots=True)
class Blocks:
    """The sound of a WAV as blocks of equal size, each of which can be decoded for itself.

    Of PCM and G.711 a block is one sample of every channel, and all are whole; of others the last may be cut.
    """

    format: bytes  # the `fmt ` chunk's content
    tag: int  # of the codec; of an extensible format, the one behind it
    channels: int
    rate: int
    start: int  # where the first one begins
    size: int  # bytes of all of them
    block_bytes: int
    block_samples: int  # of each channel
    bits: int  # per sample, as the format says
    samples: int  # of each channel in all

    @property
    def count(self) -> int:
        return -(-self.size // self.block_bytes)

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def form(self) -> str | None:
        """How its samples are written, in words such as "s16"; None where only a decoder can tell them."""
        if self.tag in (_ALAW, _MULAW, 0x6C75):
            return "alaw" if self.tag == _ALAW else "mulaw"
        if self.tag not in (_PCM, _FLOAT):
            return None
        width = 8 * self.block_bytes // self.channels
        return "u8" if self.tag == _PCM and width == 8 else f"{'f' if self.tag == _FLOAT else 's'}{width}"


def find_blocks(source: Source) -> Blocks | None:
    """Return the blocks of a WAV; None where there are none, or where each needs what is before it."""
    layout = _walk(source)
    described = Format.of(layout.format or b"")
    if layout.format is None or described is None or layout.data_start is None or described.damage():
        return None
    block_bytes, block_samples = _block_of(described)
    size = _sound_bytes(layout, source)
    if not block_bytes or size < (block_bytes if described.frame_bytes else 1):
        return None
    samples = -(-size // block_bytes) * block_samples
    if described.frame_bytes:
        size -= size % block_bytes
        samples = size // block_bytes
    elif samples - block_samples < layout.counted < samples:  # else it counts something else
        samples = layout.counted
    return Blocks(
        format=layout.format,
        tag=described.tag,
        channels=described.channels,
        rate=described.rate,
        start=layout.data_start,
        size=size,
        block_bytes=block_bytes,
        block_samples=block_samples,
        bits=described.bits,
        samples=samples,
    )


def _block_of(described: Format) -> tuple[int, int]:
    """Return the bytes and the samples of a block; 0 bytes where blocks do not stand alone."""
    channels, size, told = described.channels, described.block_bytes, described.block_samples
    if described.frame_bytes:
        return described.frame_bytes, 1
    if described.tag == _GSM and size and size % 65 == 0:
        return size, size // 65 * 320
    if described.tag == _MS_ADPCM and size > 7 * channels:
        return size, told or (size - 7 * channels) * 2 // channels + 2
    if described.tag == _IMA_ADPCM and size > 4 * channels and (told or described.bits == 4):
        return size, told or (size - 4 * channels) * 2 // channels + 1
    return 0, 0


def _walk(source: Source) -> _Layout:
    head = source.head
    riff_bytes = int.from_bytes(head[4:8], "little")
    wide = head[:4] != b"RIFF"
    layout = _Layout(riff_bytes, _PLACEHOLDER_64 if wide else _PLACEHOLDER)
    if wide and riff_bytes == _SEE_DS64:
        layout.riff_bytes = 0  # not known until `ds64` is found
    offset = 12
    for _ in range(_CHUNKS):
        header = source.at(offset, 8)
        if len(header) < 8:
            return layout
        kind, length = struct.unpack("<4sI", header)
        if kind == b"data" and layout.data_start is None:
            layout.data_start = offset + 8
            layout.data_bytes = length
            if wide and length == _SEE_DS64:
                layout.data_bytes = length = layout.wide_data_bytes
            if layout.format is not None or layout.open_ended():
                return layout
        else:
            _note(layout, source, kind, offset + 8, length, wide=wide)
        offset = _next(source, offset + 8, length)
    layout.ended = False
    return layout


def _note(layout: _Layout, source: Source, kind: bytes, start: int, length: int, *, wide: bool) -> None:
    """Add what the chunk says to the layout."""
    layout.ended &= kind.isascii() and kind.decode("ascii").isprintable()
    if kind == b"fmt " and layout.format is None:
        layout.format = source.at(start, min(length, _FORMAT_BYTES))
    elif kind == b"fact":
        counted = int.from_bytes(source.at(start, 4), "little") if length >= 4 else 0
        layout.counted = 0 if counted >= _PLACEHOLDER else counted
    elif kind == b"ds64" and wide:
        sizes = source.at(start, 16)
        if length >= 16 and len(sizes) == 16:
            wide_riff, layout.wide_data_bytes = struct.unpack("<QQ", sizes)
            layout.riff_bytes = layout.riff_bytes or wide_riff


def _next(source: Source, start: int, length: int) -> int:
    """Return where the next chunk begins: some writers omit the padding byte after an odd length."""
    end = start + length
    if not length & 1:
        return end
    following = source.at(end, 5)
    is_padded = len(following) < 5 or following[:1] < b" " or not following[:4].isascii()
    return end + 1 if is_padded else end


def _judge(layout: _Layout, source: Source) -> tuple[Completeness, int]:
    """Judge by the `data` chunk what is missing; the RIFF length has to match before anything is proven.

    A file longer than its RIFF length is not proven: somebody is appending, or never finished the header; only the
    padding byte of an odd `data` may be uncounted. Where `data` is complete, or lacks no more than the header that
    some writers include in the length, no sound is missing: it is not short.
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
        missing = (data_end if layout.riff_open_ended() else max(data_end, riff_end)) - size
        tolerated = max(_HEADER_BYTES, min(layout.data_start, _LONG_HEADER_BYTES))
        is_whole = missing <= tolerated and size > layout.data_start
        return (Completeness.UNKNOWN, 0) if is_whole else (Completeness.SHORT, missing)
    if layout.open_ended():
        return Completeness.UNKNOWN, 0
    if riff_end == size or (riff_end, size) == (data_end, padded_end):
        return (Completeness.UNKNOWN if source.ends_in_zeros() else Completeness.PROVEN), 0
    return Completeness.UNKNOWN, 0


def _damage(layout: _Layout, described: Format | None) -> str | None:
    if layout.data_start is None:
        return "it has no `data` chunk"
    if described is None:
        return "it has no `fmt ` chunk"
    return described.damage()


def _sound_bytes(layout: _Layout, source: Source) -> int:
    """Return how many bytes of sound are there."""
    if layout.data_start is None:
        return 0
    there = max(0, source.size - layout.data_start)
    if layout.data_bytes == 0 and 0 <= source.size - layout.riff_bytes - 8 < _HEADER_BYTES:
        return 0  # both lengths are final, so the little that follows is not sound
    return there if layout.open_ended() else min(there, layout.data_bytes)
