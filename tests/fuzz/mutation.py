"""Makes inputs of real ones. The same seed, target and number always give the same input."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from random import Random
from typing import Any, Literal

from tests.fuzz.target import Target

_SIZES = (
    0,
    1,
    2,
    3,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
)
_GROWN_ONE_IN = 24
_MOST_PLACES = 5_000  # of values: else what is doubled again and again has no end
_TEXTS = (
    *("", " ", "\x1b[31m", "\x1b]0;owned\x07", "\u202e", "\u2028", "\x85", "\0", "\n", "\r\n", "\t", "\ud800"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        "..",
        ".",
        "a//b",
        "<script>alert(1)</script>",
        "'\"><img src=x>",
    ),
    *(
        "{{ 7*7 }}",
        "%s%n",
        "=1+1",
        "0",
        "-1",
        "1e999",
        "NaN",
        "9" * 5000,
        "true",
        "null",
        "\U0001d518",
        "e\u0301",
        "ß",
        "İ",
    ),
    *("2026-11-25T10:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "Z", "2026-W01Z"),
)
_NUMBERS = (
    *(0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**25, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 1e300, float("nan"), float("inf"), True, False, None),
)


@cache
def _seeds(target: Target) -> tuple[bytes, ...]:
    return tuple(target.seeds())


def made(target: Target, seed: str, number: int) -> bytes:
    """The input of this number: first the real ones as they are, then what can be made of them."""
    seeds = _seeds(target)
    if number < len(seeds):
        return seeds[number][: target.most_bytes]
    chance = Random(f"{seed} {target.name} {number}")
    data = chance.choice(seeds)
    if target.is_json and chance.random() < 0.8:
        data = _with_other_values(data, chance)
        if chance.random() < 0.7:
            return data[: target.most_bytes]
    for _ in range(1 << chance.randrange(5)):
        data = _changed(data, target.words, seeds, chance)
    if chance.randrange(_GROWN_ONE_IN) == 0:
        data = _grown(data, target.most_bytes, chance)
    return data[: target.most_bytes]


def _changed(data: bytes, words: Sequence[bytes], seeds: Sequence[bytes], chance: Random) -> bytes:
    if chance.random() < 0.5:
        return _moved(data, seeds, chance)
    at = _place(len(data), chance)
    match chance.randrange(6):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + chance.randbytes(1) + data[at + 1 :]
        case 2 if words:
            return data[:at] + chance.choice(words) + data[at + chance.choice((0, 0, 1, 4)) :]
        case 3:
            return data[:at] + chance.randbytes(chance.randrange(9)) + data[at:]
        case _:
            width, number = chance.choice((1, 2, 4, 8)), chance.choice(_SIZES)
            number += chance.choice((0, 0, 0, -1, 1, len(data), -at))
            number %= 1 << 8 * width
            order: Literal["little", "big"] = "little" if chance.random() < 0.5 else "big"
            return data[:at] + number.to_bytes(width, order) + data[at + width :]


def _moved(data: bytes, seeds: Sequence[bytes], chance: Random) -> bytes:
    """A piece of it is left out, doubled, zero, or somewhere else; or the rest is another's."""
    at, length = _place(len(data), chance), min(1 << chance.randrange(12), len(data))
    piece = data[(start := _place(len(data), chance)) : start + length]
    match chance.randrange(6):
        case 0:
            return data[:at] + data[at + length :]
        case 1:
            return data[:at] + piece + data[at:]
        case 2:
            return data[:at] + piece + data[at + len(piece) :]
        case 3:
            other = chance.choice(seeds)
            return data[:at] + other[_place(len(other), chance) :]
        case 4:
            return data[:at]
        case _:
            return data[:at] + bytes(length) + data[at + chance.choice((0, length)) :]


def _place(size: int, chance: Random) -> int:
    """A place in so many bytes; headers and ends are likelier."""
    where = chance.randrange(6)
    if where < 2:
        return chance.randrange(min(size, 256) + 1)
    return max(0, size - chance.randrange(257)) if where == 2 else chance.randrange(size + 1)


def _grown(data: bytes, most: int, chance: Random) -> bytes:
    """A piece of it is there very often: what takes time by the square of it shows."""
    start = _place(len(data), chance)
    piece = data[start : start + 1 + chance.randrange(1 << chance.randrange(1, 10))] or chance.randbytes(1)
    room = max(0, most - len(data))
    wanted = room if chance.random() < 0.5 else room >> chance.randrange(10)
    at = chance.choice((start, start, 0, len(data)))
    return data[:at] + piece * (wanted // len(piece)) + data[at:]


# JSON


def _with_other_values(data: bytes, chance: Random) -> bytes:
    """The same object with some of its values changed, left out or moved; the bytes as they are if it is none."""
    try:
        value: Any = json.loads(data)
    except ValueError:
        return data
    for _ in range(1 << chance.randrange(3)):
        value = _altered(value, chance)
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _altered(value: Any, chance: Random) -> Any:
    places = list(islice(_places(value), _MOST_PLACES))
    if not places:
        return _any_value(value, chance)
    if len(places) == _MOST_PLACES:
        return value
    holder, name = chance.choice(places)
    match chance.randrange(8):
        case 0:
            del holder[name]
        case 1:
            holder[name] = [holder[name]]
        case 2:
            other, there = chance.choice(places)
            if there in (other if isinstance(other, dict) else range(len(other))):
                holder[name] = json.loads(json.dumps(other[there]))
        case 3 if isinstance(holder, list):
            holder.extend([holder[name]] * chance.choice((1, 10, 100)))
        case 4 if isinstance(holder, dict):
            holder[chance.choice(_TEXTS)] = holder[name]
        case 5 if isinstance(holder[name], str):
            text, at = holder[name], chance.randrange(len(holder[name]) + 1)
            holder[name] = text[:at] + chance.choice(_TEXTS) + text[at + chance.choice((0, 1)) :]
        case _:
            holder[name] = _any_value(holder[name], chance)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in it that has a value: what holds it, and its name or number there."""
    if not isinstance(value, dict | list):
        return
    for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, name
        yield from _places(inner)


def _any_value(old: Any, chance: Random) -> Any:
    kind = chance.randrange(8)
    if kind < 3:
        return chance.choice(_TEXTS)
    if kind < 6:
        return chance.choice(_NUMBERS)
    if kind == 6:
        return chance.choice(([], {}, [old], {"": old}, [[]] * 100, old))
    deep: Any = old if not isinstance(old, dict | list) else 0
    for _ in range(chance.choice((5, 25, 200))):
        deep = [deep] if chance.random() < 0.5 else {"a": deep}
    return deep
