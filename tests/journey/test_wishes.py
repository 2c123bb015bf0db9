"""What a person decides at the page: exact as the commands, for one recording and for all that match."""

from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from watcher.domain import Deed, ReviewWord, State
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import Sought, Store, Wish
from watcher.views.context import open_to_read
from watcher.views.overview import wish_in_words
from watcher.wishes import Decided, Wishing, ask, decide, review

FAILED = Sought(frozenset({State.FAILED}), to_see=True)


def fail_many(place: Place, service: Sandbox, number: int) -> None:
    service.add_fault(**REFUSED, times=number)
    for n in range(number):
        place.drop(f"call-{n}.wav", speech(f"call {n}"))
    place.run_once()
    assert list(place.states().values()) == [State.FAILED] * number


def seen(place: Place) -> int:
    """The number of the last change, as a page that is made now knows it."""
    with place.books() as books:
        return books.items.last_change()


def at_page(place: Place, name: str, deed: Deed, since: int, person: str = "anna") -> Decided:
    with open_to_read(place.config, place.clock) as context:
        return decide(context, place.item(name).id, deed, since, person)


def wish(place: Place, deed: Deed, sought: Sought, number: int, since: int) -> None:
    with open_to_read(place.config, place.clock) as context:
        assert ask(context, deed, sought, number, since, "anna").is_done


def carry_out(place: Place, steps: int = 1000) -> Wish:
    """The daemon's step is taken, so often or until nothing is left. What has come of the latest wish."""
    with place.opened() as journey:
        step = Wishing(journey.site, batch=3).step
        while steps and step() == 0.0:
            steps -= 1
    with place.books() as books:
        return books.wishes.latest(1)[0]


def test_one_recording_is_decided_on_as_by_the_command(place: Place, service: Sandbox) -> None:
    fail_many(place, service, 2)
    since = seen(place)
    assert at_page(place, "call-0.wav", Deed.RETRY, since).is_done
    assert at_page(place, "call-1.wav", Deed.DISMISS, since) == Decided(
        True, "Dismissed: it stays in failed/, and a retry undoes this."
    )
    place.run_once()
    assert place.states() == {"call-0.wav": State.DONE, "call-1.wav": State.FAILED}
    dismissed = place.item("call-1.wav").dismissed
    assert dismissed is not None
    assert dismissed.by == "anna"


def test_what_somebody_else_decided_meanwhile_stands_and_is_said(place: Place, service: Sandbox) -> None:
    """Also where the state is still the one that the page showed."""
    fail_many(place, service, 2)
    since = seen(place)
    assert at_page(place, "call-0.wav", Deed.DISMISS, since, "bert").is_done
    assert at_page(place, "call-1.wav", Deed.RETRY, since, "bert").is_done
    late = at_page(place, "call-0.wav", Deed.RETRY, since)
    assert not late.is_done
    assert late.said.startswith("Nothing was changed. Meanwhile: dismissed by bert, at ")
    assert "bert" in at_page(place, "call-1.wav", Deed.DISMISS, since).said
    assert place.states() == {"call-0.wav": State.FAILED, "call-1.wav": State.RETURNING}
    assert at_page(place, "call-0.wav", Deed.RETRY, seen(place)).is_done


def test_what_cannot_be_decided_any_more_is_said(make_place: MakePlace, service: Sandbox) -> None:
    """Another button than those that the page offered; a recording that is gone from failed/."""
    place = make_place()
    fail_many(place, service, 1)
    said = at_page(place, "call-0.wav", Deed.RELEASE, seen(place))
    assert said == Decided(False, "Nothing was changed. Meanwhile it is failed.")
    (place.root / "failed/call-0.wav").unlink()
    said = at_page(place, "call-0.wav", Deed.RETRY, seen(place))
    assert not said.is_done
    assert "drop it again" in said.said
    assert place.states() == {"call-0.wav": State.FAILED}


