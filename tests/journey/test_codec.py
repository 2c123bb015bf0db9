"""The codec: what it makes is proven, and whatever a recording does to it, only that child ends."""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import pytest
import soundfile

from tests.audio_files import recording
from tests.audio_writers import Kind, made
from watcher import daemon
from watcher.audio import Completeness, Raw, examine
from watcher.audio.synthesis import wav
from watcher.domain import Mode
from watcher.errors import CodecDied
from watcher.journey.prepare import codec
from watcher.journey.prepare.codec import Bounds, Codec, CodecMissing, CodecRefused, CodecStopped
from watcher.journey.prepare.made import Facts, Made, Order, Outcome, Span
from watcher.journey.prepare.mp3_reservoir import needs_before

PATIENCE_SECONDS = 60.0
ROOMY = 15_000_000


@dataclass(frozen=True)
class Spool:
    """A folder for parts, open."""

    path: Path
    opened: int

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def read(self, outcome: Outcome) -> list[bytes]:
        """The parts that are there, which are exactly those that were told."""
        names = [part.name for part in outcome.made if part.name]
        assert self.names() == sorted(names)
        files = [(self.path / name).read_bytes() for name in names]
        kept = [part for part in outcome.made if part.name]
        assert [(hashlib.sha256(file).hexdigest(), len(file)) for file in files] == [
            (part.sha256, part.size) for part in kept
        ]
        return files


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    path = tmp_path / "spool"
    path.mkdir()
    opened = os.open(path, os.O_RDONLY)
    yield Spool(path, opened)
    os.close(opened)


def sound_of(data: bytes) -> "tuple[av.container.InputContainer, av.AudioStream]":
    container = av.open(io.BytesIO(data), "r")
    return container, container.streams.audio[0]


@contextmanager
def dropped(data: bytes, tmp_path: Path) -> Iterator[BinaryIO]:
    path = tmp_path / "recording"
    path.write_bytes(data)
    with path.open("rb") as file:
        yield file


def make(mode: Mode, data: bytes, spool: Spool, order: Order) -> Outcome:
    with dropped(data, spool.path.parent) as file:
        return Codec().make(file, mode, order, spool.opened)


def packets(data: bytes) -> list[bytes]:
    container, stream = sound_of(data)
    with container:
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def pcm(data: bytes) -> bytes:
    """Its samples as 16 bits, by libsndfile: a second opinion."""
    return bytes(soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)[0].tobytes())


def data_of(kind: str | Kind, seconds: float) -> bytes:
    found = recording(kind, seconds) if isinstance(kind, str) else made(kind, seconds)
    assert found
    return found


REMUXED = [
    ("webm", ".ogg", "Ogg", "Opus"),
    ("matroska", ".ogg", "Ogg", "Opus"),
    (Kind("ffmpeg", "matroska", "vorbis", 44100, 2), ".ogg", "Ogg", "Vorbis"),
    ("amr", ".3gp", "3GP", "AMR"),
    ("mov", ".m4a", "M4A", "AAC"),
    (Kind("ffmpeg", "mov", "alac", 44100, 2), ".m4a", "M4A", "ALAC"),
    (Kind("ffmpeg", "mov", "libmp3lame", 44100, 2), ".mp3", "MP3", "MP3"),
    (Kind("ffmpeg", "flv", "libmp3lame", 44100, 2), ".mp3", "MP3", "MP3"),
    ("wav.mp3", ".mp3", "MP3", "MP3"),
    ("wave64", ".wav", "WAV", "PCM"),
    (Kind("ffmpeg", "matroska", "pcm_s24le", 8000, 2), ".wav", "WAV", "PCM"),
    (Kind("ffmpeg", "caf", "pcm_s16le", 8000, 2), ".wav", "WAV", "PCM"),
    (Kind("ffmpeg", "caf", "pcm_mulaw"), ".wav", "WAV", "µ-law"),
    (Kind("ffmpeg", "w64", "adpcm_ms"), ".wav", "WAV", "MS ADPCM"),
]


