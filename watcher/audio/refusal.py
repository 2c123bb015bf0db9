"""Say what a file that the service does not accept looks like, and what to do with it.

A command is only given where it is certain to keep the sound, since people run it as it stands: for a file of
another kind it would make noise, and noise costs credit. Where only the file's author can know what it is, the
hint says what to ask.
"""

import posixpath
from unicodedata import category

from watcher.audio.examination import Examination
from watcher.errors import RecordingRefused
from watcher.text import quote_path

# Conversions to what the service accepts: FFmpeg's output options, and the extension of the result. 16 bits are
# enough for speech, and take half the space of the 24 bits that FFmpeg makes of a lossy format.
_FLAC = "-vn -sample_fmt s16", ".flac"
_OPUS_OR_VORBIS = "-vn -c:a copy", ".ogg"  # the only two codecs of WebM: no need to decode them
_AMR = "-c:a copy", ".3gp"

_TAKEN = "The service takes WAV, MP3, Ogg, FLAC, AAC, M4A, MP4 and 3GP."
_EXPORT = "Open it in a program that plays it, export it from there as WAV, FLAC or MP3, and drop that."
_FRAGMENT = (
    "A fragment cannot be played without the beginning of its stream: have the recorder write the whole recording "
    "into one file, and drop that."
)
_PROTECTED = (
    "Its sound is encrypted: export it unprotected from the program that holds the licence, and drop that."
)

_CONVERSIONS = {"WebM": _OPUS_OR_VORBIS, "AMR": _AMR, "AMR-WB": _AMR}

_MEDIA: tuple[tuple[int, bytes, str, tuple[str, str] | str], ...] = (  # offset, magic, what it is, the way out
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a protected WMA (ASF)", _PROTECTED),
    (0, b"#!AMR", "AMR of several channels", _EXPORT),
    (0, b"RIFX", "big-endian WAV (RIFX)", _FLAC),
    (0, b"wvpk", "WavPack", _FLAC),
    (0, b"MAC ", "Monkey's Audio", _EXPORT),
    (0, b"TTA1", "True Audio", _FLAC),
    (0, b"MPCK", "Musepack", _EXPORT),
    (0, b"MP+", "Musepack", _EXPORT),
    (0, b"DSD ", "DSD", _EXPORT),
    (0, b"FRM8", "DSD", _EXPORT),
    (0, b"\x7f\xfe\x80\x01", "DTS", _EXPORT),
    (0, b".RMF", "RealMedia", _EXPORT),
    (0, b"\x02dss", "Olympus dictation (DSS)", _EXPORT),
    (0, b"\x03dss", "Olympus dictation (DSS)", _EXPORT),
    (0, b"\x03ds2", "Olympus dictation (DS2)", _EXPORT),
    (0, b"Creative Voice File", "Creative Voice", _FLAC),
    (0, b"NIST_1A", "NIST SPHERE", _FLAC),
    (0, b"#!SILK_V3", "SILK", _EXPORT),
    (0, b"\x02#!SILK_V3", "SILK", _EXPORT),
    (0, b"ADIF", "AAC in ADIF", _EXPORT),
    (0, b"\0\0\x01\xba", "MPEG video", _FLAC),
    (8, b"AVI ", "AVI video", _FLAC),
    (4, b"styp", "a fragment of an MP4 stream", _FRAGMENT),
    (4, b"moof", "a fragment of an MP4 stream", _FRAGMENT),
)
_SHORTEN = b"embedded-"  # marks compressed SPHERE, which few programs can read

