"""MP4 and its relatives: the track of sound, its tables, and what its descriptors say."""

import io
import struct

import av
import pytest

from tests.audio_files import box, recording
from watcher.audio import Completeness, Examination, aac, examine

FTYP = box(b"ftyp", b"isom\0\0\0\0isom")
MP4S = ("m4a", "mp4", "mp4.faststart", "mp4.stereo", "3gp", "3gp.aac", "mp4.alac", "mp4.opus", "mp4.flac")


def look(data: bytes, *, thorough: bool = True) -> Examination:
    return examine(io.BytesIO(data), len(data), thorough=thorough)


def patched(whole: bytes, kind: bytes, offset: int, value: bytes) -> bytes:
    """With other bytes at so many behind the name of the last box of this kind."""
    at = whole.rindex(kind) + 4 + offset
    return whole[:at] + value + whole[at + len(value) :]


def video(*, audio: bool = False) -> bytes:
    """A film without words, or with a track for them that has none."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as output:
        pictures = output.add_stream("mpeg4", rate=5)
        pictures.width = pictures.height = 16
        if audio:
            output.add_stream("aac", rate=16000, layout="mono")
        output.start_encoding()
        for number in range(5):
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts = number
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
    return sink.getvalue()


@pytest.mark.parametrize("has_track", [False, True])
def test_pictures_alone_are_no_sound(has_track: bool) -> None:
    """A video without a track of sound, or with an empty one, is not to be heard."""
    assert not look(video(audio=has_track)).has_sound
    assert look(recording("mp4")).has_sound


@pytest.mark.parametrize("kind", ["m4a", "mp4", "mp4.faststart", "mp4.fragmented", "mp4.live", "3gp"])
def test_an_encoder_that_was_given_nothing_leaves_no_sound(kind: str) -> None:
    """Headers, a movie, and a track without samples."""
    found = look(recording(kind, 0.0))
    assert found.completeness is Completeness.SHORT or not found.has_sound


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("kind", MP4S)
def test_places_beyond_the_file_are_damage(kind: str, thorough: bool) -> None:
    """Where the first chunk lies, how long a sample is, how many there are."""
    whole = recording(kind, 3.0)
    size = int.from_bytes(patched(whole, b"stsz", 4, b"")[whole.rindex(b"stsz") + 8 :][:4], "big")
    damages = [
        patched(whole, b"stco", 8, struct.pack(">I", len(whole) + 1)),
        patched(whole, b"stco", 8, struct.pack(">I", 0x7FFF_FFFF)),
        patched(whole, b"stco", 8, struct.pack(">I", whole.rindex(b"moov") + 8)),
        patched(whole, b"stco", 4, struct.pack(">I", 0x00FF_FFFF)),
        patched(whole, b"stsc", 4, struct.pack(">I", 0x00FF_FFFF)),
        patched(whole, b"stsc", 12, struct.pack(">I", 0)),
        patched(whole, b"stsz", 8, struct.pack(">I", 0x00FF_FFFF)),
        patched(whole, b"stsz", 4 if size else 12, struct.pack(">I", 0x00FF_FFFF)),
    ]
    assert look(whole, thorough=thorough).damage is None
    for number, damaged in enumerate(damages):
        found = look(damaged, thorough=thorough)
        assert found.damage is not None, number
        assert found.completeness is Completeness.UNKNOWN


@pytest.mark.parametrize(
    "rubbish", [b"\x9d\x02\xfe rubbish", b"nonsense" * 50, bytes(range(256)), b"\0\0\0\x40nons" + bytes(200)]
)
def test_a_beginning_with_rubbish_behind_it_is_damage(rubbish: bytes) -> None:
    """`ftyp` alone makes no MP4."""
    found = look(FTYP + rubbish)
    assert found.damage is not None
    assert found.completeness is not Completeness.SHORT


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\r\n\r\n", b"\0\0\0\0\0\0\0"])
@pytest.mark.parametrize("kind", MP4S)
def test_a_few_bytes_behind_the_last_box_are_no_lack(kind: str, tail: bytes) -> None:
    """Seven bytes cannot be a box."""
    found = look(recording(kind) + tail)
    assert (found.completeness, found.damage, found.has_sound) == (Completeness.UNKNOWN, None, True)


def test_zeros_in_the_place_of_sound_are_found() -> None:
    """At the end the place is reserved and the rest to come; in the middle it never came."""
    whole = recording("mp4.faststart", 5.0)
    half = len(whole) // 2
    assert look(whole[:half].ljust(len(whole), b"\0"), thorough=False).completeness is Completeness.SHORT
    middle = whole[:half] + bytes(4096) + whole[half + 4096 :]
    assert look(middle).damage is not None


@pytest.mark.parametrize("kind", [b"drms", b"enca", b"xyzw"])
def test_what_is_encrypted_or_unknown_can_not_be_played(kind: bytes) -> None:
    """A shop's M4P is accepted by name, and is noise to everybody without its key."""
    assert look(recording("m4a").replace(b"mp4a", kind)).damage is not None