@pytest.mark.parametrize(("kind", "extension", "container", "found"), REMUXED, ids=str)
def test_another_container_holds_the_same_packets(
    kind: str | Kind, extension: str, container: str, found: str, spool: Spool
) -> None:
    """What is inside is not touched: the proof is the hash of exactly what the original had, and it is whole."""
    data = data_of(kind, 12.0)
    outcome = make(Mode.REMUX, data, spool, Order("id", ROOMY))
    (file,), (part,) = spool.read(outcome), outcome.made
    assert (part.name, part.how, part.extension) == (f"id-1{extension}", "remux", extension)
    assert b"".join(packets(file)) == b"".join(packets(data))
    assert part.proof["sha256"] == hashlib.sha256(b"".join(packets(data))).hexdigest()
    examined = examine(io.BytesIO(file), len(file), name=b"id", thorough=True)
    assert (examined.container, examined.codec, examined.damage) == (container, found, None)
    assert (examined.media_type, examined.extension) == (part.media_type, extension)
    assert examined.completeness is Completeness.PROVEN
    assert examined.seconds == pytest.approx(outcome.facts.seconds, abs=0.15)


COPIED = ["mp3", "aac", "ogg.opus", "webm", "m4a", "ogg.vorbis", "amr", "wave64", "mp3.stereo", "mp2"]


@pytest.mark.parametrize("kind", COPIED)
def test_compressed_parts_have_together_exactly_the_packets_of_the_whole(kind: str, spool: Spool) -> None:
    """None is lost, none is twice; only what a decoder must hear first is put before a part, and counted."""
    data = data_of(kind, 70.0)
    limit = 12_000 + len(data) * 30 // 70 + 60_000 * (kind == "ogg.vorbis")
    outcome = make(Mode.COPY, data, spool, Order("id", limit))
    files = spool.read(outcome)
    assert len(files) > 1
    together = []
    for file, part in zip(files, outcome.made, strict=True):
        assert len(file) <= limit
        assert part.span.end_seconds - part.span.start_seconds >= 10
        inside = packets(file)[part.proof.get("put_before", 0) :]
        assert part.proof["sha256"] == hashlib.sha256(b"".join(inside)).hexdigest()
        together += inside
    assert b"".join(together) == b"".join(packets(data))
    assert outcome.made[-1].span.end_seconds == pytest.approx(outcome.facts.seconds, abs=0.2)


def test_a_part_with_fewer_packets_than_it_should_have_is_not_made(spool: Spool) -> None:
    """Its number on the receipt is counted, not supposed."""
    data = data_of("webm", 12.0)
    span = Span(1, None, 0, len(packets(data)) + 1, 0.0, 12.0, silent=False)
    with pytest.raises(CodecRefused):
        make(Mode.COPY, data, spool, Order("id", ROOMY, spans=(span,), indices=(1,)))
    assert spool.names() == []


def test_opus_parts_sound_like_the_whole_from_their_first_sample(spool: Spool) -> None:
    """A part begins with packets that are decoded and dropped: without them its beginning would be noise."""
    data = data_of("ogg.opus", 60.0)
    files = spool.read(make(Mode.COPY, data, spool, Order("id", 250_000)))
    whole, at = decoded(data), 0
    for file in files:
        sound = decoded(file)
        expected = whole[at : at + len(sound)]
        assert max(abs(one - two) for one, two in zip(sound, expected, strict=True)) < 0.002
        at += len(sound)
    assert at == pytest.approx(len(whole), abs=960)


def decoded(data: bytes) -> list[float]:
    """The first channel, by FFmpeg, which drops what a file says is to be dropped."""
    sound: list[float] = []
    container, stream = sound_of(data)
    with container:
        for frame in container.decode(stream):
            sound += struct.unpack_from(f"<{frame.samples}f", bytes(frame.planes[0]))
    return sound


def test_the_first_frame_of_an_mp3_part_decodes(spool: Spool) -> None:
    """Its sound begins in frames before the cut: a silent frame carries those bytes."""
    data = data_of("mp3", 70.0)
    outcome = make(Mode.COPY, data, spool, Order("id", 150_000))
    second = spool.read(outcome)[1]
    assert outcome.made[1].proof["put_before"] == 1
    carrier, first = packets(second)[:2]
    assert needs_before(first) > 0
    assert needs_before(carrier) == 0
    whole, part = decoded(data), decoded(second)
    begin = round(outcome.made[1].span.start_seconds * 16000)
    window = part[2000:3000]  # behind the carrier, and behind the one frame whose overlap is missing
    shifts = range(begin - 4000, begin + 6000)
    best = min(
        sum(abs(a - b) for a, b in zip(window[::50], whole[at : at + 1000 : 50], strict=True)) for at in shifts
    )
    assert best < 0.02


