"""Several sites of one account at the page: this one by default, all of them where that is asked for."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser import browsing, find_chromium
from tests.clock import FalseClock
from tests.places import Place, sandbox
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.store.recordings import item
from tests.web.sites import Served, names_in, served
from watcher.domain import Fault, PauseKind, State
from watcher.journey.failures import Failures
from watcher.store import Lease, Node
from watcher.views.context import open_site
from watcher.views.metrics import read_figures
from watcher.web.collector import FiguresCollector

_FAULT = Fault("refused", "The uploaded file format is not supported.", "Convert it.")


@dataclass(frozen=True)
class Sites:
    """Berlin, whose pages are looked at; Rome, of the same account; and a site of another account.

    The oldest recording, which failed, came to Rome; then sixty to Berlin; then two to Rome.
    """

    berlin: Served
    rome: Place
    theirs: Place


@pytest.fixture(scope="module")
def sites(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:  # noqa: F811
    clock, name, root = FalseClock(), postgresql.database(), tmp_path_factory.mktemp("sites")
    with ExitStack() as stack:
        service = stack.enter_context(sandbox(clock))
        places = {}
        for folder, account in (("berlin", "default"), ("rome", "default"), ("theirs", "another")):
            settings: dict[str, dict[str, Any]] = {
                "store": {"url": postgresql.url(name)},
                "identifai": {"account": account},
                "limits": {"writes": [], "reads": []},
            }
            (root / folder).mkdir()
            places[folder] = Place(root / folder, service.url, clock, **settings)
        for place in places.values():
            place.run_once()
        rows = [("rome", "1/00", State.FAILED), *(("berlin", f"60/{n:02}", State.DONE) for n in range(60))]
        rows += [("rome", "2/00", State.DONE), ("rome", "2/01", State.DONE), ("theirs", "1/00", State.DONE)]
        for number, (folder, path, state) in enumerate(rows, start=1):
            with places[folder].books() as books:
                books.items.add(item(number, state=state, path=f"{path}.wav".encode(), fault=_FAULT), "as a test")
        berlin = stack.enter_context(served(places["berlin"]))
        yield Sites(berlin, places["rome"], places["theirs"])
    postgresql.drop(name)


def test_the_page_of_all_sites_has_each_and_the_sum(sites: Sites) -> None:
    """This one first, by its drop folder; none of another account."""
    page = sites.berlin.get("/sites")
    places = [page.index(f"<bdi>{place.root}/drop</bdi>") for place in (sites.berlin.place, sites.rome)]
    assert places == sorted(places)
    assert "theirs" not in page
    assert "All 2 sites" in page
    done = re.findall(r'data-label="done">(\d+)', page)
    assert done == ["60", "2", "62"]
    assert re.findall(r'data-label="need a person">(\d+)', page) == ["0", "1", "1"]
    assert "no node" in page, "nobody works at Rome"
    assert '<a href="/sites">' in sites.berlin.get("/")


def test_recordings_are_this_site_s_or_those_of_all(sites: Sites) -> None:
    """A page at a time, the newest first, each once, with its site."""
    own = sites.berlin.get("/recordings")
    assert len(names_in(own)) == 50
    assert "rome" not in own
    page, found, address = "", [], "/recordings?sites=all"
    for _ in range(9):
        page = sites.berlin.get(address)
        found += names_in(page)
        following = re.search(r'<a href="(/recordings\?[^"]*before=[^"]*)"', page)
        if following is None:
            break
        address = following[1].replace("&amp;", "&")
        assert "sites=all" in address
    assert found == [
        *(f"2/{n:02}.wav" for n in (1, 0)),
        *(f"60/{n:02}.wav" for n in reversed(range(60))),
        "1/00.wav",
    ]
    assert f"<bdi>{sites.rome.root}/drop</bdi>" in page
    assert names_in(sites.berlin.get("/recordings?sites=all&state=failed")) == ["1/00.wav"]
    assert "Decide for all" not in sites.berlin.get("/recordings?sites=all&state=failed")


def test_what_lies_at_another_site_can_be_read_and_is_decided_there(sites: Sites) -> None:
    elsewhere = sites.rome.item("1/00.wav").id
    page = sites.berlin.get(f"/recordings/{elsewhere}")
    assert f"belongs to another site, {sites.rome.root}/drop" in page
    assert f'action="/recordings/{elsewhere}' not in page
    assert elsewhere in sites.berlin.get(f"/recordings?sites=all&name={elsewhere}")
    assert sites.berlin.status(f"/recordings/{sites.theirs.item('1/00.wav').id}") == 404


def test_submitting_is_paused_and_resumed_at_all_sites(sites: Sites) -> None:
    page = sites.berlin.post("/pause", sites="all", reason="moving house")
    assert "paused at all sites" in page
    assert "Paused everywhere." in page
    for place in (sites.berlin.place, sites.rome):
        assert [pause.kind for pause in place.pauses()] == [PauseKind.PERSON]
    assert sites.theirs.pauses() == []
    sites.berlin.post("/resume")
    assert f"at <bdi>{sites.rome.root}/drop</bdi>" in sites.berlin.get("/sites")
    assert "goes on at all sites" in sites.berlin.post("/resume", sites="all")
    assert sites.rome.pauses() == []


def figures_of(place: Place, owner: str = "") -> dict[str, float]:
    """What a node of this site would tell a monitor, without labels. `owner`: of the lease that it took."""
    with open_site(place.config, place.clock) as context:
        if owner and (terms := context.store.database.terms) is not None:
            terms.fence(context.store.database.own_site() or "", owner, 1)
        collector = FiguresCollector(read_figures(context, Failures()))
        samples = [sample for family in collector.collect() for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.labels}


def lease_of(place: Place) -> Lease:
    with place.books() as books:
        lease = books.leases.of(books.site.get("id"))
    assert lease is not None
    return lease


def test_a_node_tells_whether_it_holds_the_lease_and_which_sites_have_no_node(sites: Sites) -> None:
    """One that stands by tells nothing of the recordings: the other does, and each alarm would ring twice."""
    found = figures_of(sites.berlin.place, lease_of(sites.berlin.place).owner)
    assert found["watcher_node_holds_lease"] == 1
    assert 0 < found["watcher_node_lease_remaining_seconds"] <= 30
    assert (found["watcher_sites"], found["watcher_sites_without_node"]) == (2, 1)
    assert "watcher_waiting_files" in found

    another = Node("another", "elsewhere", "kernel", "1", pid=1)
    with sites.rome.books() as books:
        books.leases.take(books.site.get("id"), another, 600)
    found = figures_of(sites.rome)
    assert found["watcher_node_holds_lease"] == 0
    assert found["watcher_node_lease_remaining_seconds"] > 0
    assert found["watcher_sites_without_node"] == 0
    assert "watcher_waiting_files" not in found


def test_anybody_can_read_it(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> None:
    """axe-core finds nothing, and nothing sticks out on a narrow screen, in light and in the dark."""
    find_chromium()
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        for address in ("/sites", "/recordings?sites=all"):
            for dark, width in ((False, 1100), (True, 320)):
                browser.open(sites.berlin.url + address, dark=dark, width=width)
                assert browser.complaints() == []
                assert browser.run("document.documentElement.scrollWidth") <= width, address
                assert browser.violations() == [], address
