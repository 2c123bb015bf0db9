"""Check the subfolders of done/ and failed/: whether recordings can be filed there, and who can see them."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from watcher.accounts import describe_user
from watcher.cli.checking.finding import Finding, warning, well, wrong
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder
from watcher.folders.names import is_aside
from watcher.folders.rights import Lack
from watcher.ignore import Ignore
from watcher.mounts import resolve
from watcher.text import quote_path
from watcher.views.context import CommandContext

_FOLDERS_LOOKED_AT = 2_000
_ENTRIES_LOOKED_AT = 200_000
_NAMED = 3
_CLOSED = (OSError, FolderError, RecordingError)


def check_subfolders(context: CommandContext) -> Finding:
    """Whether recordings from each subfolder of the drop folder can be filed, and receipts there rewritten."""
    name = "subfolders"
    troubles: dict[str, str] = {}
    lack = Lack()
    ways = [path + b"/x" for path in folders_below(context.drop, Ignore(context.config.arrivals.ignore))]
    for folder in (context.done, context.failed):
        for path in folders_below(folder, None):
            if not is_open(folder, path):
                found = f"{folder.label(path)} cannot be read and written by {describe_user(os.geteuid())}"
                lack |= folder.lack(path, moving=False)
                troubles.setdefault(found, "")
        for path in ways:
            try:
                folder.check_takes(0, path)
            except (FolderError, RecordingError) as error:
                lacking = folder.lack(path, moving=False)
                lack |= lacking
                troubles.setdefault(error.message, "" if lacking else error.hint)
    if not troubles:
        return well(name, "recordings can be filed in all subfolders of done/ and failed/")
    shown = "\n".join([*list(troubles)[:_NAMED], *(["…"] if len(troubles) > _NAMED else [])])
    found = f"what belongs there waits until it can be filed:\n{shown}"
    return wrong(name, found, "\n".join(filter(None, [lack.remedy, *list(filter(None, troubles.values()))[:1]])))


def is_open(folder: Folder, path: bytes) -> bool:
    """Whether we may read, write and search this subfolder, however long its path is."""
    try:
        with folder.holder(path) as (here, name):
            return os.access(name, os.R_OK | os.W_OK | os.X_OK, dir_fd=here, effective_ids=True)
    except _CLOSED:
        return False


@contextmanager
def _opened(folder: Folder, path: bytes) -> Iterator[int]:
    """A descriptor of this subfolder, however long its path is; an empty path is the folder itself."""
    if not path:
        with folder.opened() as top:
            yield top
        return
    with folder.holder(path) as (here, name):
        opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    try:
        yield opened
    finally:
        os.close(opened)


def folders_below(folder: Folder, ignore: Ignore | None) -> Iterator[bytes]:
    """The paths of up to 2,000 subfolders, also of those that cannot be entered. No link is followed."""
    entries, left, found = 0, [b""], 0
    while left and found < _FOLDERS_LOOKED_AT and entries < _ENTRIES_LOOKED_AT:
        here = left.pop()
        with suppress(*_CLOSED), _opened(folder, here) as opened, os.scandir(opened) as listing:
            for entry in listing:
                entries += 1
                path = os.path.join(here, os.fsencode(entry.name))
                if is_aside(os.fsencode(entry.name)) or (ignore and ignore.matching(path)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    left.append(path)
                    found += 1
                    yield path


def check_privacy(folders: list[Folder]) -> Finding:
    """Whether all users of this machine can see what was filed: voices, names, telephone numbers."""
    name = "privacy"
    open_ones = [folder for folder in folders if _is_open_to_all(resolve(folder.root))]
    if not open_ones:
        return well(name, "only their owner and group can look into done/ and failed/")
    which = " and ".join(f"{folder.name}/" for folder in open_ones)
    roots = " ".join(quote_path(folder.root) for folder in open_ones)
    return warning(
        name,
        f"every user of this machine can look into {which}: voices, and names and numbers in file names",
        f"Close it to others: chmod o-rwx {roots} (and add those who may look to its group)",
    )


def _is_open_to_all(path: bytes) -> bool:
    """Whether a user who is neither its owner nor in its group can reach the folder and look into it."""
    wanted = stat.S_IROTH | stat.S_IXOTH
    with suppress(OSError):
        while os.stat(path).st_mode & wanted:
            if path == b"/":
                return True
            path, wanted = os.path.dirname(path), stat.S_IXOTH
    return False
