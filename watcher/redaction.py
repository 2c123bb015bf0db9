"""Redact one secret in texts that others wrote, in whatever form they wrote it."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from unicodedata import normalize

REDACTED = "<key>"
"""The text that replaces the secret."""

SHORTEST_SECRET = 4
"""Characters. A shorter one is no key, and occurs in ordinary text by chance: redacting it would ruin the log."""

_UNMISTAKABLE = 8  # this many letters and digits of a secret, in order, occur in no text by chance
_LAYERS = 60  # decodings of one text, at most: an encoding within an encoding within …
_ROUNDS = 4

_NUMBERED = r"\\(?:u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-3][0-7]{2})"
_ESCAPES = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"&(?:#[0-9]{1,32}|#[xX][0-9a-fA-F]{1,32}|[A-Za-z][A-Za-z0-9]{1,31});?",
        r"%(?:u[0-9a-fA-F]{4}|[0-9a-fA-F]{2})",
        rf"{_NUMBERED}|\\[^0-9]",
        _NUMBERED,  # where a backslash before it is none that escapes it
    )
)
_ANY_ESCAPE = re.compile("|".join(f"(?:{one.pattern})" for one in _ESCAPES), re.DOTALL)
# A missing end counts as the end of the text, so that matching takes linear time on any text.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>"
    "|[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2060\ufeff]+",  # nobody sees these either
    re.DOTALL | re.IGNORECASE,
)
# Without any of these no escape begins and no markup: the text has one reading, and is that.
_BEGINNING = re.compile("[&%<\\\\\0-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2060\ufeff]")
_NO_LETTER = "\ufffd"
_LETTERS_AND_DIGITS = re.compile(r"[0-9A-Za-z]+")
_VISIBLE = re.compile(r"[!-\[\]-~]+")  # but for the backslash, which may be what is left of an escape

Span = tuple[int, int]


class Redactor:
    """Replaces one secret in any text: as it is, in part, and in the encodings in which programs echo it.

    It finds the escapes of JSON, HTML, URLs and programming languages, nested too; letters of the other case or of
    full width; anything but letters and digits in between, markup included; base64 and hexadecimal digits; and any
    half of the secret or more. A secret with few letters and digits is only found whole.
    `before`: the redactor of the secret that this one replaces, which is redacted as well.
    """

    def __init__(self, secret: str, before: "Redactor | None" = None) -> None:
        self._before = before
        self._is_on = len(secret) >= SHORTEST_SECRET
        self._word = secret.lower() if len(secret) < _UNMISTAKABLE else None
        is_telling = len("".join(_LETTERS_AND_DIGITS.findall(secret))) >= _UNMISTAKABLE
        self._kept = _LETTERS_AND_DIGITS if is_telling else _VISIBLE
        raw = secret.encode()
        readings = [layer.text for layer in _layers(_Layer(secret))]  # its own text may look like an escape
        needles = {self._reduced(reading) for reading in [*readings, raw.hex(), *_in_base64(raw)]}
        whole = self._reduced(secret)
        self._parts = {
            part
            for needle in needles
            if needle == whole or len(needle) >= _UNMISTAKABLE
            for part in (_halves(needle) if is_telling else [needle])
        }
        self._shortest = min(map(len, self._parts))

    def repeats(self, text: str) -> bool:
        """Return whether the text has the secret, or half of it, in any form."""
        if self._before is not None and self._before.repeats(text):
            return True
        return self._stands_in(text)

    def _stands_in(self, text: str) -> bool:
        if not self._is_on:
            return False
        if _BEGINNING.search(text) is None:
            if len(text) < self._shortest and text.isascii():  # other characters may stand for several
                return False
            return self._has_part(self._reduced(text))
        return self._stands_in_a_reading(text)

    def _stands_in_a_reading(self, text: str) -> bool:
        return self._is_on and any(self._has_part(self._reduced(layer.text)) for layer in _layers(_Layer(text)))

    def _has_part(self, reduced: str) -> bool:
        if len(reduced) < self._shortest:
            return False
        for part in self._parts:  # noqa: SIM110 — `any` takes twice as long, and each line of the log has some
            if part in reduced:
                return True
        return False

    def clean(self, text: str) -> str:
        """Return the text with REDACTED in place of the secret, or half of it, in any form."""
        if self._before is not None:
            text = self._before.clean(text)
        for _ in range(_ROUNDS):
            spans = self._find(text) if self._stands_in(text) else []
            if not spans:
                return text
            for start, end in reversed(spans):
                text = text[:start] + REDACTED + text[end:]
        return REDACTED

    def _find(self, text: str) -> list[Span]:
        """Return where the secret is, in the order of the text and without overlaps."""
        first = _Layer(text, [(n, n + 1) for n in range(len(text))])
        found = sorted(span for layer in _layers(first) for span in self._find_in(layer))
        merged: list[Span] = []
        for start, end in found:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return [(start, end) for start, end in merged if not self._is_part_of_a_word(text, start, end)]

    def _is_part_of_a_word(self, text: str, start: int, end: int) -> bool:
        """Return whether a secret that may be a plain word is part of a longer word, as in `sandbox-strict`."""
        around = text[max(start - 1, 0) : start] + text[end : end + 1]
        return text[start:end].lower() == self._word and any(c.isalnum() or c in "-_" for c in around)

    def _find_in(self, layer: "_Layer") -> Iterator[Span]:
        reduced, places = self._reduced(layer.text), self._places(layer.text)
        for part in self._parts:
            at = reduced.find(part)
            while at >= 0:
                first, last = places[at], places[at + len(part) - 1]
                yield layer.spans[first][0], layer.spans[last][1]
                at = reduced.find(part, at + 1)

    def _reduced(self, text: str) -> str:
        """Return the characters of the text that can identify the secret, in one case and one width."""
        return "".join(self._kept.findall(_plain(text))).lower()

    def _places(self, text: str) -> list[int]:
        """Return where in the text each character of the reduced text comes from."""
        origins: Sequence[int] = range(len(text))
        if not text.isascii():
            origins = [place for place, character in enumerate(text) for _ in _plain(character)]
        return [origins[n] for found in self._kept.finditer(_plain(text)) for n in range(*found.span())]


def _plain(text: str) -> str:
    """Return the text with letters and digits of full width, in circles or with accents made plain."""
    return text if text.isascii() else normalize("NFKD", text)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A text after some decoding and, if asked for, where each character was in the original."""

    text: str
    spans: Sequence[Span] = ()

    def undone(self, pattern: re.Pattern[str], instead: Callable[[str], str]) -> "_Layer":
        """Return the layer with every match of the pattern replaced."""
        if not self.spans:
            return _Layer(pattern.sub(lambda found: instead(found[0]), self.text))
        texts: list[str] = []
        spans: list[Span] = []
        at = 0
        for found in pattern.finditer(self.text):
            start, end = found.span()
            new = instead(found[0])
            texts += (self.text[at:start], new)
            spans += self.spans[at:start]
            spans += [(self.spans[start][0], self.spans[end - 1][1])] * len(new)
            at = end
        return _Layer("".join([*texts, self.text[at:]]), [*spans, *self.spans[at:]])


