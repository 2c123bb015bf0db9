"""What stays of a recording that was erased: enough to know its content again, and nothing that names anybody.

A tombstone lies in the database and, where money was spent, in a file beside where the receipt lay. It has the
content as a hash with a key of the site's own: who has the recording can tell that it is this one, and nobody can
tell what it was.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from math import isfinite
from typing import Any

from watcher.domain import FILED, Item, Mode, Part, PartState, Planned, State
from watcher.text import JsonObject, rfc3339, seconds_of

KEY_BYTES = 32
FORMAT = 1

LATEST = 9e9
"""In the year 2255. What `recover` reads is older: the place of an item of then still fits into a column."""

_LONGEST_TEXT = 2_000
_MOST_PARTS = 10_000
_HEX = frozenset("0123456789abcdef")


class Why(StrEnum):
    """Why something was removed."""

    RETENTION = "retention"  # its time was over
    ERASED = "erased"  # a person asked for it


@dataclass(frozen=True, slots=True)
class BuriedPart:
    """What stays of one part of a recording: its place in it, and its identifier."""

    index: int
    channel: int | None
    start_seconds: float
    end_seconds: float
    silent: bool
    state: PartState
    identifier: str | None

    def as_json(self) -> JsonObject:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"state": str(self.state)}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays of an item. Times are seconds since the epoch, UTC."""

    id: str
    content: str | None  # the keyed hash of its content key; None: its bytes were never read
    outcome: State | None  # done or failed; None: it was withdrawn
    identifier: str | None  # None where it has none, or several: then its parts have them
    mode: Mode | None  # None: it was sent as it is, and has no parts
    parts: tuple[BuriedPart, ...]
    submitted_at: float | None
    erased_at: float
    why: Why
    base_url: str
    account: str
    charged: int  # requests that were charged, or may have been
    in_doubt: bool  # the answer to one of them was lost
    refused: bool  # by the service: the same bytes would be refused again

    @property
    def is_accepted(self) -> bool:
        """Whether the service gave an identifier for it, or for one of its parts at least."""
        return self.identifier is not None or any(part.identifier is not None for part in self.parts)

    @property
    def identifiers(self) -> list[str]:
        """Every identifier that it has, or that a part of it has."""
        found = [self.identifier, *(part.identifier for part in self.parts)]
        return list(dict.fromkeys(one for one in found if one is not None))

    def as_json(self) -> JsonObject:
        """Return it as its file has it."""
        return {
            "watcher": FORMAT,
            "tombstone": True,
            "id": self.id,
            "content": self.content,
            "outcome": self.outcome and str(self.outcome),
            "identifier": self.identifier,
            "mode": self.mode and str(self.mode),
            "parts": [part.as_json() for part in self.parts],
            "submitted_at": rfc3339(self.submitted_at),
            "erased_at": rfc3339(self.erased_at),
            "why": str(self.why),
            "base_url": self.base_url,
            "account": self.account,
            "charged": self.charged,
            "in_doubt": self.in_doubt,
            "refused": self.refused,
        }

    def buried_parts(self, item: Item) -> list[Part]:
        """Return the parts that an item with the same bytes has from now on, as they were."""
        return [
            Part(
                item_id=item.id,
                index=part.index,
                channel=part.channel,
                start=0,
                end=0,
                start_seconds=part.start_seconds,
                end_seconds=part.end_seconds,
                silent=part.silent,
                state=part.state,
                identifier=part.identifier,
                submitted_at=self.submitted_at if part.identifier is not None else None,
            )
            for part in self.parts
        ]

    def plan(self) -> Planned | None:
        """Return how it was made acceptable; None: it was sent as it is."""
        reason = "The same bytes were sent so before."
        return None if self.mode is None else Planned(self.mode, max(len(self.parts), 1), reason)


def bury(item: Item, parts: list[Part], content: str | None, **facts: Any) -> Tombstone:
    """Return what stays of the item. `facts`: what its row and parts do not tell."""
    return Tombstone(
        id=item.id,
        content=content,
        outcome=item.outcome if item.state in FILED else None,
        identifier=item.identifier,
        mode=None if item.plan is None else item.plan.mode,
        parts=tuple(
            BuriedPart(p.index, p.channel, p.start_seconds, p.end_seconds, p.silent, p.state, p.identifier)
            for p in parts
        ),
        submitted_at=item.submitted_at,
        in_doubt=item.in_doubt or any(part.in_doubt for part in parts),
        refused=item.fault is not None and item.fault.code == "refused",
        **facts,
    )


def hash_content(key: bytes, content_key: str) -> str:
    """Return the keyed hash of a content key, in hex."""
    return hmac.new(key, content_key.encode(), sha256).hexdigest()


def read_tombstone(found: Mapping[str, Any] | None) -> Tombstone | None:
    """Return the tombstone in a file's JSON; None for anything else, whatever a stranger wrote there."""
    if found is None or found.get("tombstone") is not True or found.get("watcher") != FORMAT:
        return None
    try:
        return _read(found)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _read(found: Mapping[str, Any]) -> Tombstone:
    parts = found["parts"]
    if not isinstance(parts, list) or len(parts) > _MOST_PARTS:
        raise ValueError
    erased_at, submitted_at = _time(found["erased_at"]), _time(found["submitted_at"])
    if erased_at is None:
        raise ValueError
    content, outcome, mode = _text_or_none(found["content"]), found["outcome"], found["mode"]
    return Tombstone(
        id=_hex(found["id"], 16),
        content=None if content is None else _hex(content, 64),
        outcome=None if outcome is None else _outcome(outcome),
        identifier=_text_or_none(found["identifier"]),
        mode=None if mode is None else Mode(mode),
        parts=tuple(_part(one) for one in parts),
        submitted_at=submitted_at,
        erased_at=erased_at,
        why=Why(found["why"]),
        base_url=_text(found["base_url"]),
        account=_text(found["account"]),
        charged=_number(found["charged"]),
        in_doubt=_flag(found["in_doubt"]),
        refused=_flag(found["refused"]),
    )


def _part(found: Any) -> BuriedPart:
    channel = found["channel"]
    return BuriedPart(
        index=_number(found["index"]),
        channel=None if channel is None else _number(channel),
        start_seconds=_seconds(found["start_seconds"]),
        end_seconds=_seconds(found["end_seconds"]),
        silent=_flag(found["silent"]),
        state=PartState(found["state"]),
        identifier=_text_or_none(found["identifier"]),
    )


def parts_from_json(found: list[Any]) -> tuple[BuriedPart, ...]:
    """Return the parts in a row of the database."""
    return tuple(map(_part, found))


def _time(value: Any) -> float | None:
    seconds = seconds_of(value)
    if seconds is not None and not 0 <= seconds < LATEST:
        raise ValueError
    return seconds


def _outcome(value: Any) -> State:
    if State(value) not in FILED:
        raise ValueError
    return State(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _hex(value: Any, length: int) -> str:
    if len(_text(value)) != length or not set(value) <= _HEX:
        raise ValueError
    return str(value)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value) or value < 0:
        raise ValueError
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value
