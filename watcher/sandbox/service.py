"""The endpoints: what a whole request is answered with, what is kept of it and what it costs."""

import hmac
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from watcher.clock import Clock
from watcher.sandbox import answers, results
from watcher.sandbox.answers import Answer
from watcher.sandbox.connection import Body, Head
from watcher.sandbox.content import LOOKED_AT_BYTES, Fate, is_supported, read_fate
from watcher.sandbox.entries import LedgerEntry
from watcher.sandbox.faults import FaultKind, Faults, Point
from watcher.sandbox.multipart import split_form
from watcher.sandbox.results import Classification
from watcher.sandbox.throttle import Refused, Throttle
from watcher.text import JsonObject

SUBMIT = "/api/classification_audio"
LIST = "/api/classifications_audio"
LIST_MAX = 100
_LISTED = re.compile(r"identifiers\[[0-9]*\]")
_BOOLEANS: dict[str | None, bool] = {None: False, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Upload:
    """The form of a submission, as the service's framework hands it on: texts trimmed, "" as None."""

    fields: dict[str, str | None]
    start: bytes | None = None  # of the audio; None: there is no such file
    filename: str = ""
    size: int = 0
    sha256: str = ""
    is_whole: bool = True


class Service:
    """The account behind one key: its windows, its credit, and all it ever submitted."""

    def __init__(
        self,
        *,
        key: str,
        writes: Sequence[str],
        reads: Sequence[str],
        verdict_after_seconds: float,
        max_upload_bytes: int,
        credit: int | None,
        clock: Clock,
        faults: Faults,
    ) -> None:
        self.key = key
        self.credit = credit  # submissions left to pay for; None: unlimited
        self.url = ""  # where the results say they are
        self._writes = Throttle(writes)
        self._reads = Throttle(reads)
        self._verdict_after_seconds = verdict_after_seconds
        self._max_upload_bytes = max_upload_bytes
        self._clock = clock
        self._faults = faults
        self._known: dict[str, Classification] = {}
        self._lock = threading.Lock()

    def answer(self, head: Head, upload: Upload, entry: LedgerEntry) -> tuple[Answer, LedgerEntry]:
        """Return the answer, and the entry with its outcome. The request has arrived whole."""
        as_json = answers.prefers_json(head.headers.get("accept", ""))
        allowed = "POST" if head.path == SUBMIT else "GET, HEAD"
        if not is_endpoint(head.path):
            return _with_status(answers.say_status(404, as_json), entry)
        if head.method not in allowed.split(", "):
            return _with_status(answers.say_status(405, as_json).with_headers(("Allow", allowed)), entry)
        if not hmac.compare_digest(head.headers.get("x-api-key", "").encode(), self.key.encode()):
            return _with_status(answers.say_status(401, as_json), entry)
        with self._lock:
            throttle = self._writes if head.path == SUBMIT else self._reads
            passed = throttle.hit(self._clock.now())
            if isinstance(passed, Refused):
                return _with_status(answers.say_throttled(passed, as_json), entry)
            if head.path == SUBMIT:
                answer, entry = self._submit(upload, as_json, entry)
            else:
                show = self._show_list if head.path == LIST else self._show_one
                answer, entry = show(head, as_json, entry)
        return _with_status(answer.with_headers(*answers.rate_headers(passed)), entry)

    def _submit(self, upload: Upload, as_json: bool, entry: LedgerEntry) -> tuple[Answer, LedgerEntry]:
        refusal = self._refuse(upload, as_json)
        if refusal is not None:
            return refusal, entry
        identifier = results.make_identifier(upload.sha256, _BOOLEANS[upload.fields.get("prevent_c2pa_forces")])
        entry = replace(entry, identifier=identifier)
        if identifier in self._known and not _BOOLEANS[upload.fields.get("no_cache")]:
            return answers.say_identifier(identifier, as_json), replace(entry, cached=True)
        if self.credit is not None:
            if self.credit <= 0:
                return answers.say_error(400, answers.NO_CREDIT, as_json, invented="body"), entry
            self.credit -= 1
        self._known[identifier] = Classification(
            identifier=identifier,
            sha256=upload.sha256,
            name=upload.filename,
            ref_id=entry.ref_id,
            fate=read_fate(upload.start or b""),
            ready_at=self._clock.monotonic() + self._verdict_after_seconds,
        )
        return answers.say_identifier(identifier, as_json), replace(entry, charged=True)

    def _refuse(self, upload: Upload, as_json: bool) -> Answer | None:
        """Return the answer to a form that is refused; None for one that is accepted."""
        wrong: dict[str, Any] = {}
        if not upload.is_whole:
            wrong["audio"] = ["The audio failed to upload."]
        elif upload.start is None:
            wrong |= answers.AUDIO_REQUIRED
        for name in ("no_cache", "prevent_c2pa_forces"):
            if upload.fields.get(name) not in _BOOLEANS:
                wrong[name] = [f"The {name.replace('_', ' ')} field must be true or false."]
        if wrong:
            invented = "" if wrong == answers.AUDIO_REQUIRED else "body"
            return answers.say_error(400, wrong, as_json, invented=invented)
        if upload.size > self._max_upload_bytes:
            return answers.say_error(400, answers.TOO_LARGE, as_json)
        start = upload.start or b""
        if not is_supported(start) or read_fate(start) == Fate.UNSUPPORTED:
            return answers.say_error(400, answers.UNSUPPORTED, as_json)
        return None

    def _show_one(self, head: Head, as_json: bool, entry: LedgerEntry) -> tuple[Answer, LedgerEntry]:
        identifier = head.path.removeprefix(f"{SUBMIT}/")
        result = self._show(identifier, in_list=False)
        entry = replace(entry, identifier=identifier)
        if result is None:
            return answers.say_status(404, as_json), entry
        return answers.say_json(200, result, invented=results.INVENTED), entry

    def _show_list(self, head: Head, as_json: bool, entry: LedgerEntry) -> tuple[Answer, LedgerEntry]:
        asked = asked_for(head)
        if not asked or len(asked) > LIST_MAX:
            said = "is required" if not asked else f"must not have more than {LIST_MAX} items"
            wrong = {"identifiers": [f"The identifiers field {said}."]}
            return answers.say_error(400, wrong, as_json, invented="body"), entry
        shown = [self._show(identifier, in_list=True) for identifier in dict.fromkeys(asked)]
        found = [result for result in shown if result is not None]
        return answers.say_json(200, found, invented=results.INVENTED), entry

    def _show(self, identifier: str, *, in_list: bool) -> JsonObject | None:
        known = self._known.get(identifier)
        if known is None:
            return None
        fault = self._faults.take(Point.RESULTS, "GET", sha256=known.sha256, identifiers=(identifier,))
        kind = fault.kind if fault else None
        if kind == FaultKind.LEAVE_OUT:
            return None
        fate: Fate | None = known.fate
        if kind == FaultKind.STUCK or self._clock.monotonic() < known.ready_at:
            fate = None
        elif kind == FaultKind.ERRORED:
            fate = Fate.ERRORED
        elif kind == FaultKind.NULL_VERDICT:
            fate = Fate.INCONCLUSIVE
        shown = known.as_json(fate, url=self.url, in_list=in_list)
        if fault is not None and fault.kind == FaultKind.GARBLED:
            return shown | fault.body if isinstance(fault.body, dict) else fault.body
        return shown


def is_endpoint(path: str) -> bool:
    """Whether the service has an endpoint there."""
    return path in {SUBMIT, LIST} or (path.startswith(f"{SUBMIT}/") and path.count("/") == 3)


def asked_for(head: Head) -> tuple[str, ...]:
    """Return the identifiers that a GET asks for, in either form."""
    if head.path == LIST:
        pairs = parse_qsl(head.query, keep_blank_values=True, errors="replace")
        return tuple(value for name, value in pairs if _LISTED.fullmatch(name))
    return (head.path.removeprefix(f"{SUBMIT}/"),) if head.path.startswith(f"{SUBMIT}/") else ()


def read_upload(head: Head, body: Body, entry: LedgerEntry) -> tuple[Upload, LedgerEntry]:
    """Return what was uploaded, and the entry with it. A dropped body has no fields at all, as in PHP."""
    if head.method != "POST" or body.is_dropped:
        return Upload({}), entry
    form = split_form(body.data, body.size, head.headers.get("content-type", ""))
    fields: dict[str, str | None] = {name: text.strip() or None for name, text in form.fields.items()}
    entry = replace(
        entry,
        ref_id=fields.get("ref_id"),
        options={name: text for name, text in form.fields.items() if name != "ref_id"},
    )
    part = form.files.get("audio")
    if part is None:
        return Upload(fields, is_whole=form.is_whole), entry
    with memoryview(body.data) as view:
        digest = sha256(view[part.start : part.end]).hexdigest()
    size = part.end - part.start
    start = bytes(body.data[part.start : min(part.end, part.start + LOOKED_AT_BYTES)])
    entry = replace(entry, filename=part.filename, media_type=part.media_type, size=size, sha256=digest)
    return Upload(fields, start, part.filename, size, digest, form.is_whole), entry


def _with_status(answer: Answer, entry: LedgerEntry) -> tuple[Answer, LedgerEntry]:
    return answer, replace(entry, status=answer.status)
