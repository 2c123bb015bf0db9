"""What the pages show and what is decided at them, by HTTP."""

import base64
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError

import pytest
from sqlalchemy import text

from tests.clock import FalseClock
from tests.places import Place, sandbox, speech
from tests.process.programs import CLOCK
from tests.report.sites import HOSTILE
from tests.store.recordings import item, verdict
from tests.web.asking import FORM, OURS, ask
from tests.web.sites import HELD, Served, make_failed, make_hostile, make_mixed, names_in, pause, seen_in, served
from watcher.accounts import user_name
from watcher.domain import Fault, Mode, Part, PartState, Planned, State, Verdict, VerdictState
from watcher.errors import UNSENDABLE, StoreUnavailable
from watcher.store import Store
from watcher.store.page_rows import CAP
from watcher.text import rfc3339
from watcher.wishes import Wishing

PAGES = ("/", "/needs", "/recordings", "/charts", "/events", "/all?state=failed")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Sixteen mixed recordings. No test changes them."""
    clock = FalseClock()
    with sandbox(clock) as service:
        settings: dict[str, Any] = {"identifai": {"in_doubt": "hold"}, "arrivals": {"incomplete_minutes": 0.01}}
        place = Place(tmp_path_factory.mktemp("mixed"), service.url, clock, **settings)
        make_mixed(place, service, 15)
        with served(place) as site:
            yield site


@pytest.fixture
def failed(tmp_path: Path, clock: FalseClock) -> Iterator[Served]:
    """120 failed recordings, as rows."""
    place = Place(tmp_path, "http://127.0.0.1:1", clock)
    make_failed(place, 120)
    with served(place) as site:
        yield site


def first(site: Served, query: str) -> str:
    """The address of the story of the first recording that is found."""
    found = re.search(r'href="(/recordings/[0-9a-f]{16})"', site.get(f"/recordings?{query}"))
    assert found is not None
    return found[1]


def one_with_verdict(site: Served) -> tuple[str, Verdict]:
    name = names_in(site.get("/recordings?verdict=human"))[0]
    known = site.place.verdict(name)
    assert known is not None
    return name, known


def test_the_first_page_says_how_things_stand_and_its_counts_lead_there(mixed: Served) -> None:
    """Every count is a link to just so many recordings."""
    page = mixed.get("/")
    assert "2 recordings need a person." not in page
    links = re.findall(r'<a href="(/recordings\?[^"]+)"><b>([\d,]+)</b> ([a-z ]+)</a>', page)
    assert {words for _, _, words in links} >= {"artificial", "human", "inconclusive", "done", "failed", "queued"}
    for address, number, words in links:
        assert len(names_in(mixed.get(address.replace("&amp;", "&")))) == int(number), words
    states = mixed.place.states().values()
    assert ("/recordings?state=done", f"{sum(s is State.DONE for s in states)}", "done") in links
    assert "needs#held" in page
    assert names_in(page)[0] in mixed.place.states()


@pytest.mark.parametrize("what", ["name", "id", "identifier", "state", "verdict", "folder", "since", "until"])
def test_recordings_are_found_by(mixed: Served, what: str) -> None:
    """The filter is in the address, and the form shows it again."""
    items = mixed.place.items()
    name, known = one_with_verdict(mixed)
    one = items[name]
    later = rfc3339(mixed.place.clock.now() + 86_400)
    query, expected = {
        "name": (f"name={name[-8:-4].upper()}", {n for n in items if name[-8:-4] in n}),
        "id": (f"name={one.id[:9]}", {name}),
        "identifier": (f"name={known.identifier}", {name}),
        "state": ("state=held", {HELD}),
        "verdict": ("verdict=artificial", {n for n in items if _is_artificial(mixed, n)}),
        "folder": ("folder=2026-11-25", {HELD}),
        "since": (f"since={str(later)[:10]}", set()),
        "until": (f"until={str(later)[:10]}", set(items)),
    }[what]
    page = mixed.get(f"/recordings?{query}")
    assert set(names_in(page)) == expected
    field, _, value = query.partition("=")
    assert f'value="{value}"' in page or f"<option selected>{value}</option>" in page, field


def _is_artificial(site: Served, name: str) -> bool:
    known = site.place.verdict(name)
    return known is not None and known.classification == "artificial"


def test_the_list_is_read_page_by_page_by_its_key(failed: Served) -> None:
    """Also where many arrived at the same moment, and nothing is shown twice or left out."""
    found: list[str] = []
    address, pages = "/recordings?state=failed", 0
    while address:
        page = failed.get(address)
        found += names_in(page)
        following = re.search(r'href="(/recordings\?[^"]*before=[^"]*)" rel="next"', page)
        address, pages = following[1].replace("&amp;", "&") if following else "", pages + 1
    assert pages == 3
    assert found == sorted(found, reverse=True, key=lambda name: name[-9:])
    assert len(set(found)) == 120


@pytest.mark.parametrize(
    "query",
    [
        "since=never",
        "state=nowhere",
        "verdict=perhaps",
        "before=1_2_3",
        "before=1_9999999999999999999",
        "since=2026-02-01&until=2026-01-01",
    ],
)
def test_what_cannot_be_searched_for_is_said(mixed: Served, query: str) -> None:
    assert "That cannot be searched for." in mixed.get(f"/recordings?{query}")


def test_a_story_has_all_that_is_known(mixed: Served) -> None:
    """Why, the verdict and what it rests on, every change and request, what it is, and its receipt."""
    name, known = one_with_verdict(mixed)
    page = mixed.get(first(mixed, f"name={known.identifier}"))
    assert f'<h1 class="name"><bdi>{name}</bdi></h1>' in page
    for told in (f"It is done: identifier {known.identifier}", "sandbox-majority", "sandbox-spectral-1"):
        assert told in page
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == [
        "Why it is where it is",
        "Your word on it",
        "What the service says",
        "What happened",
        "Requests to the service (1)",
        "What it is",
        "Receipt",
    ]
    for state in ("queued", "submitting", "filing", "done"):
        assert f'data-label="what">{state}</th>' in page
    assert "accepted, charged: yes, answered after" in page
    assert "&#34;base_url&#34;" in page
    assert mixed.status("/recordings/0123456789abcdef") == 404


def test_what_needs_a_person_says_why_and_what_to_do(mixed: Served) -> None:
    page = mixed.get("/needs")
    assert "Held for a decision (1)" in page
    assert "closed the connection; the whole request had been sent" in page
    assert "`watcher release" in page
    assert f'aria-label="Release {HELD}"' in page
    assert "It looks like text, not like a recording." in page
    assert 'aria-label="Dismiss notes/minutes.wav"' in page


def test_the_charts_have_their_numbers_in_words_too(mixed: Served) -> None:
    """Throughput, verdicts and the time to a verdict; each with a title, a description and a table."""
    page = mixed.get("/charts")
    titles = ["Throughput in the last 24 hours", "Verdicts over time", "Time from drop to verdict"]
    assert [title for title in titles if f">{title}</h3>" in page] == titles
    assert (
        page.count('<svg viewBox="0 0 720 220" role="img"') == page.count("<desc ") == page.count("<details>") == 4
    )
    assert " style=" not in page


def test_events_are_told_the_latest_first_and_read_page_by_page(mixed: Served) -> None:
    with mixed.place.books() as books:
        newest, histories = books.items.last_change(), [books.items.history(i.id) for i in books.items.listed()]
    page, earlier, found = mixed.get("/events"), "/events", 0
    assert page.index("done</td>") < page.index("queued</td>")
    while earlier:
        page = mixed.get(earlier)
        found += page.count("<time ")
        following = re.search(r'href="(/events\?before=\d+)" rel="next"', page)
        earlier = following[1] if following else ""
    assert found == sum(map(len, histories)) == newest


def test_a_decision_at_the_page_is_the_command_s(place: Place) -> None:
    """It has a name, says what came of it, and what somebody else decided since the page was made stands."""
    place.drop("bad.wav", speech("bad")[:300])
    place.configure(arrivals={"incomplete_minutes": 0.01})
    place.run_once()
    with served(place) as site:
        page = site.get("/needs")
        seen, item_id = seen_in(page), place.item("bad.wav").id
        told = site.post(f"/recordings/{item_id}/dismiss", seen=seen, back="needs")
        assert "<b>Done.</b>" in told
        assert "Dismissed: it stays in failed/" in told
        assert "<p>Nothing.</p>" in told
        late = site.post(f"/recordings/{item_id}/retry", seen=seen, back="needs")
        assert "<b>Not done.</b>" in late
        assert re.search(r"Nothing was changed\. Meanwhile: dismissed by \S+ \(at the page\), at ", late)
        story = site.get(f"/recordings/{item_id}")
        word = site.post(f"/recordings/{item_id}/review", seen=seen_in(story), word="unclear", note="<i>noise</i>")
        assert "&lt;i&gt;noise&lt;/i&gt;" in word
        assert "<i>" not in word
        assert place.item("bad.wav").state is State.FAILED


def test_submitting_is_paused_and_resumed(place: Place) -> None:
    place.run_once()
    with served(place) as site:
        page = site.post("/pause", reason="The <disk> is full.")
        assert "The &lt;disk&gt; is full." in page
        assert "Submitting is paused." in page
        assert [pause.reason for pause in place.pauses()] == ["The <disk> is full."]
        assert "Submitting goes on." in site.post("/resume")
        assert place.pauses() == []


def test_a_pause_that_the_page_did_not_show_is_not_ended(place: Place) -> None:
    """Somebody had paused before, and somebody else pauses since the page was made: the second pause stands."""
    place.run_once()
    pause(place)
    with served(place) as site:
        form = r'action="/resume" method="post"><input type="hidden" name="seen" value="([^"]+)"'
        found = re.search(form, site.get("/"))
        assert found is not None
        assert "<b>Done.</b>" in site.post("/resume", seen=found[1])
        place.clock.wait(1.0, threading.Event())
        assert "<b>Done.</b>" in site.post("/pause", reason="The network is being mended.")
        for stale in (found[1], "None"):
            told = site.post("/resume", seen=stale)
            assert "<b>Not done.</b>" in told
            assert "paused submitting: The network is being mended." in told
        assert "The network is being mended." in [one.reason for one in place.pauses()]


def test_another_s_pause_that_the_page_did_not_show_stands(place: Place) -> None:
    """Whoever pauses from a page of before hears whose pause it is, and why: neither reason is lost."""
    place.run_once()
    with served(place) as site:
        assert "<b>Done.</b>" in site.post("/pause", reason="The network is being mended.")
        told = site.post("/pause", reason="The <disk> is full.")
        assert "<b>Not done.</b>" in told
        assert re.search(r"Meanwhile .* paused submitting: The network is being mended\.", told)
        assert [pause.reason for pause in place.pauses()] == ["The network is being mended."]


def test_a_recording_that_cannot_be_sent_needs_a_person_on_every_page(place: Place) -> None:
    """It is queued, and what keeps it back is its file: both pages count it, as `status` does."""
    place.run_once()
    fault = Fault(UNSENDABLE[0], "The file cannot be read.", "Let the service read it.")
    with place.books() as books:
        books.items.add(item(1, path=b"closed.wav", fault=fault))
    with served(place) as site:
        assert "1 recording needs a person." in site.get("/")
        assert "closed.wav" in site.get("/needs")
        assert "<p>Nothing.</p>" not in site.get("/needs")


def test_the_first_page_finds_the_troubles_that_monitoring_finds(place: Place) -> None:
    """Here that there has been no sign of life for hours."""
    place.run_once()
    with served(place) as site:
        place.clock.wait(CLOCK.now() - place.clock.now() + 10_000, threading.Event())
        with pytest.raises(HTTPError) as caught:
            site.get("/healthz")
        (said,) = caught.value.read().decode().splitlines()
        page = site.get("/")
        assert f'<b>Trouble.</b> <bdi class="name">{said}</bdi>' in page
        assert "Something does not work." in page


def test_an_address_with_a_slash_too_many_leads_to_its_page(failed: Served) -> None:
    """By its path alone: behind a proxy, the host and the scheme that the server sees are not the browser's."""
    port = int(failed.url.rpartition(":")[2])
    answered = ask(port, "/needs/?told=1")
    assert (answered.status, answered.headers["location"]) == (307, "/needs?told=1")
    assert failed.status("/needs/") == 200
    assert failed.status("/nothing/") == 404
    for path in ("//needs/", "//evil.example/", "/%2Fneeds/", "/%5Cneeds/"):
        assert ask(port, path).headers.get("location", "/needs") == "/needs"


