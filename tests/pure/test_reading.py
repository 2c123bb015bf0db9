"""What the service's answers mean."""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.echoes import ENCODINGS, bones, plain
from watcher.domain import VerdictState
from watcher.identifai.elements import read_list
from watcher.identifai.reading import Reader, Reading, find_limit, find_retry_after_seconds
from watcher.redaction import Redactor

IDENTIFIER = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0"
NOW = 1_800_000_000.0
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=9), v, max_size=4)
)
steadily = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
READER = Reader(Redactor("0123456789abcdef-secret"))
SCRIPT = b"<script type='x'>alert('<p>not seen</p>')</script >"


def read_verdicts(content: bytes) -> dict[str, Reading] | None:
    return READER.verdicts(content, {"a", "b"})


@steadily
@given(st.binary(max_size=200))
def test_any_answer_can_be_read(content: bytes) -> None:
    """No answer, whatever it holds, is more than a person reads, breaks a line, or raises."""
    words = READER.words(content)
    assert len(words) <= 500
    assert words.isprintable()
    assert READER.identifier(content) is None
    read_verdicts(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ""),
        (b"{}", ""),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"message": "Too Many Attempts."}', "Too Many Attempts."),
        (b'{"audio": ["The audio field is required."]}', "The audio field is required."),
        (b'{"errors": {"audio": ["One."], "ref_id": ["Two."]}}', "One. Two."),
        (b'{"message": "Invalid.", "errors": {"audio": ["One."]}, "exception": "E"}', "Invalid. One."),
        (b'{"error": {"code": 7, "text": "Deep."}}', "Deep."),
        (b'["One.", "Two."]', "One. Two."),
        (b'"Bare."', "Bare."),
        (b"plain\ttext\r\nin lines\x00", "plain text in lines"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            b"<!doctype html><html><head><style>b{}</style></head><body><!-- x > y -->" + SCRIPT + b"<h1>Bad&nbsp;"
            b"Gateway</h1><p>nginx &lt;1&gt;</p></body></html>",
            "Bad Gateway nginx <1>",
        ),
    ],
)
def test_words_of_a_refusal(content: bytes, words: str) -> None:
    """The service's own words are found in every shape that it has for them."""
    assert READER.words(content) == words


def test_words_are_cut() -> None:
    """No more than 500 characters are kept, and it shows."""
    words = READER.words(json.dumps({"error": "a" * 5000}).encode())
    assert len(words) == 500
    assert words.endswith("a…")


@pytest.mark.parametrize(
    "reference", [b"&#" + b"9" * 65_000, b"&#0" + b"0" * 5_000 + b"65;", b"&#x" + b"f" * 65_000]
)
@pytest.mark.parametrize("before", [b"No way: ", b"<title>No way: ", b"<p>No way: "])
def test_a_reference_to_no_character_is_nothing(before: bytes, reference: bytes) -> None:
    """With so many digits that no number can be read from them: the words around it are found all the same."""
    assert READER.words(before + reference + b" through") == "No way: through"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"<", b"<!--", b"<script "])
def test_hostile_nesting_is_harmless(opening: bytes) -> None:
    """An answer made to exhaust a parser does not."""
    nested = opening * 50_000
    READER.words(nested)
    assert READER.identifier(nested) is None
    assert read_verdicts(nested) is None


