"""A real PostgreSQL server of the tests' own: Debian's, run by an unprivileged user, gone with the tests.

Fixture (import it where it is used): `postgresql`, one server for all tests of a process.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from tests.people import STRANGER

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # the tests kill the server, never the machine
    "max_connections": "60",
    "shared_buffers": "16MB",
}


class Server:
    """A server that listens at a socket in `folder`. Its databases belong to `watcher`, an ordinary user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._binaries = _BINARIES[-1].parent
        self.as_whom = STRANGER.spawning() if os.geteuid() == 0 else {}
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make its files."""
        command = [
            str(self._binaries / "initdb"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
        ]
        command += ["--locale=C.UTF-8", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.as_whom)

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers."""
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        for name, value in {**_SETTINGS, **settings}.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self.as_whom)
        asking = [str(self._binaries / "pg_isready"), "-q", "-t", "30", "-h", str(self.folder), "-U", "postgres"]
        while subprocess.run([*asking, "-d", "postgres"], check=False).returncode:
            if self._process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it with all its sessions, at once and without a checkpoint: the next start recovers as from a crash.

        Not by SIGKILL: a session that outlives the server by a moment may still commit (seen).
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def stand_by(self) -> None:
        """Start it, stopped before, as a standby that follows nobody: it answers, and takes nothing."""
        subprocess.run(["touch", "data/standby.signal"], check=True, cwd=self.folder, **self.as_whom)
        self.start()

    def url(self, name: str, pooler: Path | None = None) -> str:
        """What store.url names it with, behind the pooler if there is one."""
        where = self.folder if pooler is None else f"{pooler}&port=6432"
        return f"postgresql+psycopg://watcher@/{name}?host={where}"

    def execute(self, statement: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """What the statement finds in this database, as a superuser and outside any transaction."""
        with psycopg.connect(host=str(self.folder), user="postgres", dbname=name, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor) if cursor.description else []

    def database(self, template: str = "template0") -> str:
        """The name of a new database, a copy of the template."""
        name = f"site{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER watcher TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        """Remove the database, whoever still uses it: each takes eight megabytes."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server with empty databases; skips where Debian's postgresql is not installed."""
    if not _BINARIES:
        _missing("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            assert STRANGER.uid is not None
            os.chown(folder, STRANGER.uid, STRANGER.gid)
        server = Server(folder)
        server.make()
        server.start()
        server.execute("CREATE ROLE watcher LOGIN")
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def server_started(port: int) -> list[str]:
    """The commands with which root, on a machine with Debian's postgresql, starts its server at this port."""
    if not _BINARIES:
        _missing("postgresql")
    version = _BINARIES[-1].parent.parent.name
    settings = f"/etc/postgresql/{version}/main/postgresql.conf"
    return [
        "install -d -o postgres -g postgres /run/postgresql",
        f"test -e {settings} || pg_createcluster {version} main",
        f"sed -i 's/^port = .*/port = {port}/' {settings}",
        f"pg_ctlcluster --skip-systemctl-redirect {version} main start",
    ]


def _missing(package: str) -> NoReturn:
    said = f"needs Debian's {package}"
    raise pytest.fail.Exception(said) if os.environ.get("CI") else pytest.skip.Exception(said)


@contextlib.contextmanager
def running_pooler(server: Server) -> Iterator[Path]:
    """PgBouncer in transaction mode before all databases of the server. Yields the folder of its socket."""
    if (program := shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")) is None:
        _missing("pgbouncer")
    folder = server.folder / "pooler"
    subprocess.run(["mkdir", folder], check=True, **server.as_whom)
    files = {
        "users": '"watcher" ""\n',
        "pgbouncer.ini": (
            f"[databases]\n* = host={server.folder}\n[pgbouncer]\npool_mode = transaction\nlisten_addr =\n"
            f"unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {folder}/users\n"
            "default_pool_size = 2\nquery_wait_timeout = 20\nserver_login_retry = 1\n"
        ),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o644)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **server.as_whom)
        try:
            yield folder
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with running_server() as server:
        yield server
