"""The systemd units: they load, hold what they promise, fit the program, and the program works within them."""

import ctypes
import difflib
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.package.units import SYSTEMD, UNITS, call, machine, seconds, settings, value, values
from tests.people import (
    CREW,
    PROJECT,
    SOMEBODY,
    STRANGER,
    Person,
    drop,
    missing,
    needs_root,
    python_for_strangers,
    shared_folder,
)
from tests.places import KEY, Place, speech
from tests.process.programs import CLOCK, ENVIRONMENT, PATIENCE_SECONDS, Programs, posts, wait_until, waiting
from watcher import daemon
from watcher.config import SYSTEM_CONFIG, Config, load
from watcher.errors import Exit
from watcher.folders.capability import CAP_LEASE
from watcher.key import CREDENTIAL
from watcher.sandbox import Sandbox

EXPOSURE = 1.4
"""systemd's own measure, from 0, all shut, to 10. What is left, as systemd weighs it: the network (0.8), an open
list of addresses (0.2), users seen as they are (0.2), and 0.1 each for the machine's root, AF_UNIX, /proc/sys, the
clock device that ProtectClock= lets in, and files that their group may read; all of it scaled to 10."""

TEMPLATED = {"Description", "ExecStart", "LoadCredential", "StateDirectory", "WorkingDirectory"}
"""The only settings in which the two units may differ."""

both = pytest.mark.parametrize("unit", UNITS)