@pytest.mark.parametrize(
    ("content", "identifier"),
    [
        (f'{{"identifier": "{IDENTIFIER}"}}', IDENTIFIER),
        (f"{IDENTIFIER}\n", IDENTIFIER),
        (f'"{IDENTIFIER}"', IDENTIFIER),
        (IDENTIFIER[:-1], None),
        (IDENTIFIER + "0", None),
        ("g" + IDENTIFIER[1:], None),
        (f'{{"identifier": ["{IDENTIFIER}"]}}', None),
        (f'{{"identifier": "{IDENTIFIER}\\n"}}', None),
        (f'{{"hash": "{IDENTIFIER}"}}', None),
        (f'["{IDENTIFIER}"]', None),
    ],
)
def test_an_identifier_is_64_hexadecimal_digits(content: str, identifier: str | None) -> None:
    """Anything else is not taken for one."""
    assert READER.identifier(content.encode()) == identifier


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "37"}, 37.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "9" * 50}, 86_400.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\u0663"}, None),
        ({"Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT"}, 60.0),
        ({"Retry-After": "Fri, 15 Jan 2027 08:01:00 -0000"}, 60.0),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"Retry-After": "Fri, 15 Jan 2100 07:00:00 GMT"}, 86_400.0),
        ({"Retry-After": "Fri, 15 Jan 99999 07:00:00 GMT"}, None),
        (
            {"Retry-After": "Wed, 01 Jan 2020 00:00:30 GMT", "Date": "Wed, 01 Jan 2020 00:00:00 GMT"},
            30.0,
        ),
        ({"Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT", "Date": "garbage"}, 60.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date, the date by the service's own clock, within a day; garbage is no answer."""
    assert find_retry_after_seconds(headers, NOW) == seconds


@steadily
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_can_be_read(after: str, date: str) -> None:
    """No header raises or leads out of the day."""
    seconds = find_retry_after_seconds({"Retry-After": after, "Date": date}, NOW)
    assert seconds is None or 0 <= seconds <= 86_400
    assert find_limit({"X-RateLimit-Limit": after}) is None or after.strip().isdigit()


def test_limit_of_the_window() -> None:
    """The limit is a whole number, or not known."""
    assert find_limit({"X-RateLimit-Limit": "30"}) == 30
    assert find_limit({"X-RateLimit-Limit": "many"}) is None
    assert find_limit({}) is None


# Verdicts

ARTIFICIAL = {"heuristic": "mean", "confidence": 0.93, "classification": "artificial", "models": ["m1", "m2"]}


def reading_of(**entry: Any) -> Any:
    return READER.verdict({"identifier": "a", "api_version": "v1.1.0", **entry})


def test_done() -> None:
    """A verdict is kept with all that decided it."""
    reading = reading_of(status="done", verdict=ARTIFICIAL)
    assert (reading.state, reading.classification, reading.confidence) == (VerdictState.KNOWN, "artificial", 0.93)
    assert (reading.heuristic, reading.models, reading.api_version) == ("mean", ("m1", "m2"), "v1.1.0")
    assert not reading.forced
    assert reading.detail == ""


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({"status": "new"}, VerdictState.AWAITED),
        ({"status": "new", "verdict": ARTIFICIAL}, VerdictState.AWAITED),
        ({"status": "new", "force_classification": "human"}, VerdictState.AWAITED),
        ({}, VerdictState.AWAITED),
        ({"verdict": None, "verdicts": [], "results": []}, VerdictState.AWAITED),
        ({"verdict": ARTIFICIAL}, VerdictState.KNOWN),
        ({"results": [{"model": "m"}]}, VerdictState.KNOWN),
        ({"verdicts": [ARTIFICIAL]}, VerdictState.KNOWN),
        ({"force_classification": "human"}, VerdictState.KNOWN),
        ({"status": "errored"}, VerdictState.ERRORED),
        ({"status": "errored", "verdict": ARTIFICIAL}, VerdictState.ERRORED),
        ({"status": "errored", "force_classification": "human"}, VerdictState.KNOWN),
        ({"status": "running"}, VerdictState.AWAITED),
        ({"status": 7}, VerdictState.AWAITED),
        ({"status": "running", "verdict": ARTIFICIAL}, VerdictState.KNOWN),
    ],
)
def test_state(entry: dict[str, Any], state: VerdictState) -> None:
    """The status decides; before it existed, a verdict or results meant done."""
    assert reading_of(**entry).state is state


@pytest.mark.parametrize(
    ("verdict", "detail"),
    [
        (None, "the service gave no verdict"),
        ({}, "the service gave no verdict"),
        ([], "the service gave no verdict"),
        ("", "the service gave no verdict"),
        ({"classification": None, "confidence": 0.5}, "the service gave no verdict"),
        ({"classification": "alien"}, "the service called it 'alien'"),
        ("alien", "the service called it 'alien'"),
        ("Inconclusive", ""),
        (0.3, "the service gave no verdict"),
    ],
)
def test_no_verdict_is_never_human(verdict: Any, detail: str) -> None:
    """Done without a known word is inconclusive, and says why."""
    reading = reading_of(status="done", verdict=verdict, verdicts=[{"classification": "human"}])
    assert (reading.state, reading.classification) == (VerdictState.KNOWN, "inconclusive")
    assert reading.detail == detail