def _layers(first: _Layer) -> Iterator[_Layer]:
    """Yield the readings of the text: decoded repeatedly, each way alone and all together, and without markup."""
    waiting = [first]
    seen = {first.text}
    while waiting:
        layer = waiting.pop(0)
        yield layer
        ways = [(_MARKUP, _left_out), (_ANY_ESCAPE, _unescaped), *((one, _unescaped) for one in _ESCAPES)]
        for pattern, instead in ways:
            if len(seen) < _LAYERS and pattern.search(layer.text):
                further = layer.undone(pattern, instead)
                if further.text not in seen:
                    seen.add(further.text)
                    waiting.append(further)


def _left_out(_markup: str) -> str:
    return ""


def _unescaped(escape: str) -> str:
    """Return the character that an escape stands for, or the escape itself where it stands for none."""
    kind, digits = escape[0], escape[1:]
    if kind == "&":
        return unescape(escape)
    if kind == "\\" and len(digits) == 1:
        return " " if digits in "abfnrtv" else digits
    number = int(digits.lstrip("uUx").strip("{}"), 8 if kind == "\\" and digits[0] in "0123" else 16)
    if digits[0] not in "uU" and number > 0x7F:
        return _NO_LETTER  # one byte of a multi-byte character: keys have none
    return chr(number) if number <= 0x10FFFF else escape


def _halves(needle: str) -> list[str]:
    """Return every part of half the length: any longer part contains one of them."""
    width = max(_UNMISTAKABLE, (len(needle) + 1) // 2)
    return [needle[n : n + width] for n in range(len(needle) - width + 1)]


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield the part of the secret's base64 that no neighbour changes, for each of three alignments."""
    for before in range(3):
        text = b64encode(b"\0" * before + raw).decode()
        yield text[-(-before * 4 // 3) : (before + len(raw)) * 4 // 3]
