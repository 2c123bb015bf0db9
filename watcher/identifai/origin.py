"""Find out who answered: the service, or something in between. Pure: an answer in, words out.

The service's errors come only in its framework's JSON forms. A company's proxy, a firewall, a guest network's
log-in page or a web server in front of the service answers in other forms, which never count as the service's
judgement on the account or a recording.
"""

from collections.abc import Mapping
from typing import Any

from watcher.identifai.elements import parse_words

_DEBUGGING = frozenset({"exception", "file", "line", "trace"})  # what the framework adds where it is set to
_TELLING = ("Via", "Proxy-Agent", "Proxy-Status", "X-Squid-Error", "Server")


def is_service_error(content: bytes) -> bool:
    """Return whether an error is in one of its forms: {error}, {message}, {message, errors} or {field: [...]}."""
    value = parse_words(content)
    if not isinstance(value, dict) or not value:
        return False
    if not value.keys() & {"error", "message"}:
        return _are_complaints(value) or (value.keys() == {"errors"} and _are_complaints(value["errors"]))
    said = [value[name] for name in ("error", "message") if name in value]
    if value.keys() - {"error", "message", "errors"} - _DEBUGGING or not all(isinstance(one, str) for one in said):
        return False
    return "errors" not in value or _are_complaints(value["errors"])


def _are_complaints(value: Any) -> bool:
    """Return whether these are fields, each with its errors."""
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(texts, list) and all(isinstance(t, str) for t in texts) for texts in value.values())


def find_go_between(headers: Mapping[str, str]) -> str:
    """Return the header that names who made or passed on the answer, as `Name: value`; "" if there is none."""
    return next((f"{name}: {headers[name]}" for name in _TELLING if headers.get(name, "").strip()), "")
