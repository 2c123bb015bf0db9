"""The key in whatever form others write it, and that nothing else is touched."""

import random
import string
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.echoes import ENCODINGS, OUTER, bones, plain
from watcher.redaction import REDACTED, Redactor

KEY = "0123456789abcdef-Secret/+x"
PRINTABLE = string.ascii_letters + string.digits + "-_./+=~:"
KEYS = st.text(PRINTABLE, min_size=8, max_size=64).filter(
    lambda key: len(bones(key)) >= 8 and len(set(bones(key))) >= 5
)
TEXTS = st.text(string.ascii_letters + " .,:;\n\u00e9\u200b&%<>\\", max_size=30)


@settings(deadline=None, max_examples=300)
@given(
    KEYS,
    st.sampled_from(sorted(ENCODINGS)),
    st.lists(st.sampled_from(OUTER), max_size=2),
    TEXTS,
    TEXTS,
    st.randoms(),
)
def test_the_key_is_found_in_every_form(
    key: str, inner: str, outer: list[str], before: str, after: str, rng: random.Random
) -> None:
    """However it is encoded, within other encodings too: nothing of the text leads back to it."""
    assume((inner, *outer).count("markup in between") < 2)  # markup in pieces is none
    echoed = key
    for name in (inner, *outer):
        echoed = ENCODINGS[name](echoed, rng)
    cleaned = Redactor(key).clean(f"{before} {echoed} {after}")
    assert bones(key) not in plain(cleaned)
    if not outer:  # some of them destroy what is in them
        assert REDACTED in cleaned
    assert ENCODINGS["base64"](key, rng).rstrip("=") not in cleaned
    assert key.encode().hex() not in cleaned


@given(st.text(max_size=200))
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Whatever does not hold it is not touched, escapes and markup included."""
    assert Redactor(KEY).clean(text) == text


@settings(max_examples=500)
@given(
    st.sampled_from([KEY, "sandbox", "only", "----", "\\\\\\\\", "a%41b&#65;cdefgh"]),
    st.lists(
        st.sampled_from(
            [KEY, KEY[4:19], KEY[:7], KEY.encode().hex(), "sandbox", "-only", "\uff30", "\xad", "&#x41;"]
        )
        | st.text(max_size=8)
        | st.characters(),
        max_size=6,
    ).map("".join),
)
def test_a_text_that_cannot_be_decoded_is_read_once(key: str, text: str) -> None:
    """The short way for ordinary texts says what all readings say, whatever the key and the text."""
    redactor = Redactor(key)
    assert redactor.repeats(text) == redactor._stands_in_a_reading(text)


@pytest.mark.parametrize("part", [KEY[:14], KEY[-15:], KEY[6:20], KEY[:23]])
def test_half_of_it_is_as_secret(part: str) -> None:
    """An error that shows most of the key, or a text that was cut in its middle, shows nothing of it."""
    assert Redactor(KEY).clean(f"The key {part}… is no key") == f"The key {REDACTED}… is no key"


def test_what_stands_around_it_stays() -> None:
    """Only the key is replaced, once for each time that it stands there."""
    text = f"Hello & <b>{KEY}</b>: %41 {quote(KEY, safe='')} &amp; bye"
    assert Redactor(KEY).clean(text) == f"Hello & <b>{REDACTED}</b>: %41 {REDACTED} &amp; bye"


@pytest.mark.parametrize(
    ("key", "text", "cleaned"),
    [
        ("sandbox", "sandbox-spectral-1 by sandbox.", "sandbox-spectral-1 by <key>."),
        ("sandbox", "%73andbox &#115;andbox", "<key> <key>"),
        ("test-key", "a test-key, one test key", "a <key>, one test key"),
        ("abc", "abc", "abc"),
        ("", "abc", "abc"),
        ("%41&amp;x_y12345", "%41&amp;x_y12345 %41&amp;amp;x_y12345 A&x_y12345", "<key> <key> <key>"),
    ],
)
def test_odd_keys(key: str, text: str, cleaned: str) -> None:
    """A short key that is a word is one only by itself; one that looks like an escape is found as it is, too."""
    assert Redactor(key).clean(text) == cleaned


@pytest.mark.parametrize(
    "unit", ["\\", "&", "&amp;", "%25", "<", "<!--", "<script ", "%25&amp;\\x5c<>", "\u00e9", KEY]
)
def test_hostile_texts_take_no_long_time(unit: str) -> None:
    """16,384 characters, the most that are looked at, made to be decoded for ever."""
    text = (unit * 16_384)[:16_384]
    assert plain(KEY) not in Redactor(KEY).clean(text).lower()
