"""What a receipt says, read strictly: anything that is not as we write it makes it no evidence. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from watcher.domain import (
    Alteration,
    Altered,
    Attempt,
    Audio,
    Charged,
    Dismissed,
    Fault,
    Fingerprint,
    Item,
    Mode,
    Part,
    PartState,
    Planned,
    Removed,
    Review,
    ReviewWord,
    State,
    Verdict,
    VerdictState,
)
from watcher.journey.receipt import FORMAT
from watcher.journey.site import make_content_key
from watcher.text import JsonObject, seconds_of
from watcher.tombstone import LATEST

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_CHARACTERS = 1 << 16
_MOST_NUMBER = 1 << 62
_AT_REST = (VerdictState.KNOWN, VerdictState.ERRORED)


class Malformed(ValueError):
    """The receipt is not as we write them. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one item from outside the database.

    `item.state`: its outcome, if it was decided; else QUEUED, whatever it was. Its fingerprint is unknown yet.
    `is_of_service`: the verdicts that are missing can be asked for, since they are of the configured service.
    """

    item: Item
    parts: tuple[Part, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    segments: Mapping[str, list[Any]] = field(default_factory=dict)  # what verdicts rest on, by identifier
    is_beside: bool = False  # the recording lies beside the receipt
    left_out: int = 0  # requests that it does not list
    base_url: str = ""
    account: str = ""

    def identifiers(self) -> list[tuple[str, int | None, float | None]]:
        """Return each identifier that was paid for, the part's index, and when it came."""
        if self.parts:
            return [(p.identifier, p.index, p.submitted_at) for p in self.parts if p.identifier is not None]
        identifier = self.item.identifier
        return [] if identifier is None else [(identifier, None, self.item.submitted_at)]


def read_evidence(receipt: JsonObject, *, channels: str) -> Evidence:
    """Return what the receipt says. Raises Malformed.

    `channels`: the configured `audio.channels`, for receipts of versions that did not write the content key.
    """
    if receipt.get("format") != FORMAT:
        raise Malformed(f"its format is not {FORMAT}")
    base_url, account = _text(receipt, "base_url"), _text(receipt, "account")
    options = receipt.get("options")
    prevents = options.get("prevent_c2pa_forces") if isinstance(options, dict) else None
    if not isinstance(prevents, bool):
        raise Malformed("its options are not those of a submission")

    def key_of(digest: str | None, number: int | None, asked: str) -> str | None:
        if digest is None:
            return None
        return make_content_key(digest, base_url, account, prevents=prevents, asked=asked, channels=number)

    item = _item(receipt)
    key = _digest(receipt, "content_key") or key_of(
        item.sha256, item.audio.channels if item.audio else None, channels
    )
    parts = tuple(
        replace(part, content_key=key_of(part.sha256, None, "together")) for part in _parts(receipt, item.id)
    )
    attempts = tuple(_listed(receipt, "attempts", lambda one: _attempt(one, item.id)))
    if len({part.index for part in parts}) != len(parts):
        raise Malformed("two of its parts have one number")
    is_paid = item.identifier is not None or any(part.identifier is not None for part in parts)
    if item.outcome is State.DONE and not is_paid:
        raise Malformed("it is done, but has no identifier")
    if item.outcome is State.FAILED and item.fault is None:
        raise Malformed("it failed, but has no error")
    lost = any(one.charged is Charged.UNKNOWN for one in attempts)
    item = replace(
        item,
        content_key=key,
        attempts=len(attempts),
        attempted_at=max((one.started_at for one in attempts), default=None),
        in_doubt=item.outcome is not State.DONE and not is_paid and lost,
    )
    left_out = receipt.get("attempts_left_out")
    return Evidence(
        item=item,
        parts=parts,
        attempts=attempts,
        verdicts=tuple(_verdicts(receipt)),
        segments=dict(_segments(receipt)),
        left_out=_number(left_out, "number") if isinstance(left_out, dict) else 0,
        base_url=base_url,
        account=account,
    )


