"""Recordings that lack something: their end, or any sound at all."""

import pytest

from tests.conftest import MakePlace
from tests.places import speech
from tests.queues import posts
from watcher.audio.synthesis import wav
from watcher.errors import Exit
from watcher.sandbox import Sandbox

HEADER = wav(0)[:4] + (36).to_bytes(4, "little") + wav(0)[8:40] + bytes(4)  # 44 bytes of a call nobody answered
SOON = {"incomplete_minutes": 0.02}


def test_a_header_without_sound_waits_as_an_empty_file_does(make_place: MakePlace, service: Sandbox) -> None:
    """The header of a call that nobody answered is left where it is, and named; nothing is paid."""
    place = make_place()
    place.drop("unanswered.wav", HEADER)
    place.drop("empty.wav", b"")

    outcome = place.run_once()

    assert outcome.exit_code == Exit.INCOMPLETE
    assert {file.path: file.code for file in outcome.waiting} == {
        b"unanswered.wav": "no_sound",
        b"empty.wav": "empty",
    }
    assert place.files() == {"drop/unanswered.wav", "drop/empty.wav"}
    assert posts(service) == []


def test_a_header_without_sound_fails_unpaid_in_the_end(make_place: MakePlace, service: Sandbox) -> None:
    """After incomplete_minutes it is in failed/, its receipt says why; an empty file waits on."""
    place = make_place(arrivals=SOON)
    place.drop("unanswered.wav", HEADER)
    place.drop("empty.wav", b"")

    place.run_once()

    assert place.files() == {"failed/unanswered.wav", "failed/unanswered.wav.json", "drop/empty.wav"}
    error = place.receipt("failed/unanswered.wav.json")["error"]
    assert error["code"] == "no_sound"
    assert "Nothing was sent or paid" in error["hint"]
    assert posts(service) == []


def test_a_header_whose_sound_comes_is_sent(make_place: MakePlace, service: Sandbox) -> None:
    """What waited for its sound is taken as soon as that is there."""
    place = make_place()
    place.drop("late.wav", HEADER)
    place.run_once()
    place.drop("late.wav", speech("late"))

    place.run_once()

    assert place.files() == {"done/late.wav", "done/late.wav.json"}
    assert len(posts(service)) == 1


@pytest.mark.parametrize("lengths", ["strict", "lenient"])
def test_a_recording_cut_short_is_sent_only_where_that_is_wanted(
    make_place: MakePlace, service: Sandbox, lengths: str
) -> None:
    """Strict: it fails as truncated. Lenient: it goes out after the same wait, with a warning on its item."""
    place = make_place(arrivals=SOON | {"lengths": lengths})
    place.drop("cut.wav", speech("cut")[:-8000])

    place.run_once()

    item = place.item("cut.wav")
    if lengths == "strict":
        assert (item.state, len(posts(service))) == ("failed", 0)
        assert item.fault is not None
        assert item.fault.code == "truncated"
    else:
        assert (item.state, len(posts(service))) == ("done", 1)
        assert item.warning is not None
        assert "cut short by 8,000 bytes" in item.warning


def test_lenient_is_no_leave_to_send_a_header_alone(make_place: MakePlace, service: Sandbox) -> None:
    """A header that promises sound, with none behind it, is never paid for."""
    place = make_place(arrivals=SOON | {"lengths": "lenient"})
    place.drop("cut.wav", wav(4)[:44])
    place.drop("unanswered.wav", HEADER)

    place.run_once()

    assert place.receipt("failed/cut.wav.json")["error"]["code"] == "truncated"
    assert place.receipt("failed/unanswered.wav.json")["error"]["code"] == "no_sound"
    assert posts(service) == []


def test_what_no_decoder_can_play_fails_unpaid(make_place: MakePlace, service: Sandbox) -> None:
    """A header of nonsense, with the right end: damaged, told so, and known as what it is all the same."""
    place = make_place()
    nonsense = bytearray(wav(4))
    nonsense[22:24] = bytes(2)
    place.drop("nonsense.wav", bytes(nonsense))

    place.run_once()

    receipt = place.receipt("failed/nonsense.wav.json")
    assert receipt["error"]["code"] == "undecodable"
    assert "0 channels" in receipt["error"]["message"]
    assert receipt["audio"]["container"] == "WAV"
    assert posts(service) == []