def test_where_names_are_hidden_an_error_has_none(
    tmp_path: Path, clock: FalseClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be shown is explained without what it is about."""

    def refuse(*_: object) -> NoReturn:
        raise StoreUnavailable(
            "call-0049.wav in the drop folder cannot be read", hint=f"Look at {tmp_path}/drop/call-0049.wav."
        )

    place = Place(tmp_path, "http://127.0.0.1:1", clock, privacy={"names": "hide"})
    place.run_once()
    monkeypatch.setattr("watcher.web.pages.read_overview", refuse)
    with served(place) as site, pytest.raises(HTTPError) as caught:
        site.get("/")
    said = caught.value.read().decode()
    assert caught.value.code == 503
    assert "in the drop folder cannot be read" in said
    assert "call-0049" not in said


def test_all_that_match_are_decided_on_as_a_wish(failed: Served) -> None:
    """The number is shown before, the daemon carries it out, and the page says how far it has come."""
    assert "Decide for all 120 failed" in failed.get("/needs")
    page = failed.get("/all?state=failed&name=agent-3")
    number = re.search(r'name="number" value="(\d+)"', page)
    assert number is not None
    assert f"Dismiss all {number[1]}" in page
    told = failed.post("/all/dismiss?state=failed&name=agent-3", seen=seen_in(page), number=number[1])
    assert f"{number[1]} recordings are being dismissed." in told
    assert f"0 of {number[1]} dismissed" in told
    step = Wishing(failed.journey.site)
    while step.step() == 0.0:
        pass
    assert f"{number[1]} of {number[1]} dismissed, as " in failed.get("/needs")
    dismissed = {name for name, one in failed.place.items().items() if one.dismissed}
    assert dismissed == {name for name in failed.place.items() if "agent-3" in name}
    assert failed.status("/all?state=done") == 400


def test_what_was_dismissed_is_not_among_all_that_failed(failed: Served) -> None:
    """Neither counted nor decided on: somebody has dealt with it."""
    page = failed.get("/needs")
    one = re.search(r'action="(/recordings/[0-9a-f]{16}/dismiss)"', page)
    assert one is not None
    failed.post(one[1], seen=seen_in(page))
    page = failed.get("/all?state=failed")
    assert "Dismiss all 119<" in page
    failed.post("/all/dismiss?state=failed", seen=seen_in(page), number=119)
    step = Wishing(failed.journey.site)
    while step.step() == 0.0:
        pass
    assert re.search(r"119 of 119 dismissed, as \S+ \(at the page\) asked\.<", failed.get("/needs"))


def test_a_wish_outlives_a_look_that_failed(failed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database could not be read at that moment: the step looks again."""
    step = Wishing(failed.journey.site)
    assert step.step() == inf
    failed.post("/all/dismiss?state=failed", seen=seen_in(failed.get("/all?state=failed")), number=120)

    def refuse(_: Store) -> NoReturn:
        raise StoreUnavailable("the disk does not answer", hint="")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "reading", refuse)
        with pytest.raises(StoreUnavailable):
            step.step()
    assert step.step() == 0.0


