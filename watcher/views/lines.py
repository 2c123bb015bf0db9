"""The lines that `list --json` prints, made of rows: tens of thousands a second, where `describe` makes thousands.

`Recording.as_json` says what such a line has; a test compares the two for items of every kind.
"""

from functools import lru_cache
from json import loads
from json.encoder import encode_basestring

from watcher.store import Listed
from watcher.text import path_text, printable_json, rfc3339, to_json
from watcher.views.recordings import Recording, Row

_NONE = "null"
_UNTROUBLED = '"review": null, "error": null, "warning": null, "dismissed": null'


def json_line(row: Row) -> str:
    """Return the line of JSON for a recording of a list."""
    if isinstance(row, Recording):
        return to_json(row.as_json())
    path = _quote(path_text(row.path))
    return (
        f'{{"state": "{row.state}", "verdict": {_NONE if row.verdict_state is None else _verdict(row)}, '
        f'{_troubles(row)}, "grown": null, "changed": null, '
        f'"identifier": {_text(row.identifier)}, "duplicate_of": {_ours(row.duplicate_of)}, '
        f'"filed_as": {path if row.filed_as == row.path else _path(row.filed_as)}, "removed": {_removed(row)}, '
        f'"id": "{row.id}", "path": {path}, '
        f'"size": {row.size}, "sha256": {_ours(row.sha256)}, "audio": {_audio(row)}, "plan": null, "parts": null, '
        f'"arrived_at": "{rfc3339(row.arrived_at)}", "submitted_at": {_time(row.submitted_at)}, '
        f'"filed_at": {_time(row.filed_at)}, "attempts": {row.attempts}, "site": {_quote_known(row.site)}}}'
    )


def _troubles(row: Listed) -> str:
    if row.fault_code is None and row.review_word is None and row.warning is None and row.dismissed_at is None:
        return _UNTROUBLED
    return (
        f'"review": {_review(row)}, "error": {_error(row)}, '
        f'"warning": {_text(row.warning)}, "dismissed": {_dismissed(row)}'
    )


def _verdict(row: Listed) -> str:
    said, confidence = _known(row.classification), _number(row.confidence)
    if row.forced:
        machine = _machine(row.machine_classification, _number(row.machine_confidence))
        forced = f'"forced": true, "force_classification": {said}'
    else:
        machine = _machine(row.classification, confidence)
        forced = '"forced": false, "force_classification": null'
    return (
        f'{{"state": "{row.verdict_state}", "classification": {said}, "confidence": {confidence}, '
        f'{_grounds(row.heuristic, row.models or "[]", row.api_version)}, {forced}, "machine": {machine}, '
        f'"result_url": {_text(row.result_url)}, "detail": {_text(row.detail)}}}'
    )


@lru_cache(maxsize=1024)
def _grounds(heuristic: str | None, models: str, api_version: str | None) -> str:
    """What a verdict rests on, which most have in common."""
    models = to_json(loads(models))
    return f'"heuristic": {_text(heuristic)}, "models": {models}, "api_version": {_text(api_version)}'


def _machine(said: str | None, confidence: str) -> str:
    return _NONE if said is None else f'{{"classification": {_quote_known(said)}, "confidence": {confidence}}}'


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
    seconds = _NONE if row.seconds is None else repr(round(row.seconds, 3))
    return f'{{{_kind(row.container, row.codec)}, "seconds": {seconds}, {_shape(row.channels, row.sample_rate)}}}'


@lru_cache(maxsize=1024)
def _kind(container: str, codec: str | None) -> str:
    return f'"container": {_quote(container)}, "codec": {_text(codec)}'


@lru_cache(maxsize=1024)
def _shape(channels: int | None, sample_rate: int | None) -> str:
    return f'"channels": {_number(channels)}, "sample_rate": {_number(sample_rate)}'


def _quote(text: str) -> str:
    quoted = encode_basestring(text)
    return quoted if quoted.isprintable() else printable_json(quoted)


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
