"""What the service's answers mean: identifiers, refusals, throttles and verdicts. Pure: bytes in, words out.

Shapes and words follow the service's public documentation. Where that is silent, nothing is guessed in favour of
"human", and an answer that cannot be understood is reported as such.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

from watcher.domain import INCONCLUSIVE, VerdictState
from watcher.identifai.elements import parse_words, read_list
from watcher.redaction import Redactor
from watcher.text import JsonObject

CLASSIFICATIONS = frozenset({"human", "artificial"})

_LINE = 500
_NAME = 100
_MOST_MODELS = 50
_READ = 16_384  # characters of a text to examine before it is cut
_DAY_SECONDS = 86_400.0
_IDENTIFIER = re.compile(r"[0-9a-fA-F]{64}")
# A missing end counts as the end of the text, so that matching takes linear time on any text.
_UNSEEN_HTML = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
# No character has so many digits, and Python refuses to read thousands of them as a number.
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{33,}|[xX][0-9a-fA-F]{33,});?")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the service says about one identifier now.

    `classification` is human, artificial or inconclusive once the state is `known`, else None; `confidence` is the
    confidence in that class. `heuristic` and `models` are those of the account's main verdict.
    """

    identifier: str
    state: VerdictState
    classification: str | None = None
    confidence: float | None = None
    heuristic: str | None = None
    models: tuple[str, ...] = ()
    api_version: str | None = None
    forced: bool = False
    detail: str = ""
    machine_classification: str | None = None  # what the models said, whatever was forced
    machine_confidence: float | None = None
    result_url: str | None = None
    result: JsonObject | None = None  # the whole entry, without the key; None where that cannot be told


