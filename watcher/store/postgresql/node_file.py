"""The file that stands for the database on this machine: it says on which site this node works."""

import json
import os
from contextlib import suppress
from pathlib import Path

from watcher.errors import StoreError
from watcher.store.local_files import create, refused_by_system, sync_folder


def read(path: Path) -> str:
    """The id of the site; "" where the file does not exist or has none yet. Raises StoreError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise refused_by_system(path, "it cannot be read", error) from error
    if not text:
        return ""
    with suppress(ValueError, TypeError, KeyError):
        site = json.loads(text)["site"]
        if isinstance(site, str):
            return site
    raise StoreError(
        f"{path}: it does not say on which site this node works",
        hint="Delete it: the next start writes it anew, from the drop folder's `.watcher`.",
    )


def write(path: Path, site: str) -> None:
    """Write the site's id, whole or not at all, and durably. Its owner stays, or is the folder's."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)  # of a process that was killed
        create(fresh, like=path if path.exists() else None)
        with fresh.open("w") as file:
            json.dump({"site": site}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise refused_by_system(path, "it cannot be written", error) from error