FLAC = [
    ("aiff", 16),
    ("au", 16),
    ("caf", 16),
    ("wav.24bit", 24),
    ("wav.stereo", 16),
    ("wav.mulaw", 16),
    (Kind("ffmpeg", "wav", "pcm_u8"), 16),
    (Kind("ffmpeg", "wav", "pcm_s16le", 44100, 2), 16),
    (Kind("ffmpeg", "flac", "flac", 44100, 2), 16),
]


@pytest.mark.parametrize(("kind", "bits"), FLAC, ids=str)
@pytest.mark.parametrize("share", [None, 3])
def test_flac_is_bit_for_bit_what_was_recorded(
    kind: str | Kind, bits: int, share: int | None, spool: Spool
) -> None:
    """Whole or in parts: another decoder finds every sample, and the proof is their hash."""
    data = data_of(kind, 70.0)
    whole = make(Mode.FLAC, data, spool, Order("id", ROOMY))
    limit = ROOMY
    if share:
        (spool.path / "id-1.flac").unlink()
        limit = whole.made[0].size // 2 + 20_000
        outcome = make(Mode.FLAC, data, spool, Order("id", limit))
    else:
        outcome = whole
    files = spool.read(outcome)
    assert len(files) > 1 if share else len(files) == 1
    assert all(len(file) <= limit for file in files)
    assert [part.proof["bits"] for part in outcome.made] == [bits] * len(files)
    wide = {"dtype": "int32", "always_2d": True}
    found = b"".join(soundfile.read(io.BytesIO(file), **wide)[0].tobytes() for file in files)
    assert found == soundfile.read(io.BytesIO(data), **wide)[0].tobytes()
    if bits == 16:
        assert [part.proof["sha256"] for part in outcome.made] == [
            hashlib.sha256(pcm(file)).hexdigest() for file in files
        ]


def test_what_flac_cannot_hold_stays_a_wav(spool: Spool) -> None:
    """Samples of 32-bit floating point, and whole numbers of 32 bits: cut as they are."""
    for codec_name in ("pcm_f32le", "pcm_s32le"):
        data = data_of(Kind("ffmpeg", "wav", codec_name, 8000, 2), 70.0)
        outcome = make(Mode.FLAC, data, spool, Order(codec_name, 2_000_000))
        names = [part.name for part in outcome.made]
        assert all(name and name.endswith(".wav") for name in names)
        files = [(spool.path / str(name)).read_bytes() for name in names]
        found = b"".join(soundfile.read(io.BytesIO(file), dtype="float64")[0].tobytes() for file in files)
        assert found == soundfile.read(io.BytesIO(data), dtype="float64")[0].tobytes()


def test_a_lossy_codec_is_decoded_once_and_rounded(spool: Spool) -> None:
    """WMA has no container that the service takes: its decoder's output, in FLAC, with the decoder's name."""
    outcome = make(Mode.FLAC, data_of("wma", 12.0), spool, Order("id", ROOMY))
    (file,) = spool.read(outcome)
    proof = outcome.made[0].proof
    assert proof["sha256"] == hashlib.sha256(pcm(file)).hexdigest()
    assert proof["decoder"].startswith(f"PyAV {av.__version__}, libavcodec ")
    assert "(wmav2)" in proof["decoder"]


