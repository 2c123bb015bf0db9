"""The auditor: what must be true of a drill's folders, by what anybody can see.

It reads the folders, the receipts and the sandbox's books. It shares no code with what files, records or recovers.
Each find is a sentence that says what and where.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from watcher.drill.droppings import Dropped
from watcher.sandbox import LedgerEntry

_MARKS = frozenset({".watcher", ".watcher.lock"})
_RECEIPT = ".json"


@dataclass(frozen=True, slots=True)
class Lying:
    """A file that lies in one of the folders."""

    folder: str  # "drop", "done" or "failed"
    path: str
    digest: str
    size: int
    content: bytes  # of a receipt

    @property
    def is_hidden(self) -> bool:
        return os.path.basename(self.path).startswith(".")

    def __str__(self) -> str:
        return f"{self.folder}/{self.path}"


class Scene:
    """What lies in the folders at one moment. `roots`: the folder of each of the three names."""

    def __init__(self, roots: Mapping[str, str]) -> None:
        self.files = {str(file): file for name, root in roots.items() for file in _files(name, root)}

    def count_filed(self) -> int:
        """Return how many recordings lie in done/ and failed/ with something that is named as their receipt."""
        return sum(
            file.folder != "drop" and f"{file}{_RECEIPT}" in self.files
            for file in self.files.values()
            if not file.is_hidden
        )


def audit_wreck(scene: Scene, dropped: Sequence[Dropped]) -> Iterator[str]:
    """At any moment: each recording is whole somewhere, and nothing is filed half, or without its receipt."""
    known = {one.digest: one for one in dropped}
    kept = Counter(file.digest for file in scene.files.values() if not file.is_hidden)
    for digest, number in Counter(one.digest for one in dropped).items():
        if kept[digest] < number:
            yield f"lost: {known[digest].path} is {'nowhere' if not kept[digest] else 'there too few times'}"
    for file in scene.files.values():
        if file.folder == "drop" or file.is_hidden:
            continue
        if file.digest in known:
            yield from _audit_receipt(scene, file, known[file.digest])
        elif file.size and not _is_receipt(file):
            yield f"half there: {file} has {file.size:,} bytes that nobody dropped"


def audit_rest(scene: Scene, dropped: Sequence[Dropped]) -> Iterator[str]:
    """At rest: each recording lies once where it belongs, and nothing else lies anywhere."""
    expected: Counter[tuple[str, str]] = Counter((one.fate, one.digest) for one in dropped)
    known = {one.digest: one for one in dropped}
    found = Counter(
        (file.folder, file.digest) for file in scene.files.values() if file.digest in known and not file.is_hidden
    )
    for (fate, digest), number in (expected - found).items():
        lies = sorted(str(file) for file in scene.files.values() if file.digest == digest)
        more = f" {number} times more" if number > 1 else ""
        where = f"; it lies at {', '.join(lies)}" if lies else ""
        yield f"missing: {known[digest].path} should be in {fate}/{more}{where}"
    for (folder, digest), number in (found - expected).items():
        yield f"too many: {known[digest].path} lies in {folder}/ {number} times more than it should"
    for file in scene.files.values():
        if file.digest in known and not file.is_hidden:
            continue
        if os.path.basename(file.path) in _MARKS and "/" not in file.path:
            continue
        beside = scene.files.get(str(file).removesuffix(_RECEIPT))
        if not _is_receipt(file) or beside is None or beside.digest not in known:
            yield f"left behind: {file} ({file.size:,} bytes)"


def audit_money(dropped: Sequence[Dropped], ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """At any moment: nothing was paid for twice, and nothing that was to be refused."""
    charged = Counter(entry.sha256 for entry in ledger if entry.charged)
    names = {one.digest: one.path for one in dropped}
    refused = {one.digest for one in dropped if not one.is_paid}
    for digest, number in charged.items():
        if number > 1:
            yield f"paid {number} times: {names.get(digest or '', f'a part, {digest}')}"
        if digest in refused:
            yield f"paid for nothing: {names[digest]} was to be refused"


def audit_accepted(dropped: Sequence[Dropped], ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """Before a person released anything under in_doubt = "hold": nothing was even accepted twice."""
    accepted = Counter(entry.sha256 for entry in ledger if entry.charged or entry.cached)
    names = {one.digest: one.path for one in dropped}
    for digest, number in accepted.items():
        if number > 1:
            yield f"accepted {number} times under hold: {names.get(digest or '', f'a part, {digest}')}"


def audit_bill(scene: Scene, dropped: Sequence[Dropped], ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """At rest: what was paid is what was dropped, and each receipt names what the sandbox gave for these bytes."""
    given = {(entry.sha256, entry.identifier) for entry in ledger if entry.charged or entry.cached}
    charged = {entry.sha256 for entry in ledger if entry.charged}
    known = {one.digest: one for one in dropped}
    due = {one.digest: one.path for one in dropped if one.is_paid and not one.in_parts}
    for file in scene.files.values():
        if file.folder != "done" or file.is_hidden or file.digest not in known:
            continue
        told = _parse(scene.files.get(f"{file}{_RECEIPT}"))
        parts = told.get("parts") or []
        if known[file.digest].in_parts:
            if len(parts) < 2:
                yield f"not sent in parts: {file}, as its receipt has it"
            due |= {str(part.get("sha256")): f"a part of {file.path}" for part in parts}
        for sent in parts or [told]:
            if (sent.get("sha256"), sent.get("identifier")) not in given:
                yield f"an identifier that the service never gave for these bytes: {file}{_RECEIPT}"
    yield from (f"never paid for: {due[digest]}" for digest in due.keys() - charged)
    yield from (f"paid for, and nobody dropped it: {digest}" for digest in charged - due.keys())


def _files(name: str, root: str) -> Iterator[Lying]:
    for above, _, names in os.walk(root):
        for one in names:
            whole = os.path.join(above, one)
            try:
                with open(whole, "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                continue  # moved meanwhile, where something still runs
            kept = content if one.endswith(_RECEIPT) else b""
            path = os.path.relpath(whole, root)
            yield Lying(name, path, sha256(content).hexdigest(), len(content), kept)


def _audit_receipt(scene: Scene, file: Lying, dropped: Dropped) -> Iterator[str]:
    receipt = scene.files.get(f"{file}{_RECEIPT}")
    if receipt is None:
        yield f"filed without a receipt: {file}"
        return
    told = _parse(receipt)
    accepted = all(part.get("identifier") for part in told.get("parts") or [told])
    if not told:
        yield f"not a whole receipt: {receipt}"
    elif (told.get("sha256"), told.get("size")) not in ((file.digest, file.size), (None, file.size)):
        yield f"a receipt of other bytes: {receipt}"
    elif told.get("state") != file.folder:
        yield f"a receipt that says {told.get('state')}: {receipt}"
    elif dropped.fate != file.folder:
        yield f"filed in the wrong folder: {file}, which belongs in {dropped.fate}/"
    elif (file.folder == "done" and not accepted) or (file.folder == "failed" and not told.get("error")):
        yield f"a receipt without {'an identifier' if file.folder == 'done' else 'a reason'}: {receipt}"


def _is_receipt(file: Lying) -> bool:
    return file.folder != "drop" and file.path.endswith(_RECEIPT) and "id" in _parse(file)


def _parse(receipt: Lying | None) -> dict[str, Any]:
    if receipt is None:
        return {}
    try:
        told = json.loads(receipt.content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
