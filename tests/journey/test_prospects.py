"""`why` and the commands that decide promise nothing that is not true in the state in which they say it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.places import REFUSED, Place, speech
from tests.transitions import any_transition
from watcher.audio.synthesis import wav
from watcher.cli import main
from watcher.domain import Fault, Item, Pause, PauseKind, State
from watcher.errors import Exit
from watcher.folders import fingerprint_of
from watcher.journey.submit.policy import Cause, find_gate
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import Books, Store
from watcher.views.context import CommandContext
from watcher.views.interruptions import explain_pauses
from watcher.views.prospects import explain_item

LOCAL = ("too_large", "truncated", "unsupported_type", "undecodable", "no_sound")
"""Codes of what is refused unsent: the same file is refused again, as long as nothing is set otherwise."""
CODES = (*LOCAL, "refused", *map(str, Cause), "no_room", "in_doubt", "unreachable_file")
FAULTS = (None, *(Fault(code, f"It is {code}.", "Do something.") for code in CODES))
REASONS = {kind: f"The {kind} is not well." for kind in PauseKind}
PAUSES = [(), *((kind,) for kind in PauseKind), *combinations(PauseKind, 2)]
UNDER_WAY = (State.PREPARING, State.QUEUED, State.SUBMITTING, State.FILING, State.RETURNING)
WITHOUT_END = (PauseKind.PERSON, PauseKind.FOLDER)


@contextmanager
def context_of(place: Place) -> Iterator[CommandContext]:
    with Store(place.config.store.url) as store:
        if not store.database.exists():
            store.database.migrate()
        yield CommandContext(place.config, store, place.clock)


def put(place: Place, books: Books, number: int, state: State, fault: Fault | None) -> Item:
    """An item in this state, its file where that has it."""
    name = f"call {number}.wav"
    folder = {State.DONE: "done", State.FAILED: "failed", State.RETURNING: "failed"}.get(state, "drop")
    path = place.root / folder / name
    path.write_bytes(b"x" * 1000)
    is_decided = state in (State.FILING, State.FAILED, State.RETURNING)
    item = Item(
        id=f"{number:016x}",
        path=name.encode(),
        state=state,
        size=1000,
        arrived_at=float(number),
        fingerprint=fingerprint_of(path.stat()),
        fault=fault,
        outcome=State.FAILED if is_decided else None,
        filed_as=name.encode() if is_decided or state is State.DONE else None,
    )
    with any_transition():
        books.items.add(item)
    return item


def paused(kind: PauseKind, now: float) -> Pause:
    return Pause(kind, str(kind), REASONS[kind], now, None if kind in WITHOUT_END else now + 60)


@pytest.mark.parametrize("state", State)
def test_no_promise_is_made_that_something_stands_against(
    make_place: MakePlace, clock: FalseClock, state: State
) -> None:
    """Every state, under every fault and every one or two pauses, while nobody works there.

    What is paused says so, with each reason; what would only be refused again is not said to be sent again; and
    what needs a daemon says that there is none.
    """
    place = make_place(limits={"max_upload_bytes": 100}, audio={"oversize": "fail"})
    now = clock.now()
    with context_of(place) as context:
        with context.store.writing() as books:
            items = [put(place, books, number, state, fault) for number, fault in enumerate(FAULTS)]
        for kinds in PAUSES:
            with context.store.writing() as books:
                for kind in kinds:
                    books.pauses.set(paused(kind, now))
            explained = [(item, explain_item(context, item)) for item in items]
            with context.store.writing() as books:
                for kind in kinds:
                    books.pauses.end(kind, now)
            for item, told in explained:
                is_refused = item.fault is not None and item.fault.code in LOCAL
                about = f"{state} {item.fault and item.fault.code} {kinds}: {told}"

                if state is State.QUEUED or (state is State.RETURNING and not is_refused):
                    assert all(REASONS[kind] in told for kind in kinds), about
                if state in (State.FILING, State.RETURNING) and PauseKind.FOLDER in kinds:
                    assert REASONS[PauseKind.FOLDER] in told, about
                    assert "being moved" not in told, about
                if is_refused and state in (State.FAILED, State.RETURNING):
                    assert "refused again" in told, about
                    assert "sent again" not in told, about
                assert ("No daemon is running" in told) == (state in UNDER_WAY), about
                assert "being sent now" not in told, about
                assert told.endswith("."), about
                assert "  " not in told, about
                assert "ITEM" not in told, about


@pytest.mark.parametrize("kinds", PAUSES, ids=lambda kinds: "+".join(kinds) or "none")
def test_what_ends_a_pause_is_told_as_the_gate_has_it(clock: FalseClock, kinds: tuple[PauseKind, ...]) -> None:
    """That one recording tries at a time is said only where the gate lets one through at that time."""
    pauses = [paused(kind, clock.now()) for kind in kinds]
    told = " ".join(explain_pauses(pauses, clock.now()))

    standing = [pause for pause in pauses if pause.kind not in (PauseKind.THROTTLE, PauseKind.CAP)]
    gate = find_gate(standing, clock.now() + 60)
    announced = re.search(r"One recording tests at \S+ \S+, or at once after `watcher resume`, whether", told)
    if len(standing) == len(pauses):
        assert (announced is not None) == (gate.is_open and gate.canary)
    else:  # these two end by their own time, and then the others are told anew
        assert announced is None
    assert ("`watcher resume` ends it" in told) == (PauseKind.PERSON in kinds)
    assert all(REASONS[kind] in told for kind in kinds)


# What is promised comes true


def test_a_retry_of_what_is_refused_unsent_says_so_and_it_is(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut short, too large, no recording: nothing is sent, now or then."""
    place = make_place(
        limits={"max_upload_bytes": 100_000}, arrivals={"incomplete_minutes": 0.05}, audio={"oversize": "fail"}
    )
    place.drop("short.wav", wav(4.0, seed=1)[:-5000])
    place.drop("large.wav", wav(8.0, seed=2))
    place.drop("page.wav", b"<html>not found</html>")
    place.run_once()
    names = ("short.wav", "large.wav", "page.wav")
    assert set(place.states().values()) == {State.FAILED}
    for name in names:
        told = said(place, capsys, "why", name)
        assert "Unchanged, it would be refused again." in told
        assert "watcher retry" not in told

    told = said(place, capsys, "retry", "--failed")
    assert told.count("goes back to the drop folder, and is refused again unless it was changed: ") == 3
    assert "sent again" not in told
    for name in names:
        assert "Then it is refused again, unless it was changed: " in said(place, capsys, "why", name)
    place.run_once()

    assert set(place.states().values()) == {State.FAILED}
    assert [entry for entry in service.ledger if entry.method == "POST"] == []


