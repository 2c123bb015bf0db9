"""The words of the field."""

import pytest

from watcher.domain import Fault


@pytest.mark.parametrize(
    ("message", "hint", "said"),
    [
        ("No space in done", "free space there", "No space in done. Free space there"),
        ("Refused.", "`watcher resume` tries at once.", "Refused. `watcher resume` tries at once."),
        ("Refused", "", "Refused."),
    ],
)
def test_a_fault_is_said_in_sentences(message: str, hint: str, said: str) -> None:
    """What happened, and what to do: each begins as a sentence does, whoever wrote it."""
    assert str(Fault("code", message, hint)) == said
