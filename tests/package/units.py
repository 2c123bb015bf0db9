"""The unit files as data, and a machine's root in which systemd's own tools can look at them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.people import PROJECT, missing

SYSTEMD = PROJECT / "systemd"
UNITS = ("watcher.service", "watcher@.service")
_TARGETS = (
    "sysinit",
    "basic",
    "shutdown",
    "multi-user",
    "local-fs",
    "remote-fs",
    "network",
    "nss-lookup",
    "time-sync",
)
_UNITS_OF_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Setting:
    """One line of a unit: `key=value`, its section, and the comment above it, "" where there is none."""

    section: str
    key: str
    value: str
    reason: str


def settings(unit: str) -> list[Setting]:
    """All settings of the unit, in order. A comment is the reason of what stands directly below it."""
    found: list[Setting] = []
    section, reason = "", ""
    for line in (SYSTEMD / unit).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason += line.removeprefix("#")
        elif line.startswith("["):
            section, reason = line.strip("[]"), ""
        elif line:
            key, _, value = line.partition("=")
            found.append(Setting(section, key, value, reason.strip()))
            reason = ""
        else:
            reason = ""  # a heading, not a reason
    return found


def values(unit: str, key: str) -> list[str]:
    """What the key is set to, once for each line."""
    return [setting.value for setting in settings(unit) if setting.key == key]


def value(unit: str, key: str) -> str:
    """What the key, which stands there once, is set to."""
    (only,) = values(unit, key)
    return only


def seconds(span: str) -> float:
    """A time span such as "10min" or "5min 30s"."""
    parts = re.findall(r"([0-9]+)\s*([a-z]*)", span)
    assert "".join(number + name for number, name in parts) == span.replace(" ", "")
    return float(sum(int(number) * _UNITS_OF_SECONDS[name] for number, name in parts))


def tool(name: str) -> str:
    """The path of one of systemd's tools. Skips, or fails where CI=true, when this machine has none."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed (Debian: systemd)")
    return path


def call(name: str, *arguments: str | Path) -> str:
    """What the tool, which must succeed, says, errors and warnings included."""
    done = subprocess.run(
        [tool(name), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "SYSTEMD_COLORS": "0",
            "SYSTEMD_PAGER": "",
        },
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def machine(root: Path) -> Path:
    """A root with the units installed as README.md has it, and what they refer to."""
    system = root / "usr/lib/systemd/system"
    ours = root / "etc/systemd/system"
    program = root / "opt/watcher/bin/watcher"
    for folder in (system, ours, program.parent, root / "etc/watcher", root / "run", root / "srv"):
        folder.mkdir(parents=True)
    for name in _TARGETS:
        (system / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    for unit in UNITS:
        shutil.copy(SYSTEMD / unit, ours)
    kill = root / "bin/kill"
    for path in (program, kill):
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return root
