"""What the service does not take, and what can be made acceptable, is known as well as what it takes."""

import io
import struct

import pytest

from tests.audio_files import FOREIGN, FOREIGN_PROVABLE, box, chunk, recording
from watcher.audio import Completeness, Examination, examine, matroska
from watcher.audio.source import Source
from watcher.errors import RecordingRefused

PROVEN, UNKNOWN, SHORT = Completeness.PROVEN, Completeness.UNKNOWN, Completeness.SHORT

LOOKS = {
    "webm": ("WebM", "Opus", 1, 48000),
    "webm.live": ("WebM", "Opus", 1, 48000),
    "matroska": ("Matroska", "Opus", 1, 48000),
    "matroska.pcm": ("Matroska", "PCM", 2, 8000),
    "matroska.mp3": ("Matroska", "MP3", 1, 16000),
    "wma": ("WMA", "WMA", 2, 44100),
    "aiff": ("AIFF", "PCM", 1, 16000),
    "aifc.mulaw": ("AIFF-C", "µ-law", 1, 8000),
    "au": ("AU", "PCM", 1, 16000),
    "au.mulaw": ("AU", "µ-law", 1, 8000),
    "amr": ("AMR", "AMR", 1, 8000),
    "amr.wide": ("AMR-WB", "AMR-WB", 1, 16000),
    "caf": ("CAF", "PCM", 1, 16000),
    "caf.alac": ("CAF", "ALAC", 1, 16000),
    "caf.alaw": ("CAF", "A-law", 2, 8000),
    "wave64": ("Wave64", "PCM", 1, 16000),
    "wave64.adpcm": ("Wave64", "MS ADPCM", 1, 8000),
    "mov": ("MOV", "AAC", 1, 16000),
    "mov.pcm": ("MOV", "PCM", 1, 8000),
    "mov.faststart": ("MOV", "AAC", 1, 16000),
    "flv": ("FLV", "MP3", 1, 22050),
}


def look(data: bytes, *, thorough: bool = False) -> Examination:
    return examine(io.BytesIO(data), len(data), thorough=thorough)


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_sound_is_described_and_marked(kind: str) -> None:
    """Container, codec, channels, rate and length are told; the service takes it only in another container."""
    found = look(recording(kind, 3.0))
    assert (found.container, found.codec, found.channels, found.sample_rate) == LOOKS[kind]
    assert (found.is_accepted, found.has_sound, found.damage) == (False, True, None)
    assert found.seconds == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("kind", ["webm", "webm.live", "matroska", "matroska.mp3"])
