"""The words: how paths and facts become text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.domain import path_text, show_path, to_json


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