@pytest.mark.parametrize("kind", ["mp4.fragmented", "mp4.live", "mp4.split"])
def test_fragments_last_as_long_as_all_of_them(kind: str) -> None:
    """The movie itself says nothing of its length."""
    assert look(recording(kind, 5.0)).seconds == pytest.approx(5.0, abs=0.2)


def test_the_track_tells_how_long_it_is_not_the_movie() -> None:
    """A film may go on after its sound."""
    whole = patched(recording("mp4.unedited", 2.0), b"mvhd", 16, struct.pack(">I", 90_000))
    assert look(whole).seconds == pytest.approx(2.0, abs=0.2)


def test_mono_that_its_sample_entry_calls_stereo_is_mono() -> None:
    """Many writers put 2 there whatever the sound is: the stream's own descriptor decides."""
    whole = patched(recording("m4a"), b"mp4a", 16, b"\0\2")
    assert (look(whole).channels, look(whole).sample_rate) == (1, 16000)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("00010 0100 0001 000", ("AAC", 1, 44100)),
        ("00010 1111 000000000011111010000000 0010 000", ("AAC", 2, 16000)),
        ("00101 0110 0001 0011 00010 000", ("AAC", 1, 48000)),  # HE-AAC, told in front
        ("11101 0110 0001 0011 00010 000", ("AAC", 2, 48000)),  # HE-AAC v2: stereo out of mono
        ("00010 0110 0001 000 01010110111 00101 1 0011", ("AAC", 1, 48000)),  # told behind
        ("00010 0110 0001 000 01010110111 00101 1 0011 10101001000 1", ("AAC", 2, 48000)),
        ("00010 0110 0001 000 01010110111 00101 0", ("AAC", 1, 24000)),
        ("00010 0100 0111 000", ("AAC", 8, 44100)),
        (
            "00010 0100 0000 000 0000 01 0100 0001 0000 0001 01 000 0000 0 0 0 1 0000 0 0001",
            ("AAC", 4, 44100),  # a pair in front, one behind, one for effects
        ),
        ("00000 0100 0001 000", None),
        ("00010 1101 0001 000", None),
        ("00010 0100 1001 000", None),
    ],
)
def test_an_audio_specific_config_tells_channels_and_rate(
    bits: str, expected: tuple[str, int, int] | None
) -> None:
    """Escaped rates, spectral band replication, parametric stereo, and elements of a program."""
    plain = bits.replace(" ", "")
    plain = plain.ljust(-(-len(plain) // 8) * 8, "0")
    voice = aac.configured(int(plain, 2).to_bytes(len(plain) // 8, "big"))
    assert (voice and (voice.codec, voice.channels, voice.rate)) == expected


def test_tables_of_a_long_recording_are_soon_read() -> None:
    """A quick look keeps within its bound however long they are."""
    whole = recording("mp4.faststart", 120.0)
    assert look(whole, thorough=False).has_sound
    assert look(whole).seconds == pytest.approx(120.0, abs=0.2)