def _item(receipt: JsonObject) -> Item:
    if not _ID.fullmatch(_text(receipt, "id")):
        raise Malformed("its id is none of ours")
    state = receipt.get("state")
    outcome = {"done": State.DONE, "failed": State.FAILED}.get(str(state))
    warning = _maybe(receipt, "warning", _text)
    return Item(
        id=receipt["id"],
        path=_path(receipt),
        state=outcome or State.QUEUED,
        outcome=outcome,
        size=_number(receipt, "size"),
        arrived_at=_time(receipt, "arrived_at"),
        fingerprint=Fingerprint(0, 0, _number(receipt, "size"), 0, 0),
        sha256=_digest(receipt, "sha256"),
        audio=_maybe(receipt, "audio", _audio),
        plan=_maybe(receipt, "plan", _plan),
        identifier=_identifier(receipt),
        fault=_maybe(receipt, "error", _fault),
        warning=warning,
        duplicate_of=_maybe(receipt, "duplicate_of", _text),
        filed_as=_maybe(receipt, "filed_as", _way),
        submitted_at=_maybe(receipt, "submitted_at", _time),
        filed_at=_maybe(receipt, "filed_at", _time),
        companions=_companions(receipt),
        owner=_maybe(receipt, "owner", _number),
        altered=_altered(receipt),
        dismissed=_maybe(receipt, "dismissed", _dismissed),
        review=_maybe(receipt, "review", _review),
        removed=_maybe(receipt, "removed", _removed),
    )


def _path(receipt: JsonObject) -> bytes:
    quoted = _maybe(receipt, "path_quoted", _text)
    return _way(receipt, "path") if quoted is None else _checked(unquote_to_bytes(quoted), "path")


def _way(told: JsonObject, name: str) -> bytes:
    return _checked(_text(told, name).encode(), name)


def _checked(path: bytes, name: str) -> bytes:
    if b"\0" in path or any(one in (b"", b".", b"..") for one in path.split(b"/")):
        raise Malformed(f"its {name} leads out of its folder")
    return path


def _companions(receipt: JsonObject) -> tuple[bytes, ...]:
    told = receipt.get("companions", [])
    if not isinstance(told, list):
        raise Malformed("its companions are not a list")
    return tuple(_way({"companion": one}, "companion") for one in told)


def _audio(receipt: JsonObject, name: str) -> Audio:
    told = _object(receipt, name)
    return Audio(
        container=_text(told, "container"),
        codec=_maybe(told, "codec", _text),
        seconds=_maybe(told, "seconds", _decimal),
        channels=_maybe(told, "channels", _number),
        sample_rate=_maybe(told, "sample_rate", _number),
    )


def _plan(receipt: JsonObject, name: str) -> Planned:
    told = _object(receipt, name)
    return Planned(_word(told, "mode", Mode), _number(told, "submissions"), _text(told, "reason"))


def _fault(receipt: JsonObject, name: str) -> Fault:
    told = _object(receipt, name)
    return Fault(_text(told, "code"), _text(told, "message"), _text(told, "hint"))


def _dismissed(receipt: JsonObject, name: str) -> Dismissed:
    told = _object(receipt, name)
    return Dismissed(_time(told, "at"), _text(told, "by"))


def _review(receipt: JsonObject, name: str) -> Review:
    told = _object(receipt, name)
    return Review(_word(told, "word", ReviewWord), _text(told, "note"), _text(told, "by"), _time(told, "at"))


def _removed(receipt: JsonObject, name: str) -> Removed:
    told = _object(receipt, name)
    return Removed(_time(told, "at"), _text(told, "how"))


def _altered(receipt: JsonObject) -> Altered | None:
    for kind in Alteration:
        if receipt.get(kind) is not None:
            told = _object(receipt, kind)
            return Altered(kind, _number(told, "size"), _time(told, "found_at"))
    return None


def _parts(receipt: JsonObject, item_id: str) -> list[Part]:
    return _listed(receipt, "parts", lambda told: _part(told, item_id))


def _part(told: JsonObject, item_id: str) -> Part:
    state, identifier = _word(told, "state", PartState), _identifier(told)
    if (state is PartState.ACCEPTED) != (identifier is not None):
        raise Malformed("a part of it was accepted without an identifier")
    proof = told.get("proof")
    return Part(
        item_id=item_id,
        index=_number(told, "index"),
        channel=_maybe(told, "channel", _number),
        start=_number(told, "start"),
        end=_number(told, "end"),
        start_seconds=_decimal(told, "start_seconds"),
        end_seconds=_decimal(told, "end_seconds"),
        silent=bool(told.get("silent")),
        how=_maybe(told, "how", _text),
        sha256=_digest(told, "sha256"),
        size=_maybe(told, "size", _number),
        proof=proof if isinstance(proof, dict) else None,
        state=state,
        identifier=identifier,
        submitted_at=_maybe(told, "submitted_at", _time),
        fault=_maybe(told, "error", _fault),
    )


