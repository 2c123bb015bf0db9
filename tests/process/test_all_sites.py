"""Several sites of one account in one database: what people see of this one, and of all."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.places import KEY, REFUSED, Place, speech
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.conftest import QUICK, MakePlace
from tests.process.programs import CLOCK, Programs
from watcher.domain import Pause, PauseKind
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import Node


def site_of(place: Place) -> str:
    return str(json.loads((place.root / "watcher.node").read_text())["site"])


def told(watcher: Programs, place: Place, *words: str) -> dict[str, Any]:
    (found,) = watcher.ask_json(place, *words)
    return dict(found)


@dataclass(frozen=True)
class Sites:
    """Berlin has two recordings, of which one failed; Rome has one; another account's site has one, too."""

    berlin: Place
    rome: Place
    theirs: Place


@pytest.fixture(scope="module")
def sites(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:  # noqa: F811
    """Three sites in one database, each in a folder of its own. Tests leave them as they are."""
    root, name = tmp_path_factory.mktemp("sites"), postgresql.database()
    programs = Programs(root / "programs")
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as service:

        def make(folder: str, account: str = "default") -> Place:
            settings = QUICK | {"store": {"url": postgresql.url(name)}, "identifai": {"account": account}}
            (root / folder).mkdir()
            return Place(root / folder, service.url, CLOCK, **settings)

        found = Sites(make("berlin"), make("rome"), make("theirs", "another"))
        service.add_fault(**REFUSED, times=1)
        for place, paths in (
            (found.berlin, ("a.wav", "b.wav")),
            (found.rome, ("a.wav",)),
            (found.theirs, ("c.wav",)),
        ):
            for path in paths:
                place.drop(path, speech(f"{place.root.name} {path}"))
            once = programs.call("run", "--once", "--verdicts", "--config", place.config_path)
            assert once.process.returncode in (Exit.WELL, Exit.INCOMPLETE), once.err
        yield found
    programs.close()
    postgresql.drop(name)


def test_status_tells_of_every_site_and_of_all_together(sites: Sites, watcher: Programs) -> None:
    """A block for each, this one first, by the name of its drop folder, then the sums; none of another account."""
    berlin, rome = sites.berlin, sites.rome
    found = told(watcher, berlin, "status", "--all-sites")
    assert [site["site"] for site in found["sites"]] == [site_of(berlin), site_of(rome)]
    assert [site["folder"] for site in found["sites"]] == [str(berlin.root / "drop"), str(rome.root / "drop")]
    assert [site["own"] for site in found["sites"]] == [True, False]
    assert [site["states"]["done"] for site in found["sites"]] == [1, 1]
    assert [site["states"]["failed"] for site in found["sites"]] == [1, 0]
    assert (found["states"]["done"], found["states"]["failed"], found["paused"]) == (2, 1, None)
    assert found["needs_person"] == {"failed": 1, "held": 0}
    assert found["verdicts"]["known"] == 2
    assert found["last_scan_at"] == min(site["last_scan_at"] for site in found["sites"])
    said = watcher.ask(rome, "status", "--all-sites")
    places = [
        said.index(text) for text in (f"{rome.root}/drop (this site)\n", f"{berlin.root}/drop\n", "all 2 sites")
    ]
    assert places == sorted(places)
    assert "theirs" not in said
    assert told(watcher, berlin, "status")["states"]["done"] == 1
    refused = watcher.call("status", "--healthy", "--all-sites", "--config", berlin.config_path)
    assert (refused.process.returncode, "watcher_sites_without_node" in refused.err) == (2, True)


def test_list_and_report_tell_the_site_of_each_recording(sites: Sites, watcher: Programs) -> None:
    """In the order that was asked for, whichever site they came to; one's own alone without the option."""
    berlin, rome = sites.berlin, sites.rome
    ids = {"berlin": site_of(berlin), "rome": site_of(rome)}
    listed = watcher.ask_json(berlin, "list", "--all-sites")
    assert [(item["path"], item["site"]) for item in listed] == [
        ("a.wav", ids["berlin"]),
        ("b.wav", ids["berlin"]),
        ("a.wav", ids["rome"]),
    ]
    assert [item["path"] for item in watcher.ask_json(berlin, "list")] == ["a.wav", "b.wav"]
    for key, names in (("name", "aab"), ("-name", "baa"), ("-arrived", "aba"), ("confidence", None)):
        found = watcher.ask_json(rome, "list", "--all-sites", f"--sort={key}")
        assert len(found) == 3
        assert names is None or "".join(item["path"][0] for item in found) == names, key
    assert [item["site"] for item in watcher.ask_json(rome, "list", "--all-sites", "--state", "failed")] == [
        ids["berlin"]
    ]
    head, *rows = watcher.ask(rome, "list", "--all-sites").splitlines()
    assert head.split("\t")[-1] == "site"
    assert [row.split("\t")[-1] for row in rows] == [f"{berlin.root}/drop"] * 2 + [f"{rome.root}/drop"]
    (shown,) = watcher.ask_json(rome, "show", "a.wav")
    assert shown["site"] == ids["rome"]

    table = list(csv.DictReader(io.StringIO(watcher.ask(berlin, "report", "--all-sites").lstrip("\ufeff"))))
    assert Counter(row["site"] for row in table) == {ids["berlin"]: 2, ids["rome"]: 1}
    lines = watcher.ask(berlin, "report", "--all-sites", "--format", "json").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [item["id"] for item in listed]
    page = watcher.ask(berlin, "report", "--all-sites", "--format", "html")
    assert "3 recordings arrived" in page
    assert f'<bdi>{rome.root}/drop</bdi></th><td class="n">1</td>' in page
    assert watcher.ask(berlin, "report").count("\n") == 3


def test_pause_at_all_sites_is_a_row_for_each(sites: Sites, watcher: Programs) -> None:
    """Each site can be resumed by itself, or all at once; a site of another account is left alone."""
    berlin, rome = sites.berlin, sites.rome
    said = watcher.ask(berlin, "pause", "--all-sites", "--reason", "moving house")
    assert f"2 sites ({berlin.root}/drop, {rome.root}/drop)" in said
    for place in (berlin, rome):
        assert told(watcher, place, "status")["paused"]["reason"] == "moving house"
    assert told(watcher, sites.theirs, "status")["paused"] is None
    found = told(watcher, rome, "status", "--all-sites")
    assert found["paused"]["sites"] == [site_of(rome), site_of(berlin)]
    assert "everywhere: moving house" in watcher.ask(rome, "status", "--all-sites")
    watcher.ask(rome, "resume")
    assert told(watcher, berlin, "status")["paused"] is not None
    found = told(watcher, rome, "status", "--all-sites")
    assert found["paused"]["sites"] == [site_of(berlin)]
    said = watcher.ask(rome, "resume", "--all-sites")
    assert said == f"The person's pause is over at {berlin.root}/drop.\n"
    assert "not paused at 2 sites" in watcher.ask(rome, "resume", "--all-sites")

    with rome.books() as books:  # what the account met is every site's
        books.pauses.set(Pause(PauseKind.ACCOUNT, "no_credit", "The account has no credit left.", 1.0, None))
    found = told(watcher, berlin, "status", "--all-sites")
    assert [(pause["kind"], pause["sites"]) for pause in found["pauses"]] == [
        ("account", [site_of(berlin), site_of(rome)])
    ]
    said = watcher.ask(berlin, "resume", "--all-sites")
    assert said.count("Still paused: The account has no credit left.") == 1
    with berlin.books() as books:
        books.pauses.end(PauseKind.ACCOUNT, 2.0)


def test_what_waits_at_every_site_is_listed_with_it(sites: Sites, watcher: Programs) -> None:
    berlin, rome = sites.berlin, sites.rome
    empty = rome.drop("empty.wav", b"")
    watcher.call("run", "--once", "--config", rome.config_path)
    found = watcher.ask_json(berlin, "list", "--waiting", "--all-sites")
    assert [(file["path"], file["site"]) for file in found] == [("empty.wav", site_of(rome))]
    empty.unlink()


def test_a_node_elsewhere_is_at_work(sites: Sites, watcher: Programs) -> None:
    """Commands on a machine without a daemon say who works on the site: nothing is wrong, none need be started."""
    rome = sites.rome
    node = Node("hamburg", "elsewhere", "boot", "1", pid=77)
    with rome.books() as books:
        books.leases.take(site_of(rome), node, 600)
    try:
        said = watcher.ask(rome, "status")
        assert "not running here; the site's node is hamburg (process 77 on elsewhere" in said
        assert told(watcher, rome, "status")["daemon"]["elsewhere"].startswith("hamburg")
        assert watcher.ask(rome, "status", "--healthy") == "work succeeds\n"
        assert "hamburg" in watcher.ask(sites.berlin, "status", "--all-sites")
        watcher.ask(rome, "pause")
        assert watcher.ask(rome, "resume") == "Submitting goes on.\n"
    finally:
        with rome.books() as books:
            books.leases.take(site_of(rome), node, 0)
    assert watcher.call("status", "--healthy", "--config", rome.config_path).process.returncode == Exit.INCOMPLETE


def test_before_any_table_is_there_is_this_site_alone(
    postgresql: Server,  # noqa: F811
    make_place: MakePlace,
    watcher: Programs,
) -> None:
    """Whether this node knows its id already, as with a database that was made anew, or not."""
    name = postgresql.database()
    place = make_place(store={"url": postgresql.url(name)})
    for _ in range(2):
        (own,) = told(watcher, place, "status", "--all-sites")["sites"]
        assert (own["own"], own["lease"], own["states"]["done"]) == (True, None, 0)
        assert told(watcher, place, "status")["daemon"]["elsewhere"] is None
        assert watcher.ask_json(place, "list", "--all-sites") == []
        (place.root / "watcher.node").write_text('{"site": "0123456789abcdef"}')
    postgresql.drop(name)


def test_in_a_file_there_is_one_site(make_place: MakePlace, watcher: Programs) -> None:
    """A script for all sites works there, too."""
    place = make_place()
    place.drop("a.wav")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.WELL
    (own,) = told(watcher, place, "status", "--all-sites")["sites"]
    assert (own["own"], own["states"]["done"], own["lease"]) == (True, 1, None)
    assert "daemon" in watcher.ask(place, "status")
    listed = watcher.ask_json(place, "list", "--all-sites")
    assert [(item["path"], item["site"]) for item in listed] == [("a.wav", own["site"])]
    assert watcher.ask(place, "list", "--all-sites").splitlines()[1].endswith(f"\t{place.root}/drop")
    assert watcher.ask(place, "report", "--all-sites").count("\n") == 2
    watcher.ask(place, "pause", "--all-sites")
    assert told(watcher, place, "status")["paused"] is not None
    watcher.ask(place, "resume", "--all-sites")
    assert told(watcher, place, "status")["paused"] is None