class Reader:
    """Reads answers. Every text that it returns has gone through `line`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def line(self, text: str, most: int = _LINE) -> str:
        """Return the text as one short printable line, without the key in any form."""
        text = self._redactor.clean(text[:_READ])  # before it is cut: part of the key is secret too
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= most else line[: most - 1] + "…"

    def identifier(self, content: bytes) -> str | None:
        """Return the identifier in the answer to an upload: 64 hexadecimal digits, in JSON or bare; else None.

        The key, sent back by a proxy, is not an identifier even if it looks like one.
        """
        value: Any = content.decode("utf-8-sig", errors="replace").strip()
        if not _IDENTIFIER.fullmatch(value):
            value = parse_words(content)
            if isinstance(value, dict):
                value = value.get("identifier")
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value) or self._redactor.repeats(value):
            return None
        return value

    def words(self, content: bytes) -> str:
        """Return the message of an error answer: at most 500 printable characters, or "".

        It understands {error}, {message}, {errors: {field: [...]}}, {field: [...]}, a page (by its title, if it
        has one) and plain text.
        """
        value = parse_words(content)
        if isinstance(value, dict):
            named = [value.get("error"), value.get("message"), value.get("errors")]
            return self._line_of(named if any(named) else value)
        if isinstance(value, list | str):
            return self._line_of(value)
        text = _UNSEEN_HTML.sub(" ", content[:65_536].decode("utf-8", errors="replace"))
        title = _TITLE.search(text)
        if title is not None and (said := self.line(_unescaped(title[1]))):
            return said
        return self.line(_unescaped(_TAG.sub(" ", text)))

    def verdicts(self, content: bytes, asked: Collection[str]) -> dict[str, Reading] | None:
        """Return the readings of the requested identifiers in a list answer; None where it is not a list.

        An entry that cannot be understood is left out: it must not hide the others.
        """
        entries = read_list(content)
        if entries is None:
            return None
        readings: dict[str, Reading] = {}
        for entry in entries:
            reading = self.verdict(entry)
            if reading is None or reading.identifier not in asked:
                continue
            known = readings.get(reading.identifier)
            if known is None or known.state is VerdictState.AWAITED:
                is_at_rest = reading.state is not VerdictState.AWAITED
                result = self._without_key(entry) if is_at_rest else None
                readings[reading.identifier] = replace(reading, result=result)
        return readings

    def _without_key(self, entry: JsonObject) -> JsonObject | None:
        """Return the entry as it is; with its texts redacted, if the key is in it; None if it still is."""
        if not self._redactor.repeats(json.dumps(entry, ensure_ascii=False)):
            return entry
        cleaned = self._cleaned(entry)
        still = self._redactor.repeats(json.dumps(cleaned, ensure_ascii=False))
        return cleaned if isinstance(cleaned, dict) and not still else None

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redactor.clean(value[:_READ])
        if isinstance(value, list):
            return [self._cleaned(one) for one in value]
        if isinstance(value, dict):
            return {self._redactor.clean(name[:_READ]): self._cleaned(one) for name, one in value.items()}
        return value

    def verdict(self, entry: Any) -> Reading | None:
        """Return the reading of one entry; None where it names no identifier.

        Without a `status` (before v1.1.0) a verdict or results mean done. An unknown status means waiting, unless
        a verdict came with it.
        """
        if not isinstance(entry, dict) or not isinstance(entry.get("identifier"), str):
            return None
        identifier = entry["identifier"]
        api_version = self._text(entry.get("api_version"))
        forced = _class(entry.get("force_classification"))
        has_verdict = forced in CLASSIFICATIONS or any(entry.get(k) for k in ("verdict", "verdicts", "results"))
        status = entry.get("status")
        if status == "errored" and forced not in CLASSIFICATIONS:
            detail = self._line_of(entry.get("errors")) or "the service gave no reason"
            url = self._url(entry.get("result_url"))
            return Reading(
                identifier, VerdictState.ERRORED, api_version=api_version, detail=detail, result_url=url
            )
        if status == "new" or (status not in ("done", "errored") and not has_verdict):
            detail = "" if status in ("new", None) else self.line(f"the service calls it {status!r}")
            return Reading(identifier, VerdictState.AWAITED, api_version=api_version, detail=detail)
        return self._decided(entry, identifier, api_version, forced)

    def _decided(self, entry: JsonObject, identifier: str, api_version: str | None, forced: str | None) -> Reading:
        main = _main_verdict(entry)
        said = _class(main.get("classification"))
        confidence = said_confidence = _share(main.get("confidence"))
        classification, details = said, []
        if said is None:
            classification, details = INCONCLUSIVE, ["the service gave no verdict"]
        elif said not in CLASSIFICATIONS:
            classification = INCONCLUSIVE
            details = [] if said == INCONCLUSIVE else [f"the service called it {said!r}"]
        machine = None if said is None else classification
        is_forced = forced in CLASSIFICATIONS
        if is_forced:
            details = [f"decided by an override; the models' verdict: {said or 'none'}"]
            confidence = confidence if forced == said else None
            classification = forced
        names = [name for name in _sequence(main.get("models")) if isinstance(name, str)]
        if len(names) > _MOST_MODELS:
            details.append(f"the first {_MOST_MODELS} of {len(names):,} models are named")
        return Reading(
            identifier,
            VerdictState.KNOWN,
            classification=classification,
            confidence=confidence,
            heuristic=self._text(main.get("heuristic")),
            models=self._names(names[:_MOST_MODELS]),
            api_version=api_version,
            forced=is_forced,
            detail=self.line("; ".join(details)),
            machine_classification=machine,
            machine_confidence=None if machine is None else said_confidence,
            result_url=self._url(entry.get("result_url")),
        )

    def _names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names, one line each, redacted together: the key may be spread over several."""
        together = "\n".join(" ".join(name[: _READ // _MOST_MODELS].splitlines()) for name in names)
        lines = (self.line(name, _NAME) for name in self._redactor.clean(together).split("\n"))
        return tuple(filter(None, lines))

    def _url(self, value: Any) -> str | None:
        """Return the address of a page; None for anything else: people follow it, and pages link it."""
        text = self._text(value, _LINE) or ""
        return text if text.startswith(("https://", "http://")) and not text.endswith("…") else None

    def _line_of(self, value: Any) -> str:
        return self.line(" ".join(_texts(value)))

    def _text(self, value: Any, most: int = _NAME) -> str | None:
        is_text = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
        return self.line(str(value), most) if is_text else None


def find_retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return how long the service asks us to wait, from 0 to a day; None where it does not say so clearly.

    An HTTP date counts from the answer's Date if it has one, since clocks differ; else from `now`.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        until = _instant(text)
        if until is None:
            return None
        since = _instant(headers.get("Date", ""))
        seconds = until - (now if since is None else since)
    return min(max(seconds, 0.0), _DAY_SECONDS)


def find_limit(headers: Mapping[str, str]) -> int | None:
    """Return X-RateLimit-Limit: how many requests the exceeded window allows."""
    text = headers.get("X-RateLimit-Limit", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _unescaped(text: str) -> str:
    """Return the text with the characters that HTML's references stand for; what stands for none is left out."""
    return unescape(_NO_CHARACTER.sub(" ", text))


def _main_verdict(entry: JsonObject) -> JsonObject:
    """Return the main verdict, completed from the entry of its heuristic in `verdicts`.

    Its shape is undocumented: an object like those in `verdicts`, or just the classification.
    """
    main = entry.get("verdict")
    if isinstance(main, str):
        main = {"classification": main}
    if not isinstance(main, dict):
        return {}
    others = [v for v in _sequence(entry.get("verdicts")) if isinstance(v, dict)]
    if main.get("heuristic") is not None:
        others = [v for v in others if v.get("heuristic") == main["heuristic"]]
    if len(others) == 1 and _class(others[0].get("classification")) == _class(main.get("classification")):
        return others[0] | {name: value for name, value in main.items() if value is not None}
    return main


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the texts in a value, in order, without field names and numbers."""
    if isinstance(value, str):
        yield value
    elif depth < 8 and isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner, depth + 1)


def _class(value: Any) -> str | None:
    return (value.strip().lower() or None) if isinstance(value, str) else None


def _share(value: Any) -> float | None:
    """Return the number if it is from 0 to 1; None for anything else, which is not a confidence."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= 1 else None


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _instant(text: str) -> float | None:
    """Return the HTTP date as seconds since the epoch; None where it is not a date."""
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