_UNPACK = "Unpack it, and drop the recordings that are in it. "
_OTHER = (
    (4, b"ftyphe", "an image (HEIF)", ""),
    (4, b"ftypmif1", "an image (HEIF)", ""),
    (4, b"ftypmsf1", "an image (HEIF)", ""),
    (4, b"ftypavi", "an image (AVIF)", ""),
    (4, b"ftypjp2", "an image (JPEG 2000)", ""),
    (4, b"ftypcrx", "an image (raw photograph)", ""),
    (0, b"\xff\xd8\xff", "an image (JPEG)", ""),
    (0, b"\x89PNG", "an image (PNG)", ""),
    (0, b"GIF8", "an image (GIF)", ""),
    (0, b"II*\0", "an image (TIFF)", ""),
    (0, b"MM\0*", "an image (TIFF)", ""),
    (8, b"WEBP", "an image (WebP)", ""),
    (0, b"%PDF", "a PDF document", ""),
    (0, b"PK\x03\x04", "a ZIP archive or an office document", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", ""),
    (0, b"\xd0\xcf\x11\xe0", "an office document", ""),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"MThd", "MIDI, which holds notes and no sound", ""),
    (0, b"\x7fELF", "a program", ""),
    (0, b"MZ", "a Windows program", ""),
    (0, b"SQLite format 3\0", "an SQLite database", ""),
)
_KEEP_OUT = (
    "If this should be a recording, get it again from its source and drop that. If such files keep coming, keep "
    "them out, or add a pattern for their names to arrivals.ignore."
)

_CONTROLS = "\t\n\v\f\r\x1b"
_LONG, _VARIED = 64, 4  # number of characters, and of different ones

_BOM = b"\xef\xbb\xbf"
_IN_TEXT_MODE = (
    "Copy the original again, as a binary file: a program that adds this mark has changed more of the file."
)
_INSIDE = ((b"OggS\0", "Ogg"), (b"fLaC\0\0\0\x22", "FLAC"), (b"RIFF", "WAV"))  # looked for behind foreign bytes
_ASK = (
    f"{_TAKEN} Find out which program made it, and in which codec, at which sample rate and with how many "
    "channels: sound without a header does not tell, and a wrong guess makes noise, which would be paid for. Best "
    "have that program write WAV."
)
_LONGEST_STEM = 255 - len(".converted.flac")
_RAW_NAMES = {  # what files with these extensions usually hold, as a starting point
    b".gsm": "GSM 06.10",
    b".sln": "16-bit PCM at 8 kHz",
    b".ulaw": "G.711 µ-law",
    b".mulaw": "G.711 µ-law",
    b".ul": "G.711 µ-law",
    b".alaw": "G.711 A-law",
    b".al": "G.711 A-law",
    b".g722": "G.722",
    b".g729": "G.729",
    b".vox": "Dialogic ADPCM, at 6 or 8 kHz",
    b".ac3": "AC-3",
}


def refusal(head: bytes, name: bytes) -> RecordingRefused:
    """Return the error that says what a file beginning with `head` looks like; `name` is only for the hint."""
    if (media := _media(head)) is not None:
        what, way = media
        hint = way if isinstance(way, str) else _conversion(name, *way)
        return _refused(f"It looks like {what}, which the service does not take.", hint)
    if head[:3] == b"ID3":
        hint = f"{_TAKEN} Play it to see what it is. {_EXPORT}"
        return _refused("It begins with an ID3 tag, but no MP3 or AAC sound follows it.", hint)
    if (other := find_other(head)) is not None:
        what, hint = other
        return _refused(f"It looks like {what}, not like a recording.", f"{hint}{_KEEP_OUT}", is_foreign=True)
    if head.startswith((_BOM, b"\xff\xfeR\0I\0F\0F\0", b"\xfe\xff\0R\0I\0F\0F")):
        found = "It begins with a byte order mark: it was saved as text by some program."
        return _refused(found, _IN_TEXT_MODE)
    if (inside := _inside(head)) is not None:
        at, what = inside
        return _refused(
            f"It has {at:,} bytes of something else in front of what looks like {what}.",
            "Find out what puts them there (an upload, a mail program, a bad disk), and drop it without them.",
        )
    usual = _RAW_NAMES.get(posixpath.splitext(name)[1].lower())
    by_name = f" Files of its name usually hold {usual}, without a header." if usual else ""
    return _refused(f"It has no known audio format.{by_name}", _ASK, is_foreign=True)


def conversion(found: Examination, name: bytes) -> str:
    """Return how a person can make a recording in one of the containers of FOREIGN acceptable."""
    if found.container == "raw":
        return _ASK
    return _conversion(name, *_CONVERSIONS.get(found.container, _FLAC))