def test_a_word_on_a_recording_replaces_none_that_its_giver_had_not_seen(place: Place) -> None:
    place.drop("call.wav")
    place.run_once()
    since, item_id = seen(place), place.item("call.wav").id
    with open_to_read(place.config, place.clock) as context:
        assert review(context, item_id, ReviewWord.HUMAN, "I know her", since, "anna").is_done
        late = review(context, item_id, ReviewWord.ARTIFICIAL, "", since, "bert")
    assert not late.is_done
    assert "human, says anna: I know her" in late.said
    found = place.item("call.wav").review
    assert found is not None
    assert (found.word, found.by) == (ReviewWord.HUMAN, "anna")


def test_a_wish_is_carried_out_in_batches_on_what_matched_and_nothing_else(place: Place, service: Sandbox) -> None:
    """Eight failed; one is retried by somebody else meanwhile, and another one fails after the wish."""
    fail_many(place, service, 8)
    since = seen(place)
    wish(place, Deed.DISMISS, FAILED, 8, since)
    begun = carry_out(place, steps=1)
    assert 0 < begun.done < 8
    assert begun.ended_at is None
    assert at_page(place, "call-7.wav", Deed.RETRY, since, "bert").is_done
    service.add_fault(**REFUSED, times=1)
    place.drop("later.wav")
    place.run_once()

    ended = carry_out(place)
    assert ended.ended_at is not None
    assert (ended.done, ended.left) == (7, 1)
    assert "7 of 8 dismissed, as anna asked." in wish_in_words(ended)
    assert "1 was meanwhile decided on by somebody else" in wish_in_words(ended)
    items = place.items()
    assert items["later.wav"].dismissed is None
    assert items["call-7.wav"].dismissed is None
    assert {item.dismissed.by for item in items.values() if item.dismissed} == {"anna"}


def test_a_wish_outlives_the_daemon(place: Place, service: Sandbox) -> None:
    """It is a row: whoever comes next carries it out, also a pass of cron's, and none of it twice."""
    fail_many(place, service, 4)
    service.clear_faults()
    since = seen(place)
    wish(place, Deed.RETRY, FAILED, 4, since)
    place.run_once()
    assert set(place.states().values()) == {State.DONE}
    assert carry_out(place).done == 4


def test_a_wish_keeps_to_its_search_and_says_what_stood_in_its_way(place: Place, service: Sandbox) -> None:
    """Of those with "1" in their names one is gone from failed/: it is counted, and the others go back."""
    fail_many(place, service, 12)
    (place.root / "failed/call-11.wav").unlink()
    wish(place, Deed.RETRY, Sought(frozenset({State.FAILED}), names=(b"1",), to_see=True), 3, seen(place))
    ended = carry_out(place)
    assert (ended.done, ended.hindered, ended.left) == (2, 1, 0)
    assert "1 could not be: " in wish_in_words(ended)
    assert "call-11" not in wish_in_words(ended)  # nor any other name: it may have to be hidden
    back = {name for name, state in place.states().items() if state is State.RETURNING}
    assert back == {"call-1.wav", "call-10.wav"}


def test_what_is_held_can_be_released_or_given_up_all_at_once(make_place: MakePlace, service: Sandbox) -> None:
    place = make_place(identifai={"in_doubt": "hold"})
    for name in ("a.wav", "b.wav"):
        service.add_fault(FaultKind.LOSE_ANSWER, times=1)
        place.drop(name, speech(name))
        place.run_once()
        service.clear_faults()
    held = Sought(frozenset({State.HELD}))
    assert set(place.states().values()) == {State.HELD}
    wish(place, Deed.RELEASE, held, 2, seen(place))
    assert carry_out(place).done == 2
    assert set(place.states().values()) == {State.QUEUED}


def test_of_a_wish_that_has_ended_nobody_knows_what_was_looked_for(place: Place) -> None:
    """It may be a name that is to be erased."""
    place.drop("call.wav")
    place.run_once()
    wish(place, Deed.DISMISS, Sought(frozenset({State.FAILED}), names=(b"secret",)), 0, seen(place))
    carry_out(place)
    with Store(place.config.store.url) as store:
        assert b"secret" not in store.database.path.read_bytes()
