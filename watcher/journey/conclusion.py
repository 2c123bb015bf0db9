"""What becomes of a recording once its answer is known, or those of all its parts are. Pure."""

from collections.abc import Sequence
from typing import Any

from watcher.domain import UNSETTLED, Fault, Item, Part, PartState, State

_NONE = Fault("refused", "The service accepted none of its parts.")


def to_file(outcome: State, item: Item, fault: Fault | None) -> dict[str, Any]:
    """Return the changes to an item once it is decided where it goes."""
    return {"state": State.FILING, "outcome": outcome, "filed_as": item.path, "fault": fault}


def settle(item: Item, parts: Sequence[Part], changes: dict[str, Any]) -> dict[str, Any]:
    """Return what its row reads, with these changes, now that its parts are as given.

    It is queued for its next part; held, where a person is to decide on one; and filed, once each has come to its
    end. `filed_as` of the changes is the name that done/ takes, if it goes there.
    """
    facts = {name: value for name, value in changes.items() if name != "filed_as"}
    facts["in_doubt"] = any(part.in_doubt for part in parts)
    concluded = conclude(item, parts)
    if any(part.state is PartState.HELD for part in parts):
        return facts | {"state": State.HELD}
    if concluded is None:
        return facts | {"state": State.QUEUED}
    if concluded["outcome"] is State.DONE:
        concluded["filed_as"] = changes.get("filed_as") or item.path
    return facts | concluded


def conclude(item: Item, parts: Sequence[Part]) -> dict[str, Any] | None:
    """Return what its row reads then; None while one is still to be sent or decided on, and without any.

    With at least one identifier it is done, and says how many seconds nobody judged; with none it failed. Its own
    identifier is that of its only part.
    """
    if not parts or any(part.state in UNSETTLED for part in parts):
        return None
    accepted = [part for part in parts if part.state is PartState.ACCEPTED]
    if not accepted:
        faults = [part.fault for part in parts if part.fault is not None and not part.silent]
        return to_file(State.FAILED, item, faults[0] if faults else _NONE)
    missing = sum(part.seconds for part in parts if part.state is PartState.REFUSED and not part.silent)
    facts = to_file(State.DONE, item, None) | {"in_doubt": False, "suspected_at": None, "fresh": False}
    if len(parts) == 1:
        facts["identifier"] = accepted[0].identifier
    if missing:
        note = f"{missing:,.1f} s of it were not judged: the service did not accept every part."
        facts["warning"] = " ".join(filter(None, [item.warning, note]))
    facts["submitted_at"] = max((p.submitted_at for p in accepted if p.submitted_at is not None), default=None)
    return facts
