"""The files that come with a recording: a marker that says it is complete, and sidecars with metadata.

Pure: names only. A companion is never submitted; it moves with its recording, under that recording's name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from watcher.config import Arrivals as Settings
from watcher.domain import IN_DROP, Item
from watcher.extensions import is_recording_name
from watcher.folders import LONGEST, is_receipts_name, tokens_for, versions
from watcher.folders.names import RECEIPT

ORPHANED = "companion"
"""Why a marker or a sidecar waits."""


@dataclass(frozen=True, slots=True)
class Companions:
    """Which names are companions, and of which recordings."""

    marker: bytes  # ".done": name.wav waits for name.wav.done; empty for none
    sidecars: tuple[bytes, ...]  # ".xml": name.wav waits for name.xml

    @classmethod
    def of(cls, settings: Settings) -> "Companions":
        return cls(settings.marker.encode(), tuple(suffix.encode() for suffix in settings.sidecar))

    def is_one(self, path: bytes) -> bool:
        """Return whether a file of this name is a companion. Case does not matter."""
        name = path.lower()
        suffixes = (*self.sidecars, self.marker) if self.marker else self.sidecars
        return any(name.endswith(suffix.lower()) for suffix in suffixes)

    def markers_of(self, path: bytes) -> Iterator[bytes]:
        """Yield the names of a recording's marker; its suffix may be in either case."""
        if self.marker:
            yield path + self.marker

    def sidecars_of(self, path: bytes) -> Iterator[bytes]:
        """Yield the names of a recording's sidecars; their suffixes may be in either case."""
        yield from (stem_of(path) + sidecar for sidecar in self.sidecars)

    def recording_of(self, marker: bytes) -> bytes | None:
        """Return the recording that this is the marker of; None for a sidecar."""
        is_marker = self.marker and marker.lower().endswith(self.marker.lower())
        return marker[: -len(self.marker)] if is_marker else None

    def stems_of(self, sidecar: bytes) -> list[bytes]:
        """Return the possible stems of the sidecar's recording: two, where `.xml` and `.meta.xml` are sidecars."""
        name = sidecar.lower()
        return [sidecar[: -len(suffix)] for suffix in self.sidecars if name.endswith(suffix.lower())]

    def awaited(self) -> str:
        """Return what a recording waits for, in words."""
        words = [f"its marker (its name and {self.marker.decode()})"] if self.marker else []
        if self.sidecars:
            words.append("its sidecar (" + " or ".join(s.decode() for s in self.sidecars) + " with the same stem)")
        return " and ".join(words)


def companion_name(companion: bytes, recording: bytes, filed_as: bytes) -> bytes:
    """Return the name of a companion beside its recording filed under `filed_as`."""
    for old, new in ((recording, filed_as), (stem_of(recording), stem_of(filed_as))):
        if companion.startswith(old):
            return new + companion[len(old) :]
    return companion


def may_be_plain(companion: bytes) -> bool:
    """Return whether a companion may be filed under its plain name: not if a recording's receipt may need it."""
    return not (is_receipts_name(companion) and is_recording_name(companion[: -len(RECEIPT)]))


def names_beside(item: Item, companion: bytes, longest: int) -> list[bytes]:
    """Return every name that a filed recording's companion may have, in the order in which they were tried."""
    plain = companion_name(companion, item.path, item.filed_as or item.path)
    tokens = tokens_for(item.id, plain=True)
    names = ((token, one) for token in tokens for one in versions(plain, item.id, token, longest))
    return list(dict.fromkeys(one for token, one in names if token or may_be_plain(one)))


def companions_of(item: Item) -> set[bytes]:
    """Return every name that one of the item's companions may have, where its recording is now."""
    if item.state in IN_DROP:
        return set(item.companions)
    return {name for companion in item.companions for name in names_beside(item, companion, LONGEST)}


def without_token(stem: bytes) -> bytes:
    """Return the stem without the token that tells a filed file from another of its name, if it has one."""
    return _TOKEN.sub(b"", stem)


_TOKEN = re.compile(rb"~[0-9a-f]{6,16}$")


def stem_of(path: bytes) -> bytes:
    """Return the path without the last extension of its name."""
    folder, slash, name = path.rpartition(b"/")
    return folder + slash + (name.rpartition(b".")[0] or name)
