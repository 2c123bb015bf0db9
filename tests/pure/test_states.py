"""The states, and the changes between them: one table, which the store and the documents keep to."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import watcher
from tests.transitions import strangers
from watcher.domain import (
    AFTER_CRASH,
    AT_REST,
    BACKLOG,
    FILED,
    HALF_DONE,
    IN_DROP,
    LIVE,
    MOVING,
    PATIENT,
    TRANSITIONS,
    UNANSWERED,
    UNDECIDED,
    UNDER_WAY,
    UNSENT,
    UNTOUCHED,
    WAITING,
    Mover,
    State,
)
from watcher.store.items import Items

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_readme_has_the_table_of_the_code() -> None:
    """Each row: the state, where it goes on to and by whom, and what a crash leaves."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    told = {state: (onward, crash) for state, onward, crash in rows if state in list(State)}
    assert told == {str(state): (_onward(state), AFTER_CRASH[state]) for state in State}


def _onward(state: State) -> str:
    """`failed` (file, person), …; that something else of it changes in this state is no way onward."""
    to = {after: movers for after, movers in TRANSITIONS[state].items() if after is not state}
    return ", ".join(f"`{after}` ({', '.join(movers)})" for after, movers in to.items()) or "-"


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == {None, *State}
    reached, new = set[State](), {*TRANSITIONS[None]}
    while new:
        reached |= new
        new = {after for state in new for after in TRANSITIONS[state]} - reached
    assert reached == set(State)


def test_what_is_under_way_is_ended_by_the_daemon_and_what_rests_by_no_step_of_its_own() -> None:
    """So nothing waits for ever, and what is at rest stays until a person, or a file, ends that."""
    for state in UNDER_WAY:
        movers = {mover for after in AT_REST | UNDER_WAY - {state} for mover in TRANSITIONS[state].get(after, ())}
        assert movers - {Mover.PERSON, Mover.RECOVER}, state
    for state in AT_REST:
        movers = {mover for after in UNDER_WAY for mover in TRANSITIONS[state].get(after, ())}
        assert movers <= {Mover.PERSON, Mover.ARRIVE, Mover.SUBMIT, Mover.RECOVER}, state


def test_only_what_may_be_half_done_leaves_a_crash_something_to_do() -> None:
    assert {state for state, left in AFTER_CRASH.items() if left != "nothing to do"} == HALF_DONE


def test_the_sets_of_states() -> None:
    """Derived as they are, they hold what their docstrings say."""
    assert {State.PREPARING, State.SUBMITTING, State.FILING, State.RETURNING} == HALF_DONE
    assert {State.DONE, State.FAILED, State.HELD, State.WITHDRAWN} == AT_REST
    assert {State.QUEUED} | HALF_DONE == UNDER_WAY
    assert {State.PREPARING, State.FILING, State.RETURNING} == PATIENT
    assert {State.FILING, State.RETURNING} == MOVING
    assert {State.PREPARING, State.QUEUED, State.SUBMITTING, State.RETURNING} == UNDECIDED
    assert {State.PREPARING, State.QUEUED, State.RETURNING} == UNSENT
    assert {State.PREPARING, State.QUEUED, State.SUBMITTING} == BACKLOG
    assert {State.PREPARING, State.QUEUED, State.SUBMITTING, State.FILING, State.HELD} == IN_DROP
    assert IN_DROP | {State.RETURNING} == LIVE
    assert {State.PREPARING, State.QUEUED, State.HELD} == UNTOUCHED
    assert {State.QUEUED, State.HELD} == WAITING
    assert {State.DONE, State.FAILED, State.WITHDRAWN} == FILED | UNANSWERED


def test_no_other_module_has_a_set_of_states_of_its_own() -> None:
    """A new state is put into the sets once; what is spelled out elsewhere would be forgotten."""
    found = []
    for path in sorted(Path(watcher.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = [ast.unparse(part) for part in _members(node)]
            if sum(f"State.{state.name}" in parts for state in State) > 1 and path.name != "states.py":
                found.append(f"{path.name}: {', '.join(parts)}")
    assert found == []


def _members(node: ast.AST) -> Sequence[ast.AST]:
    match node:
        case ast.Tuple() | ast.List() | ast.Set():
            return node.elts
        case ast.MatchOr():
            return node.patterns
        case _:
            return ()


@pytest.mark.parametrize("module", ["journey/file/filing.py", "journey/recover.py", "elsewhere.py"])
def test_whoever_makes_another_s_change_is_noted(module: str) -> None:
    """The observer itself, under which every test runs: a change by whom the table does not name is seen."""
    source = "try:\n    Items.change(None, item, state, 0.0)\nexcept AttributeError:\n    pass\n"
    held = type("AnItem", (), {"id": "1", "state": State.HELD})()
    names = {"Items": Items, "item": held, "state": State.WITHDRAWN}
    exec(compile(source, str(README.parent / "watcher" / module), "exec"), names)
    assert [line.partition(" by ")[0] for line in strangers()] == ["held to withdrawn"]
