"""A WAV that is too large is cut at its blocks: the parts have the original's, and decode to the same sound."""

import hashlib
import io
import os
from array import array
from pathlib import Path

import pytest
import soundfile

from tests.audio_files import chunk, recording
from tests.audio_writers import Kind, made
from watcher.audio.riff import Blocks, find_blocks
from watcher.audio.source import Source
from watcher.audio.synthesis import wav
from watcher.domain import Mode
from watcher.errors import RecordingChanged, RecordingRefused
from watcher.journey.prepare.codec import Codec
from watcher.journey.prepare.cutter import Cutter
from watcher.journey.prepare.made import Order, Outcome
from watcher.journey.prepare.wav_cut import cut

KINDS = [
    *(
        Kind("ffmpeg", "wav", f"pcm_{name}", 8000, 2)
        for name in ["u8", "s16le", "s24le", "s32le", "f32le", "f64le", "mulaw", "alaw"]
    ),
    *(Kind("ffmpeg", "wav", name) for name in ("adpcm_ms", "adpcm_ima_wav")),
    Kind("ffmpeg", "wav", "pcm_s16le", options=(("rf64", "always"),)),
    Kind("libsndfile", "WAV", "MS_ADPCM", 8000, 2),
    Kind("libsndfile", "WAV", "IMA_ADPCM", 8000, 2),
    Kind("libsndfile", "WAV", "GSM610"),
    Kind("libsndfile", "WAVEX", "PCM_16", 44100, 2),
    Kind("libsndfile", "RF64", "PCM_16", 8000, 2),
    Kind("ffmpeg", "wav", "pcm_s16le", piped=True),
]


def blocks_of(data: bytes) -> Blocks:
    found = find_blocks(Source(io.BytesIO(data), len(data)))
    assert found is not None
    return found


