"""What the service's answers mean."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watcher.domain import VerdictState
from watcher.identifai.reading import (
    find_identifier,
    find_limit,
    find_retry_after_seconds,
    find_words,
    read_verdict,
    read_verdicts,
)

IDENTIFIER = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0"
NOW = 1_800_000_000.0
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=9), v, max_size=4)
)
steadily = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCRIPT = b"<script type='x'>alert('<p>not seen</p>')</script >"


@steadily
@given(st.binary(max_size=200))
def test_any_answer_can_be_read(content: bytes) -> None:
    """No answer, whatever it holds, is more than a person reads, breaks a line, or raises."""
    words = find_words(content)
    assert len(words) <= 500
    assert words.isprintable()
    assert find_identifier(content) is None
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
    assert find_words(content) == words


def test_words_are_cut() -> None:
    """No more than 500 characters are kept, and it shows."""
    words = find_words(json.dumps({"error": "a" * 5000}).encode())
    assert len(words) == 500
    assert words.endswith("a…")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"<", b"<!--", b"<script "])
def test_hostile_nesting_is_harmless(opening: bytes) -> None:
    """An answer made to exhaust a parser does not."""
    nested = opening * 50_000
    find_words(nested)
    assert find_identifier(nested) is None
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
    assert find_identifier(content.encode()) == identifier


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
    return read_verdict({"identifier": "a", "api_version": "v1.1.0", **entry})


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


@pytest.mark.parametrize("confidence", ["0.9", True, None, [], float("nan"), float("inf"), 10**400])
def test_confidence_is_a_number_or_unknown(confidence: Any) -> None:
    """What is no finite number is not taken for one."""
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
    reading = read_verdict(entry)
    if reading is None:
        assert not isinstance(entry.get("identifier"), str)
        return
    assert (reading.classification is not None) is (reading.state is VerdictState.KNOWN)
    assert reading.classification in {None, "human", "artificial", "inconclusive"}
    assert reading.classification != "human" or "human" in repr(entry).lower()
