"""How a recording is made acceptable: the faithful ways first, never a lossy one, and the cost told beforehand."""

import io
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio_files import FOREIGN, recording
from watcher.audio import Examination, examine
from watcher.audio.riff import Blocks, find_blocks
from watcher.audio.source import Source as Content
from watcher.config import AudioConfig
from watcher.domain import Mode
from watcher.journey.prepare.plan import Plan, Source, make_plan, may_be_sent, sum_up

LIMIT = 15_000_000


def audio(**settings: Any) -> AudioConfig:
    return AudioConfig.model_validate(settings, context={"path": Path("/etc/watcher.toml")})


def source(kind: str, *, size: int | None = None, seconds: float | None = None, **facts: Any) -> Source:
    """A recording of this kind, as if it had so many bytes."""
    whole = recording(kind, 1.0)
    found = examine(io.BytesIO(whole), len(whole), thorough=True)
    blocks = find_blocks(Content(io.BytesIO(whole), len(whole))) if found.container == "WAV" else None
    times = 1.0 if size is None else size / len(whole)
    if blocks is not None and size is not None:
        grown = int(blocks.size * times) // blocks.block_bytes * blocks.block_bytes
        blocks = replace(blocks, size=grown, samples=int(blocks.samples * times))
    length = seconds if seconds is not None else (found.seconds or 0.0) * times
    return Source(replace(found, seconds=length, **facts), size or len(whole), blocks, b"a.x")


def plan(given: Source, *, has_codec: bool = True, limit: int = LIMIT, **settings: Any) -> Plan:
    return make_plan(given, audio(**settings), limit, has_codec=has_codec)


