"""Shares of real servers, each mounted by two clients on this machine: NFS, SMB and sshfs."""

import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.process.programs import let_pass, wait_until
from tests.process.servers import listening, program, run, sshd

KINDS = ("nfs4.2", "nfs3", "smb", "smb-nobrl", "sshfs")
"""NFS 4.2 and 3; SMB with the kernel's default options and with nobrl; sshfs."""

IN_MACHINE = KINDS[:-1]
"""Those that want a machine with a kernel of its own."""

_SMB_PORT = 1445
_PATIENCE_SECONDS = 120.0
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096  # mount(2)


@dataclass
class Share:
    """A folder on its server's disk, and two mounts of it by clients that share nothing with each other."""

    kind: str
    server: Path
    client: Path
    other: Path
    _servers: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """The server answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """The server is gone, as in a crash."""
        self._servers.close()

    def _mount(self, point: Path) -> None:
        raise NotImplementedError

    def mount(self, *points: Path) -> None:
        """The share is mounted there."""
        for point in points or (self.client, self.other):
            point.mkdir(parents=True, exist_ok=True)
            wait_until(partial(_does, self._mount, point), f"{point} is mounted", seconds=_PATIENCE_SECONDS)

    def unmount(self, point: Path) -> None:
        """It is taken off, whoever uses it."""
        run(program("umount"), "--lazy", point)

    def close(self) -> None:
        """Nothing of it is left here."""
        for point in (self.client, self.other):
            with suppress(AssertionError):
                self.unmount(point)
        self._servers.close()


def _does(mount: Callable[[Path], None], point: Path) -> bool:
    try:
        mount(point)
    except AssertionError:
        let_pass(1)
        return False
    return True


@dataclass
class Nfs(Share):
    """The kernel's own server."""

    options: str = "rw,no_root_squash"
    _is_begun: bool = False

    def start(self) -> None:
        if not self._is_begun:
            self._begin()
        self.export()
        run(program("rpc.nfsd"), "-G", "10", "-L", "10", "4")

    def _begin(self) -> None:
        # To the server both mounts are one client: it would give one a delegation, and recall it for no write of
        # the other. Without leases it gives none, as between two machines of which one writes.
        Path("/proc/sys/fs/leases-enable").write_text("0")
        if not Path("/proc/fs/nfsd/threads").exists():
            run(program("mount"), "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
        for name in ("sm", "sm.bak", "v4recovery", "rpc_pipefs"):
            Path("/var/lib/nfs", name).mkdir(exist_ok=True)
        for name in ("etab", "rmtab", "xtab", "state"):
            Path("/var/lib/nfs", name).touch()
        for name in ("/run/lock", "/run/rpcbind"):
            Path(name).mkdir(exist_ok=True)
        for server in ("rpcbind", "rpc.mountd", "rpc.statd"):
            if server == "rpc.mountd":
                self.export()
            run(program(server))
        self._is_begun = True

    def export(self) -> None:
        """The server gives the folder with the options as they are now."""
        run(program("exportfs"), "-o", f"{self.options},no_subtree_check,fsid=0", f"127.0.0.1:{self.server}")

    def stop(self) -> None:
        run(program("rpc.nfsd"), "0")

    def _mount(self, point: Path) -> None:
        version = self.kind.removeprefix("nfs")
        source = "127.0.0.1:/" if version.startswith("4") else f"127.0.0.1:{self.server}"
        run(program("mount"), "-t", "nfs", "-o", f"vers={version},nosharecache", source, point)

    def close(self) -> None:
        """Nothing: the machine goes with it."""


_SMB_CONFIG = """[global]
interfaces = 127.0.0.1
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
load printers = no
disable spoolss = yes
log file = {own}/log
{places}[share]
path = {folder}
read only = no
force user = root
"""
_SMB_PLACES = ("private dir", "state directory", "cache directory", "lock directory", "pid directory")


@dataclass
class Smb(Share):
    """Samba, and the kernel's client."""

    _own: Path | None = None

    def start(self) -> None:
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="smb-"))
            (self._own / "ncalrpc").mkdir()
            places = "".join(f"{place} = {self._own}\n" for place in _SMB_PLACES)
            places += f"ncalrpc dir = {self._own}/ncalrpc\n"
            config = _SMB_CONFIG.format(port=_SMB_PORT, own=self._own, places=places, folder=self.server)
            (self._own / "smb.conf").write_text(config)
            word = program("smbpasswd")
            run(word, "-c", self._own / "smb.conf", "-s", "-a", "root", input="pw\npw\n")
        command: list[str | Path] = [program("smbd"), "--foreground", "--no-process-group"]
        command += ["--configfile", self._own / "smb.conf"]
        self._servers.enter_context(listening(command, self._own / "said", _SMB_PORT))

    def _mount(self, point: Path) -> None:
        options = f"port={_SMB_PORT},username=root,password=pw,nosharesock"
        if self.kind == "smb-nobrl":
            options += ",nobrl,iocharset=utf8"
        run(program("mount"), "-t", "cifs", "-o", options, "//127.0.0.1/share", point)


def _sshd_below(parent: int) -> list[int]:
    """The processes of OpenSSH's server that this one has begun, and their children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            begin, _, rest = stat.read_text().rpartition(")")
            if int(rest.split()[1]) == parent:
                number, _, name = begin.partition(" (")
                found += [*([int(number)] if name.startswith("sshd") else []), *_sshd_below(int(number))]
    return found


@dataclass
class Sshfs(Share):
    """OpenSSH's server, and a file system of FUSE."""

    _own: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sshfs-")))
    _port: int = 0

    def start(self) -> None:
        keys = self._own / "sshd"
        if not self._port:
            self._port = self._servers.enter_context(sshd(keys)).port
            return
        command: list[str | Path] = [program("sshd"), "-D", "-e", "-f", keys / "config"]
        self._servers.enter_context(listening(command, keys / "log", self._port))

    def stop(self) -> None:
        """Its connections go with it: each has a process, and a session, of its own."""
        serving = _sshd_below(os.getpid())
        super().stop()
        for process in serving:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _mount(self, point: Path) -> None:
        options = [
            f"IdentityFile={self._own}/sshd/user",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "reconnect",
            "ServerAliveInterval=5",
        ]
        words = [word for option in options for word in ("-o", option)]
        source = f"root@127.0.0.1:{self.server}"
        subprocess.run(
            [program("sshfs"), "-F", "/dev/null", "-p", str(self._port), *words, source, point],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
        assert point.is_mount()


def make_read_only(point: Path, *, undone: bool = False) -> None:
    """This mount of it is, or not any more; the others stay as they are."""
    flags = _MS_REMOUNT | _MS_BIND | (0 if undone else _MS_RDONLY)
    if ctypes.CDLL(None, use_errno=True).mount(None, os.fsencode(point), None, flags, None):
        raise OSError(ctypes.get_errno(), "mount")


def make_share(kind: str, folder: Path, disk: Path) -> Share:
    """A share of this kind, of a folder on the server's `disk`, to be mounted in `folder`; not started yet."""
    make = Nfs if kind.startswith("nfs") else Smb if kind.startswith("smb") else Sshfs
    server = disk / "shared"
    server.mkdir()
    return make(kind, server, folder / "client", folder / "other")
