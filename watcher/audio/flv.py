"""Flash video with sound. Facts: Adobe's Video File Format Specification 10.1."""

import struct

from watcher.audio.aac import Voice, configured
from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.source import Source

MAGIC = b"FLV\x01"
_TAGS = 2000
_ALL_TAGS = 1_000_000
_AUDIO, _VIDEO, _SCRIPT = 8, 9, 18
_BEGINNINGS = (b"\x08", b"\x09", b"\x12")
_HEADER, _BACK = 11, 4
_CODECS = ("PCM", "Flash ADPCM", "MP3", "PCM", "Nellymoser", "Nellymoser", "Nellymoser", "A-law", "µ-law")
_AAC = 10
_CODECS_TOO = {_AAC: "AAC", 11: "Speex", 14: "MP3"}
_RATES = (5512, 11025, 22050, 44100)


def examine_flv(source: Source) -> Examination:
    """Examine the sound among the tags of `source`. Nothing tells the end: it is never proven."""
    at = max(9, int.from_bytes(source.head[5:9], "big")) + _BACK
    sound, config, seconds, missing, damage = b"", b"", 0.0, 0, None
    is_short = source.size < at + _HEADER
    for _ in range(_ALL_TAGS if source.is_thorough else _TAGS):
        header = source.at(at, _HEADER + 2)
        if len(header) < _HEADER:
            is_short = is_short or header[:1] in _BEGINNINGS
            break
        if header[0] & 0x1F not in (_AUDIO, _VIDEO, _SCRIPT):
            damage = (
                f"at byte {at:,} there is no tag" if source.size - at > _HEADER + _BACK and not sound else None
            )
            break
        length = int.from_bytes(header[1:4], "big")
        stamp = int.from_bytes(header[7:8] + header[4:7], "big")
        end = at + _HEADER + length + _BACK
        if end > source.size:
            is_short, missing = True, end - source.size
            break
        if header[0] & 0x1F == _AUDIO and length > 1:
            if header[_HEADER] >> 4 == _AAC and header[_HEADER + 1] == 0:
                config = source.at(at + _HEADER + 2, min(length - 2, 64))
            else:
                sound, seconds = sound or header[_HEADER:], stamp / 1000
        at = end
    else:
        seconds = _last_stamp(source) or seconds
    codec, channels, rate = _describe(sound, config)
    if sound and codec is None:
        damage = "its header names an unknown codec"
    completeness = Completeness.SHORT if is_short else Completeness.UNKNOWN
    return foreign(
        "FLV", codec, channels, rate, Lengths(completeness, missing, seconds or None, bool(sound), damage)
    )


def _describe(sound: bytes, config: bytes) -> tuple[str | None, int | None, int | None]:
    if not sound:
        return None, None, None
    kind, rate, channels = sound[0] >> 4, _RATES[sound[0] >> 2 & 3], 1 + (sound[0] & 1)
    codec = _CODECS[kind] if kind < len(_CODECS) else _CODECS_TOO.get(kind)
    if kind in (4, 5):
        return codec, 1, 16000 if kind == 4 else 8000
    if kind in (7, 8, 14):
        return codec, channels, 8000
    if kind == _AAC:
        voice = configured(config) or Voice("AAC")
        return codec, voice.channels, voice.rate
    return codec, 1 if kind == 11 else channels, 16000 if kind == 11 else rate


def _last_stamp(source: Source) -> float | None:
    """Return the time of the last tag, in seconds; each is followed by its length."""
    (length,) = struct.unpack(">I", source.at(source.size - 4, 4).rjust(4, b"\0"))
    header = source.at(source.size - 4 - length, _HEADER) if _HEADER <= length < source.size - 4 else b""
    if len(header) < _HEADER or int.from_bytes(header[1:4], "big") != length - _HEADER:
        return None
    return int.from_bytes(header[7:8] + header[4:7], "big") / 1000
