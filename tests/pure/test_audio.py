"""What a recording is, and whether all of it is there, over real files of every kind."""

import io
import os
import random
import re
import shlex
import struct

import pytest

from tests.audio_files import ACCEPTED, PROVABLE, REFUSED, UNPROVABLE, box, chunk, recording
from watcher.audio import Completeness, Examination, examine
from watcher.errors import RecordingRefused

PROVEN, UNKNOWN, SHORT = Completeness.PROVEN, Completeness.UNKNOWN, Completeness.SHORT

LOOKS = {
    "wav": ("WAV", "PCM", "audio/wav", ".wav", 1, 8000),
    "wav.gsm": ("WAV", "GSM 6.10", "audio/wav", ".wav", 1, 8000),
    "wav.extensible": ("WAV", "PCM", "audio/wav", ".wav", 1, 8000),
    "wav.odd": ("WAV", "µ-law", "audio/wav", ".wav", 1, 8000),
    "wav.listed": ("WAV", "PCM", "audio/wav", ".wav", 1, 8000),
    "wav.stereo": ("WAV", "PCM", "audio/wav", ".wav", 2, 16000),
    "wav.float": ("WAV", "IEEE float", "audio/wav", ".wav", 1, 16000),
    "wav.24bit": ("WAV", "PCM", "audio/wav", ".wav", 1, 16000),
    "wav.mulaw": ("WAV", "µ-law", "audio/wav", ".wav", 1, 8000),
    "wav.alaw": ("WAV", "A-law", "audio/wav", ".wav", 1, 8000),
    "wav.ima": ("WAV", "IMA ADPCM", "audio/wav", ".wav", 1, 8000),
    "wav.ms": ("WAV", "MS ADPCM", "audio/wav", ".wav", 1, 8000),
    "wav.mp3": ("WAV", "MP3", "audio/wav", ".wav", 1, 16000),
    "wav.g722": ("WAV", "G.722", "audio/wav", ".wav", 1, 16000),
    "wav.rf64": ("WAV", "PCM", "audio/wav", ".wav", 1, 16000),
    "mp3": ("MP3", "MP3", "audio/mpeg", ".mp3", 1, 16000),
    "mp3.tagged": ("MP3", "MP3", "audio/mpeg", ".mp3", 1, 16000),
    "mp3.bare": ("MP3", "MP3", "audio/mpeg", ".mp3", 1, 16000),
    "mp3.stereo": ("MP3", "MP3", "audio/mpeg", ".mp3", 2, 44100),
    "mp3.8khz": ("MP3", "MP3", "audio/mpeg", ".mp3", 1, 8000),
    "aac": ("AAC", "AAC", "audio/aac", ".aac", 1, 16000),
    "m4a": ("M4A", "AAC", "audio/m4a", ".m4a", 1, 16000),
    "mp4": ("MP4", "AAC", "video/mp4", ".mp4", 1, 16000),
    "mp4.faststart": ("MP4", "AAC", "video/mp4", ".mp4", 1, 16000),
    "mp4.fragmented": ("MP4", "AAC", "video/mp4", ".mp4", 1, 16000),
    "mp4.live": ("MP4", "AAC", "video/mp4", ".mp4", 1, 16000),
    "3gp": ("3GP", "AMR", "audio/3gp", ".3gp", 1, 8000),
    "3gp.aac": ("3GP", "AAC", "audio/3gp", ".3gp", 1, 16000),
    "ogg.opus": ("Ogg", "Opus", "audio/ogg", ".ogg", 1, 48000),
    "ogg.narrow": ("Ogg", "Opus", "audio/ogg", ".ogg", 1, 48000),
    "ogg.vorbis": ("Ogg", "Vorbis", "audio/ogg", ".ogg", 2, 44100),
    "ogg.flac": ("Ogg", "FLAC", "audio/ogg", ".ogg", 1, 16000),
    "flac": ("FLAC", "FLAC", "audio/flac", ".flac", 1, 16000),
    "flac.stereo": ("FLAC", "FLAC", "audio/flac", ".flac", 2, 44100),
}


def look(data: bytes, name: bytes = b"") -> Examination:
    return examine(io.BytesIO(data), len(data), name=name)


def pore(data: bytes) -> Examination:
    """A thorough look."""
    return examine(io.BytesIO(data), len(data), thorough=True)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def cuts(data: bytes) -> list[int]:
    """Every length near both ends, and many between."""
    size = len(data)
    return sorted({*range(1, min(600, size)), *range(600, size, 41), *range(max(1, size - 300), size)})


