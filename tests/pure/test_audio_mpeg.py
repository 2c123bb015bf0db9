"""MP3 and AAC in ADTS: how long they last, whether there is sound in them, and what lies between their frames."""

import io

import pytest

from tests.audio_files import recording
from watcher.audio import Completeness, Examination, examine

ID3V2 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
ID3V1 = b"TAG".ljust(127, b" ") + b"\x0c"


def look(data: bytes, *, thorough: bool = True) -> Examination:
    return examine(io.BytesIO(data), len(data), thorough=thorough)


def free_format() -> bytes:
    """Twenty frames of 417 bytes that do not say so."""
    return (b"\xff\xfb\x00\x00".ljust(417, b"\x55")) * 20


@pytest.mark.parametrize(
    "kind", ["mp3", "mp3.stereo", "mp3.8khz", "mp3.bare", "mp3.vbr", "mp3.vbr.bare", "mp2", "aac"]
)
@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_every_kind_tells_how_long_it_is(kind: str, seconds: float) -> None:
    """With a header that counts the frames, and without; all alike, and each of another length."""
    assert look(recording(kind, seconds)).seconds == pytest.approx(seconds, abs=0.13)


def test_what_an_encoder_puts_around_the_sound_does_not_count() -> None:
    """LAME's delay and padding are told in its header."""
    assert look(recording("mp3.8khz", 0.5)).seconds == pytest.approx(0.5, abs=0.01)


def test_joined_recordings_last_as_long_as_all_of_them() -> None:
    """Of differing rates, with tags between them, and with the first one's header still in front."""
    first, second, third = recording("mp3", 4.0), recording("mp3.stereo", 3.0), recording("mp3.bare", 2.0)
    for joined in (first + second + third, third + second + first, first + ID3V1 + ID3V2 + second + third):
        found = look(joined)
        assert found.seconds == pytest.approx(9.0, abs=0.3)
        assert (found.completeness, found.damage) == (Completeness.UNKNOWN, None)


@pytest.mark.parametrize("tail", [b"", ID3V1])
@pytest.mark.parametrize("thorough", [False, True])
def test_tags_alone_have_no_sound(tail: bytes, thorough: bool) -> None:
    """An MP3 that was tagged before it was recorded."""
    found = look(ID3V2 + tail, thorough=thorough)
    assert (found.container, found.completeness, found.has_sound) == ("MP3", Completeness.UNKNOWN, False)


@pytest.mark.parametrize("kind", ["mp3", "mp3.stereo", "mp3.8khz"])
def test_the_frame_of_the_header_alone_is_no_sound(kind: str) -> None:
    """It counts the frames, of which there are none."""
    assert not look(recording(kind, 0.0)).has_sound
    whole = recording(kind, 1.0)
    second = whole.index(whole[whole.index(b"\xff") :][:2], whole.index(b"\xff") + 24)
    found = look(whole[:second])
    assert (found.completeness, found.has_sound) == (Completeness.SHORT, False)


def test_a_trimmed_mp3_with_its_old_header_is_short_by_what_that_counts() -> None:
    """But for a few bytes, by which writers differ."""
    whole = recording("mp3", 3.0)
    assert look(whole[:-44]).completeness is Completeness.UNKNOWN
    assert (look(whole[:-1000]).completeness, look(whole[:-1000]).has_sound) == (Completeness.SHORT, True)


@pytest.mark.parametrize("kind", ["mp3", "mp3.bare", "mp3.stereo", "aac"])
def test_what_is_no_sound_in_the_middle_is_found(kind: str) -> None:
    """Zeros, and anything else that lasts too long for a decoder to get over."""
    whole = recording(kind, 10.0)
    middle = len(whole) // 2
    for hole in (bytes(4096), b"something else " * 800):
        damaged = whole[:middle] + hole + whole[middle + len(hole) :]
        assert look(whole).damage is None
        assert look(damaged).damage is not None
    title = b"\x04StreamTitle='a title';".ljust(65, b"\0")
    assert look(whole[:middle] + title + whole[middle:]).damage is None


@pytest.mark.parametrize("kind", ["mp3", "mp3.bare", "aac"])
def test_a_place_that_is_reserved_for_the_rest_is_short(kind: str) -> None:
    """A copy that set the final size first, and stands still."""
    whole = recording(kind, 10.0)
    for thorough in (False, True):
        found = look(whole[: len(whole) // 2].ljust(len(whole), b"\0"), thorough=thorough)
        assert found.completeness is Completeness.SHORT


def test_free_format_is_known_and_can_not_be_played() -> None:
    """Its frames do not say how long they are, and few decoders look."""
    found = look(free_format())
    assert (found.container, found.codec, found.channels, found.sample_rate) == ("MP3", "MP3", 2, 44100)
    assert found.seconds == pytest.approx(20 * 1152 / 44100, abs=0.01)
    assert "free format" in (found.damage or "")


def test_channels_that_an_element_tells_are_found() -> None:
    """An ADTS header may leave them to the first block."""
    elements = "101 0000 01 0100 0010 0000 0000 00 000 0000 0 0 0 0 0000 1 0001".replace(" ", "")
    block = int(elements.ljust(64, "0"), 2).to_bytes(8, "big") + bytes(40)
    length = 7 + len(block)
    header = bytes([0xFF, 0xF1, 0x50, length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC])
    assert look((header + block) * 5).channels == 3
