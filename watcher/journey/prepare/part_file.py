"""Write a part into its folder: it is there whole under its name, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from watcher.folders import disk


@dataclass(slots=True)
class Draft:
    """A part that is being written; it gets `name` at the end, and is removed if there is none."""

    opened: int
    name: str | None = None


@contextmanager
def writing(folder: int) -> Iterator[Draft]:
    """Create a hidden file; once the block ends, sync it and give it its name. Removed if that fails. OSError.

    What had the name is replaced: it can only be the same part, made before a crash.
    """
    with disk.draft(folder) as (opened, hidden):
        draft = Draft(opened)
        yield draft
        if draft.name is None:
            os.unlink(hidden, dir_fd=folder)
        else:
            os.fsync(opened)
            os.rename(hidden, draft.name, src_dir_fd=folder, dst_dir_fd=folder)
    disk.sync(folder)
