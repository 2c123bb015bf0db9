"""The daemon when its database has no room: it says so, ends for nothing, and goes on when there is some."""

from contextlib import suppress
from pathlib import Path

from tests.people import place, small_disk
from tests.places import speech
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, last_scan_at, let_pass, wait_until
from watcher.sandbox import Sandbox

__all__ = ["place", "small_disk"]  # fixtures


def test_a_drop_folder_that_goes_away_meanwhile_ends_nothing(
    make_place: MakePlace, service: Sandbox, watcher: Programs, small_disk: Path
) -> None:
    """Nobody can write down that it is away: that is told once, tried again, and all goes on by itself."""
    site = make_place(store={"url": f"sqlite:///{small_disk}/watcher.db"})
    drop, aside = site.root / "drop", site.root / "aside"
    daemon = watcher.daemon(site)
    daemon.wait_for("watch.chosen")
    wait_until(lambda: last_scan_at(site) is not None, "it has looked")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    drop.rename(aside)

    (trouble,) = daemon.wait_for("maintenance.failed")
    let_pass(2.5)  # for more turns

    assert trouble["chore"] == "watch"
    assert "full" in trouble["reason"]
    assert len(daemon.events("maintenance.failed")) == 1
    filler.unlink()
    (aside / "call.wav").write_bytes(speech("call"))
    aside.rename(drop)
    daemon.wait_for("recording.done")
    assert daemon.stop() == 0
