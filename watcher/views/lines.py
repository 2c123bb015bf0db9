"""The lines that `list --json` prints, made of rows: tens of thousands a second, where `describe` makes thousands.

`Recording.as_json` says what such a line has; a test compares the two for items of every kind.
"""

from functools import lru_cache
from json import JSONEncoder, loads

from watcher.store import Listed
from watcher.text import path_text, printable_json, rfc3339, to_json
from watcher.views.recordings import Recording, Row

_encode = JSONEncoder(ensure_ascii=False).encode
_NONE = "null"


def json_line(row: Row) -> str:
    """Return the line of JSON for a recording of a list."""
    if isinstance(row, Recording):
        return to_json(row.as_json())
    return (
        f'{{"state": "{row.state}", "verdict": {_verdict(row)}, "review": {_review(row)}, "error": {_error(row)}, '
        f'"warning": {_text(row.warning)}, "dismissed": {_dismissed(row)}, "grown": null, "changed": null, '
        f'"identifier": {_text(row.identifier)}, "duplicate_of": {_ours(row.duplicate_of)}, '
        f'"filed_as": {_path(row.filed_as)}, "removed": {_removed(row)}, '
        f'"id": {_ours(row.id)}, "path": {_path(row.path)}, '
        f'"size": {row.size}, "sha256": {_ours(row.sha256)}, "audio": {_audio(row)}, "plan": null, "parts": null, '
        f'"arrived_at": "{rfc3339(row.arrived_at)}", "submitted_at": {_time(row.submitted_at)}, '
        f'"filed_at": {_time(row.filed_at)}, "attempts": {row.attempts}, "site": {_quote_known(row.site)}}}'
    )


def _verdict(row: Listed) -> str:
    if row.verdict_state is None:
        return _NONE
    return (
        f'{{"state": "{row.verdict_state}", "classification": {_known(row.classification)}, '
        f'"confidence": {_number(row.confidence)}, "heuristic": {_known(row.heuristic)}, '
        f'"models": {_models(row.models or "[]")}, "api_version": {_known(row.api_version)}, '
        f'"forced": {"true" if row.forced else "false"}, "force_classification": '
        f'{_known(row.classification) if row.forced else _NONE}, "machine": {_machine(row)}, '
        f'"result_url": {_text(row.result_url)}, "detail": {_text(row.detail)}}}'
    )


def _machine(row: Listed) -> str:
    said, confidence = row.classification, row.confidence
    if row.forced:
        said, confidence = row.machine_classification, row.machine_confidence
    if said is None:
        return _NONE
    return f'{{"classification": {_known(said)}, "confidence": {_number(confidence)}}}'


def _review(row: Listed) -> str:
    if row.review_word is None:
        return _NONE
    note, by = _text(row.review_note), _known(row.review_by)
    return f'{{"word": "{row.review_word}", "note": {note}, "by": {by}, "at": {_time(row.review_at)}}}'


def _error(row: Listed) -> str:
    if row.fault_code is None:
        return _NONE
    message, hint = _text(row.fault_message), _text(row.fault_hint)
    return f'{{"code": {_quote_known(row.fault_code)}, "message": {message}, "hint": {hint}}}'


def _dismissed(row: Listed) -> str:
    if row.dismissed_at is None:
        return _NONE
    return f'{{"at": {_time(row.dismissed_at)}, "by": {_known(row.dismissed_by)}}}'


def _removed(row: Listed) -> str:
    if row.removed_at is None:
        return _NONE
    return f'{{"at": {_time(row.removed_at)}, "how": {_known(row.removed_how)}}}'


def _audio(row: Listed) -> str:
    if row.container is None:
        return _NONE
    seconds = None if row.seconds is None else round(row.seconds, 3)
    return (
        f'{{"container": {_quote_known(row.container)}, "codec": {_known(row.codec)}, '
        f'"seconds": {_number(seconds)}, "channels": {_number(row.channels)}, '
        f'"sample_rate": {_number(row.sample_rate)}}}'
    )


def _quote(text: str) -> str:
    return printable_json(_encode(text))


_quote_known = lru_cache(maxsize=1024)(_quote)
"""The same for what a million recordings have in common."""


def _ours(digits: str | None) -> str:
    """An id or a hash, which needs no escape."""
    return _NONE if digits is None else f'"{digits}"'


def _text(text: str | None) -> str:
    return _NONE if text is None else _quote(text)


def _known(text: str | None) -> str:
    return _NONE if text is None else _quote_known(text)


def _path(path: bytes | None) -> str:
    return _NONE if path is None else _quote(path_text(path))


def _number(number: float | None) -> str:
    return _NONE if number is None else repr(number)


def _time(seconds: float | None) -> str:
    return _NONE if seconds is None else f'"{rfc3339(seconds)}"'


@lru_cache(maxsize=1024)
def _models(stored: str) -> str:
    return printable_json(_encode(loads(stored)))
