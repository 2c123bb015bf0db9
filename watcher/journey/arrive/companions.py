"""The files that come with a recording: a marker that says it is ready, and sidecars with what is known of it.

Pure: names only. A companion is never submitted; it travels with its recording, under that one's name.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from watcher.config import Arrivals as Settings
from watcher.domain import IN_DROP, Item
from watcher.extensions import is_recording_name
from watcher.folders import LONGEST, is_receipts_name, tokens_for, versions
from watcher.folders.names import RECEIPT


@dataclass(frozen=True, slots=True)
class Companions:
    """Which names are companions, and of what."""

    marker: bytes  # ".done": name.wav waits for name.wav.done; empty for none
    sidecars: tuple[bytes, ...]  # ".xml": name.wav waits for name.xml

    @classmethod
    def of(cls, settings: Settings) -> "Companions":
        return cls(settings.marker.encode(), tuple(suffix.encode() for suffix in settings.sidecar))

    def is_one(self, path: bytes) -> bool:
        """Whether a file of this name is no recording but comes with one. Case does not matter."""
        name = path.lower()
        suffixes = (*self.sidecars, self.marker) if self.marker else self.sidecars
        return any(name.endswith(suffix.lower()) for suffix in suffixes)

    def markers_of(self, path: bytes) -> Iterator[bytes]:
        """The names that a recording's marker may have, its ending in either case."""
        if self.marker:
            yield path + self.marker

    def sidecars_of(self, path: bytes) -> Iterator[bytes]:
        """The names that a recording's sidecars may have, their endings in either case."""
        yield from (stem_of(path) + sidecar for sidecar in self.sidecars)

    def recording_of(self, marker: bytes) -> bytes | None:
        """The recording that this is the marker of; null where it is a sidecar."""
        is_marker = self.marker and marker.lower().endswith(self.marker.lower())
        return marker[: -len(self.marker)] if is_marker else None

    def stems_of(self, sidecar: bytes) -> list[bytes]:
        """The stems that a recording may have which this comes with: more than one for `.xml` and `.meta.xml`."""
        name = sidecar.lower()
        return [sidecar[: -len(suffix)] for suffix in self.sidecars if name.endswith(suffix.lower())]

    def awaited(self) -> str:
        """What a recording waits for, in words."""
        words = [f"its marker (its name and {self.marker.decode()})"] if self.marker else []
        if self.sidecars:
            words.append("its sidecar (" + " or ".join(s.decode() for s in self.sidecars) + " with the same stem)")
        return " and ".join(words)


def companion_name(companion: bytes, recording: bytes, filed_as: bytes) -> bytes:
    """The name under which a companion lies beside a recording that was filed under `filed_as`."""
    for old, new in ((recording, filed_as), (stem_of(recording), stem_of(filed_as))):
        if companion.startswith(old):
            return new + companion[len(old) :]
    return companion


def may_be_plain(companion: bytes) -> bool:
    """Whether a companion may be filed under its plain name: not where a recording's receipt would have that."""
    return not (is_receipts_name(companion) and is_recording_name(companion[: -len(RECEIPT)]))


def names_beside(item: Item, companion: bytes, longest: int) -> list[bytes]:
    """Every name that the companion of a filed recording may have beside it, as they were tried."""
    plain = companion_name(companion, item.path, item.filed_as or item.path)
    tokens = tokens_for(item.id, plain=True)
    names = ((token, one) for token in tokens for one in versions(plain, item.id, token, longest))
    return list(dict.fromkeys(one for token, one in names if token or may_be_plain(one)))


def companions_of(item: Item) -> set[bytes]:
    """Every name that one of its markers and sidecars may have, where the recording itself lies."""
    if item.state in IN_DROP:
        return set(item.companions)
    return {name for companion in item.companions for name in names_beside(item, companion, LONGEST)}


def stem_of(path: bytes) -> bytes:
    """The path without the last extension of its name."""
    folder, slash, name = path.rpartition(b"/")
    return folder + slash + (name.rpartition(b".")[0] or name)
