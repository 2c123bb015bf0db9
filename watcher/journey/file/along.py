"""What travels along: marker and sidecars lie beside their recording, under its name."""

from watcher.domain import Item
from watcher.errors import NameTaken, RecordingError
from watcher.folders import Folder, move, names_for
from watcher.journey.companions import companion_name


def move_companions(item: Item, source: Folder, target: Folder) -> None:
    """What came with the recording lies beside it in `target`; one that is gone is no matter.

    They follow the recording: with the database lost in between, one left behind in the drop folder is only
    an orphan, while a recording left behind would be an arrival.
    """
    filed_as = item.filed_as or item.path
    for companion in item.companions:
        beside = companion_name(companion, item.path, filed_as)
        here, there = (beside, companion) if target.name == "drop" else (companion, beside)
        for name in names_for(there, item.id):
            try:
                move(source, here, target, name, source.fingerprint(here))
            except NameTaken:
                continue
            except RecordingError:
                pass  # taken away, or moved before a crash
            break
