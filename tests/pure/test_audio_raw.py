"""Headerless recordings are believed to be what their rule says, unless that is surely wrong."""

import io
import random
import struct
from array import array
from math import sin

import pytest

from tests.audio_files import recording
from watcher.audio import Completeness, Examination, Raw, examine
from watcher.errors import RecordingRefused


def look(data: bytes, raw: Raw) -> Examination:
    return examine(io.BytesIO(data), len(data), raw=raw)


def talk(seconds: float, level: float, seed: int = 1) -> "array[int]":
    """Something like a voice: a few harmonics that come and go, hiss between, pauses."""
    chance, samples = random.Random(seed), array("h")
    for at in range(int(8000 * seconds)):
        is_voiced, is_on = at // 1200 % 3, at // 4000 % 4
        tone = sin(at * 0.12) + sin(at * 0.24) / 2 + sin(at * 0.47) / 4 if is_voiced else chance.uniform(-0.4, 0.4)
        samples.append(int(level * (tone if is_on else chance.uniform(-0.01, 0.01))))
    return samples


def mulaw(samples: "array[int]") -> bytes:
    def code(sample: int) -> int:
        sign, biased = (0x80 if sample < 0 else 0), min(abs(sample), 32635) + 132
        exponent = biased.bit_length() - 8
        return ~(sign | exponent << 4 | biased >> exponent + 3 & 15) & 0xFF

    return bytes(map(code, samples))


@pytest.mark.parametrize("level", [30, 1000, 12000, 18000])
@pytest.mark.parametrize("seed", range(3))
def test_a_voice_is_never_taken_for_noise(level: float, seed: int) -> None:
    """Faint or loud, as µ-law and as PCM of both orders."""
    samples = talk(3.0, level, seed)
    big = struct.pack(f">{len(samples)}h", *samples)
    for data, codec in ((mulaw(samples), "mulaw"), (samples.tobytes(), "pcm"), (big, "s16be")):
        found = look(data, Raw(codec, 8000, 1))
        assert (found.container, found.damage, found.has_sound) == ("raw", None, True)
        assert found.seconds == pytest.approx(3.0)
        assert (found.completeness, found.is_accepted) == (Completeness.UNKNOWN, False)


@pytest.mark.parametrize("data", [b"\xff" * 8000, b"\x7f" * 8000, b"\xd5" * 8000])
@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_silence_is_sound_of_its_length(data: bytes, codec: str) -> None:
    """Nobody spoke: that is no fault of the rule."""
    assert look(data, Raw(codec, 8000, 1)).damage is None


def test_what_the_rule_says_wrongly_is_damage() -> None:
    """It would be noise: each is told as what it was said to be."""
    samples = talk(3.0, 9000)
    for data, codec, says in (
        (samples.tobytes(), "mulaw", "µ-law"),
        (struct.pack(f">{len(samples)}h", *samples), "pcm", "PCM"),
        (samples.tobytes(), "gsm", "GSM 6.10"),
    ):
        assert says in str(look(data, Raw(codec, 8000, 1)).damage)


@pytest.mark.parametrize(
    ("codec", "rate", "channels", "size", "seconds"),
    [
        ("mulaw", 8000, 2, 16000, 1.0),
        ("gsm", 8000, 1, 33 * 50, 1.0),
        ("g722", 16000, 1, 8000, 1.0),
        ("g729", 8000, 1, 1000, 1.0),
        ("pcm", 16000, 1, 32000, 1.0),
    ],
)
def test_the_size_tells_the_length(codec: str, rate: int, channels: int, size: int, seconds: float) -> None:
    data = (b"\xd0" + bytes(32)) * (size // 33 + 1)
    found = look(data[:size], Raw(codec, rate, channels))
    assert found.seconds == pytest.approx(seconds)
    assert (found.channels, found.sample_rate) == (channels, rate)


def test_content_with_a_header_counts_more_than_the_rule() -> None:
    """A WAV that is called .ulaw is a WAV; a text is a text."""
    rule = Raw("mulaw", 8000, 1)
    assert look(recording("wav"), rule).container == "WAV"
    assert look(recording("aiff"), rule).container == "AIFF"
    with pytest.raises(RecordingRefused, match="PDF"):
        look(b"%PDF-1.7" + bytes(100), rule)
