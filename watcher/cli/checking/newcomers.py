"""Check whether the daemon will be able to read, and move out, what others will put into the drop folder."""

import os
import stat
from collections.abc import Iterator

from watcher.accounts import describe_user, is_of_one, our_groups, user_name
from watcher.cli.checking.finding import Finding, warning, well
from watcher.cli.checking.subfolders import folders_below, is_open
from watcher.folders import Folder
from watcher.folders.acl import ALL, default_of
from watcher.folders.capability import CAP_DAC_OVERRIDE, has_capability
from watcher.ignore import Ignore
from watcher.mounts import resolve
from watcher.text import show_path
from watcher.views.context import CommandContext

_NAME = "newcomers"


def check_newcomers(context: CommandContext) -> Iterator[Finding]:
    """No finding if nobody else can drop, if we may do everything, or if the file system keeps no ACLs."""
    drop, us = context.drop, os.geteuid()
    if has_capability(CAP_DAC_OVERRIDE) or not _is_shared(drop.root, us):
        return
    try:
        default_of(resolve(drop.root))
    except OSError:
        return  # its mount decides who may do what
    folders = [b"", *folders_below(drop, Ignore(context.config.arrivals.ignore))]
    bare = [path for path in folders if not _gives_all(os.path.join(resolve(drop.root), path), us)]
    closed = [path for path in folders if path and not is_open(drop, path)]
    if not bare and not closed:
        yield well(
            _NAME, "folders and recordings that others create here can be read and moved, whatever their umask"
        )
        return
    yield warning(_NAME, "\n".join(_tell(drop, bare, closed, us)), _remedy(drop, us))


def _is_shared(root: bytes, us: int) -> bool:
    """Whether anybody else may put a file into it."""
    status = os.stat(root)
    if status.st_uid not in (0, us) or status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not is_of_one(status.st_gid, us)


def _gives_all(path: bytes, us: int) -> bool:
    """Whether we may read, write and search what others create in the folder, whatever their umask."""
    try:
        acl, status = default_of(path), os.stat(path)
    except OSError:
        return True  # closed to us, which has a finding of its own
    group = status.st_gid if status.st_mode & stat.S_ISGID else None  # else the maker's
    return acl is not None and acl.allows(us, our_groups(), None, group) == ALL


def _tell(drop: Folder, bare: list[bytes], closed: list[bytes], us: int) -> Iterator[str]:
    user = describe_user(us)
    if bare:
        where = drop.label(bare[0])
        others = f" (like {len(bare) - 1:,} more)" if len(bare) > 1 else ""
        yield (
            f"{where}{others} has no default ACL that gives {user} access to what others create. From a subfolder "
            "created with umask 022 no recording could be moved out; with umask 077 none could be read"
        )
    if closed:
        more = f" and {len(closed) - 1:,} more" if len(closed) > 1 else ""
        where = f"{show_path(closed[0])}{more} in the drop folder"
        yield f"{user} cannot read and write {where}: what is dropped there waits"


def _remedy(drop: Folder, us: int) -> str:
    name = user_name(us)
    return f"As root: setfacl -R -m u:{name}:rwX,d:u:{name}:rwX {drop.quoted()}"
