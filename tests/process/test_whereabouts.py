"""`where`: whoever dropped a recording is answered from folders and receipts, if they may read those."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.people import CREW, STRANGER, needs_root, place
from tests.places import Place, sandbox, speech
from watcher.cli import locating, main  # both at hand for whoever cannot read the interpreter's files
from watcher.errors import Exit

__all__ = ["locating", "place"]


def ask(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code, and what was said in one line, to somebody who stands in this folder."""
    os.chdir(folder)
    os.environ.pop("WATCHER_CONFIG", None)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main(["where", *words])
    return code, " ".join(said.getvalue().split())


@pytest.fixture
def filed(place: Path) -> Place:
    """One is done, one artificial, one failed; one name came twice; one waits. The configuration is closed."""
    needs_root()
    for name in ("drop", "done", "failed"):
        (place / name).mkdir()
        os.chown(place / name, 0, CREW)
        (place / name).chmod(0o2775 if name == "drop" else 0o2750)
    clock = FalseClock()
    with sandbox(clock) as service:
        site = Place(place, service.url, clock, arrivals={"incomplete_minutes": 0.01})
        site.drop("anna/call.wav")
        site.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
        site.drop("bad.wav", b"This is no recording at all. " * 40)
        site.run_once(verdicts=True)
        site.drop("robot.wav", speech("another"))
        site.run_once(verdicts=True)
    site.drop("empty.wav", b"")
    site.config_path.chmod(0o600)
    return site


def test_somebody_in_the_group_is_told_what_became_of_a_recording(filed: Place) -> None:
    """In the drop folder, below it, or with a path from anywhere; the configuration is closed to them."""
    drop = filed.root / "drop"
    for folder, words in (
        (drop, ["anna/call.wav"]),
        (drop / "anna", ["call.wav"]),
        (drop, ["call.wav"]),
        (Path("/"), [str(drop / "anna" / "call.wav")]),
        (Path("/"), [str(filed.root / "done" / "anna" / "call.wav.json")]),
        (filed.root, ["drop/anna/call.wav"]),
        (filed.root, ["call.wav"]),
        (Path("/"), ["call.wav", "--config", str(filed.config_path)]),
    ):
        code, said = STRANGER.does(ask, folder, *words)
        assert code == Exit.WELL, said
        assert "anna/call.wav was accepted; the verdict is human" in said, words
        assert str(filed.root / "done" / "anna" / "call.wav") in said


def test_what_failed_is_told_with_its_reason_and_what_waits_as_waiting(filed: Place) -> None:
    code, said = STRANGER.does(ask, filed.root / "drop", "bad.wav")
    assert (code, "bad.wav failed: It looks like text" in said) == (Exit.WELL, True)
    code, said = STRANGER.does(ask, filed.root / "drop", "empty.wav")
    assert (code, "is still in the drop folder" in said) == (Exit.WELL, True)


def test_each_recording_of_a_name_is_told_the_latest_first(filed: Place) -> None:
    """The second was filed with the beginning of its id in its name."""
    code, said = STRANGER.does(ask, filed.root / "drop", "robot.wav")
    assert code == Exit.WELL
    assert said.index("the verdict is human") < said.index("the verdict is artificial")
    assert "robot~" in said


def test_by_verdict_it_is_found_where_it_has_moved_on_to(filed: Place) -> None:
    done = filed.root / "done"
    (done / "human" / "anna").mkdir(parents=True, mode=0o755)
    for name in ("call.wav", "call.wav.json"):
        (done / "anna" / name).rename(done / "human" / "anna" / name)
    code, said = STRANGER.does(ask, filed.root / "drop" / "anna", "call.wav")
    assert code == Exit.WELL
    assert str(done / "human" / "anna" / "call.wav") in said


def test_what_is_closed_gives_no_answer_and_says_whom_to_ask(filed: Place) -> None:
    """Nothing is told of a recording by whose folder's or receipt's modes it is not to be read."""
    (filed.root / "done" / "anna" / "call.wav.json").chmod(0o600)
    code, said = STRANGER.does(ask, filed.root / "drop", "anna/call.wav")
    assert (code, "you may not read its receipt" in said, "human" in said) == (Exit.WELL, True, False)
    (filed.root / "done").chmod(0o700)
    code, said = STRANGER.does(ask, filed.root / "drop", "anna/call.wav")
    assert (code, "may not read" in said, "human" in said) == (Exit.USAGE, True, False)
    (filed.root / "drop" / ".watcher").chmod(0o600)
    code, said = STRANGER.does(ask, filed.root / "drop", "anna/call.wav")
    assert (code, "not the drop folder" in said) == (Exit.USAGE, True)


def test_what_nobody_dropped_is_not_found(filed: Place) -> None:
    code, said = STRANGER.does(ask, filed.root / "drop", "nobody.wav")
    assert (code, "neither in the drop folder" in said) == (Exit.USAGE, True)


def test_what_a_stranger_wrote_into_a_receipt_steers_nothing(filed: Place) -> None:
    """Nor does a receipt that is none, or a link in its place."""
    drop, done = filed.root / "drop", filed.root / "done"
    harm = '"\\u001b[31m' + "x" * 5000 + '"'
    (done / "evil.wav.json").write_text(
        f'{{"format": 1, "id": {harm}, "path": "evil.wav", "error": {{"message": {harm}}}}}'
    )
    (done / "evil.wav.json").chmod(0o644)
    code, said = STRANGER.does(ask, drop, "evil.wav")
    assert code == Exit.WELL
    assert said.isprintable()
    assert len(said) < 1000
    (done / "link.wav.json").symlink_to(filed.config_path)
    (done / "rubbish.wav.json").write_text("[[[[")
    for name in ("link.wav", "rubbish.wav"):
        code, said = STRANGER.does(ask, drop, name)
        assert "was accepted" not in said
        assert "base_url" not in said