def _refused(message: str, hint: str, *, is_foreign: bool = False) -> RecordingRefused:
    return RecordingRefused("unsupported_type", message, hint=hint, is_foreign=is_foreign)


def _media(head: bytes) -> tuple[str, tuple[str, str] | str] | None:
    """Return the kind of sound or video, and how to convert it; None where it is of no known kind."""
    if head.startswith(b"OggS"):
        return "Ogg video", _FLAC
    if head[:377:188] == b"\x47\x47\x47":
        return "an MPEG transport stream", _FLAC
    if head[:1] == b"\x56" and len(head) > 2 and head[1] & 0xE0 == 0xE0 and _is_loas(head):
        return "AAC in LOAS", _FLAC
    found = next(((what, way) for offset, magic, what, way in _MEDIA if head.startswith(magic, offset)), None)
    if found == ("NIST SPHERE", _FLAC) and _SHORTEN in head[:1024]:
        return "NIST SPHERE, compressed", _EXPORT
    return found


def _is_loas(head: bytes) -> bool:
    """Return whether a second frame follows the first."""
    after = 3 + ((head[1] & 0x1F) << 8 | head[2])
    following = head[after : after + 2]
    return following[:1] == b"\x56" and following[1:] >= b"\xe0"


def find_other(head: bytes) -> tuple[str, str] | None:
    """Return the kind of a file without sound, and what to do; None where it may have some."""
    found = next(((what, hint) for offset, magic, what, hint in _OTHER if head.startswith(magic, offset)), None)
    if found is None and (text := _text(head)):
        return text, ""
    return found


def _text(head: bytes) -> str | None:
    """Return the kind of text; None where it has control characters, of which quiet sound has many."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = _decoded(head, "utf-16")
        is_text = text is not None and all(
            category(c)[0] != "C" or category(c) == "Cf" or c in _CONTROLS for c in text
        )
        return "text (UTF-16)" if is_text else None
    text = _decoded(head.removeprefix(_BOM), "utf-8")
    if text is None or any((c < " " and c not in _CONTROLS) or c == "\x7f" for c in text):
        return None
    if len(text) > _LONG and len(set(text)) < _VARIED:
        return None  # one byte repeated: silence in some codec
    opening = text.lstrip()[:15].lower()
    if opening.startswith(("{", "[")):
        return "JSON"
    if opening.startswith(("<!doctype html", "<html")):
        return "a web page (HTML)"
    if opening.startswith("<"):
        return "XML"
    return "text"


def _decoded(data: bytes, encoding: str) -> str | None:
    """Decode the text, without a character cut by the end of what was read; None where it is no text."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            return None
        return data[: error.start].decode(encoding)


def _is_of_text(character: str) -> bool:
    kind = category(character)
    return kind[0] != "C" or kind == "Cf" or character in _CONTROLS


def _inside(head: bytes) -> tuple[int, str] | None:
    """Return where, behind other bytes, a recording seems to begin, and its kind; None for nowhere."""
    found = [(at, magic, what) for magic, what in _INSIDE if (at := head.find(magic)) > 0]
    found = [one for one in found if one[1] != b"RIFF" or head[one[0] + 8 : one[0] + 12] == b"WAVE"]
    return min(((at, what) for at, _, what in found), default=None)


def _shortened(stem: bytes) -> bytes:
    """Cut the stem so that the name has room for an extension, never inside a character."""
    end = min(len(stem), _LONGEST_STEM)
    while end < len(stem) and stem[end] & 0xC0 == 0x80:
        end -= 1
    return stem[:end]


def _conversion(name: bytes, options: str, ending: str) -> str:
    """Return a command to paste: it overwrites nothing, and does not read standard input."""
    folder, base = posixpath.split(name)
    source = name if folder.startswith(b"/") else b"./" + (base or b"RECORDING")
    stem = posixpath.splitext(base)[0] or b"RECORDING"
    target = _shortened(stem) + ending.encode()
    if target.lower() == base.lower():
        target = _shortened(stem) + b".converted" + ending.encode()
    command = f"ffmpeg -nostdin -n -i {quote_path(source)} {options} {quote_path(b'./' + target)}"
    return f"Convert it and drop the result, which is a new recording (then `watcher dismiss` this one): {command}"
