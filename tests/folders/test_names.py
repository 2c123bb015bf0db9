"""Names for what is filed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.folders import LONGEST, alternative, names_for, receipt_name, versions
from watcher.folders.names import ordinary, strangeness

names = st.binary(min_size=1, max_size=LONGEST).filter(lambda name: b"/" not in name and b"\0" not in name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"call.wav", b"call~1a2b3c.wav"),
        (b"a/b/call.wav", b"a/b/call~1a2b3c.wav"),
        (b"a.b/call", b"a.b/call~1a2b3c"),
        (b"-x.tar.gz", b"-x.tar~1a2b3c.gz"),
        (b".wav", b".wav~1a2b3c"),
        (b"\xff\n.wav", b"\xff\n~1a2b3c.wav"),
    ],
)
def test_a_newcomer_to_a_taken_name_bears_the_first_six_of_its_id(path: bytes, expected: bytes) -> None:
    """`name~<first 6 of its id>.ext`, in the same subfolder."""
    assert list(names_for(path, "1a2b3c4d5e6f7a8b"))[:2] == [path, expected]


@given(
    st.one_of(names, st.integers(1, LONGEST).map(lambda length: b"x" * length), st.just(b"\xff" * LONGEST)),
    st.sampled_from([b"", b".", b".wav", b".json", b".wav~1a2b3c", b"." + b"x" * 31, b"." + b"x" * 40, b".\xff"]),
)
def test_each_of_the_names_for_a_recording_is_another_one(name: bytes, ending: bytes) -> None:
    """Whoever has taken one has taken one: for every length, ending and byte there are four to choose from."""
    path = b"a/" + name[: LONGEST - len(ending)] + ending
    own, *others = names_for(path, "1a2b3c4d5e6f7a8b")
    assert own == path
    assert len({other.lower() for other in others}) == 3
    for other in others:
        assert len(receipt_name(other)) - 2 == len(other) - 2 + len(".json") <= LONGEST


# For folders that do not take every name


@given(
    st.lists(names.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=3).map(b"/".join),
    st.sampled_from(["", "1a2b3c", "1a2b3c4d5e6f7a8b"]),
    st.integers(60, LONGEST),
)
def test_versions_of_a_path_grow_tamer_and_keep_their_length(path: bytes, token: str, longest: int) -> None:
    """The path itself comes first, cut ones fit the folder, and the last is one that any folder takes."""
    first, *tamer, last = versions(path, "1a2b3c4d5e6f7a8b", token, longest)
    assert first == (alternative(path, token) if token else path)
    for one in (*tamer, last):
        *folders, name = one.split(b"/")
        assert b"" not in folders
        assert not {b".", b".."} & {*folders, name}
        assert all(len(folder) <= longest for folder in folders)
        assert len(name) + len(b".json") <= longest
        assert token.encode() in name
    assert strangeness(last).is_within(ordinary(60))


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        (b"a:b/c?d.wav", b"a_b/c_d.wav"),
        (b'<>:"\\|?*.wav', b"________.wav"),
        (b"call.wav. .", b"call.wav"),
        (b"Q1./con.wav", b"Q1/_con.wav"),
        (b"LPT1/Aux .wav", b"_LPT1/_Aux .wav"),
        (b"\xff\xfe.wav", b"__.wav"),
        ("Größe \n.wav".encode(), "Größe _.wav".encode()),
        (b"...", b"_"),
    ],
)
def test_what_windows_refuses_is_replaced(path: bytes, cleaned: bytes) -> None:
    """And nothing else, as long as that is enough."""
    assert cleaned in versions(path, "1a2b3c4d5e6f7a8b", "", LONGEST)


def test_an_ordinary_path_is_asked_of_nobody() -> None:
    """Letters, digits, dots, dashes and underscores, of a length that every file system takes."""
    for path in (b"call.wav", b"2024/03/agent-7_4930.wav", b"x" * 134 + b".wav"):
        assert strangeness(path).is_within(ordinary(LONGEST))
    for path in (b"a b.wav", b"a:b.wav", "ä.wav".encode(), b"\xff.wav", b"call.", b"con.wav", b"x" * 140):
        assert not strangeness(path).is_within(ordinary(LONGEST))
    assert not strangeness(b"/".join([b"a"] * 101)).is_within(ordinary(LONGEST))
    assert not strangeness(b"x" * 58).is_within(ordinary(60))


def test_a_receipt_bears_the_name_of_its_recording() -> None:
    """A receipt lies beside the recording as `<name>.json`."""
    assert receipt_name(b"a/call.wav") == b"a/call.wav.json"


@given(names)
def test_no_name_grows_beyond_what_a_file_system_takes(name: bytes) -> None:
    """An alternative name, its receipt's, and any receipt's, stay within 255 bytes, in their folder."""
    other = alternative(b"a/" + name, "1a2b3c4d")
    assert other.startswith(b"a/")
    assert b"~1a2b3c" in other
    assert len(other) - 2 + len(".json") <= LONGEST
    assert receipt_name(other) == other + b".json"
    assert len(receipt_name(b"a/" + name)) - 2 <= LONGEST


@given(st.text(st.sampled_from("aé€😀"), min_size=60, max_size=255).map(lambda text: text.encode()[:LONGEST]))
def test_no_character_is_cut_in_two(name: bytes) -> None:
    """A name that is valid UTF-8 stays so when it is cut."""
    whole = name.decode(errors="ignore").encode()
    alternative(whole + b".wav", "1a2b3c").decode()
    receipt_name(whole).decode()


def test_only_as_much_as_needed_is_cut() -> None:
    """The cut keeps every byte that fits."""
    assert alternative(b"x" * 251 + b".wav", "1a2b3c") == b"x" * 239 + b"~1a2b3c.wav"
    assert receipt_name(b"x" * 255) == b"x" * 250 + b".json"