def wav_header(data_bytes: int, riff_bytes: int | None = None) -> bytes:
    """44 bytes of 8 kHz mono PCM."""
    riff = data_bytes + 36 if riff_bytes is None else riff_bytes
    fmt = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunk(b"fmt ", fmt) + b"data" + struct.pack("<I", data_bytes)
    )


SOUND = recording("wav")[44:]


@pytest.mark.parametrize("kind", ACCEPTED)
def test_content_alone_tells_the_kind(kind: str) -> None:
    """Container, codec, media type, extension, channels and rate come from the content."""
    found = look(recording(kind), name=b"misleading.pdf")
    assert (
        found.container,
        found.codec,
        found.media_type,
        found.extension,
        found.channels,
        found.sample_rate,
    ) == LOOKS[kind]


@pytest.mark.parametrize("kind", [k for k in ACCEPTED if k not in ("mp4.fragmented", "mp4.live")])
def test_headers_tell_the_duration(kind: str) -> None:
    """Seconds are right within an encoder's frames."""
    seconds = look(recording(kind, 3.0)).seconds
    assert seconds == pytest.approx(1.0 if kind == "wav.odd" else 3.0, abs=0.2)


@pytest.mark.parametrize("kind", PROVABLE)
def test_whole_recordings_are_proven(kind: str) -> None:
    """A kind whose lengths tell when it is whole needs no waiting."""
    found = look(recording(kind))
    assert (found.completeness, found.missing_bytes) == (PROVEN, 0)


@pytest.mark.parametrize("kind", UNPROVABLE)
def test_recordings_that_could_go_on_are_not_proven(kind: str) -> None:
    """Frames and fragments that end cleanly may be followed by more."""
    assert look(recording(kind)).completeness is UNKNOWN


@pytest.mark.parametrize("kind", ACCEPTED)
def test_cut_recordings_are_never_proven_and_never_refused(kind: str) -> None:
    """Wherever a copy stands, it waits; what it lacks is at most what is missing, where that is told."""
    whole = recording(kind)
    if kind == "mp3.tagged":
        whole = whole[:-128]  # a cut before the trailing tag leaves all of the sound, and cannot be seen
    for length in cuts(whole):
        found = look(whole[:length])
        assert found.completeness is not PROVEN, length
        assert found.missing_bytes == 0 or found.completeness is SHORT
        assert found.damage is None or found.completeness is not PROVEN
        if kind not in ("mp3.bare", "aac") and length >= 12 and found.container != "MP3":
            assert found.missing_bytes <= len(whole) - length


