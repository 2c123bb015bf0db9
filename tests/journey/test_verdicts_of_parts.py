"""A recording in parts has one verdict: in its receipt, in what is shown of it, and in the log."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.journey.test_parts import LONG, SPLIT, opened, sized
from tests.journey.test_verdicts import ask
from tests.places import REFUSED, Place
from tests.pure.test_joined import verdict
from tests.queues import listening, posts
from watcher.audio.synthesis import wav
from watcher.cli.looking import _story
from watcher.domain import Attempt, PartState
from watcher.errors import Exit
from watcher.folders import RESERVE_BYTES
from watcher.journey.answer import compose, read_answer
from watcher.journey.receipt import compose_receipt, receipt_bytes
from watcher.sandbox import Sandbox
from watcher.text import JsonObject
from watcher.views.context import CommandContext
from watcher.views.recordings import Recording
from watcher.views.status import read_status

_BYTES_A_SECOND = 16_000


def marked(fate: str, at_seconds: float) -> bytes:
    """LONG, of which the sandbox gives this verdict for the part that begins at so many seconds."""
    sound = LONG.index(b"data") + 8 + round(at_seconds * _BYTES_A_SECOND)
    marker = f"sandbox:{fate}".encode()
    return LONG[:sound] + marker + LONG[sound + len(marker) :]


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place(**SPLIT)


def receipt(place: Place, name: str = "long") -> JsonObject:
    return place.receipt(f"done/{name}.wav.json")


def verdict_lines(log: Any) -> list[JsonObject]:
    return [line for line in log if line["event"] in ("verdict.artificial", "verdict.known", "verdict.errored")]


def test_it_is_known_once_all_of_its_parts_are(place: Place, service: Sandbox) -> None:
    """Awaited until then, and told once; the receipt has each part's verdict, its times, and what proves it."""
    with opened(place, long=marked("artificial", 30.0)) as site, listening() as log:
        item = site.item()
        site.drain(0)
        awaited = receipt(place)
        ask(site.journey)
        known = receipt(place)
        [line] = verdict_lines(log)
    assert (awaited["verdict"]["state"], awaited["verdict"]["classification"]) == ("awaited", None)
    assert [part["verdict"]["state"] for part in awaited["parts"]] == ["awaited"] * 5
    verdict = known["verdict"]
    assert (verdict["state"], verdict["classification"], verdict["rule"]) == ("known", "artificial", "any")
    assert (verdict["seconds_judged"], verdict["seconds_not_judged"]) == (45.0, 0.0)
    said = [part["verdict"]["classification"] for part in known["parts"]]
    assert said == ["human", "human", "human", "artificial", "human"]
    assert verdict["confidence"] == known["parts"][3]["verdict"]["confidence"]
    assert [(part["index"], part["start_seconds"], part["end_seconds"]) for part in known["parts"]] == [
        (n, 10.0 * n - 10, min(10.0 * n, 45.0)) for n in (1, 2, 3, 4, 5)
    ]
    for part in known["parts"]:
        assert (part["channel"], part["name"], part["how"], part["state"]) == (None, None, "cut", "accepted")
        assert part["proof"]["of"] == "blocks"
    assert known["identifier"] is None
    assert (known["plan"]["mode"], known["plan"]["submissions"]) == ("cut", 5)
    assert (line["event"], line["item"], line["identifier"]) == ("verdict.artificial", item.id, None)


def test_by_the_majority(make_place: MakePlace, service: Sandbox) -> None:
    place = make_place(limits=SPLIT["limits"], audio={"oversize": "split", "join": "majority"})
    with opened(place, long=marked("artificial", 30.0)) as site:
        site.drain()
        ask(site.journey)
    verdict = receipt(place)["verdict"]
    assert (verdict["classification"], verdict["rule"], verdict["confidence"]) == (
        "inconclusive",
        "majority",
        None,
    )


@pytest.mark.parametrize("last", [False, True])
def test_a_part_without_a_verdict_keeps_it_from_being_human(place: Place, service: Sandbox, last: bool) -> None:
    """Refused or errored; told once too where the refusal comes when all else is known already."""
    service.add_fault(**REFUSED, ordinal=5 if last else 2)
    with opened(place, long=LONG) as site, listening() as log:
        if last:
            site.send(4)
            ask(site.journey, seconds=600)
        site.drain()
        ask(site.journey)
        lines = verdict_lines(log)
    verdict = receipt(place)["verdict"]
    assert (verdict["state"], verdict["classification"]) == ("known", "inconclusive")
    assert verdict["seconds_not_judged"] == (5.0 if last else 10.0)
    assert f"Part {5 if last else 2} was not accepted" in verdict["detail"]
    assert [line["classification"] for line in lines] == ["inconclusive"]


def test_an_errored_part(place: Place, service: Sandbox) -> None:
    with opened(place, long=marked("errored", 20.0)) as site:
        site.drain()
        ask(site.journey)
    verdict = receipt(place)["verdict"]
    assert (verdict["state"], verdict["classification"]) == ("known", "inconclusive")
    assert verdict["detail"].startswith("Part 3 could not be judged: ")


