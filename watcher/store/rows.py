"""How an item is stored in a row: one description of its columns, used for writing and reading."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from watcher.domain import (
    Alteration,
    Altered,
    Audio,
    Dismissed,
    Fault,
    Fingerprint,
    Item,
    Mode,
    Planned,
    Removed,
    Review,
    ReviewWord,
    State,
)
from watcher.store.schema import items


class Kept(NamedTuple):
    """A field that is stored in other columns, or in another form, than in the domain."""

    columns: tuple[str, ...]
    write: Callable[[Any], tuple[Any, ...]]
    read: Callable[..., Any]  # from its columns, in their order


def _group(made: Callable[..., Any], /, **columns: str) -> Kept:
    """A field of the domain that is null or has fields of its own. It is null if its first column is."""
    fields = tuple(columns)

    def write(value: Any) -> tuple[Any, ...]:
        return (None,) * len(fields) if value is None else tuple(getattr(value, field) for field in fields)

    def read(*values: Any) -> Any:
        return None if values[0] is None else made(*values)

    return Kept(tuple(columns.values()), write, read)


def _altered(kind: str, size: int, at: float) -> Altered:
    return Altered(Alteration(kind), size, at)


def _planned(mode: str, most: int, reason: str) -> Planned:
    return Planned(Mode(mode), most, reason)


def _review(word: str, note: str, by: str, at: float) -> Review:
    return Review(ReviewWord(word), note, by, at)


def _fingerprint(text: str) -> Fingerprint:
    return Fingerprint(*map(int, text.split(":")))


KEPT: Mapping[str, Kept] = {
    "state": Kept(("state",), lambda state: (state,), State),
    "outcome": Kept(("outcome",), lambda state: (state,), lambda text: None if text is None else State(text)),
    # 64-bit inodes overflow an integer.
    "fingerprint": Kept(("fingerprint",), lambda mark: (":".join(map(str, mark)),), _fingerprint),
    "companions": Kept(
        ("companions",),
        lambda paths: (b"".join(path + b"\0" for path in paths),),
        lambda joined: tuple(joined.split(b"\0")[:-1]),
    ),
    "fault": _group(Fault, code="fault_code", message="fault_message", hint="fault_hint"),
    "audio": _group(Audio, **{name: name for name in Audio.__dataclass_fields__}),
    "plan": _group(_planned, mode="plan_mode", most="parts_most", reason="plan_reason"),
    "altered": _group(_altered, kind="altered", size="altered_size", at="altered_at"),
    "dismissed": _group(Dismissed, at="dismissed_at", by="dismissed_by"),
    "review": _group(_review, word="review_word", note="review_note", by="review_by", at="review_at"),
    "removed": _group(Removed, at="removed_at", how="removed_how"),
}
"""Every other field has a column of its own name."""

_PLACES = {column.name: place for place, column in enumerate(items.c)}
_PLAIN = tuple(name for name in Item.__dataclass_fields__ if name not in KEPT)
_read_plain = itemgetter(*(_PLACES[name] for name in _PLAIN))
_READ = [
    (name, kept.read, itemgetter(*(_PLACES[c] for c in kept.columns)), len(kept.columns) == 1)
    for name, kept in KEPT.items()
]


def item_of(row: Sequence[Any]) -> Item:
    """The item in a row of the whole items table."""
    fields = dict(zip(_PLAIN, _read_plain(row), strict=True))
    for name, read, columns, is_single in _READ:
        fields[name] = read(columns(row)) if is_single else read(*columns(row))
    return Item(**fields)


def columns_of(item: Item) -> dict[str, Any]:
    """The columns of a new row."""
    return flattened({name: getattr(item, name) for name in Item.__dataclass_fields__})


def flattened(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of these fields and their values. A name that is not a field is a column's."""
    flat: dict[str, Any] = {}
    for name, value in changes.items():
        kept = KEPT.get(name)
        if kept is None:
            flat[name] = value
        else:
            flat |= zip(kept.columns, kept.write(value), strict=True)
    return flat