@pytest.mark.parametrize("kind", [k for k in PROVABLE if k.startswith("wav")])
def test_wav_tells_how_many_bytes_are_missing(kind: str) -> None:
    """Half a WAV is short by exactly the other half."""
    whole = recording(kind)
    found = look(whole[: len(whole) // 2])
    assert (found.completeness, found.missing_bytes) == (SHORT, len(whole) - len(whole) // 2)


@pytest.mark.parametrize("kind", ["mp3", "mp3.stereo", "mp4.faststart"])
def test_stated_lengths_tell_how_many_bytes_are_missing(kind: str) -> None:
    """Where a header at the front counts the whole, the missing bytes are exact."""
    whole = recording(kind)
    assert look(whole[:-100]).missing_bytes == 100
    assert look(whole[:-100]).completeness is SHORT


@pytest.mark.parametrize("kind", ["wav", "wav.listed", "m4a", "mp4.faststart", "flac", "ogg.opus", "mp3", "3gp"])
def test_a_place_reserved_for_the_end_is_not_the_end(kind: str) -> None:
    """A copy that set the final size first and has not written the end yet is not proven."""
    whole = recording(kind)
    for written in (len(whole) // 2, len(whole) - 100):
        assert look(whole[:written].ljust(len(whole), b"\0")).completeness is not PROVEN


@pytest.mark.parametrize("kind", [k for k in PROVABLE if not k.startswith("mp4.frag")])
def test_bytes_behind_the_end_take_the_proof_away(kind: str) -> None:
    """Somebody who appends may go on appending."""
    assert look(recording(kind) + b"and more, of no kind").completeness is UNKNOWN


# WAV


@pytest.mark.parametrize("placeholder", [0, 0xFFFF_FFFF, 0x8000_0000, 0x7FFF_F000])
@pytest.mark.parametrize("sound", [b"", SOUND])
def test_a_wav_whose_length_is_not_written_yet_tells_nothing(placeholder: int, sound: bytes) -> None:
    """A recorder's placeholder is neither proof nor a lack, with sound behind it or none."""
    riff = min(placeholder + 36, 0xFFFF_FFFF)
    found = look(wav_header(placeholder, riff) + sound)
    assert (found.completeness, found.missing_bytes, found.has_sound) == (UNKNOWN, 0, bool(sound))
    assert found.seconds == len(sound) / 16000


def test_a_wav_with_one_length_unwritten_tells_nothing() -> None:
    """A data length that fits proves nothing while the RIFF length is open, and the other way round."""
    assert look(wav_header(len(SOUND), 0) + SOUND).completeness is UNKNOWN
    assert look(wav_header(0, len(SOUND) + 36) + SOUND).completeness is UNKNOWN


def test_a_growing_wav_is_proven_with_its_last_byte() -> None:
    """With the final header in place, every length before is short, and the last ones are no proof."""
    whole = wav_header(400) + SOUND[:400]
    assert [look(whole[:length]).missing_bytes for length in range(44, 400)] == list(range(400, 44, -1))
    assert {look(whole[:length]).completeness for length in range(400, 444)} == {UNKNOWN}
    assert look(whole).completeness is PROVEN


@pytest.mark.parametrize("too_many", [8, 16, 44])
def test_a_data_length_that_counts_a_header_is_not_a_lack(too_many: int) -> None:
    """A writer that counts its own header into a length has written all of the sound."""
    for riff in (400 + 36, 400 + 36 + too_many):
        found = look(wav_header(400 + too_many, riff) + SOUND[:400])
        assert (found.completeness, found.has_sound, found.damage) == (UNKNOWN, True, None)
    assert look(wav_header(400 + 400) + SOUND[:400]).completeness is SHORT


@pytest.mark.parametrize("too_many", [1, 2, 6, 8, 26, 44, 300])
def test_a_riff_length_that_is_off_behind_the_sound_is_not_a_lack(too_many: int) -> None:
    """Where `data` is whole, whatever else the RIFF length promises cannot be heard."""
    whole = recording("wav.listed")
    riff = int.from_bytes(whole[4:8], "little") + too_many
    assert look(whole[:4] + riff.to_bytes(4, "little") + whole[8:]).completeness is UNKNOWN


def test_odd_chunks_without_padding_are_walked_too() -> None:
    """Some writers leave out the byte that pads an odd chunk: what follows it is found all the same."""
    for note in (b"LIST", b"junk"):
        for content in (b"INFOabcde", b"INFO\0\0\0\0\0"):
            odd = note + struct.pack("<I", len(content)) + content
            whole = recording("wav")
            found = look(chunk(b"RIFF", b"WAVE" + odd + whole[12:]))
            assert (found.codec, found.has_sound, found.damage) == ("PCM", True, None)
            assert found.completeness in (PROVEN, UNKNOWN)


def test_a_missing_padding_byte_is_not_a_lack() -> None:
    """An odd number of samples without its padding byte, counted or not, is not short."""
    odd = SOUND[:401]
    assert look(wav_header(401, 36 + 401) + odd).completeness is PROVEN
    assert look(wav_header(401, 36 + 401) + odd + b"\0").completeness is PROVEN
    assert look(wav_header(401, 36 + 402) + odd + b"\0").completeness is PROVEN
    assert look(wav_header(401, 36 + 402) + odd).completeness is UNKNOWN


def test_a_riff_length_that_counts_its_own_header_is_not_a_lack() -> None:
    """A writer's common slip makes no recording short: all of its sound is there."""
    assert look(wav_header(400, 444) + SOUND[:400]).completeness is UNKNOWN


def test_a_wav_without_its_sound_is_short() -> None:
    """Chunks, but no `data`: the sound is what is missing."""
    whole = recording("wav")
    assert (look(whole[:36]).completeness, look(whole[:36]).missing_bytes) == (SHORT, len(whole) - 36)
    assert look(chunk(b"RIFF", b"WAVE" + chunk(b"LIST", b"INFO"))).completeness is SHORT


@pytest.mark.parametrize(
    ("offset", "value", "told"),
    [
        (20, b"\x34\x12", "WAV format 0x1234"),
        (20, b"\0\0", "WAV format 0x0000"),
        (22, b"\0\0", "0 channels"),
        (22, b"\xff\xff", "65535 channels"),
        (22, b"\x21\0", "33 channels"),
        (24, bytes(4), "0 samples a second"),
        (24, b"\xff\xff\xff\xff", "4294967295 samples a second"),
        (34, b"\0\0", "0 bits"),
        (34, b"\xff\0", "255 bits"),
        (12, b"fmx ", "no `fmt ` chunk"),
        (36, b"dapa", "no `data` chunk"),
    ],
)
def test_a_wav_whose_header_is_nonsense_can_not_be_played(offset: int, value: bytes, told: str) -> None:
    """Its end is right, and no decoder takes it: that is said, and it is no proof."""
    whole = bytearray(recording("wav"))
    whole[offset : offset + len(value)] = value
    found = look(bytes(whole))
    assert found.completeness is not PROVEN
    assert found.damage is not None or (found.completeness, found.has_sound) == (SHORT, False)
    assert told in (found.damage or "no `data` chunk")


def test_a_format_that_comes_behind_the_sound_is_found() -> None:
    """Decoders take it, so it is no damage."""
    whole = recording("wav")
    found = look(chunk(b"RIFF", b"WAVE" + whole[36:] + whole[12:36]))
    assert (found.codec, found.sample_rate, found.damage) == ("PCM", 8000, None)


@pytest.mark.parametrize("tail", [b"", b"\r\n", chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"a recorder\0"))])
def test_a_header_alone_has_no_sound(tail: bytes) -> None:
    """The WAV of a call that nobody answered, closed properly; a note behind it is not sound."""
    riff = 36 + (len(tail) if tail[:4] == b"LIST" else 0)
    assert not look(wav_header(0, riff) + tail).has_sound
    assert look(wav_header(0, 36) + SOUND).has_sound  # the lengths are still to be mended


def test_digital_silence_is_sound() -> None:
    """A recording of zeros was recorded: whether anybody speaks in it is for others to say."""
    assert look(wav_header(16000) + bytes(16000)).has_sound


@pytest.mark.parametrize("kind", ["wav.mp3", "wav.yamaha", "wav.swf", "wav.g722"])
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_seconds_of_packed_codecs_come_from_their_count_of_samples(kind: str, seconds: float) -> None:
    """FFmpeg leaves the bytes a second 0 for MP3 and its own ADPCM: `fact` counts the samples."""
    assert look(recording(kind, seconds)).seconds == pytest.approx(seconds, abs=0.2)


def test_bw64_is_read_like_rf64() -> None:
    """Both put 64-bit lengths in a `ds64` chunk; without it nothing is known."""
    whole = recording("wav.rf64")
    assert look(b"BW64" + whole[4:]).completeness is PROVEN
    assert look(whole[:12] + b"junk" + whole[16:]).completeness is UNKNOWN


def test_zeros_in_the_place_of_packed_sound_in_a_wav_are_found() -> None:
    """Of MP3 and AAC silence is no run of zeros; of PCM it is."""
    whole = recording("wav.mp3", 20.0)
    half = len(whole) // 2
    assert look(whole[:half].ljust(len(whole), b"\0")).completeness is SHORT
    assert pore(whole[:half] + bytes(4096) + whole[half + 4096 :]).damage is not None
    plain = recording("wav", 5.0)
    assert pore(plain[:half] + bytes(4096) + plain[half + 4096 :]).completeness is PROVEN


# MP4


@pytest.mark.parametrize(
    ("brand", "media_type", "extension"),
    [
        (b"M4A ", "audio/m4a", ".m4a"),
        (b"M4B ", "audio/m4b", ".m4b"),
        (b"M4P ", "audio/m4p", ".m4p"),
        (b"3gp5", "audio/3gp", ".3gp"),
        (b"isom", "video/mp4", ".mp4"),
        (b"mp42", "video/mp4", ".mp4"),
        (b"dash", "video/mp4", ".mp4"),
    ],
)
def test_the_brand_decides_the_media_type(brand: bytes, media_type: str, extension: str) -> None:
    """The same boxes are sent as what their brand says."""
    whole = recording("m4a")
    found = look(whole[:8] + brand + whole[12:])
    assert (found.media_type, found.extension, found.completeness) == (media_type, extension, PROVEN)


FTYP = box(b"ftyp", b"isom\0\0\0\0isom")


@pytest.mark.parametrize(
    ("boxes", "expected", "missing"),
    [
        (FTYP, SHORT, 0),
        (FTYP + box(b"moov"), SHORT, 0),
        (FTYP + box(b"mdat", b"sound"), SHORT, 0),
        (FTYP + struct.pack(">I", 0) + b"mdat" + b"sound", SHORT, 0),
        (FTYP + box(b"moov") + struct.pack(">I", 0) + b"mdat" + b"sound", UNKNOWN, 0),
        (FTYP + box(b"moov") + box(b"mdat", b"sound"), PROVEN, 0),
        (FTYP + box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 21) + b"sound", PROVEN, 0),
        (FTYP + box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 1 << 63) + b"sound", SHORT, (1 << 63) - 21),
        (FTYP + box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 3) + b"sound", UNKNOWN, 0),
        (FTYP + box(b"moov") + box(b"mdat", b"sound") + struct.pack(">I4s", 5, b"free"), UNKNOWN, 0),
        (FTYP + box(b"moov") + box(b"mdat", b"sound") + b"\0\0\0\x10fr", UNKNOWN, 0),
        (FTYP + box(b"moov") + box(b"mdat", b"sound") + box(b"free") * 1000, UNKNOWN, 0),
        (FTYP + box(b"free") * 100_000, UNKNOWN, 0),
        (FTYP + box(b"moov", box(b"trak") * 50_000) + box(b"mdat", b"sound"), PROVEN, 0),
        (FTYP + box(b"moov") + box(b"moof") + box(b"mdat", b"sound"), UNKNOWN, 0),
        (FTYP + box(b"moov") + box(b"moof") + box(b"mdat", b"sound") + box(b"mfra", b"index"), PROVEN, 0),
    ],
)
def test_boxes_decide(boxes: bytes, expected: Completeness, missing: int) -> None:
    """Whole boxes up to the end prove; one that reaches beyond it is short; nonsense tells nothing."""
    found = look(boxes)
    assert (found.completeness, found.missing_bytes) == (expected, missing)