def test_silence_is_only_not_judged(place: Place, service: Sandbox) -> None:
    with opened(place) as site:
        site.cutter.silent = frozenset({2})
        site.add(long=LONG)
        site.drain()
        ask(site.journey)
    told_of = receipt(place)
    assert (told_of["verdict"]["classification"], told_of["verdict"]["seconds_not_judged"]) == ("human", 10.0)
    silent = told_of["parts"][1]
    assert (silent["silent"], silent["verdict"], silent["identifier"], silent["how"]) == (True, None, None, None)


def test_a_duplicate_has_its_parts_and_its_verdict(place: Place, service: Sandbox) -> None:
    """Unpaid, and the log tells of the first alone."""
    content = marked("artificial", 0.0)
    with opened(place, long=content, again=content) as site, listening() as log:
        site.drain()
        ask(site.journey)
        assert [line["path"] for line in verdict_lines(log)] == [b"long.wav"]
    first, second = receipt(place), receipt(place, "again")
    assert first["verdict"] == second["verdict"]
    assert [part["identifier"] for part in first["parts"]] == [part["identifier"] for part in second["parts"]]


def test_a_recording_of_parts_that_were_all_judged_before_is_told_of(place: Place, service: Sandbox) -> None:
    """The same announcements in another order: nothing is sent, nothing need be asked, and the log has it."""
    one, two = (wav(10.0, seed=n)[44:] for n in (1, 2))
    first, second = (sized(wav(20.0)[:44] + content) for content in (one + two, two + one))
    with opened(place, first=first) as site, listening() as log:
        site.cutter.seconds = 10.0
        site.drain()
        ask(site.journey)
        site.add(second=second)
        site.drain()
        known = {line["item"] for line in verdict_lines(log)}
        assert known == {site.item("first.wav").id, site.item("second.wav").id}
    assert len(posts(service)) == 2


def test_a_pass_waits_for_the_verdicts_of_all_parts(place: Place, service: Sandbox) -> None:
    place.drop("long.wav", LONG)
    outcome = place.run_once(verdicts=True)
    assert (outcome.exit_code, outcome.left) == (Exit.WELL, [])
    told_of = receipt(place)
    assert len(told_of["parts"]) > 1
    assert {part["verdict"]["state"] for part in told_of["parts"]} == {"known"}
    assert told_of["verdict"]["classification"] == "human"


def test_how_far_it_has_come(place: Place, service: Sandbox) -> None:
    with opened(place, long=LONG) as site:
        site.send(2)
        with place.books() as books:
            answer = read_answer(books, place.item_in(books, "long.wav"), place.config.audio)
        told = read_status(CommandContext(place.config, site.journey.site.store, place.clock)).as_json()
    assert answer.progress() == "part 3 of 5"
    assert [(one["path"], one["progress"]) for one in told["in_parts"]] == [("long.wav", "part 3 of 5")]
    assert told["backlog"] == 1
    assert told["eta_seconds"] > 1.0  # three more submissions, one a second
    assert answer.verdict is not None
    assert answer.verdict.state == "awaited"


def test_a_receipt_with_many_parts_and_requests_fits_into_the_room_for_it(place: Place, service: Sandbox) -> None:
    """Of many requests the first and the last are in it; each part is."""
    with opened(place, long=LONG) as site:
        item, [first, *_] = site.item(), site.parts()
    parts = tuple(replace(first, index=n, identifier=f"{n:064x}", state=PartState.ACCEPTED) for n in range(1, 25))
    known = {f"{n:064x}": verdict(n, "h") for n in range(1, 25)}
    attempts = [Attempt(n, item.id, 0.0, 100, outcome="throttled", part=n % 24 + 1) for n in range(500)]
    answer = compose(parts, known, place.config.audio)
    written = receipt_bytes(compose_receipt(item, attempts, answer, base_url="http://x", account="a", options={}))
    assert len(written) < RESERVE_BYTES
    told = json.loads(written)
    assert [part["index"] for part in told["parts"]] == list(range(1, 25))
    assert told["attempts"][0]["number"] == 0
    assert told["attempts"][-1]["number"] == 499


def test_show_tells_each_channel_and_what_was_not_judged(place: Place, service: Sandbox) -> None:
    """By the names of `audio.channel_names`, and a silent side as what it is: not judged."""
    place.configure(limits=SPLIT["limits"], audio={"oversize": "split", "channel_names": ["agent", "customer"]})
    with opened(place, long=LONG) as site:
        item, [first, *_] = site.item(), site.parts()
    sides = [replace(first, index=n, channel=n - 1) for n in (1, 2, 3)]
    paid = [replace(one, state=PartState.ACCEPTED, identifier=f"{one.index:064x}") for one in sides[:2]]
    silent = replace(sides[2], state=PartState.REFUSED, silent=True)
    known = {one.identifier: one for one in (verdict(1, "h", 0.7), verdict(2, "a", 0.8))}
    recording = Recording(item, compose((*paid, silent), known, place.config.audio))
    lines = [(name, str(said)) for name, said in _story(recording)]
    at = lines.index(("verdict", "artificial (confidence 0.8) <--"))
    assert lines[at + 1 : at + 5] == [
        ("", "agent: human (confidence 0.7)"),
        ("", "customer: artificial (confidence 0.8) <--"),
        ("", "channel 3: no sound: not judged"),
        ("", "10.0 s were not judged"),
    ]
    told = recording.as_json()["parts"]
    assert [(one["channel"], one["name"]) for one in told] == [(0, "agent"), (1, "customer"), (2, None)]
