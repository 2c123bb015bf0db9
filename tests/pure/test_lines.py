"""The lines of `list --json` are made of rows, by a way of their own: to the letter they are those of `show`."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.store.recordings import item as an_item
from watcher.domain import (
    Audio,
    Dismissed,
    Fault,
    Item,
    Removed,
    Review,
    ReviewWord,
    State,
    Verdict,
    VerdictState,
)
from watcher.journey.answer import Answer
from watcher.store import Listed
from watcher.store.rows import columns_of
from watcher.store.schema import verdicts
from watcher.text import rfc3339, to_json
from watcher.views.lines import json_line
from watcher.views.recordings import Recording

_TEXT = st.text(max_size=12) | st.sampled_from(['a "quote" and a \\', "\x1b[31m", "é, µ, \u202e", "tab\t"])
_NUMBER = st.floats(0, 1e6) | st.integers(0, 9999).map(lambda number: number / 1000)
_TIME = st.floats(0, 4e9, allow_nan=False) | st.integers(0, 4_000_000_000_000).map(lambda millis: millis / 1000)
_PATH = st.binary(min_size=1, max_size=20) | _TEXT.map(lambda text: text.encode("utf-8", "surrogatepass") or b"a")
_HEX = st.text("0123456789abcdef", min_size=16, max_size=16)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "path": _PATH,
        "state": st.sampled_from(State),
        "size": st.integers(0, 1 << 60),
        "sha256": _maybe(_HEX),
        "audio": st.builds(
            Audio, _TEXT, _maybe(_TEXT), _maybe(_NUMBER), _maybe(st.integers(1, 9)), _maybe(st.integers(1, 9999))
        ),
        "arrived_at": _TIME,
        "identifier": _maybe(_TEXT),
        "fault": st.builds(Fault, _TEXT, _TEXT, _TEXT),
        "warning": _maybe(_TEXT),
        "duplicate_of": _maybe(_HEX),
        "attempts": st.integers(0, 99),
        "filed_as": _maybe(_PATH),
        "submitted_at": _maybe(_TIME),
        "filed_at": _maybe(_TIME),
        "dismissed": st.builds(Dismissed, _TIME, _TEXT),
        "review": st.builds(Review, st.sampled_from(ReviewWord), _TEXT, _TEXT, _TIME),
        "removed": st.builds(Removed, _TIME, _TEXT),
        "site": _TEXT,
    },
).map(lambda given: Item(**{name: getattr(an_item(1), name) for name in Item.__dataclass_fields__} | given))
_VERDICTS = st.builds(
    Verdict,
    st.just("aud_1"),
    st.sampled_from(VerdictState),
    st.none(),
    st.just(0.0),
    st.just(0.0),
    classification=_maybe(_TEXT),
    confidence=_maybe(_NUMBER),
    heuristic=_maybe(_TEXT),
    api_version=_maybe(_TEXT),
    models=st.lists(_TEXT, max_size=3).map(tuple),
    forced=st.booleans(),
    detail=_TEXT,
    machine_classification=_maybe(_TEXT),
    machine_confidence=_maybe(_NUMBER),
    result_url=_maybe(_TEXT),
)


def _row(item: Item, verdict: Verdict | None) -> Listed:
    known: dict[str, Any] = dict.fromkeys(Listed._fields) | {"serial": 1, "id": item.id}
    if verdict is not None:
        said = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__ if name in verdicts.c}
        known |= said | {"models": json.dumps(verdict.models), "verdict_state": verdict.state}
    known |= columns_of(item)
    return Listed(**{name: known[name] for name in Listed._fields})


@given(item=_ITEMS, verdict=_maybe(_VERDICTS))
def test_a_line_of_a_row_is_that_of_its_recording(item: Item, verdict: Verdict | None) -> None:
    assert json_line(_row(item, verdict)) == to_json(Recording(item, Answer(verdict)).as_json())


@given(st.lists(_TIME, max_size=5))
@example([1735689599.9999996, 1735689600.0, 59.9999999, 0.0])
def test_a_time_is_said_as_the_standard_library_says_it(times: list[float]) -> None:
    """Whichever was said before it, in the same minute or another."""
    for at in [*times, *times]:
        expected = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        assert rfc3339(at) == expected.replace("+00:00", "Z")
