"""Of forty mixed recordings: whoever has the shared folder alone, or the report alone, knows what became of each.

Nothing is read here but names, receipts and what a page shows as text; the books only say what is true.
"""

import json
import re
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.places import Place, sandbox
from tests.report.sites import drop_many, refuse
from tests.report.test_report import page_of, report, rows_of
from watcher.domain import ARTIFICIAL, State

_NAME = re.compile(r"[\w./+-]+\.wav")


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Forty recordings and the minutes of a meeting: artificial, human, neither, cut short, refused."""
    clock = FalseClock()
    folders = {"status": True, "by_verdict": True}
    with sandbox(clock) as service:
        arrivals = {"incomplete_minutes": 0.01}
        place = Place(tmp_path_factory.mktemp("forty"), service.url, clock, folders=folders, arrivals=arrivals)
        refuse(service, 2)
        drop_many(place, 40)
        place.run_once(verdicts=True)
        place.run_once(verdicts=True)
    return place


def artificial(place: Place) -> set[str]:
    verdicts = {path: place.verdict(path) for path in place.items()}
    return {path for path, verdict in verdicts.items() if verdict and verdict.classification == ARTIFICIAL}


def failed(place: Place) -> dict[str, str]:
    """What failed, each with what is to be done about it."""
    items = place.items()
    return {path: item.fault.hint for path, item in items.items() if item.state is State.FAILED and item.fault}


def test_by_the_folders_alone(forty: Place) -> None:
    """done/artificial has the artificial ones, failed/ the failed ones, whose receipts say what to do."""
    root = forty.root
    assert len(artificial(forty)) >= 4
    assert len(failed(forty)) >= 6
    assert _recordings(root / "done" / "artificial") == artificial(forty)
    assert _recordings(root / "failed") == failed(forty).keys()
    for path, hint in failed(forty).items():
        error = json.loads((root / "failed" / f"{path}.json").read_text())["error"]
        assert error["message"], path
        assert error["hint"] == hint != "", path
    for path in artificial(forty):
        receipt = json.loads((root / "done" / "artificial" / f"{path}.json").read_text())
        assert receipt["verdict"]["classification"] == "artificial"


def test_by_the_status_file_alone(forty: Place) -> None:
    """It names the artificial ones, and the failed ones with what to do about each."""
    text = _text((forty.root / "drop" / "_STATUS.html").read_bytes())
    _, first, rest = re.split(r"\bArtificial The service\b|\bFailed today\b", text)
    assert _names(first) == artificial(forty)
    needs, _, _ = rest.partition("In flight")
    assert _names(needs) == failed(forty).keys()
    _assert_advised(needs, failed(forty))


def test_by_the_report_alone(forty: Place) -> None:
    """Its page has a section for each; a line of its table has the same."""
    text = _text(report(forty, name="out.html"))
    _, first, second, rest = re.split(r"\bArtificial \(\d+\)|\bFailed \(\d+\)|\bReasons, and what to do\b", text)
    assert _names(first) == artificial(forty)
    assert _names(second) == failed(forty).keys()
    _assert_advised(second, failed(forty))
    _, _, others = rest.partition("All others (")
    assert _names(others) == forty.items().keys() - artificial(forty) - failed(forty).keys()

    rows = rows_of(report(forty, name="out.csv"))
    assert {row["path"] for row in rows if row["verdict"] == "artificial"} == artificial(forty)
    assert {row["path"]: row["error_hint"] for row in rows if row["state"] == "failed"} == failed(forty)
    assert len(rows) == len(forty.items()) == 41


def _assert_advised(text: str, advice: dict[str, str]) -> None:
    """Behind each name, and before the next one, stands what to do."""
    pieces = _NAME.split(text)[1:]
    for path, piece in zip(_NAME.findall(text), pieces, strict=True):
        assert advice[path].replace("`", "") in piece, (path, piece)


def _names(text: str) -> set[str]:
    return set(_NAME.findall(text))


def _text(data: bytes) -> str:
    """What a person reads on the page."""
    return " ".join("".join(page_of(data).text).split())


def _recordings(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.wav")}