def test_a_name_that_comes_with_a_request_is_no_more_than_a_claim(place: Place) -> None:
    """From this machine the kernel knows better: both are told, so nobody can decide in another's name."""
    place.run_once()
    with served(place) as site:
        claim = ("Authorization", f"Basic {base64.b64encode(b'anna:').decode()}")
        assert (
            ask(int(site.url.rpartition(":")[2]), "/pause", OURS, FORM, claim, method="POST", body=b"").status
            == 303
        )
        assert [one.by for one in place.pauses()] == [f"anna (at the page, through {user_name(os.geteuid())})"]


def test_what_read_only_pages_offer_changes_nothing(tmp_path: Path, clock: FalseClock) -> None:
    place = Place(tmp_path, "http://127.0.0.1:1", clock, web={"read_only": True})
    make_failed(place, 3)
    with served(place) as site:
        for path in (*PAGES, first(site, "state=failed")):
            assert 'method="post"' not in site.get(path), path


def test_where_names_are_hidden_no_page_has_one(tmp_path: Path, clock: FalseClock) -> None:
    """Ids instead: in lists, stories, receipts, events and charts; and nobody can search for a name."""
    with sandbox(clock) as service:
        settings: dict[str, Any] = {"identifai": {"in_doubt": "hold"}, "arrivals": {"incomplete_minutes": 0.01}}
        place = Place(tmp_path, service.url, clock, **settings, privacy={"names": "hide"})
        make_mixed(place, service, 16)
        place.drop("twice-agent-9.wav", speech("recording 0"))  # the same bytes as another's
        place.run_once()
        with served(place) as site:
            ids = [one.id for one in place.items().values()]
            for path in (*PAGES, *(f"/recordings/{item_id}" for item_id in ids)):
                page = site.get(path)
                assert not re.search(r"agent-\d|call-\+|in-doubt|minutes\.wav|2026-11-2", page), path
            assert len(names_in(site.get("/recordings"))) == len(ids)
            assert names_in(site.get("/recordings?name=agent")) == []
            assert names_in(site.get(f"/recordings?name={ids[0]}")) == [ids[0]]


