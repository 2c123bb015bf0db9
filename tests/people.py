"""Who does it: the service's user owns neither the files nor the folder, so tests are run as such a one too.

Fixtures (import them where they are used, or once in conftest.py): `person`, `place`, `small_disk`.
"""

import atexit
import compileall
import encodings.ascii
import encodings.idna
import encodings.latin_1  # loaded at first use otherwise, when the stranger cannot
import encodings.utf_8_sig  # noqa: F401  the same
import functools
import importlib.metadata
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import pytest

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

SOMEBODY = 54_320  # the uid of who drops the recordings
CREW = 54_321  # the gid of who may write in the shared folders
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Person:
    """A user to run things as. `uid` None: whoever runs the tests."""

    name: str
    uid: int | None = None
    gid: int = 0
    groups: tuple[int, ...] = ()

    def does(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """What `function` returns or raises, run in a process of its own as this person.

        Whatever it needs must be imported already: this person may not reach the interpreter's files.
        """
        return _in_child(self._become, functools.partial(function, *args, **kwargs))

    def spawning(self) -> dict[str, Any]:
        """Arguments for subprocess, so that the program runs as this person."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups), "umask": 0o022}

    def _become(self) -> None:
        if self.uid is not None:
            os.setgroups(self.groups)
            os.setgid(self.gid)
            os.setuid(self.uid)
            os.umask(0o022)


ROOT = Person("root")
STRANGER = Person("stranger", uid=65_534, gid=65_534, groups=(CREW,))


class DiedError(Exception):
    """The child ended before it could answer, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the child exited with {code} and no answer")
        self.code = code


def as_user(function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """What `function` returns or raises as the stranger. Skips the test when the tests are not run by root."""
    needs_root()
    return STRANGER.does(function, *args, **kwargs)


def needs_root() -> None:
    if os.geteuid() != 0:
        missing("only root can do this")


def needs_acl() -> None:
    if shutil.which("setfacl") is None:
        missing("no setfacl here. Wanted: apt-get install acl")


def missing(what: str) -> NoReturn:
    """Skips the test, saying so; where everything must be there (CI=true), fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(params=[ROOT, STRANGER], ids=lambda person: person.name)
def person(request: pytest.FixtureRequest) -> Person:
    """The test is run twice: as root, and as a user who owns nothing of what the test makes."""
    chosen: Person = request.param
    if chosen.uid is not None:
        needs_root()
    return chosen


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that every user can reach (pytest's own tmp_path is for its user alone)."""
    made = Path(tempfile.mkdtemp(prefix="watcher-tests-"))
    made.chmod(0o755)
    yield made
    subprocess.run(["rm", "-rf", made], check=True)  # shutil.rmtree cannot remove the deepest trees


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A shared folder on a file system of its own, of 1 MiB."""
    needs_root()
    disk = place / "small disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=1m,mode=2775,gid={CREW}", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        missing(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def shared_folder(path: Path, mode: int = 0o2775) -> Path:
    """A folder of root's in which the crew may write."""
    path.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(path, 0, CREW)
    path.chmod(mode)
    return path


def drop(path: Path | bytes, data: bytes, mode: int = 0o644) -> bytes:
    """Somebody puts a file there, whom neither root nor the stranger is. Returns `data`."""
    with open(path, "wb") as file:
        file.write(data)
    if os.geteuid() == 0:
        os.chown(path, SOMEBODY, SOMEBODY)
    os.chmod(path, mode)
    return data


@dataclass(frozen=True)
class StrangersPython:
    """An interpreter that the stranger can run, and the environment in which it finds the project."""

    executable: str
    environment: dict[str, str]

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`python *args` run by the stranger to its end."""
        given = {"capture_output": True, "text": True, "cwd": "/", "timeout": 60, **options}
        environment = {**self.environment, **given.pop("env", {})}
        return subprocess.run(
            [self.executable, *args], env=environment, check=False, **given, **STRANGER.spawning()
        )


def python_for_strangers(*more: str) -> StrangersPython:
    """See StrangersPython; it finds these distributions too. Skips, or fails where CI=true, when there is none of
    this Python's version."""
    needs_root()
    found = _strangers_python(more)
    if found is None:
        missing(f"no Python {_version()} here that another user can run")
    return found


@functools.lru_cache(maxsize=2)
def _strangers_python(more: tuple[str, ...]) -> StrangersPython | None:
    name = f"python{_version()}"
    candidates = [os.path.realpath(sys.executable), f"/usr/local/bin/{name}", f"/usr/bin/{name}"]
    for candidate in candidates:
        try:
            subprocess.run(
                [candidate, "-c", "import ctypes, sqlite3, ssl"],
                env={},
                cwd="/",
                check=True,
                capture_output=True,
                **STRANGER.spawning(),
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        home = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
        return StrangersPython(candidate, {**home, "PYTHONPATH": str(_readable_copy(more))})
    return None


def _version() -> str:
    return "{}.{}".format(*sys.version_info)


def _readable_copy(more: tuple[str, ...]) -> Path:
    """The project, what it needs at run time and these distributions, in a folder that everybody can read."""
    copy = Path(tempfile.mkdtemp(prefix="watcher-tests-python-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    for package in ("watcher", "migrations"):
        shutil.copytree(PROJECT / package, copy / package, dirs_exist_ok=True)
    needed = _needed("identifai-watcher", {})
    for name in more:
        _needed(name, needed)
    del needed["identifai-watcher"]  # an editable install holds the migrations of the day when it was made
    for distribution in needed.values():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            source = Path(str(distribution.locate_file(top)))
            if source.is_dir():
                shutil.copytree(source, copy / top, dirs_exist_ok=True)
            elif source.is_file() and source.suffix != ".pth":
                shutil.copy2(source, copy / top)
    # The stranger cannot keep what he compiles: each start of his would do it again.
    compileall.compile_dir(copy, quiet=2)
    for path in copy.rglob("*"):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
    return copy


def _needed(
    name: str, found: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    """`found`, with the distribution and all that it needs, leaving out what is for other platforms."""
    if name not in found:
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return found
        for requirement in found[name].requires or ():
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra ==" not in requirement:
                _needed(match[0], found)
    return found


def _in_child(prepare: Callable[[], None], function: Callable[[], Result]) -> Result:
    answer, question = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: the child starts none
        child = os.fork()
    if child == 0:
        os.close(answer)
        try:
            prepare()
            outcome = _pickled(True, function())
        except BaseException as error:  # noqa: BLE001
            error.add_note("In the child:\n" + traceback.format_exc())
            outcome = _pickled(False, error)
        with open(question, "wb") as file:
            file.write(outcome)
        os._exit(0)
    os.close(question)
    with open(answer, "rb") as file:
        outcome = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not outcome:
        raise DiedError(code)
    went_well, value = pickle.loads(outcome)
    if went_well:
        result: Result = value
        return result
    raise value


def _pickled(went_well: bool, value: object) -> bytes:
    try:
        outcome = pickle.dumps((went_well, value))
        pickle.loads(outcome)
    except Exception:  # noqa: BLE001
        return pickle.dumps((False, RuntimeError(f"no answer that could be passed on: {value!r}")))
    return outcome