def test_bare_verdict_takes_the_rest_from_the_only_one_like_it() -> None:
    """A main verdict that is only a word, or lacks its models, is completed by its own entry alone."""
    assert reading_of(status="done", verdict="Artificial", verdicts=[ARTIFICIAL]).models == ("m1", "m2")
    main = {"heuristic": "mean", "classification": "artificial"}
    other = ARTIFICIAL | {"heuristic": "max", "models": ["m9"]}
    assert reading_of(status="done", verdict=main, verdicts=[other, ARTIFICIAL]).models == ("m1", "m2")
    assert reading_of(status="done", verdict=main, verdicts=[other]).models == ()
    human = ARTIFICIAL | {"classification": "human"}
    assert reading_of(status="done", verdict="artificial", verdicts=[human]).confidence is None


def test_override_outweighs_the_models() -> None:
    """A person's override is the verdict; the models' confidence is only kept where it is in the same class."""
    reading = reading_of(status="done", verdict=ARTIFICIAL, force_classification="human")
    assert (reading.classification, reading.forced, reading.confidence) == ("human", True, None)
    assert "artificial" in reading.detail
    same = reading_of(status="done", verdict=ARTIFICIAL, force_classification="artificial")
    assert (same.classification, same.forced, same.confidence) == ("artificial", True, 0.93)
    assert not reading_of(status="done", verdict=ARTIFICIAL, force_classification="alien").forced


def test_errored_says_why() -> None:
    """The service's own errors are the detail."""
    assert reading_of(status="errored", errors=["No speech."]).detail == "No speech."
    assert reading_of(status="errored", errors={"audio": ["Short."]}).detail == "Short."
    assert reading_of(status="errored", errors=None).detail == "the service gave no reason"


@pytest.mark.parametrize(
    "confidence", ["0.9", True, None, [], float("nan"), float("inf"), 10**400, -(10**400), -5, -0.01, 7, 1.01]
)
def test_confidence_is_a_share_or_unknown(confidence: Any) -> None:
    """What is no number from 0 to 1 is not taken for one."""
    assert reading_of(status="done", verdict=ARTIFICIAL | {"confidence": confidence}).confidence is None


def test_malformed_entries_do_not_hide_the_others() -> None:
    """Entries without an identifier are left out; of two for one identifier the decided one counts."""
    entries: list[Any] = [
        None, 7, [], {}, {"identifier": None},
        {"identifier": "a", "status": "new"},
        {"identifier": "a", "status": "done", "verdict": "human"},
        {"identifier": "a", "status": "new"},
    ]  # fmt: skip
    readings = read_verdicts(json.dumps(entries).encode())
    assert readings is not None
    assert [(r.identifier, r.classification) for r in readings.values()] == [("a", "human")]


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"7", b'{"identifier": "a"}', b"<html>", b'[{"ident'])
def test_what_is_no_list_is_none(content: bytes) -> None:
    """An answer that is no list is not taken for an empty one."""
    assert read_verdicts(content) is None


@steadily
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "identifier",
                "status",
                "verdict",
                "verdicts",
                "results",
                "force_classification",
                "api_version",
                "errors",
            ]
        ),
        VALUES
        | st.sampled_from(["new", "done", "errored", "human", "artificial"])
        | st.just(ARTIFICIAL)
        | st.just([ARTIFICIAL]),
    )
)
def test_any_entry_can_be_read(entry: dict[str, Any]) -> None:
    """No entry raises; a class is only known when it is said, and nothing is human that was not called so."""
    reading = READER.verdict(entry)
    if reading is None:
        assert not isinstance(entry.get("identifier"), str)
        return
    assert (reading.classification is not None) is (reading.state is VerdictState.KNOWN)
    assert reading.classification in {None, "human", "artificial", "inconclusive"}
    assert reading.classification != "human" or "human" in repr(entry).lower()


# What no honest service says


def listed(*entries: str) -> bytes:
    return f"[{','.join(entries)}]".encode()