# Ogg, FLAC, MP3


def test_every_stream_of_a_chain_must_have_ended() -> None:
    """The last stream's end is no proof while one before it is open."""
    first, second = recording("ogg.opus"), recording("ogg.vorbis")
    last_page = first.rfind(b"OggS")
    assert look(first + second).completeness is PROVEN
    assert look(first[:last_page] + second).completeness is UNKNOWN


def test_a_chain_of_streams_lasts_as_long_as_all_its_links() -> None:
    """Not as one of them: recorders that go on after a pause begin a new link."""
    links = recording("ogg.opus", 2.0) + recording("ogg.opus", 3.0) + recording("ogg.vorbis", 1.0)
    assert pore(links).seconds == pytest.approx(6.0, abs=0.2)
    assert look(links).has_sound


@pytest.mark.parametrize("kind", ["ogg.opus", "ogg.vorbis", "ogg.flac"])
def test_one_bit_in_the_first_pages_is_damage(kind: str) -> None:
    """Without its headers no decoder plays it, however right its end is."""
    whole = recording(kind, 3.0)
    second = whole.find(b"OggS", 4)
    lengths = [*range(second), *(range(second, second + 27) if kind != "ogg.flac" else ())]
    for at in lengths[5:]:  # of a page that is none the beginning is not known
        found = look(flipped(whole, at, at % 8))
        assert found.completeness is SHORT or found.damage is not None, at