@pytest.mark.parametrize(
    ("mode", "kind"), [(Mode.FLAC, "wav.stereo"), (Mode.COPY, "mp3"), (Mode.COPY, "webm"), (Mode.COPY, "m4a")]
)
def test_made_again_a_part_is_byte_for_byte_the_same(mode: Mode, kind: str, spool: Spool) -> None:
    """From the committed spans alone, each by itself: only so may it be sent a second time."""
    data = data_of(kind, 70.0)
    limit = 12_000 + (len(data) * 30 // 70 if mode is Mode.COPY else 220_000)
    first = make(mode, data, spool, Order("id", limit))
    files = spool.read(first)
    assert len(files) > 1
    for path in spool.path.iterdir():
        path.unlink()
    for index in (2, 1):
        again = make(mode, data, spool, Order("id", limit, spans=first.spans, indices=(index,)))
        assert again.made[0] == first.made[index - 1]
        assert (spool.path / str(again.made[0].name)).read_bytes() == files[index - 1]


def test_channels_apart_equal_and_silent(spool: Spool) -> None:
    """Each channel by itself; doubled mono once; a silent side not at all."""
    data = wav(20.0, channels=2)
    outcome = make(Mode.FLAC, data, spool, Order("id", ROOMY, channels="apart"))
    both = soundfile.read(io.BytesIO(data), dtype="int16")[0]
    for channel, file in enumerate(spool.read(outcome)):
        assert (soundfile.read(io.BytesIO(file), dtype="int16")[0] == both[:, channel]).all()
    assert [part.span.channel for part in outcome.made] == [0, 1]
    doubled = bytearray(data)
    doubled[46::4], doubled[47::4] = data[44::4], data[45::4]
    outcome = make(Mode.FLAC, bytes(doubled), spool, Order("same", ROOMY, channels="apart"))
    assert [(span.channel, span.silent) for span in outcome.spans] == [(0, False)]
    assert outcome.facts.same_as == (0, 0)
    one_sided = bytearray(data)
    one_sided[46::4] = one_sided[47::4] = bytes(len(data[46::4]))
    outcome = make(Mode.FLAC, bytes(one_sided), spool, Order("side", ROOMY, channels="apart"))
    assert [(span.channel, span.silent) for span in outcome.spans] == [(0, False), (1, True)]
    with pytest.raises(CodecRefused) as refused:
        make(Mode.FLAC, bytes(one_sided), spool, Order("second", ROOMY, channels="second"))
    assert refused.value.code == "no_sound"


@pytest.mark.parametrize(("name", "form"), [("mulaw", "ULAW"), ("alaw", "ALAW"), ("pcm", "PCM_16"), ("gsm", "")])
def test_a_headerless_recording_is_what_the_configuration_says(name: str, form: str, spool: Spool) -> None:
    """Codec, rate and channels are told; nothing in the file could."""
    sound = soundfile.read(io.BytesIO(wav(12.0)), dtype="int16")[0]
    raw = io.BytesIO()
    if form:
        soundfile.write(raw, sound, 8000, subtype=form, format="RAW")
    else:
        raw.write(gsm(sound))
    outcome = make(Mode.FLAC, raw.getvalue(), spool, Order("id", ROOMY, raw=Raw(name, 8000, 1)))
    (file,) = spool.read(outcome)
    assert outcome.facts.seconds == pytest.approx(12.0, abs=0.05)
    if form == "PCM_16":
        assert pcm(file) == sound.tobytes()


def gsm(sound: object) -> bytes:
    made_file = io.BytesIO()
    soundfile.write(made_file, sound, 8000, subtype="GSM610", format="RAW")
    return made_file.getvalue()


def test_it_can_listen_to_what_only_a_decoder_hears() -> None:
    """Its facts and its loudness, for cutting ADPCM and GSM in their pauses."""
    data = recording("wav.gsm", 12.0)
    file = io.BytesIO(data)
    with open(os.memfd_create("recording"), "w+b") as opened:
        opened.write(file.getvalue())
        opened.flush()
        facts, levels = Codec().listen(opened)
    assert facts.seconds == pytest.approx(12.0, abs=0.1)
    assert facts.silent == (False,)
    assert len(levels.values) == pytest.approx(12 * 50, abs=3)


# What is wrong with a recording is said of that recording


@pytest.mark.parametrize("kind", ["webm", "wma", "amr", "mov", "aiff", "mp3", "wave64"])
@pytest.mark.parametrize("cut", [0.02, 0.6])
def test_cut_input_ends_in_an_answer(kind: str, cut: float, spool: Spool) -> None:
    """Either what is there is made, or it is refused: nothing hangs, and nothing half done has a part's name."""
    data = data_of(kind, 12.0)
    for mode in (Mode.COPY, Mode.FLAC):
        try:
            spool.read(make(mode, data[: round(len(data) * cut)], spool, Order("id", ROOMY)))
        except CodecRefused:
            assert spool.names() == []
        for path in spool.path.iterdir():
            path.unlink()


@pytest.mark.parametrize("kind", ["amr", "webm", "matroska", "mov", "flv", "wma", "mp3", "wave64"])
@pytest.mark.parametrize("damage", [bytes(3000), bytes(range(256)) * 12], ids=["zeros", "noise"])
def test_damage_is_no_trouble_of_the_spool(kind: str, damage: bytes, spool: Spool) -> None:
    """What the codec's libraries call "not permitted" or "no such file" is about this recording: nothing waits."""
    data = data_of(kind, 12.0)
    middle = len(data) // 2
    for mode in (Mode.COPY, Mode.FLAC):
        with suppress(CodecRefused, CodecDied):
            make(mode, data[:middle] + damage + data[middle + len(damage) :], spool, Order("id", ROOMY))
        for path in spool.path.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 5000, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", os.urandom(3000)]
)
def test_what_is_no_recording_is_refused(data: bytes, spool: Spool) -> None:
    """A playlist above all, which names other files."""
    for mode in (Mode.COPY, Mode.FLAC):
        with pytest.raises(CodecRefused):
            make(mode, data, spool, Order("id", ROOMY))


