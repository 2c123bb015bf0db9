"""A sample of what `python -m tests.benchmarks judgement` compares in full: our judgement beside a full decode."""

import shutil

import pytest

from tests.audio_judgement import Comparison
from tests.audio_writers import foreign_kinds, kinds

needs_sox = pytest.mark.skipif(shutil.which("sox") is None, reason="sox is not installed")
WRITERS = ["ffmpeg", "libsndfile", pytest.param("sox", marks=needs_sox), "wave"]
EVERY = 9  # every so many kinds are damaged in all ways


@pytest.mark.parametrize("writer", WRITERS)
def test_whole_recordings_of_every_writer_are_known_for_what_they_are(writer: str) -> None:
    """A tenth of a second and three: accepted, and length, channels and rate are those of the decoded sound."""
    found = Comparison()
    for seconds in (0.1, 3.0):
        found.compare([kind for kind in kinds() if kind.writer == writer], seconds, with_variants=False)
    assert not found.apart
    assert found.total()["agreed"] == found.facts["all"] > 5


@pytest.mark.parametrize("writer", WRITERS)
def test_what_has_no_sound_is_never_sent(writer: str) -> None:
    """Whatever a program leaves that was given nothing to write."""
    found = Comparison()
    found.compare([kind for kind in kinds() if kind.writer == writer], 0.0, with_variants=False)
    assert found.total()["undecodable sent"] == 0, found.apart


@pytest.mark.parametrize("part", range(3))
def test_damaged_recordings_are_judged_as_a_decoder_does(part: int) -> None:
    """Cuts, bits, holes, tails and tags, over every ninth kind.

    What is left: a bit in the middle of packed sound, which only a decoder notices; cuts of what has no length;
    bits in headers that FFmpeg never reads, or in the last frame of a FLAC, which looks like a cut.
    """
    found = Comparison()
    found.compare(kinds()[part * (EVERY // 3) :: EVERY], 3.0, with_variants=True)
    total = found.total()
    shares = {column: total[column] / sum(total.values()) for column in total}
    assert shares.get("undecodable sent", 0) < 0.01, found
    assert shares.get("false refusals", 0) < 0.01, found
    assert shares.get("false waits", 0) < 0.02, found
    assert shares.get("damaged sent", 0) < 0.04, found
    assert {
        row: counts["false refusals"] for row, counts in found.rows.items() if row in ("whole", "tail", "twice")
    } == {
        "whole": 0,
        "tail": 0,
        "twice": 0,
    }, found.apart


@pytest.mark.parametrize("writer", WRITERS[:3])
def test_whole_foreign_recordings_of_every_writer_are_known_for_what_they_are(writer: str) -> None:
    """Each would be converted; length, channels and rate are what its decoder makes of it."""
    found = Comparison()
    found.compare([kind for kind in foreign_kinds() if kind.writer == writer], 3.0, with_variants=False)
    assert found.total().keys() == {"agreed"}, found.apart
    facts = found.facts
    assert facts["seconds"] == facts["channels"] == facts["rate"] == facts["all"], found.apart


def test_damaged_foreign_recordings_are_judged_as_a_decoder_does() -> None:
    """A sample of all; what is refused wrongly costs a question, what is sent wrongly costs a credit."""
    found = Comparison()
    found.compare(foreign_kinds()[::12], 2.0, with_variants=True)
    total = found.total()
    shares = {column: total[column] / sum(total.values()) for column in total}
    assert shares.get("undecodable sent", 0) < 0.03, found
    assert shares.get("false refusals", 0) < 0.02, (
        found
    )  # most of them for an ID3 tag in front, which FFmpeg minds
    assert shares.get("false waits", 0) < 0.03, found
    assert shares.get("damaged sent", 0) < 0.04, found