def test_a_lost_page_in_the_middle_is_damage_that_a_thorough_look_finds() -> None:
    """One second of it is gone, and nothing else tells."""
    whole = recording("ogg.opus", 5.0)
    assert pore(whole).completeness is PROVEN
    for damaged in (
        flipped(whole, len(whole) // 2),
        whole[: len(whole) // 2] + bytes(100) + whole[len(whole) // 2 + 100 :],
        whole[: len(whole) // 2] + whole[len(whole) // 2 + 1000 :],
    ):
        found = pore(damaged)
        assert found.damage is not None
        assert found.completeness is UNKNOWN


def test_what_lies_between_whole_pages_does_no_harm() -> None:
    """A decoder passes over what is no page: so no sound is lost."""
    whole = recording("ogg.opus", 3.0)
    page = whole.rfind(b"OggS")
    assert pore(whole[:page] + b"something else" + whole[page:]).damage is None


@pytest.mark.parametrize("kind", ["ogg.opus", "ogg.vorbis", "ogg.flac"])
def test_headers_alone_are_no_sound_in_ogg(kind: str) -> None:
    """An encoder that was given nothing writes its headers, and a last page of nothing."""
    assert not look(recording(kind, 0.0)).has_sound
    whole = recording(kind, 1.0)
    headers = [
        at for at in range(len(whole)) if whole.startswith(b"OggS", at) and whole[at + 6 : at + 14] == bytes(8)
    ]
    end = whole.find(b"OggS", headers[-1] + 1)
    assert not look(whole[:end]).has_sound


def test_an_ogg_that_has_not_ended_is_not_proven() -> None:
    """Whole pages without the mark of the end may be followed by more."""
    whole = recording("ogg.vorbis")
    assert look(whole[: whole.rfind(b"OggS")]).completeness is UNKNOWN


@pytest.mark.parametrize("kind", ["ogg.opus", "flac"])
def test_a_damaged_end_is_no_proof(kind: str) -> None:
    """The checksum of the last page or frame must be right."""
    whole = recording(kind)
    assert look(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]).completeness is not PROVEN


def streamed_flac(seconds: float) -> bytes:
    """As an encoder leaves it that cannot seek back: the number of samples is 0."""
    whole = bytearray(recording("flac", seconds))
    whole[21] &= 0xF0
    whole[22:26] = bytes(4)
    return bytes(whole)


def test_a_flac_that_does_not_know_its_length_is_not_proven() -> None:
    """Its last frame tells how long it is, and its checksum that this frame is all there."""
    found = look(streamed_flac(3.0))
    assert (found.completeness, found.has_sound, found.damage) == (UNKNOWN, True, None)
    assert found.seconds == pytest.approx(3.0)


def test_a_flac_that_does_not_know_its_length_is_short_where_its_last_frame_is() -> None:
    """Wherever it is cut but between two frames."""
    whole = streamed_flac(3.0)
    first = whole.index(b"\xff\xf8")
    lengths = range(first + 1, len(whole), 97)
    short = [length for length in lengths if look(whole[:length]).completeness is SHORT]
    assert len(short) > 0.98 * len(lengths)


@pytest.mark.parametrize("tail", [b"\r\n", b"some forty bytes that belong to nothing"])
def test_a_few_bytes_behind_the_last_frame_of_a_flac_are_no_lack(tail: bytes) -> None:
    """With a number of samples in front, and without."""
    for whole in (recording("flac"), streamed_flac(1.0)):
        found = look(whole + tail)
        assert (found.completeness, found.damage) == (UNKNOWN, None)


def test_a_flac_without_frames_has_no_sound() -> None:
    """Metadata alone, as an encoder leaves it that was given nothing, or was stopped at once."""
    whole = streamed_flac(1.0)
    assert not look(whole[: whole.index(b"\xff\xf8")]).has_sound
    promised = recording("flac")
    found = look(promised[: promised.index(b"\xff\xf8")])
    assert (found.completeness, found.has_sound) == (SHORT, False)


def test_frames_that_are_missing_in_a_flac_are_found_by_a_thorough_look() -> None:
    """Its end is right, and a hole is in its middle."""
    whole = recording("flac", 10.0)
    middle = len(whole) // 2
    assert pore(whole).completeness is PROVEN
    for damaged in (
        whole[:middle] + whole[middle + 9000 :],
        whole[:middle] + bytes(9000) + whole[middle + 9000 :],
    ):
        assert look(damaged).completeness is PROVEN
        found = pore(damaged)
        assert found.completeness is UNKNOWN
        assert "missing" in (found.damage or "")


@pytest.mark.parametrize(("offset", "bit"), [(20, 1), (21, 4), (8, 7), (18, 7)])
def test_a_flac_whose_header_does_not_fit_its_frames_is_damaged(offset: int, bit: int) -> None:
    """Channels, bits, the size of a block, the rate."""
    whole = recording("flac", 3.0)
    if offset == 18:
        whole = whole[:18] + bytes(2) + bytes([whole[20] & 0x0F]) + whole[21:]
    elif offset == 8:
        whole = whole[:10] + bytes(2) + whole[12:]
    else:
        whole = flipped(whole, offset, bit)
    found = look(whole)
    assert found.damage is not None or found.completeness is SHORT


ID3V2 = b"ID3\x04\0\0" + bytes([0, 0, 0x50, 0]) + b"\xff\xfbart" * 2048
ID3V1 = b"TAG".ljust(127, b" ") + b"\x0c"
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)


@pytest.mark.parametrize("kind", ["flac", "mp3"])
@pytest.mark.parametrize("tail", [b"", ID3V1])
def test_tags_around_the_sound_are_no_part_of_it(kind: str, tail: bytes) -> None:
    """Cover art in front and a tag behind change neither the kind nor the proof."""
    found = look(ID3V2 + recording(kind) + tail)
    assert (found.extension, found.completeness) == (f".{kind}", PROVEN)


def test_tags_of_other_programs_end_an_mp3_too() -> None:
    """APE and Lyrics3 tags behind the sound are known."""
    lyrics = b"LYRICSBEGININD0000200"
    tails = (APE + ID3V1, lyrics + b"000021LYRICS200" + ID3V1, lyrics + b"LYRICSEND" + ID3V1)
    for tail in tails:
        assert look(recording("mp3") + tail).completeness is PROVEN


def test_a_cut_id3_tag_is_short_by_the_rest_of_it() -> None:
    """Cover art that is still being copied: the tag's own length tells what it lacks."""
    found = look(ID3V2[:500])
    assert (found.container, found.completeness, found.missing_bytes) == ("MP3", SHORT, len(ID3V2) - 500)


@pytest.mark.parametrize("kind", ["mp3.bare", "aac"])
def test_the_last_frame_tells_what_it_lacks(kind: str) -> None:
    """Without a header in front, a cut frame is short by the rest of that frame."""
    found = look(recording(kind, 5.0)[:-3])
    assert (found.completeness, found.missing_bytes) == (SHORT, 3)


def test_a_vbri_header_counts_too() -> None:
    """Fraunhofer's encoder states the length in its own header."""
    frame = b"\xff\xfb\x90\x00".ljust(417, b"\x55")
    vbri = frame[:36] + b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 417 * 11, 11) + frame[58 - 4 :]
    whole = vbri + frame * 10
    assert len(vbri) == 417
    assert look(whole).completeness is PROVEN
    assert look(whole).seconds == pytest.approx(11 * 1152 / 44100)
    assert look(whole[:-100]).missing_bytes == 100


