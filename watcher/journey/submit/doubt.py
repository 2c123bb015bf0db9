"""What a lost answer means: the recording may have been charged, and nobody can know. Pure.

The same bytes are sent again, never with no_cache, so that the service can answer from its cache; or a person
decides (`identifai.in_doubt`). The item stays in doubt until an answer comes, whatever happens to its file.
"""

from dataclasses import replace
from typing import Any

from watcher.domain import Fault, Item, State

HELD = "held for a person"
"""What the ledger says of a recording that a person must decide on."""

_ITSELF = "It was sent, and the daemon ended before the answer was recorded: it may have been charged."
_LOST = "It waited when the database was lost, and may have been sent since: it may have been charged."
_ANOTHER = "The same bytes were sent before, and no answer came: they may have been charged."


def after_lost_answer(item: Item, *, holds: bool, of_another: bool = False) -> dict[str, Any]:
    """Return the changes to an item whose answer was lost: queued again, or held for a person if `holds`.

    `of_another`: the lost answer was for another recording with the same bytes.
    """
    if not holds:
        return {"state": State.QUEUED, "in_doubt": True}
    message, hint = _ANOTHER, hint_to_decide(item)
    if not of_another:
        message, hint = _ITSELF, f"{hint} If the log has `answer.unrecorded` for it, that line has the answer."
    fault = Fault("in_doubt", message, hint)
    return {"state": State.HELD, "in_doubt": True, "fault": fault}


def after_loss(item: Item, *, holds: bool) -> dict[str, Any]:
    """Return the changes to an item that may have been sent before the database was lost: no trace tells.

    It is queued or prepared, never with no_cache, or held for a person if `holds`.
    """
    if not holds:
        return {"state": item.state, "in_doubt": True}
    return {"state": State.HELD, "in_doubt": True, "fault": Fault("in_doubt", _LOST, hint_to_decide(item))}


def after_return(item: Item) -> dict[str, Any]:
    """Return the changes to an item in doubt whose file is back: held again, since that decides nothing."""
    fault = decided(item, hint_to_decide(item)) or after_lost_answer(item, holds=True, of_another=True)["fault"]
    return {"state": State.HELD, "fault": fault, "outcome": None, "filed_as": None, "identifier": None}


def decision(*, holds: bool) -> str:
    """Return what is done about it, in a few words for the ledger."""
    return HELD if holds else "in doubt: sent again, never with no_cache"


def decided(item: Item, how: str) -> Fault | None:
    """Return the fault of a held item with `how` it was decided in place of its hint."""
    return None if item.fault is None else replace(item.fault, hint=how)


def hint_to_decide(item: Item) -> str:
    """Return what a person can do about a held recording."""
    return f"Decide: `watcher release {item.id}` sends it again, `watcher fail {item.id}` gives it up."
