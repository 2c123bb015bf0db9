"""Which names are passed over."""

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watcher.ignore import TEMPORARY_NAMES, Ignore

CHARACTERS = st.sampled_from("aAbB.~*?[]!-\u0131\u017f\u212a") | st.characters(
    exclude_characters="/\0", exclude_categories=["Cs"]
)
PARTS = st.text(CHARACTERS, min_size=1, max_size=6)
PATTERNS = st.lists(PARTS | PARTS.map("*{}".format) | PARTS.map("{}*".format), max_size=3)


@example(["*b*"], "aba")
@example(["A*"], "Ab")
@given(PATTERNS, PARTS)
def test_a_name_is_passed_over_where_one_of_the_patterns_covers_it(added: list[str], name: str) -> None:
    """The shell's patterns, as Python's own fnmatch reads them: built-in ones in any case, added ones exactly."""
    built_in = (re.match(fnmatch.translate(p), name, re.ASCII | re.IGNORECASE) for p in TEMPORARY_NAMES)
    expected = any(built_in) or any(fnmatch.fnmatchcase(name, p) for p in added)
    assert (Ignore(added).matching(name.encode("utf-8", "surrogateescape")) is not None) == expected


@pytest.mark.parametrize("name", [b".hidden", b"call.wav.PART", b"Thumbs.DB", b"a/@eaDir/b.wav", b".a/b", b"x~"])
def test_temporary_names_are_known_in_any_case_and_anywhere_in_a_path(name: bytes) -> None:
    assert Ignore().matching(name) is not None


@pytest.mark.parametrize("name", [b"call.wav", b"part.wav", b"a.tmp.wav", b"caf\xe9.wav", b"-rf", b"tmp", b"a~b"])
def test_recordings_are_not(name: bytes) -> None:
    assert Ignore().matching(name) is None