# What is refused


REFUSED_AS = {
    "ts": "MPEG transport stream",
    "avi": "AVI",
    "loas": "LOAS",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_foreign_sound_is_refused_by_name_with_a_way_out(kind: str) -> None:
    """The message says what it is; the hint is a command that can be copied."""
    with pytest.raises(RecordingRefused) as refused:
        look(recording(kind), name=b"2024/a b's call.x")
    assert refused.value.code == "unsupported_type"
    assert REFUSED_AS[kind] in refused.value.message
    command = shlex.split(refused.value.hint[refused.value.hint.index("ffmpeg") :])
    assert command[:5] == ["ffmpeg", "-nostdin", "-n", "-i", "./a b's call.x"]
    assert os.path.splitext(command[-1])[0] == "./a b's call"


def test_ogg_with_pictures_is_refused() -> None:
    """The service takes Ogg for sound alone."""
    page = b"OggS\0\2" + bytes(20) + b"\1\x2a" + b"\x80theora".ljust(42, b"\3")
    with pytest.raises(RecordingRefused, match="Ogg video"):
        look(page)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"caller": "+39 02 1234"}', "JSON"),
        (b"\xef\xbb\xbfcaller;callee\r\n1;2\r\n", "text"),
        ("è vero, così è ".encode() * 1000, "text"),
        ("a note".encode("utf-16"), "text"),
        (b"<?xml version='1.0'?><call/>", "XML"),
        (b"<!DOCTYPE html><title>Login</title>", "HTML"),
        (b"%PDF-1.7 ...........", "PDF"),
        (b"PK\x03\x04............", "ZIP"),
        (b"\x89PNG\r\n\x1a\n.....", "image"),
        (b"\xff\xd8\xff\xe0..JFIF....", "image"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "image"),
        (b"Good morning".ljust(188, b".") + b"G", "text"),
    ],
)
def test_what_is_no_sound_is_called_what_it_is(data: bytes, what: str) -> None:
    """A stray document is refused by its name, and the hint says how to keep such files out."""
    with pytest.raises(RecordingRefused, match=what) as refused:
        look(data)
    assert "arrivals.ignore" in refused.value.hint


