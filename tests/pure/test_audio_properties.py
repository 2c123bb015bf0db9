"""Whatever bytes come: an examination or a refusal, little read, soon done."""

import struct
import time
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.audio_files import ACCEPTED, FOREIGN, REFUSED, box, recording
from tests.looks import looked
from watcher.audio import Completeness

MAGICS = (
    *(
        b"RIFF\xff\xff\0\0WAVE",
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"fLaC\0\0\0\x22",
        b"OggS\0\2",
        b"\xff\xfb\x90\x00",
    ),
    *(b"\xff\xf1\x50\x80\x20\x1f\xfc", b"ID3\4\0\0", b"\0\0\0\x14ftypM4A ", b"\0\0\0\x14ftypisom\0\0\0\0isom"),
    *(b"FORM\0\0\xff\xffAIFCCOMM\0\0\0\x16", b".snd\0\0\0\x18", b"caff\0\1\0\0desc", b"#!AMR\n", b"#!AMR-WB\n"),
    *(
        b"\0\0\0\x14ftypqt  ",
        b"\0\0\0\x08wide",
        b"FLV\1\4\0\0\0\x09\0\0\0\0",
        *(recording("wma")[:n] for n in (16, 300)),
    ),
    *(recording("wave64")[:40], recording("wave64")[:90], recording("webm")[:80], recording("webm.live")[:300]),
    *(b"\x1a\x45\xdf\xa3", b"\x56\xe0", b"\x47", b"{", b"TAG", b"APETAGEX", b"LYRICSEND", b"LYRICS200"),
)
SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)

relaxed = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.sampled_from((b"", *MAGICS)), st.binary(min_size=1, max_size=3000))
@example(b"", b"\0")
@example(b"", b"\xff")
def test_any_bytes_are_examined_or_refused(magic: bytes, rest: bytes) -> None:
    """Behind every known beginning, or none, anything may follow."""
    looked(magic + rest)


@relaxed
@given(st.data(), st.sampled_from((*ACCEPTED, *FOREIGN, *REFUSED)))
def test_damaged_recordings_are_examined_or_refused(data: st.DataObject, kind: str) -> None:
    """Lengths that lie, blocks moved about, ends cut off: no other error, and never a longer look."""
    whole = bytearray(recording(kind))
    for _ in range(data.draw(st.integers(1, 6))):
        at = min(data.draw(st.one_of(st.integers(0, 200), st.integers(0, 1 << 17))), len(whole))
        match data.draw(st.integers(0, 3)):
            case 0:
                whole[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case 1:
                number, width = data.draw(st.sampled_from(SIZES)), data.draw(st.sampled_from((4, 8)))
                order: Literal["little", "big"] = data.draw(st.sampled_from(("little", "big")))
                whole[at : at + width] = number.to_bytes(8, order)[:width]
            case 2:
                end = data.draw(st.integers(at, len(whole)))
                whole[at:at] = whole[at:end]
            case _:
                del whole[at : at + data.draw(st.integers(0, 2000))]
        whole = whole or bytearray(b"\0")
    looked(bytes(whole))


@relaxed
@given(st.sampled_from((*ACCEPTED, *FOREIGN)), st.data())
def test_a_file_that_shrinks_while_it_is_read_is_no_error(kind: str, data: st.DataObject) -> None:
    """The size was taken before: the bytes may be gone since."""
    whole = recording(kind)
    looked(whole[: data.draw(st.integers(0, len(whole)))], len(whole))


@pytest.mark.parametrize("kind", [*ACCEPTED, *FOREIGN])
@pytest.mark.parametrize("lost", [300_000, 100_000_000])
def test_what_is_gone_of_a_file_is_not_read_again_and_again(kind: str, lost: int) -> None:
    """However large it was when its size was taken: what is not there any more costs no time."""
    started = time.process_time()
    whole = recording(kind)
    looked(whole, len(whole) + lost)
    assert time.process_time() - started < 1.0


def test_a_rate_of_next_to_nothing_is_none() -> None:
    """No recording lasts for ever, whatever its header says."""
    found = looked(
        recording("caf").replace(struct.pack(">d4s", 16000, b"lpcm"), struct.pack(">d4s", 1e-300, b"lpcm"))
    )
    assert found is not None
    assert (found.seconds, found.damage) == (None, "its header says 0 samples a second")


def test_frames_of_amr_among_garbage_are_damage_and_no_want_of_an_end() -> None:
    """Though the last of them is cut off; and what cannot be made up for any more is not looked at further."""
    found = looked(b"#!AMR\n" + b"\xff" * 2_000_000 + b"\x3c")
    assert found is not None
    assert (found.completeness, found.damage) == (Completeness.UNKNOWN, "from byte 6 on it has no frames")


@relaxed
@given(st.sampled_from((*ACCEPTED, *FOREIGN)), st.data())
def test_only_the_first_bytes_count(kind: str, data: st.DataObject) -> None:
    """What has been appended since the size was taken is not looked at."""
    whole = recording(kind)
    size = data.draw(st.integers(1, len(whole)))
    assert looked(whole, size) == looked(whole[:size])


def test_hostile_files_take_no_time() -> None:
    """Thousands of tiny boxes, chunks, pages, tags and frames end the look early."""
    megabyte = 1 << 20
    ogg, flac = recording("ogg.opus"), recording("flac")
    page = ogg[: ogg.find(b"OggS", 1)]
    nested = box(b"trak", box(b"mdia", box(b"free") * 5000) * 20) * 20
    hostile = (
        box(b"ftyp", b"isom\0\0\0\0") + box(b"free") * (megabyte // 8),
        box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", nested) + box(b"mdat", b"x"),
        b"RIFF\xf0\xff\xff\0WAVE" + b"LIST\0\0\0\0" * (megabyte // 8),
        page * (megabyte // len(page)),
        ogg + b"OggS\0" * (megabyte // 5),
        b"fLaC" + b"\4\0\0\0" * (megabyte // 4),
        flac[:-2000] + b"\xff\xf8\xc9\x08" * (megabyte // 4),
        b"ID3\4\0\0\0\0\0\0" * (megabyte // 10),
        b"ID3\4\0\0\0\0\0\0" + b"\xff\xfb\x90\x00" * (megabyte // 4),
        b"\xff\xf1\x50\x40\x01\x1f\xfc\0" * (megabyte // 8),
        recording("mp3.bare") + b"\xff" * megabyte,
        b"\xff" * megabyte,
        b"FORM\0\xff\0\0AIFF" + b"LIST\0\0\0\0" * (megabyte // 8),
        b"caff\0\1\0\0" + b"free\0\0\0\0\0\0\0\0" * (megabyte // 12),
        b"#!AMR\n" + b"\x7c" * megabyte,
        recording("webm.live") + b"\xa3\x80" * (megabyte // 2),
        recording("webm") + b"\x1f\x43\xb6\x75\x80" * (megabyte // 5),
        recording("webm")[:300] + (b"\x1f\x43\xb6\x75\x40\xc8" + b"\xa3\x80" * 100) * (megabyte // 206),
        b"FLV\1\4\0\0\0\x09\0\0\0\0" + b"\x08".ljust(15, b"\0") * (megabyte // 15),
        recording("wma")[:30] + b"\0".ljust(16, b"\1") + b"\x18".ljust(8, b"\0"),
    )
    for data in hostile:
        started = time.process_time()
        looked(data)
        assert time.process_time() - started < 1.0, data[:16]