def test_silence_is_no_sound(spool: Spool) -> None:
    data = bytearray(wav(20.0))
    data[44:] = bytes(len(data) - 44)
    with pytest.raises(CodecRefused) as refused:
        make(Mode.FLAC, bytes(data), spool, Order("id", ROOMY))
    assert refused.value.code == "no_sound"


# Whatever the child does, it is only the child


def child(
    program: str, *, bounds: Bounds | None = None, stopping: threading.Event | None = None, limited: bool = True
) -> Codec:
    """A codec whose child is this program, within the limits that it asks its kernel for, if it may."""
    begun = (
        "import json, os, signal, sys, time\n"
        "from watcher.journey.prepare.codec_child import _limit\n"
        f"told = json.load(sys.stdin); {limited} and _limit(told['limits'])\n"
        "os.write(os.open('draft', os.O_WRONLY | os.O_CREAT, dir_fd=told['folder']), b'half')\n"
    )
    return Codec(bounds=bounds, stopping=stopping, command=(sys.executable, "-c", begun + program))


LIE = Outcome(
    Facts(1.0, 1, 8000),
    (),
    (Made(Span(1, None, 0, 1, 0.0, 1.0, silent=False), "gone", "flac", "", 1, "audio/flac", ".flac", {}),),
).as_json()

DEATHS = {
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "hangs": ("time.sleep(3600)", "not done"),
    "hangs deaf": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)", "not done"),
    "hangs silently": ("os.close(1); os.close(2); time.sleep(3600)", "not done"),
    "swells": ("x = bytearray(900 << 20)", "MemoryError"),
    "swells slowly": ("x = []\nwhile True: x.append(b'x' * (1 << 20))", "memory|MemoryError"),
    "chatters": ("while True: os.write(1, b'x' * 65536)", "without end"),
    "complains": ("while True: os.write(2, b'x' * 65536)", "without end"),
    "says nothing": ("pass", "no answer"),
    "talks nonsense": ("print('[1, 2')", "no answer"),
    "answers something else": ("print('[1, 2]')", "no answer"),
    "answers half": ("print('{\"facts\": {}}')", "no answer"),
    "lies": (f"print({json.dumps(json.dumps(LIE))})", "no answer"),
    "fails": ("raise RuntimeError('a broken library')", "a broken library"),
    "exits": ("sys.exit(3)", "3"),
}


@pytest.mark.parametrize(("program", "said"), DEATHS.values(), ids=DEATHS.keys())
def test_a_bad_end_of_the_child_is_one_recordings_affair(
    program: str, said: str, spool: Spool, tmp_path: Path
) -> None:
    """It is ended where it does not end itself, the reason is told, and nothing that it began is left."""
    bounds = Bounds(memory_bytes=512 << 20, seconds=8.0)
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(CodecDied, match=said) as died:
        child(program, bounds=bounds).flac(file, spool.opened, Order("id", ROOMY))
    assert died.value.hint
    assert spool.names() == []
    assert not children()


