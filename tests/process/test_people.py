"""The tests' own means to be somebody else: a test as the stranger proves nothing if it is run by root."""

import os

import pytest

from tests.people import CREW, STRANGER, as_user, drop, place, python_for_strangers

__all__ = ["place"]  # fixture


def test_the_stranger_owns_nothing_and_is_in_the_crew(place: os.PathLike[str]) -> None:
    """What the stranger does is done without any of root's rights, and what goes wrong there is raised here."""
    assert as_user(lambda: (os.getresuid(), os.getgroups())) == ((STRANGER.uid,) * 3, [CREW])
    drop(os.fsencode(place) + b"/theirs", b"", 0o644)
    with pytest.raises(PermissionError):
        as_user(os.rename, os.fsencode(place) + b"/theirs", os.fsencode(place) + b"/ours")


def test_the_strangers_python_finds_the_project() -> None:
    """A whole program can be run as the stranger, with all that the project needs."""
    program = "import os, alembic, apscheduler, pydantic, requests, rich, sqlalchemy, structlog, watchdog\n"
    program += "import watcher.folders; print(os.getuid(), watcher.folders.__file__)"
    done = python_for_strangers().run("-c", program)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{STRANGER.uid} ")
