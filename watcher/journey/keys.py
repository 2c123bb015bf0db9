"""The key in use: reread while it does not work, and on request. A new key needs no restart."""

import threading
from collections.abc import Callable

from watcher import logs
from watcher.config import Config
from watcher.errors import ConfigError
from watcher.identifai.client import Client
from watcher.journey.loaded_settings import note_key
from watcher.journey.site import Site
from watcher.key import Key

_log = logs.get_logger(__name__)

FindKey = Callable[[Config], Key]


class Keys:
    """The key that the client uses, and where it was read from. Thread-safe.

    A key that was replaced stays redacted as long as the program runs: answers to it may still come.
    """

    def __init__(self, site: Site, client: Client, key: Key, find: FindKey | None) -> None:
        """`find` reads the key; None: it is never reread."""
        self._site = site
        self._client = client
        self._find = find
        self._lock = threading.Lock()
        self._told = ""
        self._past: list[Key] = []
        self.key = key

    def renew(self) -> bool:
        """Reread the key. Return whether it is a different one.

        What is not a key is logged once, and the key read before stays in use.
        """
        if self._find is None:
            return False
        with self._lock:
            try:
                found = self._find(self._site.config)
            except ConfigError as error:
                self._refuse(error)
                return False
            self._told = ""
            before, self.key = self.key, found
            if found.stamp != before.stamp:
                note_key(self._site, found)
            if found.reveal() == before.reveal():
                return False
            self._past.append(before)
            self.protect()
            self._client.renew(found)
        _log.info("key.renewed", source=found.source, before=before.source)
        if found.warning:
            _log.warning("key.exposed", reason=found.warning)
        return True

    def protect(self) -> None:
        """Set up the log as configured now, with this key and all earlier ones redacted."""
        log = self._site.config.log
        logs.adjust(log.format, log.level, [self.key, *self._past], self._site.config.veil)

    def _refuse(self, error: ConfigError) -> None:
        if error.message != self._told:
            self._told = error.message
            hint = f"The key read before stays in use. {error.hint}"
            _log.warning("key.refused", reason=error.message, hint=hint)
