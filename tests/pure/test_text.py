"""How paths and facts become text, and text becomes JSON of ours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.text import from_json, path_text, show_path, to_json


@pytest.mark.parametrize(
    ("path", "for_a_person", "for_a_program"),
    [
        ("Rückruf 日本.wav".encode(), "Rückruf 日本.wav", "Rückruf 日本.wav"),
        (b"caf\xe9.wav", r"caf\xe9.wav", r"caf\xe9.wav"),
        (b"two\nlines.wav", r"two\x0alines.wav", "two\nlines.wav"),
        (b"\x1b[31mred.wav", r"\x1b[31mred.wav", "\x1b[31mred.wav"),
    ],
)
def test_a_path_is_text(path: bytes, for_a_person: str, for_a_program: str) -> None:
    """A person's stays on one line; a program's is the name itself, as far as that is UTF-8."""
    assert (show_path(path), path_text(path)) == (for_a_person, for_a_program)


@given(st.binary())
def test_what_is_json_can_be_printed_and_read_back(path: bytes) -> None:
    """On one line, with nothing that a terminal obeys or hides."""
    text = to_json({"path": path_text(path)})
    assert text.isprintable()
    assert json.loads(text) == {"path": path_text(path)}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"7", b'"{}"', b"\xff\0", b"\xef\xbb\xbf{}", b"{} {}", b'{"a": 1}\0'),
        *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (25, 1_000, 100_000)),
        *(b"[" * 100_000, b'{"a": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
        *(
            b'{"a": ' + b"9" * 5_000 + b"}",
            b'{"a": [1' + b"0" * 400 + b"]}",
            b'{"a": NaN}',
            b'{"a": [-Infinity]}',
            b'{"a": 1e999}',
        ),
        *(b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": "\xed\xa0\x80"}'),
        *(b'{"id": 1, "id": 2}', b'{"a": {"id": 1, "id": 1}}'),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_what_a_stranger_may_put_in_the_place_of_our_json_is_none(content: bytes) -> None:
    """Nested, huge, doubled, or nothing that could be written again: it is refused, and raises nothing."""
    assert from_json(content) is None


@given(st.binary() | st.text().map(str.encode))
def test_nothing_that_is_read_as_json_of_ours_raises(content: bytes) -> None:
    """And what is taken can be written again."""
    found = from_json(content)
    if found is not None:
        to_json(found).encode()


def test_json_of_ours_is_read_as_it_was_written() -> None:
    """As a receipt is."""
    receipt = {"id": "1", "attempts": [{"number": 1, "detail": "\x1b ü"}], "verdict": {"models": ["a"]}, "x": None}
    assert from_json(to_json(receipt, indent=2).encode() + b"\n") == receipt
    assert from_json(None) is None
