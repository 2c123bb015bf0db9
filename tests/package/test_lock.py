"""What is installed: the very files that were tested, known by their hashes, and nothing fetched beside them."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.people import PROJECT

_PINNED = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)[^\n]*\\\n(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64}[ \\]*\n?)+)",
    re.MULTILINE,
)


def pinned(lock: str) -> dict[str, set[str]]:
    """The versions of each package that the lock file pins, by the package's name."""
    found: dict[str, set[str]] = {}
    for match in _PINNED.finditer((PROJECT / lock).read_text()):
        found.setdefault(canonicalize_name(match["name"]), set()).add(match["version"])
    return found


def wanted(*extras: str) -> list[Requirement]:
    """What the project declares: what it needs to run, what it is built with, and these extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    declared = [
        Requirement(text) for text in project["project"]["dependencies"] + project["build-system"]["requires"]
    ]
    for extra in extras:
        for text in project["project"]["optional-dependencies"][extra]:
            requirement = Requirement(text)
            itself = requirement.name == project["project"]["name"]  # an extra made of other extras
            declared += wanted(*requirement.extras) if itself else [requirement]
    return declared


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.txt", ("all",)), ("requirements-dev.txt", ("all", "dev"))]
)
def test_whatever_the_project_declares_is_locked_with_hashes(lock: str, extras: tuple[str, ...]) -> None:
    """Every declared package, the build backend included, is pinned to a version that the declaration allows."""
    locked = pinned(lock)
    for requirement in wanted(*extras):
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{lock} lacks {requirement.name}: make lock"
        assert all(map(requirement.specifier.contains, versions)), f"{lock}: {requirement} and {versions}"


def test_the_oldest_libraries_are_those_that_the_project_names() -> None:
    """What the client is tested with is the lower bound itself, so that the bound is known to be true."""
    declared = {requirement.name: requirement for requirement in wanted()}
    locked = pinned("requirements-oldest.txt")
    assert set(locked) == {"requests", "urllib3"}
    for name, versions in locked.items():
        lowest = [Version(one.version) for one in declared[name].specifier if one.operator == ">="]
        assert list(map(Version, versions)) == lowest, "requirements-oldest.txt is out of date: make lock"


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt", "requirements-oldest.txt"])
def test_every_line_of_a_lock_has_a_hash_and_none_names_a_place(lock: str) -> None:
    """pip refuses a lock with one line that has none; and where the files come from is the installer's choice."""
    text = (PROJECT / lock).read_text()
    assert len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) == len(_PINNED.findall(text))
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)


def test_the_tests_run_with_what_is_shipped() -> None:
    """What both locks pin, they pin alike."""
    shipped, tested = pinned("requirements.txt"), pinned("requirements-dev.txt")
    assert {name: tested.get(name) for name in shipped} == shipped


@pytest.mark.parametrize("document", ["Makefile", "README.md", "systemd/README.md"])
def test_every_document_installs_by_hash(document: str) -> None:
    """First the locked files, then the project with nothing fetched for it."""
    installs = re.findall(r"pip install (.*)", (PROJECT / document).read_text())
    locked = [line for line in installs if "--require-hashes" in line]
    own = [line for line in installs if "--no-deps" in line and "--no-build-isolation" in line]
    assert locked
    assert len(locked) == len(own)
