"""What a file that the service does not take looks like, and what to do with it."""

import shlex

from watcher.domain import show_path
from watcher.errors import RecordingRefused

_MEDIA = (  # offset, magic, what it is: an ffmpeg away from an accepted format
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA (ASF)"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF-C"),
    (0, b".snd", "AU"),
    (0, b"#!AMR", "AMR outside a 3GP container"),
    (0, b"caff", "CAF"),
    (0, b"RIFX", "big-endian WAV (RIFX)"),
    (0, b"riff\x2e\x91\xcf\x11", "Sony Wave64"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"DSD ", "DSD"),
    (0, b"Creative Voice File", "Creative Voice"),
    (0, b"NIST_1A", "NIST SPHERE"),
    (0, b"#!SILK_V3", "SILK"),
    (0, b"\x02#!SILK_V3", "SILK"),
    (0, b"ADIF", "AAC in ADIF"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"\0\0\x01\xba", "MPEG video"),
    (8, b"AVI ", "AVI video"),
    (4, b"ftypqt  ", "MOV (QuickTime)"),
    (4, b"moov", "MOV (QuickTime)"),
    (4, b"mdat", "MOV (QuickTime)"),
    (4, b"wide", "MOV (QuickTime)"),
    (4, b"pnot", "MOV (QuickTime)"),
    (4, b"styp", "a fragment of an MP4 stream"),
    (4, b"moof", "a fragment of an MP4 stream"),
)
_OTHER = (
    (4, b"ftyphe", "an image (HEIF)"),
    (4, b"ftypmif1", "an image (HEIF)"),
    (4, b"ftypmsf1", "an image (HEIF)"),
    (4, b"ftypavi", "an image (AVIF)"),
    (4, b"ftypjp2", "an image (JPEG 2000)"),
    (4, b"ftypcrx", "an image (raw photograph)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"\x89PNG", "an image (PNG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"II*\0", "an image (TIFF)"),
    (0, b"MM\0*", "an image (TIFF)"),
    (8, b"WEBP", "an image (WebP)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\xd0\xcf\x11\xe0", "an office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"MThd", "MIDI, which holds notes and no sound"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
    (0, b"SQLite format 3\0", "an SQLite database"),
)

_TAKEN = "The service takes WAV, MP3, Ogg, FLAC, AAC, M4A, MP4 and 3GP."
_KEEP_OUT = (
    "Only recordings belong in the drop folder. Keep such files out, or add their pattern to arrivals.ignore."
)


def refusal(head: bytes, name: bytes) -> RecordingRefused:
    """The error that says what a file beginning with `head` looks like; `name` serves the hint alone."""
    media = _media(head)
    if media:
        return _refused(f"It looks like {media}, which the service does not take.", _conversion(name))
    if head[:3] == b"ID3":
        return _refused(
            "It begins with an ID3 tag, but no MP3 or AAC sound follows it.",
            f"{_TAKEN} Play it to see what it is; if it plays, convert it: {_command(name)}",
        )
    other = _match(head, _OTHER) or _text(head)
    if other:
        return _refused(f"It looks like {other}, not like a recording.", _KEEP_OUT)
    raw = _command(name, "-f mulaw -ar 8000 -ac 1 ")
    return _refused(
        "It has no known audio format.",
        f"{_TAKEN} If it is G.711 without a header, give it one: {raw} (or -f alaw; for GSM -f gsm alone)",
    )


def _refused(message: str, hint: str) -> RecordingRefused:
    return RecordingRefused("unsupported_type", message, hint=hint)


def _match(head: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((what for offset, magic, what in table if head.startswith(magic, offset)), None)


def _media(head: bytes) -> str | None:
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "WebM" if b"webm" in head[:64] else "Matroska"
    if head.startswith(b"OggS"):
        return "Ogg video"
    if head[:377:188] == b"\x47\x47\x47":
        return "an MPEG transport stream"
    if head[:1] == b"\x56" and len(head) > 2 and head[1] & 0xE0 == 0xE0:
        return _loas(head)
    return _match(head, _MEDIA)


def _loas(head: bytes) -> str | None:
    """AAC in LOAS, where a second frame follows the first."""
    after = 3 + ((head[1] & 0x1F) << 8 | head[2])
    following = head[after : after + 2]
    return "AAC in LOAS" if following[:1] == b"\x56" and following[1:] >= b"\xe0" else None


def _text(head: bytes) -> str | None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and head.count(0) * 3 > len(head):
        return "text (UTF-16)"
    body = head.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(body) - 3:  # else a character lies across the end of what was read
            return None
        text = body[: error.start].decode("utf-8")
    if any(c < " " and c not in "\t\n\r\f\x1b" for c in text):
        return None
    opening = text.lstrip()[:15].lower()
    if opening.startswith(("{", "[")):
        return "JSON"
    if opening.startswith(("<!doctype html", "<html")):
        return "a web page (HTML)"
    if opening.startswith("<"):
        return "XML"
    return "text"


def _conversion(name: bytes) -> str:
    return f"Convert it and drop the result: {_command(name)}"


def _command(name: bytes, options: str = "") -> str:
    """How to make a FLAC of it, which loses nothing and stays small."""
    shown = show_path(name.rpartition(b"/")[2]) or "RECORDING"
    stem = shown.rpartition(".")[0] or shown
    source, target = (f"./{part}" if part.startswith("-") else part for part in (shown, f"{stem}.flac"))
    return f"ffmpeg {options}-i {shlex.quote(source)} -vn {shlex.quote(target)}"