def test_a_retry_after_the_settings_were_changed_says_that_it_is_sent_and_it_is(
    make_place: MakePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """With lenient lengths and a larger limit, the same files are accepted."""
    place = make_place(
        limits={"max_upload_bytes": 100_000}, arrivals={"incomplete_minutes": 0.05}, audio={"oversize": "fail"}
    )
    place.drop("short.wav", wav(4.0, seed=1)[:-5000])
    place.drop("large.wav", wav(8.0, seed=2))
    place.run_once()
    place.configure(arrivals={"incomplete_minutes": 0.05, "lengths": "lenient"})
    for name in ("short.wav", "large.wav"):
        assert re.search(r"`watcher retry [0-9a-f]{16}` sends it again\.", said(place, capsys, "why", name))
    assert said(place, capsys, "retry", "--failed").count("is sent again") == 2
    place.run_once()
    assert place.states() == {"short.wav": State.DONE, "large.wav": State.DONE}


def test_what_was_mended_in_failed_is_sent_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever replaces the file in failed/ by a good one need not drop it anew."""
    place.drop("call.wav", b"<html>not found</html>")
    place.run_once()
    (place.root / "failed/call.wav").write_bytes(speech("mended"))
    assert "unless it was changed" in said(place, capsys, "retry", "call.wav")
    place.run_once()
    assert place.states() == {"call.wav": State.DONE}


def test_a_retry_of_what_is_no_longer_in_failed_promises_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody took it away: `why` and `retry` say so, and it stays failed."""
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav")
    place.run_once()
    (place.root / "failed/call.wav").unlink()
    assert "It is no longer in failed/" in said(place, capsys, "why", "call.wav")
    assert main(["retry", "--config", str(place.config_path), "call.wav"]) == Exit.INCOMPLETE
    told = capsys.readouterr()
    assert told.out == ""
    assert "is not retried" in told.err
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}