@pytest.mark.parametrize("what", [bytes(30_000), bytes(range(256)) * 120], ids=["zeros", "noise"])
def test_a_cluster_that_is_torn_is_damage(kind: str, what: bytes) -> None:
    """Players go on behind it without a word: seconds of sound would be missing from what is judged."""
    whole = recording(kind, 20.0)
    middle = len(whole) // 2
    assert look(whole, thorough=True).damage is None
    torn = whole[:middle] + what[: len(whole) // 4] + whole[middle + len(what[: len(whole) // 4]) :]
    found = look(torn, thorough=True)
    assert found.completeness is UNKNOWN
    assert "instead of sound" in (found.damage or "")


def test_only_so_many_elements_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of empty elements, gigabytes of them, do not keep the look for hours."""
    asked: list[int] = []
    one = matroska._element

    def counted(source: Source, at: int) -> matroska._Element | None:
        asked.append(at)
        return one(source, at)

    monkeypatch.setattr(matroska, "_ALL_ELEMENTS", 1000)
    monkeypatch.setattr(matroska, "_element", counted)
    cluster = b"\x1f\x43\xb6\x75" + (1600 | 1 << 14).to_bytes(2, "big") + b"\xec\x80" * 800
    look(recording("webm.live", 3.0) + cluster * 200, thorough=True)
    assert len(asked) < 5000


def test_what_the_service_takes_is_accepted() -> None:
    """A MOV's brother too."""
    assert all(look(recording(kind)).is_accepted for kind in ("wav", "m4a", "3gp", "ogg.opus", "aac"))


@pytest.mark.parametrize("kind", FOREIGN_PROVABLE)
def test_whole_foreign_recordings_are_proven(kind: str) -> None:
    """A kind whose lengths tell when it is whole needs no waiting."""
    whole = recording(kind, 1.0)
    expected = UNKNOWN if not whole[-64:].strip(b"\0") else PROVEN  # it might be space for more
    assert look(whole).completeness is expected


@pytest.mark.parametrize("kind", ["wma", "webm.live", "amr", "amr.wide", "flv"])
def test_foreign_recordings_that_could_go_on_are_not_proven(kind: str) -> None:
    """Frames and clusters that end cleanly may be followed by more."""
    assert look(recording(kind)).completeness is UNKNOWN


@pytest.mark.parametrize("kind", FOREIGN)
def test_cut_foreign_recordings_are_never_proven_and_never_refused(kind: str) -> None:
    """Wherever a copy stands, it waits; what it lacks is at most what is missing, where that is told."""
    whole = recording(kind)
    size = len(whole)
    for length in sorted({*range(1, 400), *range(400, size, 97), *range(size - 100, size)}):
        for thorough in (False, True):
            found = look(whole[:length], thorough=thorough)
            assert found.completeness is not PROVEN, length
            assert found.missing_bytes <= size - length
            assert not found.is_accepted or length < 12
            assert found.damage is None, (length, found.damage)


@pytest.mark.parametrize("kind", FOREIGN_PROVABLE)
def test_half_a_foreign_recording_is_short(kind: str) -> None:
    """So that it waits, and is never converted and paid for."""
    whole = recording(kind)
    assert look(whole[: len(whole) // 2]).completeness is SHORT


@pytest.mark.parametrize("kind", [kind for kind in FOREIGN_PROVABLE if not kind.startswith("mov")])
def test_a_place_reserved_for_the_end_is_not_the_end(kind: str) -> None:
    """A copy that set the final size first and has not written the end yet is not proven."""
    whole = recording(kind)
    for written in (len(whole) // 2, len(whole) - 100):
        assert look(whole[:written].ljust(len(whole), b"\0")).completeness is not PROVEN


def aiff(sound: bytes, *, kind: bytes = b"", bits: int = 16, length: int | None = None) -> bytes:
    """8 kHz mono."""
    rate = bytes.fromhex("400bfa00000000000000")
    common = struct.pack(">HIH", 1, len(sound) // 2, bits) + rate + (kind + b"\0\0" if kind else b"")
    body = struct.pack(">4sI", b"COMM", len(common)) + common
    body += struct.pack(">4sIII", b"SSND", 8 + len(sound) if length is None else length, 0, 0) + sound
    form = b"AIFC" if kind else b"AIFF"
    return b"FORM" + struct.pack(">I", 4 + len(body)) + form + body


def au(sound: bytes, encoding: int = 3, length: int | None = None, rate: int = 8000, channels: int = 1) -> bytes:
    return (
        b".snd"
        + struct.pack(">5I", 24, len(sound) if length is None else length, encoding, rate, channels)
        + sound
    )


SOUND = bytes(1 + at % 250 for at in range(16000))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (au(SOUND, encoding=99), "unknown codec"),
        (au(SOUND, rate=0), "0 samples a second"),
        (au(SOUND, channels=0), "0 channels"),
        (aiff(SOUND, kind=b"QDM9"), "unknown codec"),
        (aiff(SOUND, bits=0), "0 bits"),
        (recording("webm").replace(b"A_OPUS", b"A_OPUZ"), "unknown codec"),
        (b"#!AMR\n" + b"\xff" * 1000, "no frames"),
        (recording("wma").replace(b"\x61\x01\x02\x00\x44\xac", b"\x61\x99\x02\x00\x44\xac"), "unknown codec"),
    ],
)
def test_foreign_headers_that_no_decoder_takes_are_damage(data: bytes, says: str) -> None:
    """It fails before it is converted, and says why."""
    for thorough in (False, True):
        assert says in str(look(data, thorough=thorough).damage)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0])
def test_an_au_whose_length_is_not_written_tells_nothing(length: int) -> None:
    """A recorder that cannot seek back leaves it so."""
    found = look(au(SOUND, length=length))
    assert (found.completeness, found.seconds) == (UNKNOWN, 1.0)


def test_a_header_alone_has_no_sound() -> None:
    """The call that nobody answered, in other containers."""
    for data in (au(b""), aiff(b""), recording("webm.live")[:300], b"#!AMR\n" + b" ", recording("wave64")[:104]):
        found = look(data)
        assert not found.has_sound or found.completeness is SHORT, data[:12]


def test_a_movie_without_a_brand_is_known_by_its_boxes() -> None:
    """QuickTime is older than the box that names it."""
    whole = recording("mov.faststart")
    assert look(whole[whole.index(b"moov") - 4 :]).container == "MOV"
    with pytest.raises(RecordingRefused, match="a fragment"):
        look(box(b"moof", bytes(100)))


def test_a_movie_of_pictures_has_no_sound() -> None:
    """As an MP4 of them has none."""
    whole = recording("mov.faststart").replace(b"soun", b"vide")
    assert not look(whole).has_sound


def test_encrypted_foreign_sound_is_refused_or_damaged() -> None:
    """Nobody but its owner can play it."""
    wma = recording("wma")
    marked = wma[:30] + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + wma[46:]
    with pytest.raises(RecordingRefused, match="protected"):
        look(marked)


def test_a_provenance_manifest_is_seen() -> None:
    """Only the very bytes keep it: whoever prepares must know. The middle is looked through where all is read."""
    manifest = chunk(b"C2PA", box(b"jumb", box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0")))
    whole = recording("wav", 3.0)
    signed = chunk(b"RIFF", whole[8:] + manifest)
    assert not look(whole, thorough=True).has_provenance
    assert look(signed, thorough=True).has_provenance
    assert look(signed, thorough=True).completeness is PROVEN
