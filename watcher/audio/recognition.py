"""Recognise the kind of a recording by its content, never by its name."""

from dataclasses import replace
from typing import BinaryIO

from watcher.audio import amr, asf, flv, matroska, wave64
from watcher.audio.aiff import examine_aiff, is_aiff
from watcher.audio.au import examine_au
from watcher.audio.caf import examine_caf
from watcher.audio.examination import FOREIGN, Completeness, Examination
from watcher.audio.flac import examine_flac
from watcher.audio.mp4 import examine_mp4, is_mov, is_mp4
from watcher.audio.mpeg import examine_mpeg
from watcher.audio.ogg import examine_ogg, is_ogg_video
from watcher.audio.raw import Raw, examine_raw
from watcher.audio.refusal import find_other, refusal
from watcher.audio.riff import examine_wav
from watcher.audio.source import Source
from watcher.audio.tags import leading_tags_end

# For files too short to tell more: beginning, container, media type, extension.
_BEGINNINGS = (
    (b"RIFF", "WAV", "audio/wav", ".wav"),
    (b"RF64", "WAV", "audio/wav", ".wav"),
    (b"BW64", "WAV", "audio/wav", ".wav"),
    (b"fLaC", "FLAC", "audio/flac", ".flac"),
    (b"OggS", "Ogg", "audio/ogg", ".ogg"),
    (b"ID3", "MP3", "audio/mpeg", ".mp3"),
)
_FOREIGN_BEGINNINGS = (
    (b"FORM", "AIFF"),
    (b".snd", "AU"),
    (wave64.MAGIC[:12], "Wave64"),
    (b"caff", "CAF"),
    (asf.MAGIC[:12], "WMA"),
    (matroska.MAGIC, "Matroska"),
    (flv.MAGIC, "FLV"),
)
_MANIFEST = b"jumdc2pa"  # how the box of a C2PA manifest begins
_MANIFEST_BLOCK = 256 * 1024


def examine(
    file: BinaryIO, size: int, *, name: bytes = b"", thorough: bool = False, raw: Raw | None = None
) -> Examination:
    """Examine the first `size` bytes of `file`: what they are, and whether they are complete.

    What the service does not take, yet could be made acceptable, is examined too: `is_accepted` is false then.

    Reads at most 1 MiB, in places; with `thorough` everything, so that checksums and frames show damage in the
    middle and the exact length. The position of `file` afterwards is undefined. `size` is at least 1. `name` only
    appears in the hint of a refusal: an absolute path, or just the file's name. A file that ends where its kind
    can only be guessed is short, never refused. A refusal and damage describe the present content: they mean
    nothing for a file that is still being written. `raw` is what its name says it is: it counts unless the content
    begins as something else.

    Raises RecordingRefused (`unsupported_type`) for what cannot be made acceptable, and lets OSError pass.
    """
    source = Source(file, size, is_thorough=thorough)
    found = _recognise(source) if raw is None else _recognise_raw(source, raw)
    if found is None:
        raise refusal(source.head, name)
    return replace(found, has_provenance=True) if _has_manifest(source) else found


def _has_manifest(source: Source) -> bool:
    """Return whether a C2PA manifest is in it; only the beginning is looked at unless thorough."""
    if _MANIFEST in source.head:
        return True
    step = _MANIFEST_BLOCK - len(_MANIFEST)
    return source.is_thorough and any(
        _MANIFEST in source.at(at, _MANIFEST_BLOCK) for at in range(0, source.size, step)
    )


def _recognise(source: Source) -> Examination | None:
    head = source.head
    if head[:3] == b"ID3":
        tagged_to = leading_tags_end(source)
        # Some programs put such a tag in front of any format. Only MP4 has offsets from the beginning of the file.
        tagged = source.behind(tagged_to) if 0 < tagged_to < source.size else None
        behind = _magical(tagged) if tagged and not is_mp4(tagged.head) else None
        return behind or examine_mpeg(source) or _beginning(head)
    if head[:4] == b"OggS" and is_ogg_video(head):
        return None
    return _magical(source) or _foreign(source) or examine_mpeg(source) or _beginning(head)


def _recognise_raw(source: Source, raw: Raw) -> Examination | None:
    """Examine a file that is said to have no header. None for a text or an archive, which has no sound at all."""
    headed = _magical(source) or _foreign(source)
    if headed is not None:
        return headed
    return None if find_other(source.head) is not None else examine_raw(source, raw)


def _magical(source: Source) -> Examination | None:
    """Examine a file that begins with the magic bytes of its kind."""
    head = source.head
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return examine_wav(source)
    if head[:4] == b"OggS" and not is_ogg_video(head):
        return examine_ogg(source)
    if len(head) >= 12 and is_mp4(head):
        return examine_mp4(source)
    return examine_flac(source) if head[:4] == b"fLaC" else None


def _foreign(source: Source) -> Examination | None:
    """Examine what the service does not take, and what can be put into another container."""
    head = source.head
    if head.startswith((amr.NARROW, amr.WIDE)):
        return amr.examine_amr(source)
    if len(head) < 12:
        return None
    if is_aiff(head):
        return examine_aiff(source)
    if is_mov(head):
        return examine_mp4(source)
    if head.startswith(wave64.MAGIC[:12]):
        return wave64.examine_wave64(source)
    if head.startswith(asf.MAGIC[:12]):
        return None if asf.is_protected(head) else asf.examine_asf(source)
    if head.startswith(matroska.MAGIC):
        return matroska.examine_matroska(source)
    if head.startswith(b".snd"):
        return examine_au(source)
    if head.startswith(b"caff"):
        return examine_caf(source)
    return flv.examine_flv(source) if head.startswith(flv.MAGIC) else None


def _beginning(head: bytes) -> Examination | None:
    """Guess the kind of a file that is too short to show it."""
    if len(head) >= 12:
        return None
    for magic, container, media_type, extension in _BEGINNINGS:
        begun = magic.startswith(head) or (head.startswith(magic) and b"WAVE".startswith(head[8:]))
        if begun:
            return _begun(container, media_type, extension)
    for magic, container in _FOREIGN_BEGINNINGS:
        is_other_form = magic == b"FORM" and not b"AIF".startswith(head[8:11])
        if magic.startswith(head[: len(magic)]) and not is_other_form:
            return _begun(container, *FOREIGN[container], is_accepted=False)
    if amr.NARROW.startswith(head) or amr.WIDE.startswith(head):
        return _begun("AMR", *FOREIGN["AMR"], is_accepted=False)
    begins_box = head[:3] == bytes(min(len(head), 3)) and head[3:4] != b"\0"
    if begins_box and b"ftyp".startswith(head[4:8]) and is_mp4(head[:4].ljust(4) + b"ftyp" + head[8:]):
        return _begun("MP4", "video/mp4", ".mp4")
    if head[:1] == b"\xff" and len(head) < 7 and head[1:2] >= b"\xf0"[: len(head) - 1]:
        return _begun("AAC", "audio/aac", ".aac")
    return None


def _begun(container: str, media_type: str, extension: str, *, is_accepted: bool = True) -> Examination:
    return Examination(
        container=container,
        codec=None,
        media_type=media_type,
        extension=extension,
        seconds=None,
        channels=None,
        sample_rate=None,
        completeness=Completeness.SHORT,
        has_sound=False,
        is_accepted=is_accepted,
    )