def test_hostile_names_are_text(tmp_path: Path, clock: FalseClock) -> None:
    with sandbox(clock) as service:
        place = Place(tmp_path, service.url, clock)
        make_hostile(place, service)
        with served(place) as site:
            stories = [f"/recordings/{one.id}" for one in place.items().values()]
            for path in (
                *PAGES,
                *stories,
                "/recordings?name=%3Cscript%3Ealert(1)",
                "/all?state=failed&name=%22%3E",
            ):
                page = site.get(path)
                for mark in ("<script>alert", "<img", "<b>=1", "\x1b", "\u202e", "49}}"):
                    assert mark not in page, path
            assert len(stories) == len(HOSTILE) + 1


_MANY = """
    WITH RECURSIVE numbers(n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100 + :rows)
    INSERT INTO items (id, path, state, fingerprint, size, arrived_at, due_at, companions)
    SELECT printf('%016x', n), CAST(n || '.wav' AS BLOB), 'failed', '1:1:1:1:1', 1, n, n, x'' FROM numbers
"""


def test_a_count_goes_no_further_than_it_says(tmp_path: Path, clock: FalseClock) -> None:
    place = Place(tmp_path, "http://127.0.0.1:1", clock)
    make_failed(place, 3)
    with Store(place.config.store.url) as store, store.database.writing() as connection:
        connection.execute(text(_MANY), {"rows": CAP})
    with served(place) as site:
        assert f"<b>{CAP:,}+</b> failed" in site.get("/")
        assert "more than can be decided at once" in site.get("/all?state=failed")


