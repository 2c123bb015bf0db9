"""Every command that a refusal prints is run as it is printed, and makes the same sound, fit to be sent."""

import math
import os
import random
import shutil
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tests.audio_files import FOREIGN, REFUSED, recording
from tests.places import Place
from tests.process.programs import Programs
from watcher.audio import Completeness, examination, examine, refusal
from watcher.config import AudioConfig
from watcher.errors import Exit, RecordingRefused
from watcher.journey.prepare.plan import Source, make_plan
from watcher.text import quote_path

RATE = 8000
LAG = RATE // 100
CI = os.environ.get("CI") == "true"


def need(program: str) -> str:
    """The program, or the test is skipped; under CI it fails."""
    found = shutil.which(program)
    if found is None:
        assert not CI, f"{program} is missing"
        pytest.skip(f"{program} is missing")
    return found


# The files


def by_ffmpeg(ending: str, *options: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        source, target = folder / "source.wav", folder / f"made{ending}"
        source.write_bytes(recording("wav", 2.0))
        command = [need("ffmpeg"), "-v", "error", "-nostdin", "-y", "-i", str(source), *options, str(target)]
        subprocess.run(command, check=True)
        return target.read_bytes()

    return make


def by_sox(ending: str, *options: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        source, target = folder / "source.wav", folder / f"made{ending}"
        source.write_bytes(recording("wav", 2.0))
        subprocess.run([need("sox"), str(source), *options, str(target)], check=True)
        return target.read_bytes()

    return make


def encoded(kind: str) -> Callable[[Path], bytes]:
    return lambda _: recording(kind, 2.0)


def old_mov(_: Path) -> bytes:
    """As QuickTime wrote it before there was a `ftyp` box."""
    return recording("mov", 2.0).replace(b"ftypqt  ", b"wide\0\0\0\0", 1)


def wideband(_: Path) -> bytes:
    """AMR-WB, which nobody here can encode: frames of 12.65 kb/s that say anything."""
    chance = random.Random(1)
    return b"#!AMR-WB\n" + b"".join(b"\x14" + chance.randbytes(32) for _ in range(100))


PICTURE = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=2", "-shortest")

ODD = ("amr.wide", "matroska.mp3")  # too quiet to compare; FFmpeg's own reader loses what MP3 begins with
FILES: dict[str, Callable[[Path], bytes]] = {
    kind: encoded(kind) for kind in (*FOREIGN, *REFUSED) if kind not in ODD
} | {
    "wma.mono": by_ffmpeg(".wma", "-c:a", "wmav1"),
    "wmv": by_ffmpeg(".wmv", *PICTURE),
    "aiff.24bit": by_ffmpeg(".aiff", "-c:a", "pcm_s24be"),
    "aifc": by_sox(".aifc"),
    "aifc.sowt": by_ffmpeg(".aiff", "-c:a", "pcm_s16le"),
    "au.mulaw": by_sox(".au", "-e", "mu-law"),
    "amr.wideband": wideband,
    "caf.alac": by_ffmpeg(".caf", "-c:a", "alac"),
    "rifx": by_sox(".wav", "-B"),
    "wavpack": by_ffmpeg(".wv"),
    "tta": by_ffmpeg(".tta"),
    "voc": by_sox(".voc"),
    "sphere": by_sox(".sph"),
    "sphere.mulaw": by_sox(".sph", "-e", "mu-law"),
    "flv": by_ffmpeg(".flv", "-c:a", "aac"),
    "mpeg": by_ffmpeg(".mpg", *PICTURE, "-c:a", "mp2"),
    "avi.pictured": by_ffmpeg(".avi", *PICTURE, "-c:a", "libmp3lame"),
    "mov.old": old_mov,
    "mov.pcm": by_ffmpeg(".mov", "-c:a", "pcm_s16le"),
    "ts.mp2": by_ffmpeg(".ts", "-c:a", "mp2"),
    "webm.vorbis": by_ffmpeg(".webm", "-c:a", "libvorbis"),
    "webm.pictured": by_ffmpeg(".webm", *PICTURE, "-c:a", "libopus"),
    "matroska.aac": by_ffmpeg(".mka", "-c:a", "aac"),
    "ogg.pictured": by_ffmpeg(".ogv", *PICTURE, "-c:v", "libtheora", "-c:a", "libvorbis"),
}
"""A real file of each kind for which a command is printed."""


def refused(content: bytes, name: bytes, folder: Path) -> RecordingRefused:
    path = folder / "to be refused"
    path.write_bytes(content)
    not_converted = AudioConfig.model_validate({"foreign": "fail"}, context={"path": path})
    with path.open("rb") as file:
        try:
            source = Source(examine(file, len(content), name=name), len(content), name=name)
        except RecordingRefused as error:
            return error
        finally:
            path.unlink()
    fault = make_plan(source, not_converted, 15_000_000, has_codec=True).fault
    assert fault is not None
    return RecordingRefused(fault.code, fault.message, hint=fault.hint)


def command_in(hint: str) -> str:
    """What a person copies: from the program's name to the end of the line."""
    return hint[hint.index("ffmpeg") :]


def run_as_printed(hint: str, folder: Path, shell: str = "sh") -> Path:
    """The one new file that the command made in the folder."""
    need("ffmpeg")
    before = set(folder.iterdir())
    done = subprocess.run(
        [need(shell), "-c", command_in(hint)],
        cwd=folder,
        input=b"typed after it\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (hint, done.stderr.decode(errors="backslashreplace")[-1000:])
    (made,) = set(folder.iterdir()) - before
    return made


def samples(path: Path) -> "array[float]":
    """The sound, of all channels mixed, at one rate for all."""
    found: array[float] = array("f")
    with av.open(os.fsencode(path).decode("utf-8", "surrogateescape")) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                found.frombytes(bytes(part.planes[0])[: 4 * part.samples])
        for part in resampler.resample(None):
            found.frombytes(bytes(part.planes[0])[: 4 * part.samples])
    return found


def assert_same_sound(one: "array[float]", other: "array[float]") -> None:
    """Within the few milliseconds by which containers move what they hold."""
    assert len(one) > RATE
    assert abs(len(one) - len(other)) < 0.02 * len(one)
    count = min(len(one), len(other)) - 2 * LAG
    energies = [math.fsum(x * x for x in sound[LAG : LAG + count]) for sound in (one, other)]
    assert min(energies) > 0.001 * count
    assert 0.97 < energies[1] / energies[0] < 1.03
    alike = max(
        math.fsum(x * y for x, y in zip(one[LAG : LAG + count], other[lag : lag + count], strict=True))
        for lag in range(2 * LAG)
    )
    assert alike / math.sqrt(energies[0] * energies[1]) > 0.99


@pytest.mark.parametrize("kind", FILES)
def test_the_printed_command_makes_the_same_sound(tmp_path: Path, kind: str) -> None:
    """As long, as loud, the same in every moment; whole, and of a kind that the service takes."""
    content = FILES[kind](tmp_path)
    folder = tmp_path / "failed"
    folder.mkdir()
    source = folder / "a call.x"
    source.write_bytes(content)

    made = run_as_printed(refused(content, b"a call.x", tmp_path).hint, folder)

    assert source.read_bytes() == content
    with made.open("rb") as file:
        found = examine(file, made.stat().st_size)
    assert found.completeness is not Completeness.SHORT
    assert found.has_sound
    assert found.damage is None
    assert made.name == f"a call{found.extension}"
    assert_same_sound(samples(source), samples(made))


def test_there_is_a_file_for_every_kind_that_has_a_command(tmp_path: Path) -> None:
    """No command is printed that is not run here."""
    ways = {what for _, _, what, way in refusal._MEDIA if not isinstance(way, str)}
    ways |= {"Ogg video", "an MPEG transport stream", "AAC in LOAS"}
    said = {refused(make(tmp_path), b"x", tmp_path).message for make in FILES.values()}
    containers = {message.split()[2].rstrip(",") for message in said if message.startswith("It is ")}
    assert containers == examination.FOREIGN.keys() - {"raw"}
    assert {message for message in said if not message.startswith("It is ")} == {
        f"It looks like {what}, which the service does not take." for what in ways
    }


# The names


NAMES = (
    *(b"call 1.aiff", b'it\'s "his".aiff', b"-y.aiff", b"$(touch pwned) `id`.aiff", b"50%d|a;b&c>d#e!.aiff"),
    *(b"12:30 call.aiff", b"concat:a.aiff", "Rückruf Müller.aiff".encode(), b"\xfc\xff%s\\.aiff"),
    *(
        b"two\nlines.aiff",
        b"tab\t\x1b[31mred.aiff",
        b"ends in a line feed.aiff\n",
        b".aiff",
        b"call",
        b"call.flac",
    ),
    *(b"CALL.FLAC", b"a" * 250 + b".aiff", "ü".encode() * 125 + b".aiff"),
)


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize(("shell", "is_whole"), [("sh", True), ("bash", False)], ids=["whole path", "name alone"])
def test_the_printed_command_takes_any_name(tmp_path: Path, name: bytes, shell: str, is_whole: bool) -> None:
    """Pasted into a shell as it is printed: the file is read, another is made beside it, and none is lost."""
    content = recording("aiff", 2.0)
    folder = tmp_path / "it's \udcff failed"
    folder.mkdir()
    source = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
    source.write_bytes(content)
    hint = refused(content, os.fsencode(source) if is_whole else name, tmp_path).hint

    assert hint.isprintable()
    made = run_as_printed(hint, folder, shell)

    assert source.read_bytes() == content
    shutil.copy(source, tmp_path / "source.aiff")
    shutil.copy(made, tmp_path / "made.flac")
    assert samples(tmp_path / "source.aiff") == samples(tmp_path / "made.flac")


def test_the_printed_command_overwrites_nothing(tmp_path: Path) -> None:
    """Where something has the name of the result already, it stays, and the command says so."""
    content = recording("aiff", 2.0)
    (tmp_path / "call.aiff").write_bytes(content)
    (tmp_path / "call.flac").write_bytes(b"somebody's")
    command = command_in(refused(content, b"call.aiff", tmp_path).hint)
    need("ffmpeg")
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert b"already exists" in done.stderr
    assert (tmp_path / "call.flac").read_bytes() == b"somebody's"


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_quoted_path_is_one_word_for_any_shell(tmp_path: Path, name: bytes) -> None:
    """Whatever its bytes are, it can be printed, and names that very file."""
    (tmp_path / os.fsdecode(name)).touch()
    for path in (name, os.fsencode(tmp_path) + b"/" + name):
        quoted = quote_path(path)
        assert quoted.isprintable()
        for shell in ("sh", "bash"):
            command = [need(shell), "-c", f"printf '%s\\0' {quoted}"]
            assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout == path + b"\0"


# As a person finds it


@pytest.mark.parametrize("name", [b"a/b call.aiff", b"R\xfcckruf\n.aiff"], ids=repr)
def test_the_command_in_a_receipt_leads_to_a_recording_that_is_accepted(
    place: Place, watcher: Programs, tmp_path: Path, name: bytes
) -> None:
    """It reads what was filed, wherever it is run; what it makes is dropped, submitted and done."""
    place.configure(audio={"foreign": "fail"})
    place.drop(name, recording("aiff", 4.0))
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.INCOMPLETE
    (failed,) = watcher.ask_json(place, "list")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    made = run_as_printed(failed["error"]["hint"], elsewhere)

    assert command_in(failed["error"]["hint"]) in watcher.ask(place, "why", failed["path"])
    shutil.move(made, place.root / "drop")
    program = watcher.call("run", "--once", "--config", place.config_path)
    assert program.process.returncode == Exit.WELL, program.err
    (done,) = watcher.ask_json(place, "list", "--state", "done")
    assert done["audio"]["seconds"] == pytest.approx(4.0, abs=0.1)


def test_the_command_names_the_file_that_was_filed_where_its_name_was_taken(
    place: Place, watcher: Programs, tmp_path: Path
) -> None:
    """Run on the plain name, it would convert the other recording a second time."""
    place.configure(audio={"foreign": "fail"})
    for seconds in (2.0, 3.0):
        place.drop("call.aiff", recording("aiff", seconds))
        watcher.call("run", "--once", "--config", place.config_path)
    second = watcher.ask_json(place, "list")[1]
    assert second["filed_as"] != "call.aiff"
    told = place.receipt(f"failed/{second['filed_as']}.json")["error"]
    assert told == second["error"]

    made = run_as_printed(told["hint"], tmp_path)

    assert len(samples(made)) == pytest.approx(3 * RATE, abs=RATE / 10)
