"""Turn PostgreSQL's errors, and those of the way to it, into ours, which say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from watcher.errors import StoreAway, StoreContradicted, StoreError, StoreLeaseLost, StoreUnavailable

_NOT_SUPPORTED = "0A000"
_ONLY_READS = "25006"
_AWAY = "Nothing is lost: what waits goes on by itself once the server answers. See whether it runs: `pg_isready`."
_MEANINGS = {  # by SQLSTATE, or by its first two characters, its class
    "08": ("the server cannot be reached", _AWAY),
    _ONLY_READS: ("the server only reads: it is a standby, or its administrator forbids writing", _AWAY),
    "25P03": ("a transaction stood still for too long, and the server ended it", "It is tried again."),
    "40": ("another transaction was in the way of this one", "It is tried again, as a whole."),
    "57": ("the server ended the connection: it is stopped, or starting", _AWAY),
    "57014": ("the server ended a statement that took too long", "It is tried again. See the server's log."),
    "28": ("the server refuses the user", "Correct the user in store.url, and the password in ~/.pgpass."),
    "3D000": ("there is no such database", "Create it: createdb --owner USER NAME"),
    "42501": ("the user may not do this", "Make the user of store.url the owner of the database."),
    "42P01": (
        "it does not have the tables of this program's version",
        "Run `watcher migrate`. If that says all is well, please report this.",
    ),
    "23": (
        "it refused data that contradicts what it has",
        "Nothing was written. This is a fault of the program: please report it.",
    ),
    "53100": (
        "the server's disk is full",
        "Make room there. What was committed is safe, and work resumes by itself.",
    ),
    "53300": ("the server has no connection to spare", "Raise its max_connections, or put a pooler before it."),
    "WL001": ("another node has taken over this site", "It goes on there. See who it is: `watcher nodes`."),
    "55P03": ("somebody else has kept it locked for long", "See who it is: SELECT * FROM pg_stat_activity."),
}
_REFUSALS = {  # what a server says to who wants a connection, in English
    "3D000": r'database ".*" does not exist',
    "28000": r'authentication failed|role ".*" does not exist|no pg_hba\.conf entry|no password supplied',
    _ONLY_READS: r"session is read-only|is not accepting read-write|during recovery",
    "53300": r"too many (clients|connections)|remaining connection slots",
}
_AWAY_STATES = ("08", _ONLY_READS, "53", "57P")
_PASSING = ("25P03", "40", "55", "57")
_UNKNOWN = ("it cannot be used", "See the server's log.")


@contextmanager
def our_errors(name: str) -> Iterator[None]:
    """Turn whatever the driver raises about the database of this name into a StoreError."""
    try:
        yield
    except DBAPIError as error:
        code = _code(error.orig)
        what, hint = _MEANINGS.get(code) or _MEANINGS.get(code[:2]) or _UNKNOWN
        cause = " ".join(str(error.orig).split())
        raise _kind(code)(f"{name}: {what} ({cause})", hint=hint) from error


def _kind(code: str) -> type[StoreError]:
    if code == "WL001":  # which only watcher_check_term raises
        return StoreLeaseLost
    if code.startswith("23"):
        return StoreContradicted
    if code.startswith(_AWAY_STATES):
        return StoreAway
    return StoreUnavailable if code.startswith(_PASSING) else StoreError


def only_reads(error: BaseException) -> bool:
    """Whether the driver's error says that the server takes no writes."""
    return _code(error) == _ONLY_READS


def _code(error: BaseException | None) -> str:
    """The SQLSTATE. Where no connection could be made the library has none, and its words must do.

    They must do as well where a standby is asked to begin a transaction that writes: to it that is a feature.
    """
    code = getattr(error, "sqlstate", None)
    if code is not None and code != _NOT_SUPPORTED:
        return str(code)
    words = str(error)
    return next((known for known, pattern in _REFUSALS.items() if re.search(pattern, words)), code or "08000")
