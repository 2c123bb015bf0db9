"""What the running daemon has read, so that commands can tell when it has changed on the disk since."""

import os
from collections.abc import Sequence
from typing import cast

from watcher.config import Config
from watcher.journey.site import Site
from watcher.key import Key, KeyStamp
from watcher.store import Books

_FACT = "daemon.read"
_KEY_FACT = "daemon.read.key"


def note_loaded(site: Site, key: Key, needs_restart: Sequence[str] = ()) -> None:
    """Record which configuration this process has read, and which key file."""
    config = site.config
    fact = {
        "path": os.fspath(config.path),
        "digest": config.digest,
        "needs_restart": list(needs_restart),
    }
    with site.store.writing() as books:
        if (before := books.site.join(config.identifai.payer)) is not None:
            books.verdicts.bring_from(before)
        if books.site.get(_FACT) != fact:
            books.site.put(_FACT, fact)
    note_key(site, key)


def note_key(site: Site, key: Key) -> None:
    """Record which key file was read last; nothing of the key itself."""
    stamp = None if key.stamp is None else list(key.stamp)
    with site.store.reading() as books:
        is_known = books.site.get(_KEY_FACT) == stamp
    if not is_known:
        with site.store.writing() as books:
            books.site.put(_KEY_FACT, stamp)


def find_outdated(config: Config, fact: dict[str, object] | None) -> list[str]:
    """Return, in sentences, what has changed on the disk since the running daemon read it."""
    if fact is None or fact.get("path") != os.fspath(config.path):
        return []
    said = []
    if fact["digest"] != config.digest:
        said.append(
            "The configuration was changed after the daemon read it: reload it with `systemctl reload watcher`, "
            "or SIGHUP."
        )
    elif needs_restart := cast("list[str]", fact["needs_restart"]):
        said.append(
            f"Changed in the configuration, but only read at a start: {', '.join(needs_restart)}. "
            "Restart the daemon (`systemctl restart watcher`)."
        )
    stamp = fact["key"]
    if isinstance(stamp, list) and not KeyStamp(*stamp).still_holds():
        said.append(
            "The key file was changed after the daemon read it: reload it with `systemctl reload watcher`, or "
            "SIGHUP."
        )
    return said


def read_loaded(books: Books) -> dict[str, object] | None:
    """Return what the daemon recorded; None where none has."""
    fact: dict[str, object] | None = books.site.get(_FACT)
    return None if fact is None else fact | {"key": books.site.get(_KEY_FACT)}
