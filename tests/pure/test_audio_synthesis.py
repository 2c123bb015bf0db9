"""The recordings that the demonstration makes."""

import io
import wave
from typing import Any, get_args

import av
import pytest

from watcher.audio import Completeness, examine
from watcher.audio.synthesis import Codec, amr, long_wav, wav


def decoded(data: bytes) -> list[int]:
    """The samples of a mono recording, by FFmpeg's decoder."""
    samples: list[int] = []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(audio=0):
            found: Any = memoryview(frame.planes[0]).cast("B")[: frame.samples * 2].cast("h")
            samples.extend(found)
    return samples


@pytest.mark.parametrize("codec", get_args(Codec))
@pytest.mark.parametrize("channels", [1, 2])
def test_synthesised_recordings_are_whole(codec: Codec, channels: int) -> None:
    """Each is proven, and as long as was asked for."""
    made = wav(2.5, channels=channels, codec=codec, note=b"odd", seed=4)
    found = examine(io.BytesIO(made), len(made))
    assert found.completeness is Completeness.PROVEN
    assert (found.seconds, found.channels, found.sample_rate) == (2.5, channels, 8000)


def test_the_seed_decides_the_content() -> None:
    """The same arguments give the same bytes; another seed, other sound."""
    assert wav(1, seed=1) == wav(1, seed=1)
    assert wav(1, seed=1)[44:] != wav(1, seed=2)[44:]


def test_the_note_lies_before_the_sound() -> None:
    """A note changes the bytes and leaves the sound; it can be found in the first of them."""
    noted = wav(1, note=b"sandbox: artificial")
    assert noted.index(b"sandbox: artificial") < noted.index(b"data") < 100
    assert noted.endswith(wav(1)[44:])


def test_companded_sound_decodes_to_the_plain_one() -> None:
    """A-law and µ-law differ from PCM by no more than their steps."""
    plain = decoded(wav(1, seed=3))
    for codec in ("mulaw", "alaw"):
        for exact, coarse in zip(plain, decoded(wav(1, seed=3, codec=codec)), strict=True):
            assert abs(exact - coarse) <= 16 + abs(exact) // 16


def test_plain_recordings_open_in_the_standard_library() -> None:
    """PCM is what Python's own reader takes, in other rates too."""
    with wave.open(io.BytesIO(wav(0.5, rate=16000, channels=2))) as opened:
        assert (opened.getframerate(), opened.getnchannels(), opened.getnframes()) == (16000, 2, 8000)


def test_the_shortest_recording_has_one_sample() -> None:
    """No length gives an empty file."""
    assert len(wav(0)) == 46


def test_a_long_one_has_its_marks_where_they_are_wanted() -> None:
    """So that one part of it can have another verdict than the rest."""
    made = long_wav(120.0, codec="mulaw", marks=[(b"mark", 70.0, 80.0)])
    found = examine(io.BytesIO(made), len(made))
    assert (found.completeness, found.seconds, found.channels) == (Completeness.PROVEN, 120.0, 2)
    places = [at for at in range(len(made)) if made.startswith(b"mark", at)]
    assert len(places) == 40
    assert 70.0 <= (places[0] - 58) / 16_000 < 70.1
    assert 79.5 <= (places[-1] - 58) / 16_000 < 80.0


def test_an_amr_recording_can_be_decoded() -> None:
    """It has sound all through, so that nothing of it is taken for silence."""
    assert amr(1.0, seed=3) == amr(1.0, seed=3)
    samples = decoded(amr(2.0))
    assert len(samples) == 16_000
    assert all(any(samples[at : at + 1600]) for at in range(0, 16_000, 1600))
