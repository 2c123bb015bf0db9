"""Where a recording is cut: all of it, none too large, none too short, in a pause."""

import struct
from array import array
from itertools import pairwise
from math import inf, nan, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.audio.g711 import decoded
from watcher.audio.synthesis import wav
from watcher.journey.prepare.quiet import LEAST_SECONDS, Levels, Listener, Ruler, TooDense, counts, cuts
from watcher.journey.prepare.sound import Comparison, Silence


def even(units: int, unit_bytes: int, rate: float) -> Ruler:
    """Every unit takes as many bytes and as long."""
    return Ruler(units, lambda at: at * unit_bytes, lambda at: at / rate)


@st.composite
def lengths(draw: st.DrawFn) -> tuple[Ruler, int]:
    rate = draw(st.sampled_from([8000, 11025, 44100, 48000, 16.3, 50]))
    unit_bytes = draw(st.integers(1, 1500))
    units = max(1, round(rate * draw(st.floats(0.001, 40_000))))
    limit = max(unit_bytes, round(unit_bytes * rate * draw(st.floats(20.5, 5_000))))
    return even(units, unit_bytes, rate), limit


@given(lengths(), st.none() | st.lists(st.floats(0, 9000, width=32), min_size=1, max_size=300))
def test_the_parts_are_the_whole_and_each_fits(case: tuple[Ruler, int], loudness: list[float] | None) -> None:
    """They follow each other from beginning to end; none is larger than allowed or lasts less than 10 s.

    Only a recording that is shorter than 10 s itself is a part as it is.
    """
    ruler, limit = case
    levels = (
        None
        if loudness is None
        else Levels(array("f", loudness), max(0.02, ruler.seconds_before(ruler.units) / len(loudness)))
    )
    borders = cuts(ruler, limit, levels)
    assert (borders[0], borders[-1]) == (0, ruler.units)
    for start, end in pairwise(borders):
        assert start < end
        assert ruler.bytes_before(end) - ruler.bytes_before(start) <= limit
        lasting = ruler.seconds_before(end) - ruler.seconds_before(start)
        assert lasting >= LEAST_SECONDS - 1e-6 or len(borders) == 2
    fewest, most = counts(ruler.bytes_before(ruler.units), limit)
    assert fewest <= len(borders) - 1 <= most + len(borders) // 50 + 1


