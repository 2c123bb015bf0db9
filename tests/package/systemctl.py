"""Stands in for systemctl and journalctl where systemd is not the first process.

`python systemctl.py NAME ARGUMENT…`, NAME being the one that it stands in for. Of a unit it heeds what the
documents speak of: who runs what where, with which credential, capability, umask and state folder; READY=1, reload
and stop. It confines nothing and starts nothing again.
"""

import fnmatch
import os
import pwd
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

_UNITS = Path("/etc/systemd/system")
_RUN = Path("/run/units")
_PATIENCE_SECONDS = 30


class Service:
    """One service by its name, with or without its ending."""

    def __init__(self, name: str) -> None:
        self.name = name.removesuffix(".service")
        self.instance = self.name.partition("@")[2]
        self.journal, self._pid = _RUN / f"{self.name}.log", _RUN / f"{self.name}.pid"

    @property
    def file(self) -> str:
        return f"{self.name.partition('@')[0]}@.service" if self.instance else f"{self.name}.service"

    def settings(self) -> dict[str, list[str]]:
        """What the unit and its drop-ins set. An empty value takes back what stood above it."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in [_UNITS / self.file, *sorted((_UNITS / f"{self.name}.service.d").glob("*.conf"))]:
            for line in path.read_text().splitlines():
                key, equals, value = line.partition("=")
                if equals and not line.startswith("#"):
                    found[key] = [*found[key], value.replace("%i", self.instance)] if value else []
        return found

    def pid(self) -> int | None:
        """Its process, None where it has ended."""
        try:
            pid = int(self._pid.read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return None if state == "Z" else pid

    def start(self) -> None:
        """It has said READY=1. SystemExit where it ended before."""
        if self.pid() is not None:
            return
        settings = self.settings()
        user = pwd.getpwnam(settings["User"][-1])
        state = Path("/var/lib", settings["StateDirectory"][-1])
        for folder in [*reversed(state.relative_to("/var/lib").parents), state.relative_to("/var/lib")][1:]:
            path = Path("/var/lib", folder)
            path.mkdir(exist_ok=True)
            os.chown(path, user.pw_uid, user.pw_gid)
            path.chmod(int(settings["StateDirectoryMode"][-1], 8))
        credentials = give(settings["LoadCredential"], user, self.name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            address = _RUN / f"{self.name}.notify"
            address.unlink(missing_ok=True)
            ready.bind(str(address))
            address.chmod(0o777)
            ready.settimeout(1)
            with self.journal.open("ab") as journal:
                process = subprocess.Popen(
                    [
                        *as_user(user.pw_name, settings["AmbientCapabilities"]),
                        *shlex.split(settings["ExecStart"][-1]),
                    ],
                    cwd=settings["WorkingDirectory"][-1],
                    env={
                        "PATH": "/usr/local/bin:/usr/bin:/bin",
                        "LANG": "C.UTF-8",
                        "CREDENTIALS_DIRECTORY": str(credentials),
                        "NOTIFY_SOCKET": str(address),
                    },
                    umask=int(settings["UMask"][-1], 8),
                    stdin=subprocess.DEVNULL,
                    stdout=journal,
                    stderr=journal,
                    start_new_session=True,
                )
            self._pid.write_text(str(process.pid))
            for _ in range(_PATIENCE_SECONDS):
                if process.poll() is not None:
                    break
                try:
                    if b"READY=1" in ready.recv(4096):
                        return
                except TimeoutError:
                    continue
        sys.exit(f"Job for {self.name}.service failed ({process.poll()}). See: journalctl -u {self.name}")

    def stop(self) -> None:
        """It has ended, by itself."""
        if (pid := self.pid()) is None:
            return
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
        os.kill(pid, signal.SIGTERM)
        if not ended.poll(_PATIENCE_SECONDS * 1000):
            sys.exit(f"{self.name}.service does not stop")

    def reload(self) -> None:
        if (pid := self.pid()) is None:
            sys.exit(f"{self.name}.service is not active, cannot reload.")
        os.kill(pid, signal.SIGHUP)

    def status(self) -> None:
        pid = self.pid()
        state = "inactive (dead)" if pid is None else f"active (running), PID {pid}"
        sys.stdout.write(f"{self.name}.service: {state}\n")


def as_user(name: str, capabilities: list[str]) -> list[str]:
    """The words before a command that have it run by this user, who has these capabilities."""
    granted = ",".join(
        ["-all", *(f"+{c.removeprefix('CAP_').lower()}" for line in capabilities for c in line.split())]
    )
    who = [f"--reuid={name}", f"--regid={name}", "--init-groups"]
    return ["setpriv", *who, f"--inh-caps={granted}", f"--ambient-caps={granted}", "--"]


def give(credentials: list[str], user: pwd.struct_passwd, name: str) -> Path:
    """A folder with these credentials, for this user alone."""
    folder = _RUN / "credentials" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for credential in credentials:
        name, _, path = credential.partition(":")
        (folder / name).write_bytes(Path(path).read_bytes())
        (folder / name).chmod(0o400)
        os.chown(folder / name, user.pw_uid, user.pw_gid)
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o500)
    return folder


def known(pattern: str) -> list[Service]:
    """The services that were ever started here and fit the pattern; the one of this name without one."""
    if not set(pattern) & set("*?["):
        return [Service(pattern)]
    return [Service(path.stem) for path in sorted(_RUN.glob("*.pid")) if fnmatch.fnmatch(path.stem, pattern)]


def systemctl(arguments: list[str]) -> None:
    command, *rest = [word for word in arguments if word != "--now"]
    if command == "daemon-reload":
        return
    for service in [service for name in rest for service in known(name)]:
        if command in ("stop", "restart", "disable"):
            service.stop()
        if command in ("start", "restart", "enable"):
            service.start()
        if command == "reload":
            service.reload()
        if command == "status":
            service.status()
        if command not in ("stop", "start", "restart", "enable", "disable", "reload", "status"):
            sys.exit(f"systemctl {command}: nothing stands in for it")


def journalctl(arguments: list[str]) -> None:
    option, name = arguments
    assert option == "-u", arguments
    sys.stdout.write(Service(name).journal.read_text())


_NAMES = {"systemctl": systemctl, "journalctl": journalctl}

if __name__ == "__main__":
    _RUN.mkdir(exist_ok=True)
    _NAMES[sys.argv[1]](sys.argv[2:])
