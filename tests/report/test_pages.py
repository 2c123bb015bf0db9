"""The pages as people see them: in a real browser, on paper, on a phone, in the dark, and by a screen reader."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, browsing, find_chromium
from tests.clock import FalseClock
from tests.places import Place, sandbox, speech
from tests.report.sites import drop_hostile, drop_many, refuse
from watcher.domain import Pause, PauseKind
from watcher.report.leaving import STATUS_NAME, StatusPage
from watcher.report.page import write_report
from watcher.views.context import open_to_read
from watcher.views.period import Period
from watcher.views.report import read_report

SITES = ("empty", "busy", "paused", "failed", "hostile")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    with browsing(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report and a status file of each site, by name."""
    found = {}
    for name in SITES:
        root = tmp_path_factory.mktemp(name)
        clock = FalseClock()
        with sandbox(clock) as service:
            place = Place(
                root, service.url, clock, folders={"status": True}, arrivals={"incomplete_minutes": 0.01}
            )
            if name in ("busy", "paused"):
                drop_many(place, 16)
            if name == "failed":
                refuse(service, 12)
                for number in range(12):
                    place.drop(f"failed-{number}.wav", speech(f"failed {number}"))
            if name == "hostile":
                refuse(service, 6)
                drop_hostile(place)
            place.run_once(verdicts=True)
            with place.opened() as journey:
                if name == "paused":
                    reason = "The account has no credit left"
                    with place.books() as books:
                        books.pauses.set(
                            Pause(PauseKind.ACCOUNT, "no_credit", reason, clock.now(), clock.now() + 600)
                        )
                StatusPage(journey.site).look()
            with open_to_read(place.config, clock) as context:
                page = root / "report.html"
                page.write_bytes(b"".join(write_report(read_report(context, Period()))))
            found[f"{name} report"] = page
            found[f"{name} status"] = root / "drop" / STATUS_NAME.decode()
    return found


EACH = pytest.mark.parametrize("name", [f"{site} {kind}" for site in SITES for kind in ("report", "status")])


@EACH
def test_a_page_needs_nothing_runs_nothing_and_can_be_read_by_anybody(
    browser: Browser, pages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    """It asks for nothing but itself, no script runs, axe-core finds nothing wrong in light and in dark."""
    for dark in (False, True):
        browser.open(pages[name], dark=dark)
        assert browser.asked_for() == [pages[name].as_uri()]
        assert browser.complaints() == []
        assert browser.run("document.querySelectorAll('script, img, iframe, object, form').length") == 0
        assert browser.shoot(tmp_path / "page.png").stat().st_size > 5_000
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.violations() == []


@EACH
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_sticks_out_on_any_screen(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    """A phone's width is enough: the page itself is never scrolled sideways, whatever the names are."""
    browser.open(pages[name], width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_a_report_can_be_printed(browser: Browser, pages: dict[str, Path]) -> None:
    """On white, in dark ink, also where the screen is dark."""
    browser.open(pages["busy report"], dark=True)
    assert browser.print_out().startswith(b"%PDF")
    browser.show_as_printed()
    style = "getComputedStyle(document.body)"
    assert browser.run(f"[{style}.backgroundColor, {style}.color]") == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
