"""The receipt beside each filed recording: everything that is known about it."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote_from_bytes

from watcher.domain import Alteration, Attempt, Item
from watcher.errors import TooLong
from watcher.folders import Folder
from watcher.journey.alterations import explain
from watcher.journey.answer import Answer
from watcher.text import JsonObject, from_json, path_text, rfc3339, to_json

FORMAT = 1

RECEIPT_BYTES = 1 << 20
"""Anything longer is not a receipt of ours."""

_ATTEMPTS_BYTES = 20_000
"""For requests, at each end, less half of what the parts take: so a receipt fits into the room reserved for it."""

_LEAST_ATTEMPTS_BYTES = 4_000
_INDENTS_BYTES = 300  # more than a request's line feeds and indents take


def describe(item: Item, answer: Answer) -> JsonObject:
    """Return the item as `list --json`, `show --json` and receipts have it: its outcome, what it is, and when."""
    return {
        "state": str(item.state),
        "verdict": answer.verdict_as_json(),
        "review": item.review.as_json() if item.review else None,
        "error": item.fault.as_json() if item.fault else None,
        "warning": item.warning,
        "dismissed": item.dismissed.as_json() if item.dismissed else None,
        **_describe_alteration(item),
        "identifier": item.identifier,
        "duplicate_of": item.duplicate_of,
        **({"duplicate_site": answer.original_site} if answer.original_site else {}),
        "filed_as": None if item.filed_as is None else path_text(item.filed_as),
        "removed": item.removed.as_json() if item.removed else None,
        "id": item.id,
        "path": path_text(item.path),
        "size": item.size,
        "sha256": item.sha256,
        "audio": item.audio.as_json() if item.audio else None,
        "plan": item.plan.as_json() if item.plan else None,
        "parts": answer.parts_as_json(),
        "arrived_at": rfc3339(item.arrived_at),
        "submitted_at": rfc3339(item.submitted_at),
        "filed_at": rfc3339(item.filed_at),
        "attempts": item.attempts,
    }


def _describe_alteration(item: Item) -> JsonObject:
    """Return how the recording was altered since it was filed; one of the two at most."""
    described: JsonObject = {str(kind): None for kind in Alteration}
    fault, altered = explain(item), item.altered
    if fault is not None and altered is not None:
        facts = {"size": altered.size, "found_at": rfc3339(altered.at)}
        described[altered.kind] = facts | {"message": fault.message, "hint": fault.hint}
    return described


def receipt_bytes(receipt: JsonObject) -> bytes:
    """Return the bytes in which `compose_receipt`'s receipt is written."""
    return to_json(receipt, indent=2).encode() + b"\n"


def compose_receipt(
    item: Item,
    attempts: list[Attempt],
    answer: Answer,
    *,
    base_url: str,
    account: str,
    options: JsonObject,
) -> JsonObject:
    """Return everything that `recover` needs to know of the item, whatever its state, if the database is lost.

    A person reads it from the top: it has the order of `describe`, and ends with the requests, which may be many.
    Of very many it has the first and the last ones, and how many were left out in between.
    """
    receipt: JsonObject = {}
    for name, value in describe(item, answer).items():
        receipt[name] = value
        if name == "path" and path_text(item.path).encode() != item.path:
            receipt["path_quoted"] = quote_from_bytes(item.path)  # the very bytes, percent-encoded
    receipt["format"] = FORMAT
    receipt |= {"base_url": base_url, "account": account, "options": options, "content_key": item.content_key}
    if item.owner is not None:
        receipt["owner"] = item.owner
    if item.companions:
        receipt["companions"] = [path_text(companion) for companion in item.companions]
    del receipt["attempts"]  # their number: the requests themselves follow
    parts_bytes = len(to_json(receipt["parts"], indent=4).encode()) if receipt["parts"] else 0
    room = max(_ATTEMPTS_BYTES - parts_bytes // 2, _LEAST_ATTEMPTS_BYTES)
    first, last = _both_ends([attempt.as_json() for attempt in attempts], room)
    left_out = len(attempts) - len(first) - len(last)
    if left_out:
        receipt["attempts_left_out"] = {"number": left_out, "after": len(first), "hint": "see `watcher show`"}
    receipt["attempts"] = first + last
    return receipt


def _both_ends(attempts: list[JsonObject], room: int) -> tuple[list[JsonObject], list[JsonObject]]:
    """Return as many of the first, and then of the last, as there is room for at either end."""
    if len(to_json(attempts).encode()) + _INDENTS_BYTES * len(attempts) <= room:
        return attempts, []  # nearly always, and indented JSON takes ten times as long to make
    first = list(_fitting(attempts, room))
    last = list(_fitting(reversed(attempts[len(first) :]), room))
    return first, last[::-1]


def _fitting(attempts: Iterable[JsonObject], room: int) -> Iterator[JsonObject]:
    for attempt in attempts:
        room -= len(to_json([attempt], indent=4).encode())  # as deep as it lies in the receipt, or deeper
        if room < 0:
            return
        yield attempt


def is_receipt_of(content: bytes | None, item_id: str) -> bool:
    """Return whether these bytes are this item's receipt."""
    receipt = from_json(content)
    return receipt is not None and receipt.get("id") == item_id


def receipt_at(folder: Folder, path: bytes) -> JsonObject | None:
    """Return the receipt that lies there, of any item; None for anything else.

    Raises FolderMissing or FolderRefuses.
    """
    try:
        receipt = from_json(folder.read(path, RECEIPT_BYTES))
    except TooLong:
        return None
    return receipt if receipt is not None and is_receipt(receipt) else None


def is_receipt(content: JsonObject) -> bool:
    """Return whether this is a receipt, of whatever item and whoever wrote it."""
    return isinstance(content.get("id"), str) and "format" in content
