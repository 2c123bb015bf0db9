"""Duplicates: one content is paid for once, whatever became of the first one, and whenever the copy arrives."""

import os
import time

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from tests.queues import add, drain, pay_table, posts, queued, settle
from watcher.cli import main
from watcher.domain import State
from watcher.sandbox import Sandbox

pytestmark = pytest.mark.server


SAME = speech("same")


@pytest.fixture
def clock() -> FalseClock:
    """Ahead of the machine's own clock, which the commands go by."""
    return FalseClock(time.time() + 60)  # noqa: TID251


def command(place: Place, *words: str) -> None:
    assert main([*words, "--config", str(place.config_path)]) == 0


def check_one_charge(place: Place, service: Sandbox, names: list[str]) -> None:
    """All are done with one identifier, one of them was charged, the others' receipts name it."""
    assert {place.item(name).state for name in names} == {State.DONE}
    assert list(pay_table(service).values()) == [1]
    receipts = [place.receipt(f"done/{name}.json") for name in names]
    assert len({receipt["identifier"] for receipt in receipts}) == 1
    (first,) = {receipt["id"] for receipt in receipts if receipt["duplicate_of"] is None}
    assert {receipt["duplicate_of"] for receipt in receipts} == {None, first}
    assert all(receipt["attempts"] == [] for receipt in receipts if receipt["duplicate_of"])


def test_while_the_first_is_queued_the_copy_waits(place: Place, service: Sandbox) -> None:
    """It is filed with the first one's identifier, without a request of its own."""
    with queued(place, first=SAME, copy=SAME) as journey:
        assert place.item("copy.wav").duplicate_of == place.item("first.wav").id
        assert place.item("copy.wav").state is State.QUEUED
        drain(journey)
    check_one_charge(place, service, ["first.wav", "copy.wav"])
    assert len(posts(service)) == 1


@pytest.mark.parametrize("in_flight", [2, 4])
def test_copies_that_arrive_at_the_same_moment(make_place: MakePlace, service: Sandbox, in_flight: int) -> None:
    """With several uploads at a time, each content is sent once, however many copies of it there are."""
    place = make_place(limits={"in_flight": in_flight})
    for n in range(4):
        for content in ("x", "y", "z"):
            place.drop(f"{n}-{content}.wav", speech(content))
    place.run_once()
    assert set(place.states().values()) == {State.DONE}
    assert sorted(pay_table(service).values()) == [1, 1, 1]
    assert len(posts(service)) == 3