def _quiet_pcm(seed: int) -> bytes:
    """16-bit sound near silence that begins as a byte order mark does."""
    chance = random.Random(seed)
    return struct.pack("<2000h", -2, *(chance.randint(-3, 30) for _ in range(1999)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"a.ulaw", b"\xff" * 4000),  # µ-law silence
        (b"a.ulaw", b"\x7f" * 4000),  # and its negative zero
        (b"a.alaw", b"\xd5" * 4000),  # A-law silence
        (b"a.alaw", b"\x55" * 4000),
        (b"a.sln", bytes(4000)),
        (b"a.raw", random.Random(1).randbytes(4000)),
        (b"a.gsm", (b"\xd2" + bytes(32)) * 100),
        (b"a.sln", _quiet_pcm(1)),
        (b"a.sln", b"\xff\xfe" + _quiet_pcm(2)[2:]),
        (b"a.ac3", b"\x0b\x77" + random.Random(2).randbytes(4000)),
        (b"a.vox", random.Random(3).randbytes(4000)),
        (b"junk.mp3", b"HTTP junk\0\1\2" + recording("mp3")),
    ],
)
def test_sound_that_only_its_maker_knows_is_refused_with_questions(name: bytes, data: bytes) -> None:
    """A guess at its codec makes noise, which would be paid for: no command, but what to find out."""
    with pytest.raises(RecordingRefused, match="no known audio format") as refused:
        look(data, name=name)
    assert not re.search("ffmpeg|sox| -f ", refused.value.hint)
    assert "which codec" in refused.value.hint


