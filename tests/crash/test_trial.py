"""The proof is told as it was: what was counted, at which revision, and what was not tried."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import __main__ as crash
from tests.crash import crossings
from tests.crash.trial import Run, Trial
from tests.people import PROJECT
from tests.readme import README, read_table

HEAD = ["| what is done | how often | violations | revision, day |", "|---|---|---|---|"]


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A document with the table, in which two trials have rows already."""
    made = tmp_path / "README.md"
    rows = ["| it is cut | 7 cuts | 0 | before |", "| it is bent | 9 bends | 0 | before |"]
    made.write_text("\n".join(["Above", "<!-- crash: begin -->", *HEAD, *rows, "<!-- crash: end -->", "Below"]))
    for name in ("read_table", "write_table"):
        kept = getattr(crash, name)
        monkeypatch.setattr(crash, name, lambda *given, kept=kept: kept(*given, document=made))
    monkeypatch.setattr(crash, "_find_revision", lambda: "now")
    return made


def plant(
    monkeypatch: pytest.MonkeyPatch, bend: Callable[[Run], None], cut: Callable[[Run], None] = print
) -> None:
    """There are these two trials."""
    trials = (Trial("cut", "it is cut", 1, cut), Trial("bend", "it is bent", 1, bend))
    monkeypatch.setattr(crash, "TRIALS", trials)


def test_a_trial_by_itself_changes_its_row_alone(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted stands there with the revision; the other keeps what it had."""

    def bend(run: Run) -> None:
        run.counts["bends"] += 1200
        run.judge("left:1", ["it broke", "and fell"])

    plant(monkeypatch, bend)

    assert crash.main(["bend", "--write"]) == 1

    assert read_table("crash", document) == [
        *HEAD,
        "| it is cut | 7 cuts | 0 | before |",
        "| it is bent | 1,200 bends | 1 | now |",
    ]
    assert document.read_text().startswith("Above\n")
    assert document.read_text().endswith("\nBelow")


def test_what_cannot_be_tried_here_is_said_and_changes_nothing(
    document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that another machine wrote stays."""

    def bend(run: Run) -> None:
        pytest.skip("only root can bend")

    plant(monkeypatch, bend)
    before = read_table("crash", document)

    assert crash.main(["bend", "--write"]) == 0

    assert "not tried: bend: only root can bend" in capsys.readouterr().out
    assert read_table("crash", document) == before


@pytest.mark.parametrize(
    ("stopped_by", "code", "violations"),
    [(KeyboardInterrupt, 130, 0), (OSError, 1, 1), (pytest.fail.Exception, 1, 1)],
)
def test_a_trial_that_is_cut_off_keeps_what_it_counted(
    document: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stopped_by: type[BaseException],
    code: int,
    violations: int,
) -> None:
    """An interruption is no violation, and ends all; an error is one, and the trials after it are carried out."""

    def cut(run: Run) -> None:
        run.counts["cuts"] += 5
        raise stopped_by

    def bend(run: Run) -> None:
        run.counts["bends"] += 6

    plant(monkeypatch, bend, cut)

    assert crash.main(["--write", "--seed", "7"]) == code

    told = read_table("crash", document)[2:]
    assert told[0] == f"| it is cut | 5 cuts | {violations} | now |"
    assert told[1] == f"| it is bent | {'9 bends | 0 | before' if code == 130 else '6 bends | 0 | now'} |"
    assert ("cut --seed 7" in capsys.readouterr().out) == bool(violations)


def test_nothing_done_in_the_time_is_no_row(
    document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It proves nothing, and is said."""
    plant(monkeypatch, lambda _run: None)
    before = read_table("crash", document)

    assert crash.main(["bend", "--write"]) == 0

    assert "not tried: bend: nothing was done in the time" in capsys.readouterr().out
    assert read_table("crash", document) == before


def test_the_whole_takes_an_hour() -> None:
    """With what each trial needs to begin, and to bring to its end what is under way."""
    assert sum(trial.minutes for trial in crash.TRIALS) <= 55


_HANGS = """
import sys, time
from tests.crash import trial
trial._PATIENCE_SECONDS = 1.0
run = trial.Run("hang", 1, 0.5)
print([each for each in run.carry_out(time.sleep, [0.0, 3600.0])])
"""


def test_a_play_that_hangs_is_told_and_ends_the_trial() -> None:
    """Nobody has to sit beside it: its processes are gone."""
    ended = subprocess.run(
        [sys.executable, "-c", _HANGS], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )

    assert "TimeoutError: none of these came to its end in 1 s: 3600.0" in ended.stderr


_ENDLESS = """
import pytest
from tests.clock import FalseClock
from tests.crash import bounded

@pytest.mark.parametrize("number", range(5))
def test_one(number, record_property):
    record_property("turns", 1)
    if number == 2:
        bounded._CLOCK = FalseClock(1e12)
        bounded._CLOCK.advance(1e12)
"""


def test_what_has_not_begun_when_the_time_is_over_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has begun comes to its end; the others are told, and are no violation."""
    tests = tmp_path / "test_endless.py"
    tests.write_text(_ENDLESS)
    monkeypatch.setattr(crossings, "WORKERS", 0)
    run = Run("endless", 1, 3600.0)

    crossings._run_tests(run, (str(tests),))

    assert run.counts == {"turns": 3, "of 5 scenes": 3}
    assert run.violations == 0


def test_a_seed_plays_the_same_again(
    document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A find is told with the words that play it again."""
    drawn: list[float] = []

    def bend(run: Run) -> None:
        drawn.append(run.chance.random())
        run.judge("left:1", ["it broke"])

    plant(monkeypatch, bend)

    for _ in range(2):
        assert crash.main(["bend", "--seed", "7"]) == 1

    assert drawn[0] == drawn[1]
    assert "bend --only left:1 --seed 7\n    it broke" in capsys.readouterr().out


def test_readme_has_the_table() -> None:
    """Between its marks; `make crash` fills it."""
    assert read_table("crash", README)[:2] == HEAD
