"""A machine of its own, with a kernel that has NFS and SMB: Debian's user-mode Linux over this machine's files."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.people import missing, needs_root
from tests.process.servers import program

MODULES = Path("/usr/lib/uml/modules")
MEMORY = "1500M"
DISK_BYTES = 256 << 20
_NOT_PASSED = ("PWD", "OLDPWD", "SHLVL", "_", "TMPDIR")
_INIT = Path(__file__).with_name("init")


def check_machine() -> None:
    """A machine can be booted here. Skips the test, or fails it, where it cannot."""
    needs_root()
    for name in ("linux", "mkfs.ext4", "depmod", "ip"):
        program(name)
    if not MODULES.is_dir():
        missing(f"there is no {MODULES} (Debian's user-mode-linux)")


def run_inside(command: Sequence[str | Path], *, seconds: float) -> tuple[int, str]:
    """The exit status of the command, and what it said; it was run as root in a machine that is gone again.

    124 where it did not come to an end within `seconds`: then the kernel's last words are among what was said.
    """
    with tempfile.TemporaryDirectory(prefix="watcher-machine-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _provide_modules(folder / "kmod")
        disk = folder / "disk"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run([program("mkfs.ext4"), "-q", disk], check=True)
        (folder / "command").write_text(shlex.join(map(str, command)) + "\n")
        (folder / "folder").write_text(f"{Path.cwd()}\n")
        passed = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in passed.items() if name.isidentifier()]
        (folder / "environment").write_text("\n".join(exports) + "\n")
        _boot(folder, disk, seconds)
        output, status = folder / "output", folder / "status"
        said = output.read_text(errors="backslashreplace") if output.exists() else ""
        if status.exists():
            return int(status.read_text()), said
        last = (folder / "kernel").read_text(errors="backslashreplace").splitlines()[-10:]
        return 124, "\n".join([said, f"It did not end within {seconds:g} s. The kernel said at last:", *last])


def _provide_modules(folder: Path) -> None:
    release = next(MODULES.iterdir()).name
    below = folder / "lib" / "modules" / release
    below.parent.mkdir(parents=True)
    shutil.copytree(MODULES / release, below)
    subprocess.run([program("depmod"), "-b", folder, release], check=False, stderr=subprocess.DEVNULL)


def _boot(folder: Path, disk: Path, seconds: float) -> None:
    with (folder / "kernel").open("wb") as said:
        kernel = subprocess.Popen(
            [
                *(program("linux"), f"mem={MEMORY}", "root=none", "rootfstype=hostfs", "rootflags=/", "rw"),
                *(f"init={_INIT}", f"ubd0={disk}", f"WATCHER_MACHINE={folder}"),
                *("con=null", "con0=null,fd:1", "ssl=null"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                kernel.wait(seconds)
        finally:  # it has a session of its own, to which no Ctrl-C comes
            if kernel.poll() is None:
                os.killpg(kernel.pid, 9)
                kernel.wait()
