"""A list answer, taken apart before anything of it is built: one monstrous element costs the others nothing.

JSON grows in memory, `[{},{},…]` by 24 times. So the elements are found by their brackets alone, and each is read
by itself, and only where it is no larger, deeper and fuller than any honest one.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 32 * 1024 * 1024
"""Of a list answer, decompressed. In the sandbox's form, with the scores of four models for every 5 seconds, a
call of 7 minutes comes to 63 kB, an hour to 576 kB, and 3.7 hours, the longest recording that fits into an
upload, to 2.1 MB: so 90 usual ones come to 6 MB. What is longer is asked for in smaller lists."""

MOST_WORD_BYTES = 256 * 1024
"""Of any other answer: no identifier, no refusal and no page that anybody reads is longer."""

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
    """The objects in a JSON list, each built in its turn; null where it is no whole list, or no honest one.

    An object that is too large, too deep or too full, or that is none after all, is null.
    """
    places = _places(content)
    return None if places is None else (parse(content[start:end]) for start, end in places)


def _places(content: bytes) -> list[tuple[int, int]] | None:
    """Where the objects of the list stand; nowhere for one that is not to be built."""
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
    """The JSON value, or null: what is none is told from null by nobody here, and so is a number that is none."""
    try:
        return json.loads(
            content.decode("utf-8-sig", errors="replace"), parse_int=_whole, parse_constant=lambda _: None
        )
    except (ValueError, RecursionError):
        return None


def parse_words(content: bytes) -> Any:
    """The JSON value of an answer that is no list of verdicts; null for what is none, or too long to be one."""
    return parse(content) if len(content) <= MOST_WORD_BYTES else None


def _whole(digits: str) -> int | None:
    """The number; null for one that no database, and not even Python's own printing, would take."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None
