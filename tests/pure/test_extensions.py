"""Which names are recordings' names."""

import pytest

from watcher.extensions import EXTENSIONS, is_recording_name


@pytest.mark.parametrize("ending", sorted(EXTENSIONS))
def test_an_ending_is_known_in_either_case(ending: str) -> None:
    assert ending == ending.lower()
    for spelling in (ending, ending.upper(), ending.title()):
        assert is_recording_name(f"a.txt/call.{spelling}".encode())


@pytest.mark.parametrize(
    "name",
    [
        b"wav",
        b".wav",
        b"call",
        b"call.txt",
        b"call.wav.txt",
        b"call.wav~",
        b"a.wav/call",
        b"call.wa\xff",
        b"call.",
    ],
)
def test_other_names_are_none(name: bytes) -> None:
    assert not is_recording_name(name)