@pytest.mark.sqlite  # it waits for a window
def test_while_the_first_is_being_sent_the_copy_waits(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """A copy that arrives in mid-upload waits for the answer, and shares it."""
    with queued(place, "other", first=SAME) as journey:
        journey.submissions[0].step()
        waited = clock.wait

        def arrive_meanwhile(seconds: float, wake: object) -> bool:
            clock.wait = waited  # type: ignore[method-assign]
            add(place, journey, copy=SAME)
            assert place.item("first.wav").state is State.SUBMITTING
            assert place.item("copy.wav").duplicate_of == place.item("first.wav").id
            return waited(seconds, wake)  # type: ignore[arg-type]

        clock.wait = arrive_meanwhile  # type: ignore[method-assign]
        drain(journey)
    assert {item.state for item in place.items().values()} == {State.DONE}
    assert sorted(pay_table(service).values()) == [1, 1]
    assert len(posts(service)) == 2


def test_the_first_has_its_answer_and_is_not_filed_yet(place: Place, service: Sandbox) -> None:
    """The copy takes the identifier at once."""
    with queued(place, first=SAME) as journey:
        journey.submissions[0].step()
        assert place.item("first.wav").state is State.FILING
        add(place, journey, copy=SAME)
        assert place.item("copy.wav").state is State.FILING
        drain(journey)
    check_one_charge(place, service, ["first.wav", "copy.wav"])


def test_the_first_is_done(place: Place, service: Sandbox) -> None:
    """A copy that comes years later shares the identifier and the verdict."""
    place.drop("first.wav", SAME)
    place.run_once(verdicts=True)
    place.drop("copy.wav", SAME)
    place.run_once(verdicts=True)
    check_one_charge(place, service, ["first.wav", "copy.wav"])
    verdict = place.receipt("done/copy.wav.json")["verdict"]
    assert verdict == place.receipt("done/first.wav.json")["verdict"]
    assert verdict["state"] == "known"


def test_the_service_refused_the_first(place: Place, service: Sandbox) -> None:
    """The copy is refused in the same words, without asking again; so is one that waited meanwhile."""
    bad = speech("bad", note=b"sandbox:unsupported")
    with queued(place, first=bad, copy=bad) as journey:
        drain(journey)
        add(place, journey, later=bad)
        drain(journey)
    assert set(place.states().values()) == {State.FAILED}
    assert len(posts(service)) == 1
    errors = [place.receipt(f"failed/{name}.wav.json")["error"] for name in ("first", "copy", "later")]
    assert errors[0] == errors[1] == errors[2]
    first = place.item("first.wav").id
    assert {place.item(f"{name}.wav").duplicate_of for name in ("copy", "later")} == {first}


def test_the_first_was_failed_by_us(place: Place, service: Sandbox) -> None:
    """A file that is cut short was never sent: its copy is judged by what it holds itself, unsent, too."""
    text = b"no recording at all"
    with queued(place, first=text, copy=text) as journey:
        drain(journey)
    assert set(place.states().values()) == {State.FAILED}
    assert {item.duplicate_of for item in place.items().values()} == {None}
    assert posts(service) == []


def test_a_person_gave_the_first_up(make_place: MakePlace, service: Sandbox) -> None:
    """That is no verdict of the service: a copy that comes later is a new try, and a person's doubt is its own."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault("close_after_reading")
    with queued(place, first=SAME) as journey:
        drain(journey)
        command(place, "fail", "first.wav")
        drain(journey)
        assert place.item("first.wav").state is State.FAILED
        add(place, journey, copy=SAME)
        drain(journey, seconds=60)
        held = place.item("copy.wav")  # the same bytes may have been charged: nobody but a person may send them
        assert (held.state, held.attempts) == (State.HELD, 0)
        command(place, "release", "copy.wav")
        drain(journey)
    assert place.item("copy.wav").state is State.DONE
    assert service.charged == 1


def test_the_first_is_held(make_place: MakePlace, service: Sandbox) -> None:
    """The copy is held with it, and goes with it when it is released: one more request, for both."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer")
    with queued(place, first=SAME, copy=SAME) as journey:
        drain(journey)
        add(place, journey, later=SAME)
        names = ["first.wav", "copy.wav", "later.wav"]
        assert {place.item(name).state for name in names} == {State.HELD}
        assert all(place.item(name).fault == place.item("first.wav").fault for name in names)
        command(place, "release", "first.wav")
        drain(journey)
    check_one_charge(place, service, names)
    assert len(posts(service)) == 2


def test_the_first_is_held_and_given_up(make_place: MakePlace, service: Sandbox) -> None:
    """A decision on the first is one on all that are held with it."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer")
    with queued(place, first=SAME, copy=SAME) as journey:
        drain(journey)
        command(place, "fail", "first.wav")
        drain(journey)
    assert set(place.states().values()) == {State.FAILED}
    assert len(posts(service)) == 1


def test_only_the_copy_is_released(make_place: MakePlace, service: Sandbox) -> None:
    """It is sent in the first one's stead; the first, released later, shares its identifier unsent."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer")
    with queued(place, first=SAME, copy=SAME) as journey:
        drain(journey)
        command(place, "release", "copy.wav")
        drain(journey)
        assert place.states() == {"first.wav": State.HELD, "copy.wav": State.DONE}
        command(place, "release", "first.wav")
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert place.item("first.wav").duplicate_of == place.item("copy.wav").id
    assert len(posts(service)) == 2
    assert list(pay_table(service).values()) == [1]


