"""Who answered: the service itself, or something between it and us. Pure: an answer in, words out.

The service's errors come in its framework's JSON forms and no others. A company's proxy, a firewall, a guest
network's log-in page and a web server in front of the service answer in theirs: what they say is never its word on
the account or on a recording.
"""

from collections.abc import Mapping
from typing import Any

from watcher.identifai.listing import parse_words

_DEBUGGING = frozenset({"exception", "file", "line", "trace"})  # what the framework adds where it is set to
_TELLING = ("Via", "Proxy-Agent", "Proxy-Status", "X-Squid-Error", "Server")


def is_service_error(content: bytes) -> bool:
    """Whether an error is in one of its forms: {error}, {message}, {message, errors} or {field: [...]}."""
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
    """Whether these are fields, each with what is wrong about it."""
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(texts, list) and all(isinstance(t, str) for t in texts) for texts in value.values())


def find_go_between(headers: Mapping[str, str]) -> str:
    """What the answer says of whoever passed it on or made it, as `Name: value`; "" where it says nothing."""
    return next((f"{name}: {headers[name]}" for name in _TELLING if headers.get(name, "").strip()), "")
