"""What is advised for what cannot be read or moved is carried out to the letter, by root: it is taken."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.people import CREW, SOMEBODY, STRANGER, Person, StrangersPython, missing, needs_acl
from tests.places import KEY, Place, speech
from tests.process.programs import ENVIRONMENT, Program, Programs, run_all
from watcher.accounts import describe_user
from watcher.domain import State
from watcher.errors import Exit

DROPPER = Person("dropper", uid=SOMEBODY, gid=SOMEBODY, groups=(CREW,))
NAME = 'call; it\'s "mine" $(x).wav'


def run(watcher: Programs, python: StrangersPython, *arguments: str | Path) -> Program:
    """The stranger has run `watcher`, and has the key in the environment."""
    program = watcher.start(
        *arguments,
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )
    program.end()
    return program


def command_in(text: str) -> str:
    """The command at the end of an advice."""
    found = re.search(r"let .+ have it, as (?:.+ or )?root: (.+)$", text.strip().splitlines()[-1], re.IGNORECASE)
    assert found, text
    return found[1]


# What people do. Each makes `path` below the drop folder, and returns nothing.


def put(path: Path, mode: int = 0o644) -> None:
    path.write_bytes(speech(path.name))
    path.chmod(mode)


def make(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)


def move_in(top: Path, _: ExitStack) -> str:
    """From /tmp: 0600, and another group."""
    DROPPER.does(put, top / NAME, 0o600)
    return NAME


def hide_from_the_group(top: Path, _: ExitStack) -> str:
    """Its group is ours, and may not read it."""
    DROPPER.does(put, top / "call.wav", 0o604)
    os.chown(top / "call.wav", SOMEBODY, CREW)
    return "call.wav"


def mask(top: Path, _: ExitStack) -> str:
    """Its list names us, and its mask takes that away: the group's letters mean something else there."""
    needs_acl()
    DROPPER.does(put, top / "call.wav")
    subprocess.run(["setfacl", "-m", f"u:{STRANGER.uid}:r,m::-", top / "call.wav"], check=True)
    return "call.wav"


def deny_by_list(top: Path, _: ExitStack) -> str:
    """Everybody may read it but we."""
    needs_acl()
    DROPPER.does(put, top / "call.wav")
    subprocess.run(["setfacl", "-m", f"u:{STRANGER.uid}:-", top / "call.wav"], check=True)
    return "call.wav"


def lock_both(top: Path, _: ExitStack) -> str:
    """A folder made with umask 022, and in it a file moved in: neither is ours."""
    DROPPER.does(make, top / "a b", 0o755)
    DROPPER.does(put, top / "a b" / NAME, 0o600)
    return f"a b/{NAME}"


def close(top: Path, _: ExitStack) -> str:
    """A folder that nobody else may enter, another in it, and a file: what lies in it cannot be seen."""
    DROPPER.does(make, top / "closed", 0o700)
    DROPPER.does(make, top / "closed" / "deep", 0o700)
    DROPPER.does(put, top / "closed" / "deep" / "call.wav", 0o600)
    return "closed/deep/call.wav"


def take_the_x(top: Path, _: ExitStack) -> str:
    """It can be listed, and not searched."""
    DROPPER.does(make, top / "sub", 0o775)
    DROPPER.does(put, top / "sub" / "call.wav", 0o600)
    os.chown(top / "sub", SOMEBODY, CREW)
    (top / "sub").chmod(0o764)
    return "sub/call.wav"


def take_the_x_above(top: Path, _: ExitStack) -> str:
    """The same two folders up."""
    DROPPER.does(make, top / "sub", 0o775)
    DROPPER.does(make, top / "sub" / "deep", 0o775)
    DROPPER.does(put, top / "sub" / "deep" / "call.wav")
    (top / "sub").chmod(0o754)
    return "sub/deep/call.wav"


def make_sticky(top: Path, _: ExitStack) -> str:
    """As /tmp, and it cannot be read either."""
    DROPPER.does(make, top / "sub", 0o1777)
    DROPPER.does(put, top / "sub" / "call.wav", 0o600)
    return "sub/call.wav"


