"""Split a JSON list into elements before parsing any: so one monstrous element does not cost the others.

Parsed JSON takes more memory, `[{},{},…]` 24 times as much. So the elements are found by their brackets, and each
is parsed by itself, and only if it is no larger, deeper or fuller than any honest one.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 32 * 1024 * 1024
"""The most bytes of a list answer, decompressed. In the sandbox's form, with scores of four models for every 5
seconds, a call of 7 minutes has 63 kB, an hour 576 kB, and 3.7 hours, the longest that fits into an upload,
2.1 MB: so 90 usual ones have 6 MB. Where an answer is longer, smaller lists are requested."""

MOST_WORD_BYTES = 256 * 1024
"""The most bytes of any other answer: no identifier, refusal or readable page is longer."""

_MOST_TOKENS = 4_000_000
_MOST_ELEMENTS = 1_000
_MOST_ELEMENT_BYTES = 4 * 1024 * 1024
_MOST_ELEMENT_TOKENS = 400_000
_MOST_DEPTH = 64
_MOST_DIGITS = 20

_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?\s*+\[")
_TOKEN = re.compile(rb'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_END = re.compile(rb"\s*+")


def read_list(content: bytes) -> Iterator[Any] | None:
    """Return the objects in a JSON list, parsed one by one; None where the list is incomplete or not honest.

    An element that is too large, too deep or too full, or not an object, becomes None.
    """
    places = _places(content)
    return None if places is None else (parse(content[start:end]) for start, end in places)


def _places(content: bytes) -> list[tuple[int, int]] | None:
    """Return where the objects of the list are; an empty place for one that must not be parsed."""
    opening = _OPENING.match(content)
    if opening is None:
        return None
    places: list[tuple[int, int]] = []
    depth, deepest, start, first = 1, 1, 0, 0
    for number, token in enumerate(_TOKEN.finditer(content, opening.end())):
        mark = content[token.start()]
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if depth == 2:
                start, first, deepest = token.start(), number, depth
        elif mark in b"]}":
            depth -= 1
            if depth == 0:
                return places if _END.fullmatch(content, token.end()) else None
            if depth == 1:
                end = token.end()
                is_honest = number - first <= _MOST_ELEMENT_TOKENS and deepest <= _MOST_DEPTH
                places.append((start, end if is_honest and end - start <= _MOST_ELEMENT_BYTES else start))
        if number > _MOST_TOKENS or len(places) > _MOST_ELEMENTS:
            return None
    return None


def parse(content: bytes) -> Any:
    """Return the JSON value; None for null, for invalid JSON, and for an impossible number."""
    try:
        return json.loads(
            content.decode("utf-8-sig", errors="replace"), parse_int=_whole, parse_constant=lambda _: None
        )
    except (ValueError, RecursionError):
        return None


def parse_words(content: bytes) -> Any:
    """Return the JSON value of an answer other than a list of verdicts; None if invalid or too long."""
    return parse(content) if len(content) <= MOST_WORD_BYTES else None


def _whole(digits: str) -> int | None:
    """Return the number; None for one too long for a database, or even for Python to print."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None
