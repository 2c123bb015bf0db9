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
_EMPTY = '""'
_UNFORCED = '"forced": false, "force_classification": null'
_UNTROUBLED = '"review": null, "error": null, "warning": null, "dismissed": null'


def json_line(row: Row) -> str:
    """Return the line of JSON for a recording of a list."""
    return to_json(row.as_json()) if isinstance(row, Recording) else _line(row)


def _line(row: Listed) -> str:
    # A row taken apart at once is read in a third of the time that its attributes take (measured). What few
    # recordings have is left to functions of its own.
    # fmt: off
    (
        _, item_id, path, state, size, sha256, container, codec, seconds, channels, sample_rate,
        arrived_at, identifier, duplicate_of, attempts, filed_as, submitted_at, filed_at, site,
        verdict_state, classification, confidence, heuristic, models, api_version, _, detail, url,
        _, fault_code, _, _, warning, _, dismissed_at, _, removed_at, _, review_word, _, _, _, forced, _, _,
    ) = row
    # fmt: on
    name = _path(path)
    if verdict_state is None:
        verdict = _NONE
    elif forced or classification is None or confidence is None:
        verdict = _verdict(row)
    else:
        begin, middle = _judged(verdict_state, classification, heuristic, models, api_version)
        about = f'"result_url": {_text(url)}, "detail": {_text(detail) if detail else _EMPTY}'
        verdict = f"{begin}{confidence!r}{middle}{confidence!r}}}, {about}}}"
    if container is None:
        audio = _NONE
    else:
        begin, end = _sound(container, codec, channels, sample_rate)
        audio = f"{begin}{_NONE if seconds is None else repr(round(seconds, 3))}{end}"
    is_trouble_free = fault_code is None and review_word is None and warning is None and dismissed_at is None
    return (
        f'{{"state": "{state}", "verdict": {verdict}, {_UNTROUBLED if is_trouble_free else _troubles(row)}, '
        f'"grown": null, "changed": null, "identifier": {_text(identifier)}, '
        f'"duplicate_of": {_ours(duplicate_of)}, "filed_as": {name if filed_as == path else _path(filed_as)}, '
        f'"removed": {_NONE if removed_at is None else _removed(row)}, "id": "{item_id}", "path": {name}, '
        f'"size": {size}, "sha256": {_ours(sha256)}, "audio": {audio}, "plan": null, "parts": null, '
        f'"arrived_at": "{rfc3339(arrived_at)}", "submitted_at": {_time(submitted_at)}, '
        f'"filed_at": {_time(filed_at)}, "attempts": {attempts}, "site": {_quote_known(site)}}}'
    )


def _troubles(row: Listed) -> str:
    return (
        f'"review": {_review(row)}, "error": {_error(row)}, '
        f'"warning": {_text(row.warning)}, "dismissed": {_dismissed(row)}'
    )


@lru_cache(maxsize=1024)
def _judged(
    state: str, said: str, heuristic: str | None, models: str | None, api_version: str | None
) -> tuple[str, str]:
    """What a verdict of the models alone says before its confidence, and between that and the machine's."""
    known, grounds = _quote(said), _grounds(heuristic, models, api_version)
    begin = f'{{"state": "{state}", "classification": {known}, "confidence": '
    return begin, f', {grounds}, {_UNFORCED}, "machine": {{"classification": {known}, "confidence": '


def _verdict(row: Listed) -> str:
    said, confidence = _known(row.classification), _number(row.confidence)
    if row.forced:
        machine = _machine(row.machine_classification, _number(row.machine_confidence))
        forced = f'"forced": true, "force_classification": {said}'
    else:
        machine = _machine(row.classification, confidence)
        forced = _UNFORCED
    return (
        f'{{"state": "{row.verdict_state}", "classification": {said}, "confidence": {confidence}, '
        f'{_grounds(row.heuristic, row.models, row.api_version)}, {forced}, "machine": {machine}, '
        f'"result_url": {_text(row.result_url)}, "detail": {_text(row.detail)}}}'
    )


@lru_cache(maxsize=1024)
def _grounds(heuristic: str | None, models: str | None, api_version: str | None) -> str:
    """What a verdict rests on, which most have in common."""
    names = to_json(loads(models or "[]"))
    return f'"heuristic": {_text(heuristic)}, "models": {names}, "api_version": {_text(api_version)}'


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
    return f'{{"at": {_time(row.removed_at)}, "how": {_known(row.removed_how)}}}'


@lru_cache(maxsize=1024)
def _sound(container: str, codec: str | None, channels: int | None, sample_rate: int | None) -> tuple[str, str]:
    """What an item's audio is, before its seconds and after them."""
    return (
        f'{{"container": {_quote(container)}, "codec": {_text(codec)}, "seconds": ',
        f', "channels": {_number(channels)}, "sample_rate": {_number(sample_rate)}}}',
    )


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
