"""A step that fails as a whole, whatever the recording, is told by `status` and `check` until it works again."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.people import place, small_disk
from tests.places import Place
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, last_scan_at, mend, spoil, wait_until
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

__all__ = ["place", "small_disk"]  # fixtures

PATIENCE_SECONDS = 100.0  # a step that failed often is tried again after a minute


def failing(watcher: Programs, site: Place) -> dict[str, JsonObject]:
    """The steps that fail, as `status --json` has them."""
    (facts,) = watcher.ask_json(site, "status")
    return {one["step"]: one for one in facts["failing"]}


def check(watcher: Programs, site: Place) -> tuple[int | None, list[JsonObject]]:
    """How `check` exits, and what it finds of steps."""
    program = watcher.call("check", "--json", "--config", site.config_path)
    checks = json.loads(program.out)["checks"]
    return program.process.returncode, [one for one in checks if one["name"] == "step"]


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("arrive", "UPDATE ON site WHEN NEW.name = 'last_scan_at'"),
        ("admit", "INSERT ON items"),
        ("submit", "INSERT ON attempts"),
        ("file", "UPDATE OF filed_at ON items"),
        ("verdict", "UPDATE ON verdicts"),
    ],
)
def test_a_step_that_fails_is_told_until_it_works_again(
    make_place: MakePlace, watcher: Programs, step: str, change: str
) -> None:
    """Which, since when, how often, why, and when it last worked. `check` exits with 1 and says it as well."""
    site = make_place(limits={"in_flight": 2, "writes": ["10/second"]})
    daemon = watcher.daemon(site)
    wait_until(lambda: last_scan_at(site) is not None, "it has looked")
    assert failing(watcher, site) == {}
    spoil(site, change)
    site.drop("call.wav")

    wait_until(
        lambda: failing(watcher, site).get(step, {}).get("times", 0) >= 2,
        f"{step} fails, again",
        told=lambda: daemon.err[-6000:],
    )
    told = failing(watcher, site)[step]
    text, (code, found) = watcher.ask(site, "status"), check(watcher, site)

    assert (told["code"], told["since"] > told["succeeded_at"]) == ("store", True)
    assert "integer overflow" in told["message"]
    since = datetime.fromisoformat(told["since"]).astimezone().strftime("%H:%M:%S, ")
    (line,) = [line for line in text.splitlines() if line.startswith("failing ")]
    assert all(words in line for words in (step, "integer overflow", f"since {since}"))
    assert code == Exit.INCOMPLETE
    assert [(one["state"], step in one["found"]) for one in found] == [("wrong", True)]
    mend(site)
    wait_until(
        lambda: failing(watcher, site) == {},
        "it works again",
        seconds=PATIENCE_SECONDS,
        told=lambda: daemon.err[-6000:],
    )
    assert check(watcher, site) == (Exit.WELL, [])
    assert "failing" not in watcher.ask(site, "status")
    wait_until(lambda: site.files() == {"done/call.wav", "done/call.wav.json"}, seconds=PATIENCE_SECONDS)
    assert daemon.stop() == Exit.WELL


def test_that_verdicts_cannot_be_had_is_the_services_fault(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Nothing is queued, so nothing pauses: `status` says it all the same, and `check` exits with 69."""
    site = make_place(verdicts={"first_seconds": 0.1, "max_seconds": 0.5})
    service.add_fault("status", status=401, method="GET", times=0)
    watcher.daemon(site)
    site.drop("call.wav")

    wait_until(lambda: "verdict" in failing(watcher, site), "no verdict can be had")

    code, found = check(watcher, site)
    assert (code, [one["state"] for one in found]) == (Exit.UNAVAILABLE, ["unavailable"])
    service.clear_faults()
    wait_until(lambda: failing(watcher, site) == {}, "they come again", seconds=PATIENCE_SECONDS)


def test_where_the_database_has_no_room_the_steps_that_fail_are_told_all_the_same(
    make_place: MakePlace, watcher: Programs, small_disk: Path
) -> None:
    """What fails cannot be written into the database itself, so it stands elsewhere."""
    site = make_place(store={"url": f"sqlite:///{small_disk}/watcher.db"})
    daemon = watcher.daemon(site)
    wait_until(lambda: last_scan_at(site) is not None, "it has looked")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    site.drop("call.wav")  # few: the disk has room for no more, filled or not

    wait_until(lambda: failing(watcher, site), "something fails")

    assert all("full" in one["message"] for one in failing(watcher, site).values())
    assert "failing " in watcher.ask(site, "status")
    code, found = check(watcher, site)
    assert (code, bool(found)) == (Exit.INCOMPLETE, True)
    filler.unlink()
    wait_until(
        lambda: failing(watcher, site) == {},
        "it works again",
        seconds=PATIENCE_SECONDS,
        told=lambda: daemon.err[-6000:],
    )
    assert daemon.stop() == Exit.WELL


def test_what_fails_in_a_daemon_is_not_told_of_the_next(make_place: MakePlace, watcher: Programs) -> None:
    """Nor of one that was killed: nobody knows what would fail now."""
    site = make_place()
    daemon = watcher.daemon(site)
    spoil(site, "UPDATE ON site")
    wait_until(lambda: "arrive" in failing(watcher, site), "it fails")

    daemon.kill()

    assert failing(watcher, site) == {}
