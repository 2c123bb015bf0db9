"""The pages as people see them: in a real browser, by role and name, on a phone, in the dark, by keyboard."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.browser import Browser, browsing, find_chromium
from tests.clock import FalseClock
from tests.places import Place, sandbox
from tests.web.sites import ARTIFICIAL, HELD, Served, make_failed, make_hostile, make_mixed, pause, served
from watcher.domain import Pause, PauseKind, State

SITES = ("empty", "busy", "paused", "failed", "hostile")
_QUICK = "const wait = setInterval; window.setInterval = (what, ms) => wait(what, ms / 50);"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    with browsing(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """A site of each kind, with its pages."""
    with ExitStack() as stack:
        found = {}
        for name in SITES:
            clock = FalseClock()
            service = stack.enter_context(sandbox(clock))
            settings: dict[str, Any] = {
                "identifai": {"in_doubt": "hold"},
                "arrivals": {"incomplete_minutes": 0.01},
            }
            place = Place(tmp_path_factory.mktemp(name), service.url, clock, **settings)
            if name == "busy":
                make_mixed(place, service)
            elif name == "hostile":
                make_hostile(place, service)
            elif name == "failed":
                make_failed(place, 1000)
            elif name == "paused":
                place.run_once()
                pause(place)
            found[name] = stack.enter_context(served(place))
        yield found


def story_of(site: Served, state: State) -> str:
    with site.place.books() as books:
        return f"/recordings/{books.items.in_state(state, 1)[0].id}"


def addresses(site: Served, name: str) -> list[str]:
    """The pages of a site that differ from those of the others."""
    match name:
        case "busy":
            stories = [story_of(site, state) for state in (State.HELD, State.DONE)]
            return ["/", "/needs", "/charts", "/events", "/all?state=failed", *stories]
        case "hostile":
            return [
                "/",
                "/recordings",
                "/recordings?name=<b>&folder=\"'>&state=failed",
                story_of(site, State.FAILED),
            ]
        case "failed":
            return ["/needs", "/recordings?state=failed&to_see=1"]
    return ["/"]


@pytest.mark.parametrize("name", SITES)
def test_a_page_needs_nothing_from_elsewhere_and_can_be_read_by_anybody(
    browser: Browser, sites: dict[str, Served], name: str
) -> None:
    """Its policy stops nothing of its own, axe-core finds nothing, and nothing sticks out on a narrow screen."""
    site = sites[name]
    for address in addresses(site, name):
        for dark, width in ((False, 1100), (True, 320)):
            browser.open(site.url + address, dark=dark, width=width)
            assert browser.complaints() == []
            assert {asked.removeprefix(site.url) for asked in browser.asked_for()} >= {"/style.css"}
            assert all(asked.startswith(f"{site.url}/") for asked in browser.asked_for())
            browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert browser.run("document.documentElement.scrollWidth") <= width, address
            if not dark or address in ("/", "/needs"):
                assert browser.violations() == [], address


def test_a_person_finds_what_is_artificial_and_why_one_is_held_and_releases_it(
    browser: Browser, sites: dict[str, Served]
) -> None:
    """Of forty mixed recordings, by what can be read and by roles alone, and without a script."""
    site = sites["busy"]
    browser.allow_scripts(False)
    try:
        browser.open(site.url)
        number = len(ARTIFICIAL)
        browser.press("link", f"{number} artificial")
        found = [name for name in browser.names_of("link") if name.endswith(".wav")]
        assert set(found) == ARTIFICIAL
        assert browser.read().count("artificial confidence") == number

        browser.press("link", "Needs a person")
        assert "Held for a decision (1)" in browser.names_of("heading")
        assert "closed the connection; the whole request had been sent" in browser.read()
        browser.press("button", f"Release {HELD}")
        assert "Done. Released: it is queued and will be sent again." in browser.read()
        assert not [name for name in browser.names_of("heading") if name.startswith("Held")]
        assert site.place.states()[HELD] is State.QUEUED
    finally:
        browser.allow_scripts(True)


def test_what_changes_is_renewed_while_somebody_looks_and_the_focus_stays(
    browser: Browser, sites: dict[str, Served]
) -> None:
    """One polite sentence tells of it; what is being typed stays; a hidden page asks for nothing."""
    site, clock = sites["empty"], sites["empty"].place.clock
    browser.before_each_page(_QUICK)
    browser.open(site.url)
    assert browser.run("document.querySelectorAll('[aria-live], [role=status], [role=alert]').length") == 1
    browser.fill("searchbox", "Name, id or identifier", "call-7")
    browser.run("window.needs = document.getElementById('needs').firstElementChild; 0")
    with site.place.books() as books:
        books.pauses.set(Pause(PauseKind.PERSON, "person", "Stock-taking.", clock.now(), None, by="anna"))
    browser.await_true("document.getElementById('notices').textContent.includes('Stock-taking.')")
    browser.await_true("document.getElementById('sentence').textContent.startsWith('Submitting is paused.')")
    assert browser.run("[document.activeElement.id, document.activeElement.value]") == ["find", "call-7"]
    assert browser.run("window.needs === document.getElementById('needs').firstElementChild")  # it had not changed

    browser.run("document.querySelector('#notices button').focus()")
    with site.place.books() as books:
        books.pauses.end(PauseKind.PERSON, clock.now())
    browser.await_true("document.getElementById('sentence').textContent.startsWith('Nothing needs')")
    assert browser.run("document.activeElement.textContent") == "Resume submitting"  # it is not taken away

    browser.run("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    browser.run("new Promise(done => setTimeout(done, 300))")
    before = len(browser.asked_for())
    browser.run("new Promise(done => setTimeout(done, 1000))")
    assert len(browser.asked_for()) == before
    assert browser.complaints() == []


def test_a_keyboard_reaches_everything(browser: Browser, sites: dict[str, Served]) -> None:
    """The first key leads past the navigation; each button can be told from the others by its name."""
    browser.open(f"{sites['failed'].url}/needs")
    browser.type_key("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the content"
    buttons = browser.names_of("button")
    assert len(buttons) == 1 + 2 * 20
    assert len(set(buttons)) == len(buttons)
    assert all(re.fullmatch(r"Search|(Retry|Dismiss) agent-\d/call-\d+\.wav", name) for name in buttons)
    assert browser.run("document.querySelectorAll('th:not([scope])').length") == 0
    assert browser.run("document.querySelectorAll('h1').length") == 1
