"""What `check` says of what `[audio]` needs."""

from pathlib import Path

import pytest

from watcher.cli.checking import preparing
from watcher.cli.checking.finding import Condition
from watcher.config import Config, load


def config(folder: Path, text: str = "") -> Config:
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml")


def told(config: Config) -> dict[str, Condition]:
    return {finding.name: finding.state for finding in preparing.check_preparing(config)}


def test_all_is_well_where_the_spool_can_be_made(tmp_path: Path) -> None:
    """It need not be there yet."""
    assert told(config(tmp_path)) == {"spool": Condition.WELL}
    assert told(config(tmp_path, "[audio]\nprepare = false\n")) == {"audio": Condition.WELL}


def test_a_spool_that_cannot_be_made_is_wrong(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").touch()
    assert told(config(tmp_path, '[audio]\nspool = "file/spool"\n')) == {"spool": Condition.WRONG}


def test_a_spool_whose_folder_is_missing_is_wrong(tmp_path: Path) -> None:
    """The spool is made when it is needed, the folder that holds it is not: it may be the point of a mount."""
    assert told(config(tmp_path, '[audio]\nspool = "gone/spool"\n')) == {"spool": Condition.WRONG}
    (tmp_path / "gone").mkdir()
    assert told(config(tmp_path, '[audio]\nspool = "gone/spool"\n')) == {"spool": Condition.WELL}


def test_a_cap_below_the_parts_of_a_recording_is_a_warning(tmp_path: Path) -> None:
    """Such a recording takes several days."""
    found = told(config(tmp_path, "[limits]\nper_day = 10\n"))
    assert found == {"spool": Condition.WELL, "caps": Condition.WARNING}
    assert told(config(tmp_path, "[limits]\nper_day = 24\n")) == {"spool": Condition.WELL}


def test_a_missing_extra_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WAV is still cut."""
    monkeypatch.setattr(preparing, "has_codec", lambda: False)
    assert told(config(tmp_path))["codec"] is Condition.WARNING