def test_the_name_of_raw_sound_says_what_to_ask_for() -> None:
    """A beginning for whoever has to find out."""
    with pytest.raises(RecordingRefused, match=r"usually hold GSM 06\.10, without a header"):
        look(b"\xd2" + bytes(65), name=b"a.GSM")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xef\xbb\xbf" + recording("wav"), "byte order mark"),
        (b"\xef\xbb\xbf" + recording("mp3"), "byte order mark"),
        (b"\xff\xfe" + b"RIFF\x24\x08WAVEfmt ".decode().encode("utf-16-le"), "byte order mark"),
        (b"\r\n\r\n" + recording("wav"), "4 bytes of something else in front of what looks like WAV"),
        (b"\0\1junk" + recording("ogg.opus"), "6 bytes of something else in front of what looks like Ogg"),
        (b"\0\1junk" + recording("flac"), "6 bytes of something else in front of what looks like FLAC"),
    ],
)
def test_a_recording_behind_something_else_is_refused_by_what_is_in_front(data: bytes, says: str) -> None:
    """It was damaged on its way: only the original helps."""
    with pytest.raises(RecordingRefused, match=says) as refused:
        look(data)
    assert "ffmpeg" not in refused.value.hint


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"#!SILK_V3" + bytes(100), "SILK"),
        (b"ADIF" + bytes(100), "ADIF"),
        (b"MAC " + bytes(100), "Monkey's Audio"),
        (b"DSD " + bytes(100), "DSD"),
        (b"MPCK" + bytes(100), "Musepack"),
        (b"\x7f\xfe\x80\x01" + bytes(100), "DTS"),
        (b"\x03ds2" + bytes(100), "DS2"),
        (box(b"moof", bytes(100)), "a fragment"),
        (b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n", "SPHERE, compressed"),
        (recording("wma")[:30] + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"), "a protected WMA"),
        (b"ID3\3\0\0\0\0\0\0" + random.Random(5).randbytes(4000), "an ID3 tag"),
    ],
)
def test_sound_without_a_sure_command_is_refused_in_words(data: bytes, says: str) -> None:
    """What FFmpeg cannot read, or might read wrongly, and what is only a part: said, without a recipe."""
    with pytest.raises(RecordingRefused, match=says) as refused:
        look(data)
    assert refused.value.hint
    assert "ffmpeg" not in refused.value.hint


def test_text_in_utf_16_is_text() -> None:
    """In both orders of bytes, in any script, cut in the middle of a character."""
    for text in ("Rückruf um 12:30\r\n" * 30, "电话录音\n" * 50, "😀 ok\t" * 40):
        for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
            for cut in (0, 1, 2):
                data = mark + text.encode(encoding)
                with pytest.raises(RecordingRefused, match=r"text \(UTF-16\)"):
                    look(data[: len(data) - cut])


@pytest.mark.parametrize(
    "beginning", [b"R", b"RIF", b"RIFF\0\0\0\0WA", b"fL", b"Ogg", b"ID3\4", b"\0\0\0\x1cfty", b"\xff"]
)
def test_a_beginning_is_short_not_refused(beginning: bytes) -> None:
    """A file too small to tell what it will be waits."""
    found = look(beginning)
    assert (found.completeness, found.codec) == (SHORT, None)
