"""The fuzzer finds what is wrong, says how to see it again, and finds nothing in a sample of everything."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.attempt import attempt
from tests.fuzz.mutation import made
from tests.fuzz.targets import TARGETS
from tests.people import PROJECT

_SAMPLE_SECONDS = 0.1
_LEAST = 2  # inputs, however slow each is
PLANTED = """
import ctypes, sys, time
letter = sys.argv.pop(1)
from tests.fuzz import targets
from tests.fuzz.target import plain
kept = []

def check(data):
    at = data.find(b"wrong")
    what = data[at + 5 : at + 6] if at >= 0 else b""
    if what != letter.encode():  # another kind of wrong, which a change of the word has come to
        return
    if what == b"e":
        raise KeyError("planted")
    if what == b"s":
        until = time.process_time() + 0.6
        while time.process_time() < until:
            pass
    if what == b"m":
        kept.append(b"x" * (50 << 20))
        del kept[:]
    if what == b"d":
        ctypes.string_at(0)

targets.TARGETS["planted"] = plain(
    "planted", check, lambda: [b"nothing", b"all is well " * 9000],
    words=(b"wrong" + letter.encode(),), seconds=0.3, memory_bytes=32 << 20,
)
from tests.fuzz.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def new_databases() -> None:
    """Targets see to that themselves."""


def fuzz(*words: str, program: tuple[str, ...] = ("-m", "tests.fuzz"), **variables: str) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    done = subprocess.run(
        [sys.executable, *program, *words],
        cwd=PROJECT,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_seed_gives_the_same_inputs(name: str) -> None:
    """Real ones first, then what is made of them; none is larger than it may be."""
    target = TARGETS[name]
    first, again = ([made(target, "a seed", number) for number in range(300, 330)] for _ in range(2))
    assert first == again
    assert first != [made(target, "another", number) for number in range(300, 330)]
    assert len(set(first)) > 20
    assert all(len(data) <= target.most_bytes for data in first)


@pytest.mark.parametrize("name", TARGETS)
def test_everything_holds_for_a_sample(name: str) -> None:
    """Of each target some inputs, the same ones every time, for a moment."""
    target, number = TARGETS[name], 0
    made(target, "a sample", 0)  # what seeds are made with is not there twice
    with target.opened() as check:
        until = time.monotonic() + _SAMPLE_SECONDS
        while number < _LEAST or time.monotonic() < until:
            data = made(target, "a sample", 1000 + number)
            found = attempt(target, check, data)
            assert found is None, (data, found)
            number += 1


@pytest.mark.parametrize(
    ("letter", "kind", "size"),
    [("e", "KeyError", 6), ("s", "slow", 0), ("m", "memory", 1 << 16), ("d", "the process died", 0)],
)
def test_what_is_wrong_is_found_and_can_be_played_again(tmp_path: Path, letter: str, kind: str, size: int) -> None:
    """An error, slowness, memory, a crash: the input is written down, as small as it gets, and fails again."""
    program = tmp_path / "planted.py"
    program.write_text(PLANTED)
    finds = tmp_path / "finds"
    code, said = fuzz(letter, "planted", program=(str(program),), FUZZ_SECONDS="4", FUZZ_FINDS=str(finds))
    assert code == 1, said
    assert kind in said
    found = min(finds.iterdir(), key=lambda path: path.stat().st_size)
    assert f"--replay {found}" in said
    assert b"wrong" + letter.encode() in found.read_bytes()
    assert not size or found.stat().st_size <= 1.1 * size
    code, _ = fuzz(letter, "--replay", str(found), program=(str(program),))
    assert code != 0


def test_an_unknown_target_is_named() -> None:
    """With those that there are."""
    code, said = fuzz("nothing")
    assert code == 2
    assert "there is no target nothing; there are wav, " in said
