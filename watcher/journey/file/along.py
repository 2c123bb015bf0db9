"""What travels along: marker and sidecars lie beside their recording, under its name."""

from watcher import logs
from watcher.domain import Item, show_path
from watcher.errors import FolderFull, NameTaken, RecordingError, RecordingGone, RecordingUnreachable
from watcher.folders import Folder, move, tokens_for
from watcher.journey.companions import companion_name, may_be_plain, names_beside
from watcher.journey.site import Site

_log = logs.get_logger(__name__)


def move_companions(site: Site, item: Item, source: Folder, target: Folder) -> list[str]:
    """What came with the recording lies beside it in `target`; one that is gone is no matter.

    They follow the recording: with the database lost in between, one left behind in the drop folder is only
    an orphan, while a recording left behind would be an arrival. One that cannot be moved stays where it is,
    or its recording would never be done: what is to be said of it is returned.
    """
    left: list[str] = []
    for companion in item.companions:
        if target is site.drop:
            here, there = _find(source, item, companion), companion
        else:
            here, there = companion, companion_name(companion, item.path, item.filed_as or item.path)
        for token in tokens_for(item.id, plain=True):
            name = site.acceptance.fit(target, there, item.id, token)
            if not token and target is not site.drop and not may_be_plain(name):
                continue
            try:
                move(source, here, target, name, source.fingerprint(here), alone=target is site.done)
            except NameTaken:
                continue
            except (FolderFull, RecordingUnreachable) as error:
                left.append(
                    f"{show_path(here)} came with it, and stayed in the {source.name} folder: {error.message}."
                )
                _log.warning("companion.left", item=item.id, path=here, reason=error.message, hint=error.hint)
            except RecordingError:
                pass  # taken away, or moved before a crash
            break
    return left


def _find(folder: Folder, item: Item, companion: bytes) -> bytes:
    """Where the companion lies in the folder: under its plain name if under none of those that it may have had."""
    names = names_beside(item, companion, folder.names_at(companion)[1])
    for name in names:
        try:
            folder.fingerprint(name)
        except RecordingGone:
            continue
        except RecordingError:
            pass
        return name
    return names[0]
