"""A name is found in whichever Unicode form it was typed, and lies on the disk."""

import json
import os
from typing import Literal
from unicodedata import normalize

import pytest

from tests.journey.test_commands_that_look import said
from tests.places import Place, speech
from watcher.errors import Exit

Form = Literal["NFC", "NFD"]
FORMS: list[tuple[Form, Form]] = [("NFD", "NFC"), ("NFC", "NFD")]
BOTH: tuple[Form, Form] = ("NFC", "NFD")
KOREAN = "한국어/Gespräch é.wav"


@pytest.mark.parametrize(("kept", "typed"), FORMS)
def test_a_name_is_found_in_the_other_form(
    place: Place, capsys: pytest.CaptureFixture[str], kept: Form, typed: Form
) -> None:
    """In the drop folder, in done/ and failed/, by the whole path or the part of it; and that is said."""
    on_disk, asked = normalize(kept, KOREAN), normalize(typed, KOREAN)
    assert on_disk != asked
    note = f"Its name has another Unicode form ({kept}) than the one that was typed ({typed})."
    place.drop(on_disk, b"")
    whole = str(place.root / "drop" / asked)
    for name in (asked, whole, f"drop/{asked}"):
        assert said(place, capsys, "why", name).startswith(f"{note} {on_disk} is in the drop folder")
    place.run_once()
    assert said(place, capsys, "why", asked).startswith(f"{note} {on_disk} is empty")

    place.drop(on_disk)
    place.run_once()
    for name in (asked, whole, f"done/{asked}", str(place.root / "done" / asked), f"done/{asked}.json"):
        assert f"{note} " in said(place, capsys, "why", name)
        assert "is done: " in said(place, capsys, "why", name)
        assert json.loads(said(place, capsys, "show", "--json", name))["path"] == on_disk
        assert said(place, capsys, "show", name).startswith(f"{note}\n")
    assert note not in said(place, capsys, "why", on_disk)
    assert note not in said(place, capsys, "show", on_disk)

    (place.root / "done" / on_disk).unlink()
    (place.root / "done" / f"{on_disk}.json").unlink()
    assert "is done: " in said(place, capsys, "why", asked)


@pytest.mark.parametrize(("kept", "typed"), FORMS)
def test_a_decision_takes_a_name_in_the_other_form(
    place: Place, capsys: pytest.CaptureFixture[str], kept: Form, typed: Form
) -> None:
    """`retry` finds what failed."""
    place.drop(normalize(kept, "é.wav"), b"<html>")
    place.run_once()
    assert "goes back to the drop folder" in said(place, capsys, "retry", normalize(typed, "é.wav"))


def test_each_folder_on_the_way_may_be_in_a_form_of_its_own(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a Mac made the folder, and a Linux machine the file in it; half composed names as well."""
    half_composed = normalize("NFD", "é") + normalize("NFC", "ü")
    mixed = f"{normalize('NFD', 'Büro')}/{normalize('NFC', 'Fälle')}/{half_composed}.wav"
    place.drop(mixed)
    place.run_once()
    for form in BOTH:
        assert "(mixed) than the one that was typed" in said(place, capsys, "why", normalize(form, mixed))
        assert "is done: " in said(place, capsys, "why", f"done/{normalize(form, mixed)}")


def test_the_name_as_it_was_typed_goes_first(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms of a name may lie in one folder: each is its own file."""
    for form in BOTH:
        place.drop(normalize(form, "é.wav"), speech(form))
    place.run_once()
    for form in BOTH:
        name = normalize(form, "é.wav")
        assert json.loads(said(place, capsys, "show", "--json", name))["path"] == name
        assert "another Unicode form" not in said(place, capsys, "why", name)


def test_what_lies_nowhere_is_not_found_in_any_form(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a name that is no text, or of very many accents, stand in the way."""
    monkeypatch.chdir(place.root)
    place.run_once()
    many = "/".join(["é"] * 40) + ".wav"
    for name in ("é.wav", os.fsdecode(b"\xff\xfe.wav"), os.fsdecode(b"\xff/") + "é.wav", many):
        assert "there is no such file" in said(place, capsys, "why", name)
        capsys.readouterr()
        said(place, capsys, "show", name, code=Exit.USAGE)
