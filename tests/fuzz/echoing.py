"""Texts that others wrote and we show: the key is in none of them, whatever form it was sent back in."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

from tests.echoes import ENCODINGS, OUTER, bones, plain
from tests.fuzz.target import Check, Target, is_safe
from tests.fuzz.target import plain as bare
from watcher.key import Key
from watcher.logs import configure, get_logger
from watcher.outlet import Outlet
from watcher.redaction import Redactor

_KEY = "0123456789abcdef-Secret/+x"
_REDACTOR = Redactor(_KEY)
_FIELD_BYTES = 16_384  # no text that is shown is longer: see identifai/reading.py


def _echoes() -> list[bytes]:
    made = []
    for name, encode in ENCODINGS.items():
        chance = Random(name)
        echo = encode(_KEY, chance)
        made.append(f"No such key: {echo}, <b>sorry</b> &amp; good bye\n")
        made.append(json.dumps({"error": ENCODINGS[OUTER[len(made) % len(OUTER)]](echo, chance)}))
    return [text.encode("utf-8", "surrogatepass") for text in made]


def _redact(data: bytes) -> None:
    """Nothing of the text leads back to the key, and a second time changes nothing."""
    text = data.decode("utf-8", "replace")
    cleaned = _REDACTOR.clean(text)
    assert not _REDACTOR.repeats(cleaned)
    assert _REDACTOR.clean(cleaned) == cleaned
    assert _KEY not in cleaned
    assert bones(_KEY) not in bones(cleaned)
    if "\\" not in text and "<" not in text and "%" not in text:  # layers of those: see plain() beside _layers()
        assert bones(_KEY) not in plain(cleaned)


@contextmanager
def _logging() -> Iterator[Check]:
    yield partial(_log, {form: io.StringIO() for form in ("json", "console")})


def _log(streams: dict[str, io.StringIO], data: bytes) -> None:
    """An event is one line whatever its values are; in JSON it can be read; no terminal obeys it."""
    text = data.decode("utf-8", "replace")
    for form, stream in streams.items():
        stream.seek(0)
        stream.truncate()
        configure(form, "info", Key(_KEY, "the fuzzer"), stream)  # type: ignore[arg-type]
        log = get_logger("watcher.fuzz")
        error = ValueError(text)
        log.error("fuzz.tried", path=data, deep={text[:50]: [text, {"a": data}]}, key=_KEY, exc_info=error)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, Outlet):
                assert handler.stream.drain(20)
        written = stream.getvalue()
        assert written.endswith("\n")
        first, *others = written.splitlines()
        assert "fuzz.tried" in first
        assert not others or (form == "console" and all(line.startswith("    ") for line in others))
        assert is_safe(written, "\n")
        assert _KEY not in written
        assert bones(_KEY) not in bones(written)
        if form == "json":
            assert json.loads(written)["event"] == "fuzz.tried"


_WORDS = (
    *(
        _KEY.encode(),
        _KEY[:14].encode(),
        _KEY[13:].encode(),
        b"&#",
        b";",
        b"%25",
        b"\\u00",
        b"\\x",
        b"<b>",
        b"<!--",
    ),
    *(
        b"-->",
        b"&amp;",
        b"\\\\",
        b"\xc2\xad",
        b"\xe2\x80\x8b",
        b"\0",
        b"x-api-key: ",
        b"<key>",
        b"</script>",
        b"\r\n",
    ),
)

TARGETS = (
    bare("redaction", _redact, _echoes, words=_WORDS, most_bytes=_FIELD_BYTES),
    Target("log", _logging, _echoes, words=_WORDS, most_bytes=_FIELD_BYTES, seconds=4.0),
)
