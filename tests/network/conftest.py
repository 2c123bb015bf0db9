"""What the scenarios share: one share for all of them, and for each folders of its own on it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.network.shares import IN_MACHINE, Share, make_share
from tests.places import KEY, Place
from tests.process.programs import CLOCK, Programs, wait_until
from watcher.sandbox import Sandbox

KIND = os.environ.get("WATCHER_SHARE", "")
PATIENCE_SECONDS = 240.0
"""The machine's own clock is right, but it computes ten times as slowly as others."""

SETTINGS: dict[str, dict[str, Any]] = {
    "limits": {"writes": [], "reads": []},
    "arrivals": {"settle_seconds": 0.5, "unclosed_seconds": 4, "rescan_seconds": 2},
    "retry": {"first_seconds": 0.5, "max_seconds": 2},
    "verdicts": {"first_seconds": 0.5, "max_seconds": 2},
}
"""No limits; quick where whole files are dropped."""


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Share]:
    """The share, mounted twice."""
    folder = tmp_path_factory.mktemp("share")
    folder.chmod(0o755)
    disk = Path("/mnt/disk")
    if KIND not in IN_MACHINE:
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    share = make_share(KIND, folder, disk)
    try:
        share.start()
        share.mount()
        yield share
    finally:
        share.close()
        if KIND not in IN_MACHINE:
            subprocess.run(["umount", "--lazy", disk], check=False)


@dataclass(frozen=True)
class Corner:
    """One scenario's own folder on the share, as each of those who see it has it."""

    share: Share
    name: str

    @property
    def client(self) -> Path:
        return self.share.client / self.name

    @property
    def other(self) -> Path:
        return self.share.other / self.name

    @property
    def server(self) -> Path:
        return self.share.server / self.name


@pytest.fixture
def corner(share: Share, request: pytest.FixtureRequest) -> Corner:
    """Folders drop, done and failed on the share, which everybody may write; both mounts are well."""
    for point in (share.client, share.other):
        if not point.is_mount():
            share.mount(point)
    made = Corner(share, "".join(c if c.isalnum() else "-" for c in request.node.name))
    for name in ("", "drop", "done", "failed"):
        (made.server / name).mkdir()
        (made.server / name).chmod(0o777)
    return made


@pytest.fixture
def service() -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as running:
        yield running


MakeSite = Callable[..., Place]


@pytest.fixture
def make_site(tmp_path: Path, corner: Corner, service: Sandbox) -> MakeSite:
    """A site with its database on this machine, and its folders on the share as one of its clients has it."""

    def make(name: str = "site", *, at: Path | None = None, only_drop: bool = False, **settings: Any) -> Place:
        root = tmp_path / name
        root.mkdir()
        base = at or corner.client
        folders = {"drop": str(base / "drop")}
        if not only_drop:
            folders |= {"done": str(base / "done"), "failed": str(base / "failed")}
        # A client may have looked before they were made, and keep for a while that there is nothing.
        wait_until(lambda: all(map(os.path.isdir, folders.values())), f"{base} has its folders")
        tables = {one: SETTINGS.get(one, {}) | settings.get(one, {}) for one in SETTINGS | settings}
        return Place(root, service.url, CLOCK, folders=folders, **tables)

    return make


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Programs]:
    """Starts the real program; nothing that it started outlives the test."""
    programs = Programs(tmp_path / "programs")
    yield programs
    programs.close()