@given(st.lists(st.integers(1, 400), min_size=1, max_size=600), st.integers(400, 6000))
def test_packets_of_any_size_are_cut_between_them(sizes: list[int], limit: int) -> None:
    """Bytes and seconds need not go together: no part is too large, none is empty, nothing is left out."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    ruler = Ruler(len(sizes), lambda at: ends[at], lambda at: at * 0.5)
    borders = cuts(ruler, limit, None)
    assert (borders[0], borders[-1]) == (0, len(sizes))
    assert all(a < b and ends[b] - ends[a] <= limit for a, b in pairwise(borders))


@pytest.mark.parametrize("pause", [83.0, 90.0, 98.5])
def test_the_cut_lies_in_the_middle_of_the_pause(pause: float) -> None:
    """Speech all the way, and one pause of a second in the last fifth of what fits: it is cut there."""
    grains = array("f", (900 + 800 * sin(at) for at in range(50 * 150)))
    for at in range(round(50 * pause), round(50 * pause) + 50):
        grains[at] = 20.0
    borders = cuts(even(150 * 8000, 2, 8000), 100 * 16000, Levels(grains, 0.02))
    assert [at / 8000 for at in borders] == pytest.approx([0, pause + 0.5, 150], abs=0.03)


def test_the_quieter_of_two_pauses_is_taken() -> None:
    """Breath noise is quiet, a pause of the line is quieter."""
    grains = array("f", [2000.0]) * (50 * 150)
    for first, level in ((82, 120.0), (95, 2.0)):
        for at in range(50 * first, 50 * first + 40):
            grains[at] = level
    borders = cuts(even(150 * 8000, 2, 8000), 100 * 16000, Levels(grains, 0.02))
    assert borders[1] / 8000 == pytest.approx(95.4, abs=0.03)


def test_a_short_rest_joins_its_neighbour() -> None:
    """100 s fit and 101 s are there: the second part gets its 10 s from the first."""
    borders = cuts(even(101, 1, 1), 100, None)
    assert borders[1] <= 91


def test_a_unit_that_does_not_fit_is_said() -> None:
    with pytest.raises(TooDense):
        cuts(even(10, 100, 1), 99, None)


def test_where_twice_ten_seconds_do_not_fit_the_parts_are_shorter() -> None:
    """The limit holds whatever it is."""
    borders = cuts(even(130, 1, 10), 120, None)
    assert borders in ([0, at, 130] for at in range(10, 121))


def test_samples_of_every_form_sound_alike() -> None:
    """The same sound in every form is as loud, within what its form can hold."""
    sound = [round(8000 * sin(at / 9)) for at in range(1600)]
    inverse = {law: {value: byte for byte, value in enumerate(decoded(law))} for law in ("mulaw", "alaw")}
    nearest = {
        law: bytes(table[min(table, key=lambda value: abs(value - sample))] for sample in sound)
        for law, table in inverse.items()
    }
    forms = {
        "s16": struct.pack("<1600h", *sound),
        "u8": bytes((sample >> 8) + 128 for sample in sound),
        "s24": b"".join((sample << 8).to_bytes(3, "little", signed=True) for sample in sound),
        "s32": struct.pack("<1600i", *(sample << 16 for sample in sound)),
        "f32": struct.pack("<1600f", *(sample / 32768 for sample in sound)),
        "f64": struct.pack("<1600d", *(sample / 32768 for sample in sound)),
        **nearest,
    }
    for form, data in forms.items():
        ear = Listener(form, 1, 8000)
        for at in range(0, len(data), 999):  # cut anywhere, inside a sample too
            ear.hear(data[at : at + 999])
        assert max(ear.levels().values) == pytest.approx(8000 * 0.707, rel=0.06), form
        silence = Silence(form, 1)
        silence.note(data)
        assert silence.of_channels() == (False,), form


@pytest.mark.parametrize(
    ("form", "data"),
    [("s16", bytes(3200)), ("u8", b"\x80" * 1600), ("mulaw", b"\xff\x7f" * 800), ("alaw", b"\xd5\x55" * 800)],
)
def test_an_idle_line_is_silent(form: str, data: bytes) -> None:
    """Zeros, and the two values between which idle G.711 alternates."""
    silence = Silence(form, 1)
    silence.note(data)
    assert silence.of_channels() == (True,)


def test_channels_that_are_the_same_are_found() -> None:
    """Mono that was doubled; one sample of difference is a difference."""
    mono = wav(1.0)[44:]
    doubled = bytearray(2 * len(mono))
    for at in (0, 1):
        doubled[at::4] = mono[at::2]
        doubled[at + 2 :: 4] = mono[at::2]
    same = Comparison(2)
    same.note(bytes(doubled), 2)
    assert same.same_as() == (0, 0)
    doubled[-1] ^= 1
    other = Comparison(2)
    other.note(bytes(doubled), 2)
    assert other.same_as() == (0, 1)


@pytest.mark.parametrize("value", [1e308, 1e150, 1e40, inf, -inf, nan])
def test_nonsense_for_samples_has_borders_too(value: float) -> None:
    """A broken recorder writes any fraction: however loud that would be, there is a place to cut."""
    ear = Listener("f64", 1, 8000)
    ear.hear((struct.pack("<d", 0.1) * 4000 + struct.pack("<d", value) * 4000) * 60)
    borders = cuts(even(60 * 8000, 8, 8000), 25 * 8000 * 8, ear.levels())
    assert (borders[0], borders[-1], len(borders)) == (0, 60 * 8000, 4)