def test_a_count_of_artificial_ones_is_of_recordings(tmp_path: Path, clock: FalseClock) -> None:
    """Of duplicates, which share an identifier, each counts; of several parts of one recording it alone."""
    place = Place(tmp_path, "http://127.0.0.1:1", clock)
    place.run_once()
    planned = Planned(Mode.CUT, 3, "It is too long.")
    with place.books() as books:
        for n in (1, 2):
            books.items.add(item(n, state=State.DONE, identifier="of both"))
        books.items.add(item(3, state=State.DONE, plan=planned))
        some = [Part(item(3).id, n, None, n, n + 1, n, n + 1, identifier=f"of part {n}") for n in (1, 2, 3)]
        books.parts.add([replace(part, state=PartState.ACCEPTED) for part in some])
        for identifier in ("of both", "of part 1", "of part 2", "of part 3"):
            said = "human" if identifier == "of part 3" else "artificial"
            books.verdicts.add(verdict(identifier, state=VerdictState.KNOWN, classification=said))
    with served(place) as site:
        assert "<b>3</b> artificial</a>" in site.get("/")
        assert len(names_in(site.get("/recordings?verdict=artificial"))) == 3


@pytest.mark.parametrize(
    ("query", "found"), [("verdict=artificial", 3), ("folder=rare", 2), ("verdict=artificial&folder=rare", 1)]
)
def test_what_is_rare_is_found_among_many_without_a_look_at_them(
    tmp_path: Path, clock: FalseClock, query: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever time there is for a search. The oldest come on the last page, and the other conditions hold."""
    monkeypatch.setattr("watcher.views.found._SECONDS", 0.0)
    monkeypatch.setattr("watcher.views.found._WINDOW", 50)
    monkeypatch.setattr("watcher.views.found.MOST", 2)
    place = Place(tmp_path, "http://127.0.0.1:1", clock)
    place.run_once()
    with place.books() as books:
        for n in range(1, 400):
            path = b"rare/%d.wav" % n if n in (7, 8) else b"usual/%d.wav" % n
            books.items.add(item(n, path=path, state=State.DONE, identifier=f"id-{n}"))
            said = "artificial" if n in (3, 7, 300) else "human"
            books.verdicts.add(verdict(f"id-{n}", state=VerdictState.KNOWN, classification=said))
    with served(place) as site:
        names: list[str] = []
        page, address = "", f"/recordings?{query}"
        while address:
            page = site.get(address)
            names += names_in(page)
            following = re.search(r'href="(/recordings\?[^"]*before=[^"]*)" rel="next"', page)
            address = following[1].replace("&amp;", "&") if following else ""
        assert len(names) == found
        assert "Look further back" not in page