def test_the_first_was_taken_away(place: Place, service: Sandbox) -> None:
    """The copy becomes the first; the others wait for it from then on."""
    with queued(place, first=SAME, copy=SAME, third=SAME) as journey:
        os.unlink(place.root / "drop/first.wav")
        drain(journey)
    assert place.item("first.wav").state is State.WITHDRAWN
    check_one_charge(place, service, ["copy.wav", "third.wav"])


def test_the_first_was_taken_away_in_doubt(make_place: MakePlace, service: Sandbox) -> None:
    """What may have been charged for the first is in doubt for its copy as well: it is held like it."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer")
    with queued(place, first=SAME, copy=SAME) as journey:
        drain(journey)
        os.unlink(place.root / "drop/first.wav")
        settle(journey)
        drain(journey, seconds=60)
        copy = place.item("copy.wav")
        assert (copy.state, copy.in_doubt, copy.duplicate_of) == (State.HELD, True, None)
        add(place, journey, later=SAME)
        assert place.item("later.wav").state is State.HELD
    assert len(posts(service)) == 1


def test_the_first_is_on_its_way_back(place: Place, service: Sandbox) -> None:
    """A copy of one that is retried waits for the new outcome, and inherits no old refusal."""
    service.add_fault(**REFUSED)
    with queued(place, first=SAME) as journey:
        drain(journey)
        assert place.item("first.wav").state is State.FAILED
        command(place, "retry", "first.wav")
        assert place.item("first.wav").state is State.RETURNING
        add(place, journey, copy=SAME)
        assert place.item("copy.wav").state is State.QUEUED
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert place.item("first.wav").identifier == place.item("copy.wav").identifier
    assert len(posts(service)) == 2
    assert service.charged == 1


@pytest.mark.parametrize(
    "other",
    [{"account": "another"}, {"prevent_c2pa_forces": True}, {"base_url": "the same service, by another name"}],
)
def test_another_account_option_or_service_is_another_matter(
    place: Place, service: Sandbox, other: dict[str, object]
) -> None:
    """What was bought for one account is not another's: it is sent."""
    place.drop("first.wav", SAME)
    place.run_once()
    if "base_url" in other:
        other = {"base_url": service.url.replace("127.0.0.1", "localhost")}
    place.configure(identifai=other)
    place.drop("copy.wav", SAME)
    place.run_once()
    assert place.item("copy.wav").duplicate_of is None
    assert len(posts(service)) == 2


def test_a_queue_that_is_sent_for_another_account_is_known_there(place: Place, service: Sandbox) -> None:
    """What counts is for whom it is sent, not for whom it would have been when it arrived."""
    with queued(place, first=SAME):
        pass
    place.configure(identifai={"account": "another"})
    with place.opened() as journey:
        drain(journey)
        add(place, journey, copy=SAME)
        drain(journey)
    check_one_charge(place, service, ["first.wav", "copy.wav"])


def test_fresh_pays_again_on_purpose(place: Place, service: Sandbox) -> None:
    """`retry` of a copy whose bytes are done by now costs nothing; `retry --fresh` is sent with no_cache."""
    service.add_fault(**REFUSED)
    with queued(place, first=SAME, second=SAME, third=SAME) as journey:
        drain(journey)
        assert set(place.states().values()) == {State.FAILED}
        command(place, "retry", "first.wav")
        drain(journey)
        command(place, "retry", "second.wav")
        drain(journey)
        assert service.charged == 1
        command(place, "retry", "--fresh", "third.wav")
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2
    assert [entry.options.get("no_cache") for entry in posts(service)] == [None, None, "true"]


def test_no_cache_pays_for_each_copy(make_place: MakePlace, service: Sandbox) -> None:
    """Who configures no_cache wants every copy processed, and pays for it."""
    place = make_place(identifai={"no_cache": True})
    with queued(place, first=SAME, copy=SAME) as journey:
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert list(pay_table(service).values()) == [2]
    assert {entry.options.get("no_cache") for entry in posts(service)} == {"true"}
