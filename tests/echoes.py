"""The forms in which a program may echo a key, and what reads it back from all of them."""

import base64
import html
import json
import random
import re
from collections.abc import Callable
from urllib.parse import quote, unquote

Encoding = Callable[[str, random.Random], str]


def bones(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isalnum()).lower()


def each(*forms: str) -> Encoding:
    """Every character in one of these forms, at random."""

    def encode(text: str, rng: random.Random) -> str:
        usual = [form for form in forms if form != "{c}"]  # what begins an escape never stands for itself
        return "".join(rng.choice(usual if c in "\\&%" else forms).format(c=c, n=ord(c)) for c in text)

    return encode


def markup(text: str, rng: random.Random) -> str:
    tags = ["<b>", "</b>", '<span class="x">', "<!-- a comment -->", "<wbr/>", "\u200b", "\u00ad", "\n", " "]
    return "".join(c + (rng.choice(tags) if rng.random() < 0.3 else "") for c in text)


ENCODINGS: dict[str, Encoding] = {
    "as it is": lambda text, _: text,
    "JSON": lambda text, _: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all of it": each("\\u{n:04x}", "\\u{n:04X}"),
    "JSON, here and there": each("{c}", "\\u{n:04x}"),
    "HTML": lambda text, _: html.escape(text),
    "HTML, decimal": each("&#{n};", "&#{n:05d};"),
    "HTML, hexadecimal": each("&#x{n:x};", "&#X{n:04X};"),
    "HTML, here and there": each("{c}", "&#{n};", "&#x{n:x};"),
    "HTML, by name": lambda text, _: text.replace("/", "&sol;").replace("-", "&hyphen;").replace("+", "&plus;"),
    "a URL": lambda text, _: quote(text, safe=""),
    "a URL, all of it": each("%{n:02x}", "%{n:02X}"),
    "a URL, here and there": each("{c}", "%{n:02x}"),
    "Python": each("\\x{n:02x}", "\\{n:03o}", "{c}"),
    "upper case": lambda text, _: text.upper(),
    "full width": lambda text, _: "".join(chr(ord(c) + 0xFEE0) for c in text),
    "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
    "base64 with a user": lambda text, _: base64.b64encode(f"user:{text}:x".encode()).decode(),
    "base64 of a URL": lambda text, _: base64.urlsafe_b64encode(b"?" + text.encode()).decode(),
    "hexadecimal": lambda text, _: text.encode().hex(),
    "markup in between": markup,
    "UTF-16 taken for UTF-8": lambda text, _: text.encode("utf-16-le").decode("utf-8", "replace"),
}
OUTER = [name for name in ENCODINGS if "base64" not in name and name not in ("hexadecimal", "full width")]


def plain(text: str) -> str:
    """What is left when everything is decoded that an attacker could decode."""
    for _ in range(6):
        text = re.sub(r"<!--.*?-->|<[^<>]*>", "", unquote(html.unescape(text)))
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), text)
    return bones(text)