def blocks(language: str) -> list[str]:
    """The code blocks in this language in the README."""
    text = (SYSTEMD / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


# They load


@both
def test_systemd_finds_nothing_to_say_about_the_unit(unit: str, tmp_path: Path) -> None:
    """systemd-analyze verify is silent: every key is known, every value is understood, the program is found."""
    root = machine(tmp_path / "root")
    name = unit.replace("@", "@north")
    assert call("systemd-analyze", "verify", "--man=no", f"--root={root}", name) == ""


@both
def test_the_exposure_is_no_higher_than_stated(unit: str) -> None:
    """systemd-analyze security gives the unit 1.4 of 10, which it calls OK."""
    said = call("systemd-analyze", "security", "--offline=true", "--no-pager", SYSTEMD / unit)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert float(exposure) <= EXPOSURE, said


@pytest.mark.parametrize("drop_in", blocks("ini"))
def test_the_drop_ins_of_the_readme_load(drop_in: str, tmp_path: Path) -> None:
    """What the README says to put into a drop-in is understood by systemd."""
    root = machine(tmp_path / "root")
    override = root / "etc/systemd/system/watcher.service.d/override.conf"
    override.parent.mkdir()
    override.write_text(drop_in)
    assert call("systemd-analyze", "verify", "--man=no", f"--root={root}", "watcher.service") == ""


def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    """sysusers.d makes the user, who may use the folders; tmpfiles.d closes the keys and the configuration."""
    needs_root()
    root = machine(tmp_path / "root")
    config, key = root / "etc/watcher/config.toml", root / "etc/watcher/identifai.key"
    config.touch(0o666)
    key.touch(0o666)
    call("systemd-sysusers", f"--root={root}", SYSTEMD / "watcher.sysusers.conf")
    users = dict(line.split(":", 1) for line in (root / "etc/passwd").read_text().splitlines())
    groups = dict(line.split(":", 1) for line in (root / "etc/group").read_text().splitlines())
    assert {value("watcher.service", "User"), value("watcher.service", "Group")} == {"watcher"}
    assert users["watcher"].endswith("/nologin")
    assert groups["recordings"].endswith(":watcher")
    call("systemd-tmpfiles", "--create", f"--root={root}", SYSTEMD / "watcher.tmpfiles.conf")
    gid = int(groups["watcher"].split(":")[1])
    assert _access(root / "etc/watcher") == (0o750, 0, gid)
    assert _access(config) == (0o640, 0, gid)
    assert _access(key) == (0o600, 0, 0)


def _access(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_nothing_makes_the_folders_of_the_recordings_at_boot() -> None:
    """A share that is not mounted yet must be missing, not an empty drop folder made below its mount point."""
    lines = (SYSTEMD / "watcher.tmpfiles.conf").read_text().splitlines()
    paths = [line.split()[1] for line in lines if line and not line.startswith("#")]
    assert paths
    assert all(path.startswith("/etc/watcher") for path in paths)


# They promise what they hold


@both
def test_every_setting_has_its_reason(unit: str) -> None:
    """Whoever reads a setting finds why it is there directly above it; lines of one purpose may share a reason."""
    shared = {"Group", "WorkingDirectory", "IOSchedulingPriority", "AmbientCapabilities"}
    plain = {"Description", "WantedBy"}
    bare = {setting.key for setting in settings(unit) if not setting.reason}
    assert bare == shared | plain


def test_the_two_units_differ_in_what_names_the_site_alone() -> None:
    """Hardening that is added to one is added to the other."""
    one, several = ((SYSTEMD / unit).read_text().splitlines() for unit in UNITS)
    changes = [line for line in difflib.ndiff(one, several) if line[0] in "+-"]
    changed = {line[2:].partition("=")[0] for line in changes if line[2] != "#"}
    assert changed == TEMPLATED
    keys = [[(s.section, s.key) for s in settings(unit)] for unit in UNITS]
    assert keys[0] == keys[1]
    assert all("%i" in value(UNITS[1], key) for key in TEMPLATED)


# They fit the program


@both
def test_only_what_a_person_must_mend_ends_the_service(unit: str) -> None:
    """Wrong usage and a wrong configuration are not tried again; a folder that another instance has is."""
    prevented = {Exit(int(code)) for code in value(unit, "RestartPreventExitStatus").split()}
    assert prevented == {Exit.USAGE, Exit.CONFIG}
    assert value(unit, "Restart") == "on-failure"
    assert seconds(value(unit, "RestartSec")) >= 10
    assert value(unit, "StartLimitIntervalSec") == "0"


@both
def test_an_upload_fits_into_the_watchdog_and_into_the_stop(unit: str, defaults: Config) -> None:
    """The longest upload neither looks like a daemon that hangs, nor is it killed by a stop and left in doubt."""
    service = defaults.identifai
    longest = service.deadline_seconds + service.connect_timeout_seconds
    assert 2 * longest < daemon._STUCK_SECONDS
    assert seconds(value(unit, "WatchdogSec")) >= 60  # three notifications, each with time for a disk that stalls
    assert seconds(value(unit, "TimeoutStopSec")) > longest


@pytest.fixture
def defaults(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.touch()
    return load(path)


def test_the_unit_starts_what_the_package_installs() -> None:
    """The console script, the system's configuration and the credential are called as the program calls them."""
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    program, command, option, path = value("watcher.service", "ExecStart").split()
    assert os.path.basename(program) in scripts
    assert (command, option, path) == ("run", "--config", str(SYSTEM_CONFIG))
    assert value("watcher.service", "LoadCredential").startswith(f"{CREDENTIAL}:/etc/watcher/")
    assert value("watcher@.service", "LoadCredential").startswith(f"{CREDENTIAL}:/etc/watcher/")


@both
def test_the_configuration_of_the_readme_fits_the_unit(unit: str, tmp_path: Path) -> None:
    """With it the service may write its database, its spool and all three folders, and rename between them.

    One site takes config.toml beside the units as it is; that of several sites stands in the README. Each path in
    ReadWritePaths= is a mount of its own, and a rename between two mounts is refused (EXDEV); a share mounted on
    such a path would not be seen to go and come back. So there is one, above the folders' parent.
    """
    (several,) = blocks("toml")
    one = (SYSTEMD / "config.toml").read_text(encoding="utf-8")
    path = tmp_path / "config.toml"
    path.write_text(one if unit == UNITS[0] else several)
    config = load(path)
    (writable,) = values(unit, "ReadWritePaths")
    top = Path(writable.removeprefix("-"))
    folders = [config.folders.drop, config.folders.done, config.folders.failed]
    assert all(top in Path(os.fsdecode(folder)).parent.parents for folder in folders)
    state = Path("/var/lib", value(unit, "StateDirectory").replace("%i", "north"))
    assert config.books.parent == state
    assert Path(os.fsdecode(config.audio.spool)).parent == state
    assert Path(value(unit, "WorkingDirectory").replace("%i", "north")) == state


@both
def test_a_missing_folder_or_mount_does_not_keep_the_service_from_starting(unit: str) -> None:
    """The daemon waits for a share that is late: systemd neither requires the mount nor the paths."""
    keys = {setting.key for setting in settings(unit) if setting.section == "Unit"}
    assert not keys & {"Requires", "RequiresMountsFor", "BindsTo", "Requisite", "AssertPathExists"}
    assert not any(key.startswith("Condition") for key in keys)
    assert all(path.startswith("-") for line in values(unit, "ReadWritePaths") for path in line.split())


# The program works within them


@dataclass(frozen=True)
class Service:
    """A Python interpreter under the unit's system call rules, run by somebody who is not root, as there."""

    executable: str
    environment: dict[str, str]
    options: dict[str, Any]  # subprocess's
    folder: Path  # that this user can reach


@pytest.fixture
def confined() -> Iterator[Service]:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        missing("libseccomp.so.2 is not installed (Debian: libseccomp2)")
    python, environment, options = sys.executable, ENVIRONMENT, {}
    if os.geteuid() == 0:
        stranger = python_for_strangers("av")
        python, environment, options = stranger.executable, stranger.environment, {"umask": 0o022}
    with tempfile.TemporaryDirectory(prefix="watcher-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        families = [getattr(socket, name) for name in value("watcher.service", "RestrictAddressFamilies").split()]
        (folder / "rules.json").write_text(json.dumps({"calls": sorted(_calls()), "families": families}))
        shutil.copy(Path(__file__).with_name("confined.py"), folder)
        command = [python, str(folder / "confined.py"), str(folder / "rules.json"), python]
        program = folder / "confined-python"
        if os.geteuid() == 0:
            command = [*_with_its_capabilities(), *command]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        for path in folder.iterdir():
            path.chmod(0o755)
        yield Service(str(program), environment, options, folder)


def _with_its_capabilities() -> list[str]:
    """The command that makes root the stranger, with what the unit grants and no more to be had."""
    if shutil.which("setpriv") is None:
        missing("setpriv is not installed (Debian: util-linux)")
    ambient, most = (
        ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in value("watcher.service", key).split())
        for key in ("AmbientCapabilities", "CapabilityBoundingSet")
    )
    who = [f"--reuid={STRANGER.uid}", f"--regid={STRANGER.gid}", f"--groups={','.join(map(str, STRANGER.groups))}"]
    return [
        "setpriv",
        *who,
        f"--inh-caps=-all,{ambient}",
        f"--ambient-caps=-all,{ambient}",
        f"--bounding-set=-all,{most}",
    ]


def _calls() -> set[str]:
    """The system calls that the unit's filter leaves."""
    allowed = _expanded("@default")
    for line in values("watcher.service", "SystemCallFilter"):
        named = set().union(*(_expanded(name) for name in line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    lines = [line.strip() for line in call("systemd-analyze", "syscall-filter", name).splitlines()]
    names = [line for line in lines[1:] if line and not line.startswith("#")]
    return set().union(*(_expanded(name) for name in names))


def test_the_rules_of_the_unit_are_in_force(confined: Service) -> None:
    """What the test below runs under refuses what the unit refuses: else it would prove nothing."""
    program = """
import errno, mmap, os, socket
def refused(call, *args):
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
own = os.open(".", os.O_RDONLY)
print(refused(os.fchown, own, -1, -1), refused(os.nice, 0),
      refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
      refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
      refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE)),
      refused(socket.getaddrinfo, "localhost", 80))
"""
    done = subprocess.run(
        [confined.executable, "-c", program],
        env=confined.environment,
        cwd=confined.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **confined.options,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["EPERM", "EPERM", "EAFNOSUPPORT", "EPERM", "None", "None"]


def test_a_recording_is_filed_under_the_rules_of_the_unit(confined: Service) -> None:
    """No system call that the daemon needs is refused.

    A file event is seen, somebody else's recording submitted and filed, its verdict known, the end orderly, and
    nothing on the way is worth a warning.
    """
    site = confined.folder / "site"
    site.mkdir()
    for name in ("drop", "done", "failed", "drop/agent-7"):
        shared_folder(site / name)
    if os.geteuid() == 0:
        os.chown(site, STRANGER.uid or 0, STRANGER.gid)
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as service:
        # By rescans alone it would take longer than the test has patience.
        arrivals = {"rescan_seconds": 10 * PATIENCE_SECONDS, "settle_seconds": 0.3}
        place = Place(site, service.url, CLOCK, arrivals=arrivals, verdicts={"first_seconds": 0.1})
        programs = Programs(confined.folder / "programs")
        try:
            program = programs.start(
                *("run", "--config", place.config_path),
                executable=confined.executable,
                environment=confined.environment | {"IDENTIFAI_API_KEY": KEY},
                **confined.options,
            )
            program.wait_for("watch.chosen")
            drop(site / "drop/agent-7/call.wav", speech("call"))
            program.wait_for("verdict.known")
            assert program.stop() == Exit.WELL
        finally:
            programs.close()
    assert (site / "done/agent-7/call.wav").exists()
    ours = [line for line in program.log if line["logger"].startswith("watcher.")]
    assert {line["level"] for line in ours} == {"info"}


def test_a_recording_is_converted_under_the_rules_of_the_unit(confined: Service) -> None:
    """The codec's child starts, decodes, encodes and ends there, within the limits that it asks its kernel for."""
    (confined.folder / "call.aiff").write_bytes(recording("aiff", 2.0))
    spool = confined.folder / "spool"
    spool.mkdir()
    for path in (confined.folder / "call.aiff", spool):
        path.chmod(0o777)
    program = f"""
import os, resource
from watcher.journey.prepare.codec import Codec
from watcher.journey.prepare.made import Order
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with open({str(confined.folder / "call.aiff")!r}, "rb") as file:
    outcome = Codec().flac(file, os.open({str(spool)!r}, os.O_RDONLY), Order("id", 15_000_000))
print(*(part.name for part in outcome.made))
"""
    done = subprocess.run(
        [confined.executable, "-c", program],
        env=confined.environment,
        cwd=confined.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **confined.options,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["id-1.flac"]
    assert (spool / "id-1.flac").read_bytes()[:4] == b"fLaC"


def test_the_capability_of_the_unit_is_used(confined: Service) -> None:
    """Of another user's file, whose open and close nobody heard, a lease tells whether it is still written.

    What is closed is taken at once though it was written a moment ago, what is open waits for its close.
    """
    needs_root()
    site = confined.folder / "site"
    site.mkdir()
    for name in ("drop", "done", "failed"):
        shared_folder(site / name)
    os.chown(site, STRANGER.uid or 0, STRANGER.gid)
    writer = Person("writer", uid=SOMEBODY, gid=CREW)
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as service:
        arrivals = {"rescan_seconds": 10 * PATIENCE_SECONDS, "unclosed_seconds": 10 * PATIENCE_SECONDS}
        place = Place(site, service.url, CLOCK, arrivals=arrivals)
        programs = Programs(confined.folder / "programs")
        writer.does(Path.write_bytes, site / "drop/open.wav", speech("open"))
        writer.does(Path.write_bytes, site / "drop/closed.wav", speech("closed"))
        try:
            with (site / "drop/open.wav").open("r+b") as held:
                program = programs.start(
                    *("run", "--config", place.config_path),
                    executable=confined.executable,
                    environment=confined.environment | {"IDENTIFAI_API_KEY": KEY},
                    **confined.options,
                )
                program.wait_for("recording.done")
                wait_until(lambda: waiting(place) == {"open.wav": "open"}, "it waits", told=lambda: program.err)
                assert _capabilities(program.pid) == {"CapEff": 1 << CAP_LEASE, "CapBnd": 1 << CAP_LEASE}
                assert os.stat(f"/proc/{program.pid}").st_uid == STRANGER.uid
                held.flush()
            program.wait_for("recording.done", 2)
            assert program.stop() == Exit.WELL
        finally:
            programs.close()
    assert len(posts(service)) == 2


def _capabilities(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    return {name: int(mask, 16) for name, mask in re.findall(r"^(CapEff|CapBnd):\s+(\w+)$", status, re.MULTILINE)}