def parts(data: bytes, folder: Path, order: Order) -> tuple[Outcome, list[bytes]]:
    """Cut it, and read what was written."""
    path = folder / "whole.wav"
    path.write_bytes(data)
    target = folder / "spool"
    target.mkdir(exist_ok=True)
    opened = os.open(target, os.O_RDONLY)
    try:
        with path.open("rb") as file:
            outcome = cut(file, blocks_of(data), opened, order)
    finally:
        os.close(opened)
    names = [one.name for one in outcome.made if one.name]
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    return outcome, [(target / name).read_bytes() for name in names]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_parts_hold_exactly_the_blocks_and_decode_to_the_whole(kind: Kind, tmp_path: Path) -> None:
    """Of every block codec; a decoder of GSM alone, which starts with an empty memory, differs after a cut."""
    data = made(kind, 65.0)
    assert data is not None
    whole = blocks_of(data)
    limit = max(whole.size // 4, 25 * whole.size // 65) + 1000
    outcome, files = parts(data, tmp_path, Order("id", limit))
    assert len(files) > 1
    assert all(len(file) <= limit and len(file) % 2 == 0 for file in files)
    inside = []
    for file, part in zip(files, outcome.made, strict=True):
        own = blocks_of(file)
        inside.append(file[own.start : own.start + own.size])
        assert part.proof == {"of": "blocks", "sha256": hashlib.sha256(inside[-1]).hexdigest(), "decoder": None}
        assert (part.sha256, part.size) == (hashlib.sha256(file).hexdigest(), len(file))
        assert (own.format, own.rate, own.channels) == (whole.format, whole.rate, whole.channels)
        assert own.seconds == pytest.approx(part.span.end_seconds - part.span.start_seconds, abs=1e-6)
        assert int.from_bytes(file[4:8], "little") == len(file) - 8
    assert b"".join(inside) == data[whole.start : whole.start + whole.size]
    assert all(part.span.end_seconds - part.span.start_seconds >= 10 for part in outcome.made)
    heard = [soundfile.read(io.BytesIO(file), dtype="float64")[0] for file in files]
    expected = soundfile.read(io.BytesIO(data), dtype="float64")[0]
    assert sum(map(len, heard)) >= whole.samples
    at = 0
    for sound in heard:
        if "GSM" not in kind.codec or not at:
            assert (sound == expected[at : at + len(sound)]).all()
        at += len(sound)


def test_made_again_the_parts_are_the_same(tmp_path: Path) -> None:
    """By the committed spans alone, also a single one of them; what is there already is replaced by the same."""
    data = wav(60.0, channels=2)
    first, files = parts(data, tmp_path, Order("id", 800_000))
    (tmp_path / "spool" / "id-2.wav").unlink()
    again, _ = parts_again(data, tmp_path, Order("id", 800_000, spans=first.spans, indices=(2,)))
    assert again.made == (first.made[1],)
    assert (tmp_path / "spool" / "id-2.wav").read_bytes() == files[1]


def parts_again(data: bytes, folder: Path, order: Order) -> tuple[Outcome, None]:
    opened = os.open(folder / "spool", os.O_RDONLY)
    with (folder / "whole.wav").open("rb") as file:
        outcome = cut(file, blocks_of(data), opened, order)
    os.close(opened)
    return outcome, None


def test_only_so_many_bytes_are_kept(tmp_path: Path) -> None:
    """What has no room is measured all the same; the first part is always kept."""
    outcome, files = parts(wav(60.0, channels=2), tmp_path, Order("id", 800_000, keep_bytes=1))
    assert [part.name for part in outcome.made] == ["id-1.wav", *[None] * (len(outcome.made) - 1)]
    assert len(files) == 1
    assert all(part.size > 300_000 for part in outcome.made)


@pytest.mark.parametrize("codec", ["pcm", "mulaw"])
def test_each_channel_by_itself(codec: str, tmp_path: Path) -> None:
    """Every sample of one channel, in a mono file; the second channel's parts follow the first's."""
    data = wav(40.0, channels=2, codec=codec)  # type: ignore[arg-type]
    outcome, files = parts(data, tmp_path, Order("id", 10_000_000, channels="apart"))
    assert [(part.span.channel, part.name) for part in outcome.made] == [(0, "id-1.wav"), (1, "id-2.wav")]
    expected, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    for channel, file in enumerate(files):
        sound, own_rate = soundfile.read(io.BytesIO(file), dtype="int16")
        assert own_rate == rate
        assert (sound == expected[:, channel]).all()
    (tmp_path / "other").mkdir()
    only, (second,) = parts(data, tmp_path / "other", Order("id", 10_000_000, channels="second"))
    assert only.made[0].proof == outcome.made[1].proof
    assert second == files[1]


def test_equal_channels_are_sent_once_and_silent_ones_not(tmp_path: Path) -> None:
    """Mono doubled is one part; a side on which nobody is heard is told, and not made."""
    mono = wav(20.0)[44:]
    doubled, one_sided = bytearray(2 * len(mono)), bytearray(2 * len(mono))
    for at in (0, 1):
        doubled[at::4] = doubled[at + 2 :: 4] = one_sided[at::4] = mono[at::2]
    head = wav(20.0, channels=2)[:44]
    outcome, _ = parts(head + bytes(doubled), tmp_path, Order("id", 10_000_000, channels="apart"))
    assert [span.channel for span in outcome.spans] == [0]
    assert outcome.facts.same_as == (0, 0)
    (tmp_path / "other").mkdir()
    outcome, _ = parts(head + bytes(one_sided), tmp_path / "other", Order("id", 10_000_000, channels="apart"))
    assert [(span.channel, span.silent) for span in outcome.spans] == [(0, False), (1, True)]
    assert [part.span.channel for part in outcome.made] == [0]
    assert outcome.facts.silent == (False, True)


def test_a_long_silence_is_a_part_that_is_not_sent(tmp_path: Path) -> None:
    """Minutes on hold: the part is told, with its times, and no file is made of it."""
    speech = wav(30.0)[44:]
    sound = speech + bytes(16000 * 120) + speech
    data = chunk(b"RIFF", b"WAVE" + wav(1.0)[12:36] + chunk(b"data", sound))
    outcome, _ = parts(data, tmp_path, Order("id", 16000 * 40))
    assert any(span.silent for span in outcome.spans)
    assert [part.span for part in outcome.made] == [span for span in outcome.spans if not span.silent]
    for span in outcome.spans:
        assert span.silent is not any(sound[span.start * 2 : span.end * 2])


@pytest.mark.parametrize("codec", ["MS_ADPCM", "IMA_ADPCM", "GSM610"])
def test_silence_that_only_a_decoder_hears(codec: str, tmp_path: Path) -> None:
    """A stretch of it is a part like others, since no sample can be looked at; all of it is not sent."""
    speech = wav(30.0)[44:]
    for sound in (speech + bytes(16000 * 120) + speech, bytes(16000 * 60)):
        path = tmp_path / "whole.wav"
        soundfile.write(path, memoryview(array("h", sound)), 8000, format="WAV", subtype=codec)
        data = path.read_bytes()
        spool = tmp_path / "spool"
        spool.mkdir(exist_ok=True)
        opened, order = os.open(spool, os.O_RDONLY), Order("id", len(data) // 4)
        try:
            with path.open("rb") as file:
                if any(sound):
                    outcome = Cutter(Codec()).make(file, Mode.CUT, order, opened)
                    assert sum(span.end - span.start for span in outcome.spans) == blocks_of(data).count
                else:
                    with pytest.raises(RecordingRefused) as refused:
                        Cutter(Codec()).make(file, Mode.CUT, order, opened)
                    assert refused.value.code == "no_sound"
        finally:
            os.close(opened)


@pytest.mark.parametrize("kind", ["wav.mp3", "wav.g722", "wav.yamaha"])
def test_what_needs_what_is_before_it_has_no_blocks(kind: str) -> None:
    """Frames, or a decoder that carries its state along: not cut without a codec."""
    data = recording(kind)
    assert find_blocks(Source(io.BytesIO(data), len(data))) is None


def test_a_recording_that_shrinks_leaves_no_part(tmp_path: Path) -> None:
    """Its end is gone when it is read: an error, and nothing half done under a part's name."""
    data = wav(40.0)
    path, spool = tmp_path / "whole.wav", tmp_path / "spool"
    path.write_bytes(data[:-100_000])
    spool.mkdir()
    opened = os.open(spool, os.O_RDONLY)
    with path.open("rb") as file, pytest.raises(RecordingChanged, match="before its sound does"):
        cut(file, blocks_of(data), opened, Order("id", 10_000_000))
    os.close(opened)
    assert list(spool.iterdir()) == []