@contextmanager
def kept(path: Path, attributes: str) -> Iterator[None]:
    done = subprocess.run(["chattr", f"+{attributes}", path], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no attributes can be set here: {done.stderr.strip()}")
    try:
        yield
    finally:
        if path.exists():
            subprocess.run(["chattr", f"-{attributes}", path], check=True)


def make_immutable(top: Path, stack: ExitStack) -> str:
    """The file by two attributes, its folder by one, and neither group is ours."""
    DROPPER.does(make, top / "sub", 0o755)
    DROPPER.does(put, top / "sub" / "call.wav", 0o600)
    stack.enter_context(kept(top / "sub", "i"))
    stack.enter_context(kept(top / "sub" / "call.wav", "ia"))
    return "sub/call.wav"


def mount_read_only(top: Path, stack: ExitStack) -> str:
    """A disk below the drop folder, which the system has made read-only; and closed to us."""
    folder = top / "sub"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no file system can be mounted here: {done.stderr.strip()}")
    stack.callback(lambda: subprocess.run(["umount", folder], check=True))
    folder.chmod(0o755)
    put(folder / "call.wav", 0o600)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    return "sub/call.wav"


HINDRANCES = [
    move_in,
    hide_from_the_group,
    mask,
    deny_by_list,
    lock_both,
    close,
    take_the_x,
    take_the_x_above,
    make_sticky,
    make_immutable,
    mount_read_only,
]


@pytest.mark.parametrize("hinder", HINDRANCES)
def test_the_advice_of_why_is_enough(
    hinder: Callable[[Path, ExitStack], str], site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """One command, at the end of what `why` says; `check`, `status` and the log advise the same."""
    with ExitStack() as stack:
        path = hinder(site.root / "drop", stack)
        first = run(watcher, python, "run", "--once", "--config", site.config_path)
        assert first.process.returncode == Exit.INCOMPLETE, first.err
        (_, why), (_, status), (_, check) = run_all(
            site,
            ("why", path),
            ("status",),
            ("check",),
            environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
            executable=python.executable,
            **STRANGER.spawning(),
        )
        command = command_in(why)
        (blocked,) = (line for line in status.splitlines() if line.startswith("blocked"))
        assert command_in(blocked) == command
        assert command in check.replace("\n", "")
        told = [line.get("hint") or line["reason"] for line in first.log if line["level"] == "warning"]
        assert any(command in text for text in told), told
        assert f"{STRANGER.uid}" not in blocked
        assert describe_user(STRANGER.uid or 0) in blocked

        subprocess.run(command, shell=True, check=True)

        second = run(watcher, python, "run", "--once", "--config", site.config_path)
        assert second.process.returncode == Exit.WELL, (command, second.err)
        assert site.states() == {path: State.DONE}


@pytest.mark.parametrize("which", ["all", "drop"])
def test_the_advice_of_check_is_enough_for_the_folders_themselves(
    which: str, site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Three recordings, each hindered otherwise, and subfolders of done/ and failed/: a command a finding."""
    needs_acl()
    top = site.root / "drop"
    with ExitStack() as stack:
        paths = [hinder(top, stack) for hinder in (move_in, lock_both, close)]
        if which == "all":
            for folder in ("done/a b", "failed/a b"):
                make(site.root / folder, 0o755)
        check = run(watcher, python, "check", "--config", site.config_path)
        assert check.process.returncode == Exit.INCOMPLETE
        commands = re.findall(r"-> (?:l|L)et .+ have it, as (?:.+ or )?root: (.+)$", check.out, re.MULTILINE)
        assert len(commands) == (2 if which == "all" else 1)
        for command in commands:
            subprocess.run(command, shell=True, check=True)
        second = run(watcher, python, "run", "--once", "--config", site.config_path)
        assert second.process.returncode == Exit.WELL, (commands, second.err)
        assert site.states() == dict.fromkeys(paths, State.DONE)


@pytest.mark.parametrize("place_of_it", ["drop", "done", "failed", "above"])
def test_a_folder_that_is_closed_itself_is_opened_by_its_advice(
    place_of_it: str, site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """One of the three, or the folder above them, which is somebody's home, say."""
    put(site.root / "drop" / "call.wav")
    closed = site.root if place_of_it == "above" else site.root / place_of_it
    config = site.root.parent / f"{site.root.name}.toml"
    config.write_text(
        site.config_path.read_text()
        .replace(
            "[identifai]",
            "".join(["[folders]\n", *(f'{name} = "{site.root}/{name}"\n' for name in ("drop", "done", "failed"))])
            + "[identifai]",
        )
        .replace(f"{site.root}/state", f"{site.root}-state")
    )
    os.rename(site.root / "state", f"{site.root}-state")
    os.chown(closed, 0, 0)
    closed.chmod(0o700)
    try:
        check = run(watcher, python, "check", "--config", config)
        found = re.findall(r"-> (?:l|L)et .+ have it, as root: (.+)$", check.out, re.MULTILINE)
        assert found, check.out
        subprocess.run(found[0], shell=True, check=True)
        second = run(watcher, python, "run", "--once", "--config", config)
        assert second.process.returncode == Exit.WELL, (found, second.err)
    finally:
        closed.chmod(0o755)
        config.unlink()
        subprocess.run(["rm", "-rf", f"{site.root}-state"], check=True)
