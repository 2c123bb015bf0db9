"""CAF, Apple's Core Audio Format. Facts: Apple's specification 1.0; codecs from FFmpeg's decoders."""

import struct

from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.extents import Extent, nonsense
from watcher.audio.source import Source

_CHUNKS = 256
_UNKNOWN = -1
_DESCRIPTION = struct.Struct(">d4sIIIII")
_IS_FLOAT, _IS_LITTLE = 1, 2
_CODECS = {
    b"lpcm": "PCM",
    b"ulaw": "µ-law",
    b"alaw": "A-law",
    b"ima4": "IMA ADPCM",
    b"aac ": "AAC",
    b"alac": "ALAC",
    b"opus": "Opus",
    b"flac": "FLAC",
    b".mp3": "MP3",
    b".mp2": "MPEG Layer II",
    b".mp1": "MPEG Layer I",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b"samr": "AMR",
    b"agsm": "GSM 6.10",
    b"ms\0\x02": "MS ADPCM",
    b"ms\0\x11": "IMA ADPCM",
    b"Qclp": "QCELP",
    b"ilbc": "iLBC",
}


def examine_caf(source: Source) -> Examination:
    """Examine the CAF in `source`."""
    extent, chunks = _walk(source)
    completeness, missing = extent.judge(source)
    description = chunks.get(b"desc", b"")
    if len(description) < _DESCRIPTION.size:
        lack = "it does not describe its sound (`desc`)"
        return foreign("CAF", None, None, None, Lengths(completeness, missing, has_sound=False, damage=lack))
    rate, kind, flags, packet_bytes, packet_frames, channels, bits = _DESCRIPTION.unpack_from(description)
    rate = rate if 1 <= rate < 1 << 31 else 0.0  # may be no number at all
    codec = _CODECS.get(kind)
    if codec == "PCM" and flags & _IS_FLOAT:
        codec = "IEEE float"
    damage = nonsense(channels, rate)
    if codec is None:
        damage = damage or f"its header names an unknown codec ({kind.decode('ascii', 'replace')!a})"
    elif kind == b"lpcm" and (
        packet_frames != 1 or packet_bytes != channels * -(-bits // 8) or not 0 < bits <= 64
    ):
        damage = damage or f"its header says {packet_bytes} bytes for {channels} samples of {bits} bits"
    present = extent.present(source)
    frames = 0.0
    if packet_bytes and packet_frames:
        expected = present if extent.length is None else extent.length
        frames = expected / packet_bytes * packet_frames
    if len(table := chunks.get(b"pakt", b"")) >= 16:
        counted = int.from_bytes(table[8:16], "big", signed=True)
        frames = counted if 0 < counted < 1 << 48 and not packet_bytes else frames
    elif not packet_bytes and completeness is Completeness.PROVEN:
        completeness = Completeness.SHORT  # the table of its packets (`pakt`) comes behind the sound
    seconds = frames / rate if frames and damage is None else None
    has_sound = present >= max(1, min(packet_bytes, 1 << 16))
    told = Lengths(completeness, missing, seconds, has_sound, damage)
    is_plain = kind == b"lpcm"
    is_big = is_plain and not flags & _IS_LITTLE
    return foreign(
        "CAF", codec, channels, round(rate), told, bits=bits if is_plain else None, is_big_endian=is_big
    )


def _walk(source: Source) -> tuple[Extent, dict[bytes, bytes]]:
    """Return where the sound lies, and the beginnings of the other chunks. The file ends with its last chunk."""
    extent, chunks, at = Extent(), dict[bytes, bytes](), 8
    for _ in range(_CHUNKS):
        header = source.at(at, 12)
        if len(header) < 12:
            if extent.start is not None and not header and extent.length is not None:
                extent.file_end = at
            elif header and extent.start is not None and extent.length is not None:
                extent.file_end = at + 12
            return extent, chunks
        kind, length = struct.unpack(">4sq", header)
        if kind == b"data" and extent.start is None:
            extent.start = at + 16  # behind a count of edits
            if length == _UNKNOWN:
                return extent, chunks
            extent.length = max(0, length - 4)
        else:
            chunks.setdefault(kind, source.at(at + 12, min(max(0, length), 64)))
        if length < 0 or not kind.isascii():
            break
        at += 12 + length
        if at > source.size:
            extent.file_end = at
            return extent, chunks
    extent.ended = False
    return extent, chunks
