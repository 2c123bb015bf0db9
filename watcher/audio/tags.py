"""Tags around the audio: ID3v2 before it; ID3v1, APE and Lyrics3 after it.

Facts: the informal standards of id3.org (ID3v1, ID3v2.4, Lyrics3) and the APEv2 specification.
"""

from watcher.audio.source import Source

_TAGS = 4


def leading_tags_end(source: Source) -> int:
    """Return where the ID3v2 tags at the beginning end: 0 if there are none, beyond the size if they are cut."""
    end = 0
    for _ in range(_TAGS):
        header = source.at(end, 10)
        if header[:3] != b"ID3":
            return end
        if len(header) < 10:
            return end + 10
        length = 0
        for byte in header[6:]:
            length = length << 7 | byte & 0x7F
        end += 10 + length + (10 if header[5] & 0x10 else 0)
    return end


def trailing_tags_start(source: Source, audio_start: int) -> int:
    """Return where the tags at the end begin: the size if there are none, and never before `audio_start`."""
    end = source.size
    if source.at(max(audio_start, end - 128), 3) == b"TAG":
        end = max(audio_start, end - 128)
    for _ in range(_TAGS):
        length = _ape(source.at(max(0, end - 32), 32)) or _lyrics(source, end)
        if not 0 < length <= end - audio_start:
            break
        end -= length
    return end


def _ape(footer: bytes) -> int:
    """Return the size of the APE tag that ends with `footer`, header included; 0 for none."""
    if footer[:8] != b"APETAGEX":
        return 0
    has_header = footer[23] & 0x80
    return int.from_bytes(footer[12:16], "little") + (32 if has_header else 0)


def _lyrics(source: Source, end: int) -> int:
    """Return the size of the Lyrics3 tag that ends at `end`; 0 for none."""
    footer = source.at(max(0, end - 15), 15)
    if footer.endswith(b"LYRICS200") and footer[:6].isdigit():
        return int(footer[:6]) + 15
    if footer.endswith(b"LYRICSEND"):
        block = source.at(max(0, end - 5120), 5120)
        begin = block.rfind(b"LYRICSBEGIN", 0, min(end, 5120))
        return min(end, 5120) - begin if begin >= 0 else 0
    return 0
