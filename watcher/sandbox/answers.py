"""What the service answers: as documented, to the letter; where it is not documented, marked as invented."""

import gzip
import json
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from watcher.sandbox.throttle import Passed, Refused

JSON = "application/json"
HTML = "text/html; charset=UTF-8"
TEXT = "text/plain; charset=UTF-8"

AUDIO_REQUIRED = {"audio": ["The audio field is required."]}
UNSUPPORTED = {"error": "The uploaded file format is not supported."}
TOO_LARGE = {"error": "The uploaded file exceeds the maximum allowed size of 50MB."}
UNAUTHORIZED = {"error": "Unauthorized"}
FORBIDDEN = {"error": "Forbidden"}
THROTTLED = {"message": "Too Many Attempts."}
"""The documented bodies."""

NO_CREDIT = {"error": "You do not have enough credits to perform this operation."}
"""Invented: the status is documented, its body is not."""

_DOCUMENTED: dict[int, Any] = {401: UNAUTHORIZED, 403: FORBIDDEN, 429: THROTTLED}
_FRAMEWORK: dict[int, Any] = {
    400: {"error": "The request could not be processed."},
    404: {"message": "Not Found."},
    405: {"message": "Method Not Allowed."},
    422: {"message": "The given data was invalid.", "errors": {"audio": ["The audio failed to upload."]}},
    500: {"message": "Server Error"},
    503: {"message": "Service Unavailable"},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and what to say about it. `invented` names what of it is the sandbox's invention."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    invented: str = ""
    missing_bytes: int = 0  # that Content-Length promises and the body lacks

    def with_headers(self, *headers: tuple[str, str]) -> "Answer":
        return replace(self, headers=self.headers + headers)

    def as_bytes(self, *, now: float, has_body: bool, keeps_alive: bool) -> bytes:
        """Return the answer as it is sent. `now` is its Date, in seconds since the epoch."""
        lines = [
            f"HTTP/1.1 {self.status} {_reason(self.status)}",
            f"Date: {_date(int(now))}",
            f"Content-Length: {len(self.body) + self.missing_bytes}",
            f"Connection: {'keep-alive' if keeps_alive else 'close'}",
        ]
        if self.media_type:
            lines.append(f"Content-Type: {self.media_type}")
        if self.invented:
            lines.append(f"X-Sandbox-Invented: {self.invented}")
        if "server" not in {name.lower() for name, _ in self.headers}:
            lines.append("Server: identifAI sandbox")
        lines += [f"{name}: {value}" for name, value in self.headers]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        return head + self.body if has_body else head


@lru_cache(maxsize=64)
def prefers_json(accept: str) -> bool:
    """Whether the first type of an Accept header, the weightiest, is JSON."""
    first, weight = "", -1.0
    for entry in accept.split(","):
        media_type, *parameters = entry.split(";")
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.strip().partition("=")
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if quality > weight:
            first, weight = media_type.strip().lower(), quality
    return "/json" in first or "+json" in first


def say_json(status: int, payload: object, *, invented: str = "") -> Answer:
    return Answer(status, json.dumps(payload).encode(), invented=invented)


def say_identifier(identifier: str, as_json: bool) -> Answer:
    if as_json:
        return Answer(200, b'{"identifier":"%s"}' % identifier.encode())
    return Answer(200, identifier.encode(), TEXT)


def say_error(status: int, payload: object, as_json: bool, *, invented: str = "") -> Answer:
    """Return the error: as JSON where that is preferred, else as a page in HTML."""
    return say_json(status, payload, invented=invented) if as_json else say_page(status, _reason(status))


def say_page(status: int, title: str) -> Answer:
    page = (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
        f"<body><h1>{status} | {title}</h1></body></html>\n"
    )
    return Answer(status, page.encode(), HTML, invented="body")


def say_bomb() -> Answer:
    """Return a small answer that unpacks to 60 MB of JSON, which take 1.5 GB once they are parsed."""
    return Answer(200, _bomb(), headers=(("Content-Encoding", "gzip"),), invented="body")


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    return gzip.compress(b"[" + b"{}," * 20_000_000 + b"{}]")


def say_status(status: int, as_json: bool) -> Answer:
    """Return the answer of this status as documented; else in the words of the framework or a proxy."""
    if status in _DOCUMENTED:
        return say_error(status, _DOCUMENTED[status], as_json)
    if status in _FRAMEWORK:
        return say_error(status, _FRAMEWORK[status], as_json, invented="body")
    return say_page(status, _reason(status))


def say_throttled(refused: Refused, as_json: bool) -> Answer:
    return say_error(429, THROTTLED, as_json).with_headers(
        ("X-RateLimit-Limit", str(refused.limit)),
        ("X-RateLimit-Remaining", "0"),
        ("Retry-After", str(refused.retry_after)),
        ("X-RateLimit-Reset", str(refused.reset)),
    )


def rate_headers(passed: Passed) -> tuple[tuple[str, str], ...]:
    """Return what an answer says about the tightest window; nothing where there is none."""
    if passed.limit is None:
        return ()
    return (("X-RateLimit-Limit", str(passed.limit)), ("X-RateLimit-Remaining", str(passed.remaining)))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
