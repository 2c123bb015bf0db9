"""The proof is told as it was: what was counted, at which revision, and what was not tried."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import __main__ as crash
from tests.crash.trial import Run, Trial
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


def plant(monkeypatch: pytest.MonkeyPatch, bend: Callable[[Run], None]) -> None:
    """There are these two trials."""
    trials = (Trial("cut", "it is cut", 1, print), Trial("bend", "it is bent", 1, bend))
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

    assert "bend: skipped: only root can bend" in capsys.readouterr().out
    assert read_table("crash", document) == before


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