GOOD = json.dumps({"identifier": "b", "status": "done", "verdict": ARTIFICIAL})
MONSTERS = {
    "no object": "7",
    "a list": '[{"identifier": "a"}]',
    "no JSON": '{"identifier": "a", "status": }',
    "deep": '{"identifier": "a", "verdict": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "full": '{"identifier": "a", "verdicts": [' + "{}," * 500_000 + "{}]}",
    "large": '{"identifier": "a", "name": "' + "x" * 5_000_000 + '"}',
    "an endless number": '{"identifier": "a", "status": "done", "verdict": {"confidence": ' + "9" * 5_000 + "}}",
    "brackets in texts": '{"identifier": "a", "name": "]}\\\\\\"}]{[", "status": "new"}',
    "no identifier": "{}",
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_monster_costs_the_others_nothing(name: str) -> None:
    """Whatever one element of a list is, those before and behind it are read."""
    before = GOOD.replace('"b"', '"c"')
    readings = READER.verdicts(listed(before, MONSTERS[name], GOOD), {"a", "b", "c"})
    assert readings is not None
    assert {"b", "c"} <= set(readings)
    assert readings["b"].classification == readings["c"].classification == "artificial"


@pytest.mark.parametrize(
    "content",
    [
        listed(*["{}"] * 5_000),
        listed(*["[]"] * 5_000),
        b"[" + b"{}," * 3_000_000,
        b"[" * 3_000_000,
        b'["' + b'\\"' * 3_000_000,
        b'"' * 3_000_000,
        b"[] []",
        b"[]]",
        b"[{]",
        listed(GOOD, '{"identifier": "a", "verdict": [}'),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_honest_list_is_none(content: bytes) -> None:
    """More elements than anybody asks for, ends that are missing and more than one value are no answer."""
    assert READER.verdicts(content, {"a"}) is None


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5_000, "-5", "7", '"0.9"', "true"])
def test_an_impossible_number_is_not_known(number: str) -> None:
    """Wherever a number stands: the verdict beside it is read all the same."""
    entry = f'{{"identifier": "a", "status": "done", "api_version": {number}, "elapsed": {number}, "verdict": '
    entry += f'{{"classification": "human", "confidence": {number}, "heuristic": {number}}}}}'
    readings = READER.verdicts(listed(entry), {"a"})
    assert readings is not None
    assert (readings["a"].classification, readings["a"].confidence) == ("human", None)


def test_names_are_few_and_short() -> None:
    """3,000 model names, or one of a megabyte with control characters: a receipt stays one that is read."""
    names = ["m" * 1_000_000, "\x1b[2J\n\ud800name\0", "", *(f"model {n}" for n in range(3_000))]
    reading = reading_of(status="done", verdict=ARTIFICIAL | {"models": names, "heuristic": "h" * 10**6})
    assert len(reading.models) == 49  # of the first 50 one is empty
    assert max(map(len, (*reading.models, reading.heuristic))) == 100
    assert reading.models[1] == "[2J name"
    assert "3,003 models" in reading.detail
    json.dumps(reading.models).encode()


@steadily
@given(
    st.binary(max_size=300).map(lambda b: b"[" + b + b"]") | st.text('[]{}",:\\ ab1e', max_size=60).map(str.encode)
)
def test_any_list_is_read_as_json_reads_it(content: bytes) -> None:
    """The objects that are found are those of Python's own reader, wherever that has any."""
    found = read_list(content)
    try:
        value = json.loads(content.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return
    if isinstance(value, list):
        assert found is not None
        assert repr([one for one in found if isinstance(one, dict)]) == repr(
            [v for v in value if isinstance(v, dict)]
        )


@steadily
@given(
    st.sampled_from(sorted(ENCODINGS)),
    st.recursive(st.just("KEY") | SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.just("KEY"), v)),
    st.sampled_from(["new", "done", "errored", "KEY"]),
    st.randoms(),
)
def test_no_reading_has_the_key(form: str, value: Any, status: str, rng: random.Random) -> None:
    """However the key is echoed, in whatever field, nothing that is read leads back to it."""
    key = "0123456789abcdef-secret"
    fields = ("verdict", "verdicts", "errors", "api_version", "force_classification", "results")
    entry: dict[str, Any] = {"identifier": "a", "status": status} | dict.fromkeys(fields, value)
    entry["verdict"] = {"classification": value, "heuristic": value, "models": [value, "KEY"]} if value else "KEY"
    text = json.dumps([entry]).replace("KEY", json.dumps(ENCODINGS[form](key, rng))[1:-1])
    readings = READER.verdicts(text.encode(), {"a"})
    assert readings is not None
    assert bones(key) not in plain(repr(readings))


@pytest.mark.parametrize("pieces", [2, 3, 4, 6])
def test_no_reading_has_the_key_in_pieces(pieces: int) -> None:
    """A key that stands in pieces in several model names is found as well; the other names are kept."""
    key = "0123456789abcdef-secret"
    width = -(-len(key) // pieces)
    names = ["first", *(key[n : n + width] for n in range(0, len(key), width)), "last"]
    entry = {"identifier": "a", "verdict": {"classification": "human", "models": names}}
    readings = read_verdicts(json.dumps([entry]).encode())
    assert readings is not None
    assert readings["a"].models == ("first", "<key>", "last")