@pytest.mark.parametrize(
    ("kind", "size", "settings", "mode", "fewest", "most"),
    [
        # what fits and is accepted goes as it is, whatever it is
        ("wav", 1_000_000, {}, Mode.AS_IS, 1, 1),
        ("wav", LIMIT, {"oversize": "split"}, Mode.AS_IS, 1, 1),
        ("wav.float", 1_000_000, {}, Mode.AS_IS, 1, 1),
        ("mp3", 1_000_000, {"prepare": False}, Mode.AS_IS, 1, 1),
        ("ogg.opus", 1_000_000, {"oversize": "fail", "foreign": "fail"}, Mode.AS_IS, 1, 1),
        # a mono recording has no channels to take apart
        ("wav", 1_000_000, {"channels": "apart"}, Mode.AS_IS, 1, 1),
        ("wav", 1_000_000, {"channels": "second"}, Mode.AS_IS, 1, 1),
        # too large: PCM shrinks, nothing else does
        ("wav.stereo", 23_000_000, {}, Mode.FLAC, 1, 2),
        ("wav.24bit", 20_000_000, {}, Mode.FLAC, 1, 2),
        ("wav.stereo", 115_000_000, {}, Mode.FLAC, 1, 10),
        ("wav.stereo", 23_000_000, {"oversize": "split"}, Mode.CUT, 2, 2),
        ("wav.mulaw", 19_000_000, {}, Mode.CUT, 2, 2),
        ("wav.alaw", 40_000_000, {}, Mode.CUT, 3, 4),
        ("wav.ima", 20_000_000, {}, Mode.CUT, 2, 2),
        ("wav.ms", 20_000_000, {}, Mode.CUT, 2, 2),
        ("wav.gsm", 20_000_000, {}, Mode.CUT, 2, 2),
        ("wav.float", 20_000_000, {}, Mode.CUT, 2, 2),
        # too large and compressed: at packets, never encoded again
        ("mp3", 40_000_000, {}, Mode.COPY, 2, 4),
        ("m4a", 20_000_000, {}, Mode.COPY, 1, 2),
        ("ogg.opus", 20_000_000, {}, Mode.COPY, 1, 2),
        ("wav.mp3", 20_000_000, {}, Mode.COPY, 1, 2),
        ("flac", 40_000_000, {}, Mode.FLAC, 1, 4),
        # foreign: the packets first
        ("webm", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("matroska", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("matroska.mp3", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("matroska.pcm", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("amr", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("amr.wide", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("mov", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("mov.pcm", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("flv", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("wave64", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("wave64.adpcm", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("caf.alaw", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("caf.alac", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("au.mulaw", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("aifc.mulaw", 1_000_000, {}, Mode.REMUX, 1, 1),
        ("webm", 40_000_000, {}, Mode.COPY, 1, 4),
        ("wave64", 23_000_000, {}, Mode.FLAC, 1, 2),
        ("wave64", 23_000_000, {"oversize": "split"}, Mode.COPY, 1, 2),
        # foreign samples in the other order of bytes, and what no accepted container holds: FLAC
        ("aiff", 1_000_000, {}, Mode.FLAC, 1, 1),
        ("au", 1_000_000, {}, Mode.FLAC, 1, 1),
        ("caf", 1_000_000, {}, Mode.FLAC, 1, 1),
        ("wma", 1_000_000, {}, Mode.FLAC, 1, 2),
        # channels apart
        ("wav.stereo", 1_000_000, {"channels": "apart"}, Mode.CUT, 1, 2),
        ("wav.stereo", 1_000_000, {"channels": "first"}, Mode.CUT, 1, 1),
        ("mp3.stereo", 1_000_000, {"channels": "apart"}, Mode.FLAC, 1, 2),
        ("wav.stereo", 40_000_000, {"channels": "second"}, Mode.FLAC, 1, 2),
    ],
)
def test_the_plan_of_each_kind(
    kind: str, size: int, settings: dict[str, Any], mode: Mode, fewest: int, most: int
) -> None:
    """Mode, and submissions: an upper bound, and what it takes at the least."""
    made = plan(source(kind, size=size), **settings)
    assert (made.mode, made.fault) == (mode, None)
    assert (made.fewest, made.most) == (fewest, most), made
    assert made.reason.endswith(".")
    if mode is not Mode.AS_IS:
        assert f"in {made.submissions} submission" in made.reason


@pytest.mark.parametrize(
    ("kind", "size", "settings", "code", "says"),
    [
        ("wav.stereo", 23_000_000, {"oversize": "fail"}, "too_large", "1 to 2 submissions"),
        ("wav.stereo", 23_000_000, {"prepare": False}, "too_large", "audio.prepare = true"),
        ("webm", 1_000, {"foreign": "fail"}, "unsupported_type", 'audio.foreign is "fail"'),
        ("webm", 1_000, {"prepare": False}, "unsupported_type", "audio.prepare is false"),
        ("webm", 1_000, {"foreign": "fail"}, "unsupported_type", "ffmpeg -nostdin"),
        ("wav.mulaw", 400_000_000, {}, "too_long", "27 submissions"),
        ("wav.stereo", 40_000_000, {"oversize": "split", "max_parts": 2}, "too_long", "more than 2"),
        ("wav", 16_000, {"min_seconds": 1.5}, "too_short", "less than 1.5 s"),
        ("webm", 20_000, {"min_seconds": 10}, "too_short", "audio.min_seconds"),
    ],
)
def test_what_is_refused_says_why_and_what_it_would_have_cost(
    kind: str, size: int, settings: dict[str, Any], code: str, says: str
) -> None:
    """Nothing is sent, and nothing is paid; the setting that decided is named."""
    made = plan(source(kind, size=size), **settings)
    assert made.mode is Mode.REFUSE
    assert made.fault is not None
    assert made.fault.code == code
    assert says in f"{made.fault.message} {made.fault.hint}"


def test_without_the_extra_a_wav_is_still_cut_and_the_rest_says_what_to_install() -> None:
    """PCM too, which FLAC would have shrunk; channels of plain samples too."""
    for cuttable in (source("wav.stereo", size=23_000_000), source("wav.gsm", size=23_000_000)):
        assert plan(cuttable, has_codec=False).mode is Mode.CUT
    assert plan(source("wav.stereo"), has_codec=False, channels="apart").mode is Mode.CUT
    for other in (source("webm"), source("aiff"), source("mp3", size=23_000_000), source("flac", size=23_000_000)):
        made = plan(other, has_codec=False)
        assert made.fault is not None
        assert made.fault.code == "codec_missing"
        assert "identifai-watcher[audio]" in made.fault.hint
    assert plan(source("mp3"), has_codec=False).mode is Mode.AS_IS


def test_a_manifest_that_does_not_survive_is_told() -> None:
    """Sent as it is, it stays; whatever else is done loses it."""
    kept = source("wav", has_provenance=True)
    assert "C2PA" not in plan(kept).reason
    assert "C2PA" in plan(source("wav.stereo", size=23_000_000, has_provenance=True)).reason


def test_what_is_too_large_for_any_shrinking_is_not_even_read() -> None:
    """A sparse file of a terabyte, say."""
    assert not may_be_sent(1 << 40, audio(), LIMIT)
    assert may_be_sent(300_000_000, audio(), LIMIT)
    assert not may_be_sent(300_000_000, audio(oversize="fail"), LIMIT)
    assert not may_be_sent(300_000_000, audio(prepare=False), LIMIT)
    assert may_be_sent(LIMIT, audio(prepare=False), LIMIT)


def test_submissions_are_summed_up() -> None:
    """What is refused costs nothing."""
    plans = [Plan(Mode.AS_IS, 1, 1, ""), Plan(Mode.FLAC, 1, 3, "")]
    refused = plan(source("webm"), foreign="fail")
    assert sum_up([*plans, refused]) == (2, 4)


KINDS = (
    "wav",
    "wav.stereo",
    "wav.mulaw",
    "wav.ima",
    "wav.ms",
    "wav.gsm",
    "wav.float",
    "mp3",
    "m4a",
    "flac",
    *FOREIGN,
)
SETTINGS = st.fixed_dictionaries(
    {
        "oversize": st.sampled_from(["shrink", "split", "fail"]),
        "foreign": st.sampled_from(["convert", "fail"]),
        "channels": st.sampled_from(["together", "apart", "first", "second"]),
        "max_parts": st.integers(1, 40),
        "min_seconds": st.sampled_from([0, 3]),
    }
)


@given(
    st.sampled_from(KINDS),
    st.integers(1_000, 2_000_000_000),
    st.integers(100_000, 50_000_000),
    SETTINGS,
    st.booleans(),
)
def test_every_plan_holds_together(
    kind: str, size: int, limit: int, settings: dict[str, Any], has_codec: bool
) -> None:
    """A bound that bounds, a reason, and nothing that the service or the configuration does not take."""
    given_source = source(kind, size=size)
    made = plan(given_source, has_codec=has_codec, limit=limit, **settings)
    found: Examination = given_source.examination
    assert (made.fault is not None) == (made.mode is Mode.REFUSE)
    assert made.reason
    if made.fault is not None:
        return
    assert 1 <= made.fewest <= made.most
    assert made.fewest <= settings["max_parts"]
    assert made.fewest <= max(1, ceil(size / limit)) or made.mode is not Mode.COPY
    if made.mode is Mode.AS_IS:
        assert found.is_accepted
        assert size <= limit
        assert (made.fewest, made.most) == (1, 1)
    if not has_codec:
        assert made.mode in (Mode.AS_IS, Mode.CUT)
    if size > limit:
        assert settings["oversize"] != "fail"
    if made.mode is Mode.CUT:
        assert isinstance(given_source.blocks, Blocks)
        streams = 2 if settings["channels"] == "apart" and (found.channels or 1) > 1 else 1
        share = (
            given_source.blocks.size
            if settings["channels"] == "together"
            else given_source.blocks.size / (found.channels or 1)
        )
        assert made.most >= streams * ceil(share / limit)
    if made.mode in (Mode.REMUX, Mode.COPY) and settings["channels"] != "together" and (found.channels or 1) > 1:
        assert found.codec in ("PCM", "IEEE float", "µ-law", "A-law")
