"""A server on which the documents' commands are typed: this machine's files, in namespaces of their own.

What is changed below /etc, /home, /opt, /root, /srv, /usr/local and /var is gone with it, and so is every process
in it. systemd is not the first process there: `systemctl` is systemctl.py beside this module.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.people import PROJECT, StrangersPython, missing, needs_root, python_for_strangers
from tests.process.servers import program

_LAID_OVER = ("etc", "opt", "usr/local", "var", "root")
_EMPTY = ("srv", "run", "home")
_BEGIN = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$0"
for folder in {laid_over}; do
    mkdir -p "$0/$folder/upper" "$0/$folder/work"
    below="/$folder"
    if [ "$folder" = opt ] && [ -n "$1" ]; then below="$1:/opt"; fi
    mount -t overlay -o "lowerdir=$below,upperdir=$0/$folder/upper,workdir=$0/$folder/work" overlay "/$folder"
done
for folder in {empty}; do mount -t tmpfs -o mode=755 tmpfs "/$folder"; done
echo ready
while :; do sleep 3600; done
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Said:
    """What a command said, on both streams, and its exit code."""

    code: int
    text: str


class Server:
    """See the module. `root` is its root folder, as this process sees it."""

    def __init__(self, pid: int, python: StrangersPython, base: Path) -> None:
        self.pid, self.python, self.base = pid, python, base
        self.root = Path(f"/proc/{pid}/root")
        self.checkout = self.root / base.relative_to("/") / "checkout"

    def path(self, path: str | Path) -> Path:
        """Where this process finds what the server calls so."""
        return self.root / Path(path).relative_to("/")

    def types(self, line: str, *, user: str = "root", folder: str = "", umask: int = 0o022) -> Said:
        """What the line, typed in a shell by this user, says. Nothing is given to it on standard input."""
        enter = [program("nsenter"), f"--target={self.pid}", "--mount", "--pid"]
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        done = subprocess.run(
            [*enter, "--", *become, "bash", "-c", 'cd "$0" && eval "$1"', folder or self.base / "checkout", line],
            env={"PATH": _PATH, "HOME": "/root" if user == "root" else "/", "LANG": "C.UTF-8", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=umask,
            text=True,
            errors="backslashreplace",
            timeout=120,
            check=False,
        )
        return Said(done.returncode, done.stdout)

    def does(self, line: str, **how: str) -> str:
        """What the line, which must succeed, says."""
        said = self.types(line, **how)  # type: ignore[arg-type]
        assert said.code == 0, f"{line}\nended with {said.code}:\n{said.text}"
        return said.text

    def keep_opt(self, target: Path) -> None:
        """What was installed below /opt lies in `target` and can be given to other servers."""
        subprocess.run(["cp", "-a", self.path(self.base / "opt/upper"), target], check=True, timeout=60)


@contextmanager
def running_server(opt: Path | None = None) -> Iterator[Server]:
    """A server with the checkout in it, and no key. Skips where there can be none.

    Nothing is installed but what `opt`, see Server.keep_opt, has.
    """
    needs_root()
    python = python_for_strangers("hatchling", "psycopg", "psycopg-binary")
    base = Path(tempfile.mkdtemp(prefix="watcher-tests-server-"))
    base.chmod(0o755)
    script = _BEGIN.format(laid_over=" ".join(_LAID_OVER), empty=" ".join(_EMPTY))
    with subprocess.Popen(
        [
            *(program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("--propagation", "private", "bash", "-c", script, base, opt or ""),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline() != "ready\n":
                missing(f"no namespaces or overlays can be had here: {holder.stderr.read().strip()}")
            (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
            server = Server(int(first), python, base)
            _furnish(server)
            yield server
        finally:
            holder.kill()
            base.rmdir()  # empty here: what was mounted on it is gone with the namespace


def _furnish(server: Server) -> None:
    """The checkout lies there, and the stand-ins are found before what they stand in for."""
    unwanted = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "dist", "build")
    shutil.copytree(PROJECT, server.checkout, ignore=unwanted, symlinks=True)
    programs = server.path("/usr/local/sbin")
    for name in ("systemctl", "journalctl"):
        words = [sys.executable, str(server.base / "checkout/tests/package/systemctl.py"), name]
        _script(programs / name, f'exec {shlex.join(words)} "$@"')


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


if __name__ == "__main__":  # for whoever wants to try the documents by hand
    with running_server() as here:
        os.system(f"nsenter --target={here.pid} --mount --pid bash -c 'cd {here.base}/checkout && exec bash'")