def _attempt(told: JsonObject, item_id: str) -> Attempt:
    started, ended = _time(told, "started_at"), _maybe(told, "ended_at", _time)
    charged, status = _word(told, "charged", Charged), _maybe(told, "status", _number)
    was_let_go = status is not None or charged is not Charged.NO
    ended = started if ended is None else ended  # else the next start would take it for one under way
    return Attempt(
        number=_number(told, "number"),
        item_id=item_id,
        started_at=started,
        size=_number(told, "bytes"),
        released_at=ended if was_let_go else None,
        ended_at=ended,
        status=status,
        outcome=_text(told, "outcome"),
        charged=charged,
        decision=_text(told, "decision"),
        detail=_text(told, "detail"),
        identifier=_identifier(told),
        no_cache=bool(told.get("no_cache")),
        part=_maybe(told, "part", _number),
    )


def _verdicts(receipt: JsonObject) -> list[Verdict]:
    """Return the verdicts that it has, by their own identifiers: a joined one is joined anew."""
    return [one for told in _judged(receipt) if (one := _verdict(told)) is not None]


def _judged(receipt: JsonObject) -> list[JsonObject]:
    """Return what has a verdict of its own: each part, or the recording."""
    return receipt.get("parts") or [receipt]


def _segments(receipt: JsonObject) -> Iterator[tuple[str, list[Any]]]:
    for told in _judged(receipt):
        identifier, verdict = _identifier(told), told.get("verdict")
        segments = verdict.get("segments") if isinstance(verdict, dict) else None
        if identifier is not None and isinstance(segments, list) and segments:
            yield identifier, segments


def _verdict(told: JsonObject) -> Verdict | None:
    identifier, verdict = _identifier(told), told.get("verdict")
    if identifier is None or not isinstance(verdict, dict):
        return None
    state, since = _word(verdict, "state", VerdictState), _maybe(told, "submitted_at", _time) or 0.0
    models, machine = verdict.get("models"), _maybe(verdict, "machine", _object) or {}
    if state not in _AT_REST:
        state = VerdictState.AWAITED
    return Verdict(
        identifier=identifier,
        state=state,
        asked_at=None,
        due_at=since,
        since=since,
        classification=_maybe(verdict, "classification", _text),
        confidence=_maybe(verdict, "confidence", _decimal),
        heuristic=_maybe(verdict, "heuristic", _text),
        api_version=_maybe(verdict, "api_version", _text),
        models=tuple(str(one) for one in models) if isinstance(models, list) else (),
        forced=bool(verdict.get("forced")),
        detail=_maybe(verdict, "detail", _text) or "",
        machine_classification=_maybe(machine, "classification", _text),
        machine_confidence=_maybe(machine, "confidence", _decimal),
        result_url=_maybe(verdict, "result_url", _page),
    )


# Fields


def _maybe(told: JsonObject, name: str, read: Callable[[JsonObject, str], T]) -> T | None:
    return None if told.get(name) is None else read(told, name)


def _text(told: JsonObject, name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise Malformed(f"its {name} is not text")
    return value


def _page(told: JsonObject, name: str) -> str:
    """Return the address of a page: people follow it, and pages link it."""
    value = _text(told, name)
    if not value.startswith(("https://", "http://")):
        raise Malformed(f"its {name} is not the address of a page")
    return value


def _number(told: JsonObject, name: str) -> int:
    value = told.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_NUMBER:
        raise Malformed(f"its {name} is not a number")
    return value


def _decimal(told: JsonObject, name: str) -> float:
    value = told.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _MOST_NUMBER:
        raise Malformed(f"its {name} is not a number")
    return float(value)


def _time(told: JsonObject, name: str) -> float:
    try:
        seconds = seconds_of(_text(told, name)) or 0.0
    except (ValueError, OverflowError) as error:
        raise Malformed(f"its {name} is not a time") from error
    if not 0 <= seconds < LATEST:
        raise Malformed(f"its {name} is not a time")
    return seconds


def _digest(told: JsonObject, name: str) -> str | None:
    value = _maybe(told, name, _text)
    if value is not None and not _DIGEST.fullmatch(value):
        raise Malformed(f"its {name} is not a hash")
    return value


def _identifier(told: JsonObject) -> str | None:
    value = _maybe(told, "identifier", _text)
    if value == "":
        raise Malformed("its identifier is empty")
    return value


def _word(told: JsonObject, name: str, words: Callable[[str], T]) -> T:
    try:
        return words(_text(told, name))
    except ValueError as error:
        raise Malformed(f"its {name} is none of ours") from error


def _object(told: JsonObject, name: str) -> JsonObject:
    value: Any = told.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"its {name} is not an object")
    return value


def _listed(told: JsonObject, name: str, read: Callable[[JsonObject], T]) -> list[T]:
    value = told.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Malformed(f"its {name} are not a list of objects")
    return [read(one) for one in value]
