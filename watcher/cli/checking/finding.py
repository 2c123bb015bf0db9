"""One result of `check`: its condition, what was found, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from watcher.errors import Exit, WatcherError
from watcher.text import JsonObject


class Condition(StrEnum):
    WELL = "well"
    WARNING = "warning"  # it works, but perhaps not for long, or not as well as it could
    WRONG = "wrong"  # on this machine
    UNAVAILABLE = "unavailable"  # the service or the account stands in the way


@dataclass(frozen=True, slots=True)
class Finding:
    """`stops`: `watcher run` would not even start, and exit with 78."""

    name: str
    state: Condition
    found: str
    hint: str = ""
    stops: bool = False

    @classmethod
    def of(cls, name: str, error: WatcherError) -> "Finding":
        """The finding for an error that `watcher run` would meet as well."""
        return cls(name, Condition.WRONG, error.message, error.hint, stops=error.exit_code == Exit.CONFIG)

    @classmethod
    def from_json(cls, told: JsonObject) -> "Finding":
        """The finding with these fields, as another process has sent them."""
        return cls(**{**told, "state": Condition(told["state"])})

    def as_json(self) -> JsonObject:
        return {"name": self.name, "state": str(self.state), "found": self.found, "hint": self.hint}


def well(name: str, found: str) -> Finding:
    return Finding(name, Condition.WELL, found)


def warning(name: str, found: str, hint: str) -> Finding:
    return Finding(name, Condition.WARNING, found, hint)


def wrong(name: str, found: str, hint: str) -> Finding:
    return Finding(name, Condition.WRONG, found, hint)


def unavailable(name: str, found: str, hint: str) -> Finding:
    return Finding(name, Condition.UNAVAILABLE, found, hint)


def exit_code(findings: Sequence[Finding]) -> Exit:
    """78 if `watcher run` would not start, else 1 if something is wrong here, else 69, else 0."""
    if any(finding.stops for finding in findings):
        return Exit.CONFIG
    states = {finding.state for finding in findings}
    if Condition.WRONG in states:
        return Exit.INCOMPLETE
    return Exit.UNAVAILABLE if Condition.UNAVAILABLE in states else Exit.WELL
