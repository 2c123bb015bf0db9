"""Servers through which strangers' software writes: OpenSSH's and Samba's, on 127.0.0.1, for one test each."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.people import missing, needs_root
from tests.process.programs import let_pass, wait_until


def program(name: str) -> str:
    """Where this program lies. Skips the test without it; fails it where everything must be there."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        missing(f"{name} is not installed")
    return found


def run(*words: str | Path, **options: object) -> str:
    """What a client said that succeeded."""
    done = subprocess.run(  # type: ignore[call-overload]
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}:\n{done.stdout}"
    return str(done.stdout)


@dataclass(frozen=True)
class Sftp:
    """An OpenSSH server whose user sees this machine's files, and the client for it."""

    port: int
    folder: Path

    def batch(self, *commands: str, kilobits: int = 0) -> None:
        """One session of the `sftp` client did this, no faster than so many kbit/s."""
        run(*self._client(commands, getpass.getuser(), kilobits))

    @contextmanager
    def putting(
        self, source: Path, target: Path, *, user: str, kilobits: int
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """The client is about to put this file there, as this user; it is gone afterwards."""
        with subprocess.Popen(self._client([f'put "{source}" "{target}"'], user, kilobits)) as client:
            try:
                yield client
            finally:
                client.kill()

    def _client(self, commands: Iterable[str], user: str, kilobits: int) -> list[str]:
        script = self.folder / "batch"
        script.write_text("\n".join(commands) + "\n")
        options = [
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ]
        return [
            *(program("sftp"), "-F", "/dev/null", "-i", str(self.folder / "user"), "-P", str(self.port)),
            *(word for option in options for word in ("-o", option)),
            *(("-l", str(kilobits)) if kilobits else ()),
            *("-b", str(script), f"{user}@127.0.0.1"),
        ]


@contextmanager
def sshd(folder: Path) -> Iterator[Sftp]:
    """A server with keys of its own, which lets in whoever runs the tests, and only them."""
    server, keygen = program("sshd"), program("ssh-keygen")
    folder.mkdir()
    for name in ("host", "user"):
        run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    shutil.copy(folder / "user.pub", folder / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation wants this very folder
    port = free_port()
    config = folder / "config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
    with listening([server, "-D", "-e", "-f", config], folder / "log", port):
        yield Sftp(port, folder)


@dataclass(frozen=True)
class Smb:
    """A Samba server with the share `drop`, and the client for it."""

    port: int
    config: Path

    def put(self, source: Path, name: str) -> None:
        """`smbclient` has put the file into the share."""
        run(
            *(program("smbclient"), "//127.0.0.1/drop", "-p", str(self.port), "-N", "-s", self.config),
            *("-c", f'put "{source}" "{name}"'),
        )

    @contextmanager
    def putting(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The client puts what is written to it into the share; it is gone afterwards."""
        words = [program("smbclient"), "//127.0.0.1/drop", "-p", str(self.port), "-N", "-s", str(self.config)]
        words += ["-t", "300", "-c", f'put /dev/stdin "{name}"']  # seconds, not 20, that it gives a busy machine
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as client:
            try:
                yield client
            finally:
                client.kill()


@contextmanager
def smbd(folder: Path, shared: Path, user: str = "") -> Iterator[Smb]:
    """A server that shares this folder with guests, who act as this user; "" for whoever runs the tests."""
    server = program("smbd")
    needs_root()
    places = (
        "private dir",
        "lock directory",
        "state directory",
        "cache directory",
        "pid directory",
        "ncalrpc dir",
    )
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="smbd-") as short:  # its sockets' paths must stay below 108 bytes
        yield from _smbd(server, Path(short), shared, places, user or getpass.getuser())


def _smbd(server: str, folder: Path, shared: Path, places: tuple[str, ...], user: str) -> Iterator[Smb]:
    for place in places:
        (folder / place).mkdir(mode=0o755)
    port = free_port()
    config = folder / "smb.conf"
    own = "".join(f"{place} = {folder / place}\n" for place in places)
    config.write_text(
        "[global]\nserver role = standalone server\nmap to guest = Bad User\nguest account = nobody\n"
        f"interfaces = 127.0.0.1/8\nbind interfaces only = yes\nsmb ports = {port}\nload printers = no\n"
        f"disable spoolss = yes\nsmb2 max write = 65536\nlog file = {folder}/log.smbd\n{own}"
        f"[drop]\npath = {shared}\nguest ok = yes\nread only = no\nforce user = {user}\n"
    )
    command: list[str | Path] = [server, "--foreground", "--no-process-group", "--configfile", config]
    with listening(command, folder / "log", port):
        yield Smb(port, config)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listened a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def listening(command: list[str | Path], log: Path, port: int) -> Iterator[None]:
    """The server answers on its port; afterwards neither it nor a child of it runs any more."""
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    try:
        wait_until(lambda: _listens(server, port), f"{command[0]} listens", told=log.read_text)
        yield
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        _end_session(server.pid)


def _listens(server: "subprocess.Popen[bytes]", port: int) -> bool:
    assert server.poll() is None, f"it ended with {server.returncode}"
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_session(session: int) -> None:
    """Whatever the server left behind in the session that was made for it is gone."""
    for _ in range(50):
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                left.append(int(process.name))
        for pid in left:
            try:
                os.kill(pid, 15)
            except ProcessLookupError:
                continue
        if not left:
            return
        let_pass(0.1)