def children() -> list[int]:
    """Those that nobody has waited for."""
    found = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
    return [int(pid) for pid in found if b"json.load" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("limited", [True, False])
def test_a_child_that_writes_too_much_is_stopped(limited: bool, spool: Spool, tmp_path: Path) -> None:
    """No file becomes much larger than any part could be, also where the kernel may not be asked to see to it."""
    program = (
        "made = os.open('huge', os.O_WRONLY | os.O_CREAT, dir_fd=told['folder'])\n"
        "while True: os.write(made, bytes(1 << 20)); time.sleep(0.01)\n"
    )
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(CodecDied, match=r"File too large|far more"):
        child(program, limited=limited).flac(file, spool.opened, Order("id", 1_000_000))
    assert spool.names() == []


def test_a_child_that_swells_is_stopped_where_its_kernel_does_not(spool: Spool, tmp_path: Path) -> None:
    """A service's filter may refuse it the call for its own limits: the parent watches too."""
    program = "x = []\nwhile True: x.append(b'x' * (1 << 20)); time.sleep(0.01)"
    bounds = Bounds(memory_bytes=256 << 20)
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(CodecDied, match="more memory"):
        child(program, bounds=bounds, limited=False).flac(file, spool.opened, Order("id", ROOMY))


def test_two_deaths_of_old_age_are_no_death_of_the_daemon() -> None:
    """However large a recording is, the codec ends before the service's watchdog takes the step for dead."""
    assert 2 * Bounds().seconds_for(10**12) < daemon._PREPARING_SECONDS


def test_a_full_disk_is_no_verdict(spool: Spool, tmp_path: Path) -> None:
    """It is the folder's error, which passes; the recording is not blamed."""
    program = "print(json.dumps({'disk': 28, 'reason': 'No space left on device'}))"
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(OSError, match="No space left") as full:
        child(program).flac(file, spool.opened, Order("id", ROOMY))
    assert full.value.errno == 28


def test_a_stop_ends_the_child(spool: Spool, tmp_path: Path) -> None:
    """A daemon that stops does not wait for a long recording."""
    stopping = threading.Event()
    codec_ = child("time.sleep(3600)", stopping=stopping)
    threading.Timer(0.5, stopping.set).start()
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(CodecStopped):
        codec_.flac(file, spool.opened, Order("id", ROOMY))
    assert not children()


def test_the_child_has_neither_the_key_nor_other_files(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in its environment, not among its descriptors: only the recording and the folder are handed over."""
    monkeypatch.setenv("IDENTIFAI_API_KEY", "secret")
    program = (
        "held = sorted(int(one) for one in os.listdir('/proc/self/fd'))\n"
        "known = [0, 1, 2, told['recording'], told['folder']]\n"
        "told = [os.environ.get('IDENTIFAI_API_KEY'), [os.readlink(f'/proc/self/fd/{one}') for one in held"
        " if one not in known and os.path.exists(f'/proc/self/fd/{one}')]]\n"
        "print(json.dumps({'refused': {'code': 'told', 'message': repr(told), 'hint': ''}}))\n"
    )
    with dropped(wav(1.0), tmp_path) as file, open(tmp_path / "other", "w+b"), pytest.raises(CodecRefused) as told:
        child(program).flac(file, spool.opened, Order("id", ROOMY))
    assert told.value.message == "[None, ['%s']]" % (spool.path / "draft") or told.value.message == "[None, []]"


def test_without_the_extra_it_says_what_to_install(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent finds out without loading it."""
    monkeypatch.setattr(codec, "has_codec", lambda: False)
    with dropped(wav(1.0), tmp_path) as file, pytest.raises(CodecMissing) as missing:
        Codec().flac(file, spool.opened, Order("id", ROOMY))
    assert "pip install 'identifai-watcher[audio]'" in missing.value.hint


def test_the_parent_loads_no_codec() -> None:
    """FFmpeg's libraries are in the child alone: 100 MB, and whatever a broken file makes of them."""
    program = (
        "import sys; from watcher.journey.prepare import codec; print(codec.has_codec(), 'av' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]


def test_the_daemon_is_told_that_work_goes_on(spool: Spool, tmp_path: Path) -> None:
    """A long recording is no hung step."""
    beats: list[int] = []
    codec_ = Codec(alive=lambda: beats.append(1))
    with dropped(wav(20.0), tmp_path) as file:
        codec_.flac(file, spool.opened, Order("id", ROOMY))
    assert beats