def test_what_is_decided_under_a_pause_or_without_a_daemon_is_told_to_wait(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason of the pause, what ends it, and that nobody is there: below each decision."""
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav")
    place.run_once()
    said(place, capsys, "pause", "--reason", "budget review")
    told = said(place, capsys, "retry", "call.wav").splitlines()
    assert told[0].endswith("call.wav: goes back to the drop folder and is sent again")
    assert told[1:] == [
        "Submitting is paused: budget review. `watcher resume` ends it.",
        "No daemon is running: the next `watcher run` does it.",
    ]
    assert place.run_once().exit_code == Exit.UNAVAILABLE
    with place.books() as books:
        held = place.item_in(books, "call.wav")
        books.items.change(held, State.HELD, place.clock.now(), fault=Fault("in_doubt", "Who knows.", ""))
    assert said(place, capsys, "release", "call.wav").splitlines()[1:] == told[1:]
    resumed = said(place, capsys, "resume")
    assert resumed == "Submitting goes on.\nNo daemon is running: the next `watcher run` does it.\n"
    with place.opened():
        assert said(place, capsys, "resume") == "Submitting was not paused.\n"
        assert "No daemon" not in said(place, capsys, "why", "call.wav")


@pytest.mark.parametrize(
    ("released", "in_doubt", "says", "becomes"),
    [
        (False, "resubmit", "it cost nothing and will be queued again", State.QUEUED),
        (False, "hold", "it cost nothing and will be queued again", State.QUEUED),
        (True, "resubmit", "may have been charged. It will be sent again", State.QUEUED),
        (True, "hold", "may have been charged. It will be held for your decision", State.HELD),
    ],
)
def test_what_a_killed_daemon_was_sending_is_told_as_the_next_start_has_it(
    make_place: MakePlace,
    capsys: pytest.CaptureFixture[str],
    released: bool,
    in_doubt: str,
    says: str,
    becomes: State,
) -> None:
    """Not "is being sent now": nobody is there to send it."""
    place = make_place(identifai={"in_doubt": in_doubt})
    said(place, capsys, "pause")
    place.drop("call.wav")
    place.run_once()
    with place.books() as books:
        item = place.item_in(books, "call.wav")
        books.items.change(item, State.SUBMITTING, 1.0, claim="somebody")
        claimed = replace(item, claim="somebody")
        number = books.ledger.begin(claimed, 1.0, no_cache=False, canary=False)
        if released:
            books.ledger.release(number, claimed, 1.0)
    told = said(place, capsys, "why", "call.wav")
    assert says in told
    assert "No daemon is running: the next `watcher run` continues." in told

    with place.opened():
        assert place.states() == {"call.wav": becomes}


def test_a_duplicate_waits_for_whatever_becomes_of_the_first(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not promised the identifier that the first may never get."""
    said(place, capsys, "pause", "--reason", "Wait.")
    place.drop("a.wav", speech("same"))
    place.run_once()
    place.drop("b.wav", speech("same"))
    place.run_once()
    told = said(place, capsys, "why", "b.wav")
    assert "will share its outcome at no cost. That one, a.wav, is queued and is the next." in told
    assert "Submitting is paused: Wait." in told
    service.add_fault(**REFUSED, times=1)
    said(place, capsys, "resume")
    place.run_once()
    assert place.states() == {"a.wav": State.FAILED, "b.wav": State.FAILED}


def test_the_commands_for_a_held_recording_can_be_pasted_and_are_gone_once_it_is_decided(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name the item, in JSON too; in failed/ nobody is told to decide any more."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault(FaultKind.LOSE_ANSWER, times=1)
    place.drop("call.wav")
    place.run_once()
    told = said(place, capsys, "why", "call.wav")
    release, fail = re.findall(r"`watcher (\w+ \w+)`", told)
    assert json.loads(said(place, capsys, "show", "--json", "call.wav"))["error"]["hint"] in told
    assert said(place, capsys, *release.split()).startswith(f"{place.item('call.wav').id} call.wav: is queued")
    service.clear_faults()
    service.add_fault(FaultKind.LOSE_ANSWER, times=1)
    place.clock.advance(10_000)  # type: ignore[attr-defined]
    place.run_once()
    assert said(place, capsys, *fail.split()).startswith(f"{place.item('call.wav').id} call.wav: is given up")
    place.run_once()
    told = said(place, capsys, "why", "call.wav")
    assert "A person gave it up. `watcher retry " in told
    assert "release" not in told
    assert place.receipt("failed/call.wav.json")["error"]["hint"] == "A person gave it up."


def test_a_backlog_under_a_pause_says_so(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """How long it takes counts from when submitting goes on."""
    said(place, capsys, "pause")
    for number in range(40):
        place.drop(f"{number}.wav")
    place.run_once()
    assert re.search(
        "^backlog +about 1 min, once submitting resumes$", said(place, capsys, "status"), re.MULTILINE
    )
    said(place, capsys, "resume")
    assert re.search("^backlog +about 1 min$", said(place, capsys, "status"), re.MULTILINE)


def test_what_is_typed_cannot_steer_the_terminal(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name may be anybody's, and a shell completes it."""
    name = "\x1b]0;mine\x07.wav"
    assert said(place, capsys, "why", name).startswith("\\x1b]0;mine\\x07.wav: there is no such file")
    for command in ("show", "retry", "release"):
        assert main([command, "--config", str(place.config_path), name]) == Exit.USAGE
        assert "\x1b" not in capsys.readouterr().err
