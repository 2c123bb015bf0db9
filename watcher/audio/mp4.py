"""MP4 and its relatives M4A, M4B, M4P, M4R and 3GP, examined by their boxes.

Facts: ISO/IEC 14496-12 (boxes), 14496-14 (MP4), 3GPP TS 26.244 (3GP).
"""

from watcher.audio.boxes import Box, Ending, Walk, content, inner, walk
from watcher.audio.examination import FOREIGN, Completeness, Examination
from watcher.audio.fragments import Heard, listen
from watcher.audio.source import HOLE_BYTES, Source
from watcher.audio.track import Track, sound_tracks, times

_BOXES = 256
_ALL_BOXES = 100_000
_FRAGMENTS = 8  # examined in any case

_TOP_LEVEL = frozenset(
    b"ftyp styp moov mdat moof mfra sidx ssix free skip wide pnot uuid meta udta pdin prft emsg jumb".split()
)
_MOVIE_BEGINNINGS = frozenset((b"moov", b"mdat", b"wide", b"pnot"))  # of QuickTime movies older than `ftyp`
_AUDIO_BRANDS = {
    b"M4A ": ("M4A", "audio/m4a", ".m4a"),
    b"M4B ": ("M4B", "audio/m4b", ".m4b"),
    b"M4P ": ("M4P", "audio/m4p", ".m4p"),
    b"M4R ": ("M4R", "audio/m4r", ".m4r"),
}
_3GP = ("3GP", "audio/3gp", ".3gp")
_MP4 = ("MP4", "video/mp4", ".mp4")
_FOREIGN_BRANDS = frozenset(
    (b"qt  ", b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"jp2 ", b"crx ")
)


def is_mp4(head: bytes) -> bool:
    """Return whether a file with this beginning may be of a kind that the service accepts."""
    return head[4:8] == b"ftyp" and head[8:12] not in _FOREIGN_BRANDS


def is_mov(head: bytes) -> bool:
    """Return whether this is the beginning of a QuickTime movie: by its brand, or of those without any."""
    if head[4:8] == b"ftyp":
        return head[8:12] == b"qt  "
    return head[4:8] in _MOVIE_BEGINNINGS and (head[:4] == b"\0\0\0\1" or int.from_bytes(head[:4], "big") >= 8)


def examine_mp4(source: Source) -> Examination:
    """Examine the MP4, M4A, 3GP or MOV in `source`.

    Proven: its boxes fill the file exactly, and the required ones are there. The first sound track is described.
    """
    is_movie = is_mov(source.head)
    container, media_type, extension = ("MOV", *FOREIGN["MOV"]) if is_movie else _brand(source.head)
    found = walk(source, 0, source.size, _ALL_BOXES if source.is_thorough else _BOXES)
    moov = next((box for box in found.whole() if box.kind == b"moov"), None)
    tracks = sound_tracks(source, moov) if moov else []
    track = next((one for one in tracks if one.samples), tracks[0] if tracks else None)
    heard = _listen(source, found, track) if track and moov else Heard()
    completeness, missing = _judge(found)
    if completeness is Completeness.PROVEN and source.ends_in_zeros():
        completeness = Completeness.UNKNOWN
    hole = _hole(source, found) if track and track.is_packed else None
    if completeness is not Completeness.SHORT and hole == source.size - HOLE_BYTES:
        completeness = Completeness.SHORT  # the space is allocated, and the copy goes on
    damage = None
    if completeness is not Completeness.SHORT:
        damage = _damage(source, found, track)
        if damage is None and hole is not None:
            damage = f"from byte {hole:,} on it has zeros instead of sound"
    return Examination(
        container=container,
        codec=track.voice.codec if track and track.voice else None,
        media_type=media_type,
        extension=extension,
        seconds=_seconds(source, moov, track, heard),
        channels=track.voice.channels if track and track.voice else None,
        sample_rate=track.voice.rate if track and track.voice else None,
        completeness=completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=missing,
        has_sound=track is not None and track.samples + heard.samples > 0,
        damage=damage,
        is_big_endian=track is not None and track.kind in (b"twos", b"in24", b"in32", b"fl32", b"fl64", b"lpcm"),
        is_accepted=not is_movie,
    )


def _brand(head: bytes) -> tuple[str, str, str]:
    """Return container, media type and extension by the major brand, or the compatible ones if it is unknown."""
    end = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    if brands[0] in _AUDIO_BRANDS:
        return _AUDIO_BRANDS[brands[0]]
    if brands[0][:2] == b"3g":
        return _3GP
    return _MP4


def _judge(found: Walk) -> tuple[Completeness, int]:
    """Proven with `ftyp`, `moov` and `mdat`, and no other box open.

    A fragmented file can go on after any fragment: only the closing index (`mfra`) proves its end. A few bytes
    after the last box are not a cut box: some programs end every file with a newline.
    """
    kinds = {box.kind for box in found.whole()}
    whole = {b"moov", b"mdat"} <= kinds
    if found.ending is Ending.CUT:
        begins_box = found.missing == 0 and not whole
        if not begins_box and (not found.missing or found.boxes[-1].kind not in _TOP_LEVEL):
            return Completeness.UNKNOWN, 0
        return Completeness.SHORT, found.missing
    if found.ending is Ending.LOST:
        return Completeness.UNKNOWN, 0
    if not whole:
        return Completeness.SHORT, 0
    if found.ending is Ending.OPEN:
        return Completeness.UNKNOWN, 0
    if b"moof" in kinds and found.boxes[-1].kind != b"mfra":
        return Completeness.UNKNOWN, 0
    return Completeness.PROVEN, 0


def _damage(source: Source, found: Walk, track: Track | None) -> str | None:
    kinds = {box.kind for box in found.whole()}
    if b"moov" not in kinds:
        return "it begins as MP4, but what follows is not"
    if track is None:
        return None
    structure = [box for box in found.whole() if box.kind in (b"ftyp", b"moov", b"moof")]
    return track.damage(source.size, structure)


def _hole(source: Source, found: Walk) -> int | None:
    """Return where there are zeros instead of samples; None for nowhere."""
    holes = (source.hole(box.start, box.end) for box in found.boxes if box.kind == b"mdat")
    return next((hole for hole in holes if hole is not None), None)


def _listen(source: Source, found: Walk, track: Track) -> Heard:
    heard = Heard()
    fragments = [box for box in found.whole() if box.kind == b"moof"]
    for fragment in fragments if source.is_thorough else fragments[:_FRAGMENTS]:
        listen(source, fragment, track, heard)
    return heard


def _seconds(source: Source, moov: Box | None, track: Track | None, heard: Heard) -> float | None:
    """Return the length of the sound track, by all fragments only if thorough; else the length of the movie."""
    if track is not None and heard.samples and track.timescale:
        return (track.duration + heard.duration) / track.timescale if source.is_thorough else None
    if track is not None:
        return track.seconds()
    header = next((box for box in inner(source, moov) if box.kind == b"mvhd"), None) if moov else None
    scale, duration = times(content(source, header, 32)) if header else (0, 0)
    return duration / scale if scale and duration else None
