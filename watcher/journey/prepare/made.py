"""What is made of a recording: which stretch of it each part holds, and what proves it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

from watcher.audio.raw import Raw
from watcher.text import JsonObject

Channels = Literal["together", "apart", "first", "second"]
"""Which channels are asked about: all in one, each by itself, or only one."""

How = Literal["remux", "cut", "copy", "flac"]
"""Another container with the same packets; blocks of a WAV; packets, in several parts; FLAC of the samples."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    `stem`: parts are named `<stem>-<index>.<extension>`. `spans`: make exactly these again, None: choose them.
    `indices`: write only these of them, None: all that have sound. Parts beyond `keep_bytes` in all, but never the
    first, are made, measured and removed again.
    """

    stem: str
    max_bytes: int
    channels: Channels = "together"
    spans: "tuple[Span, ...] | None" = None
    indices: tuple[int, ...] | None = None
    keep_bytes: int | None = None
    raw: Raw | None = None

    def asks_for(self, span: "Span") -> bool:
        """Return whether this part is to be written now."""
        return not span.silent and (self.indices is None or span.index in self.indices)

    def name(self, span: "Span", extension: str) -> str:
        return f"{self.stem}-{span.index}{extension}"

    def keeps(self, made: "Sequence[Made]", size: int) -> bool:
        """Return whether there is room for one more part, after these."""
        kept = sum(one.size for one in made if one.name is not None)
        return self.keep_bytes is None or not made or kept + size <= self.keep_bytes

    @classmethod
    def of(cls, told: JsonObject) -> Self:
        """Return what `as_json` wrote. KeyError, TypeError."""
        plain = {name: told[name] for name in cls.__slots__}
        spans, indices, raw = plain.pop("spans"), plain.pop("indices"), plain.pop("raw")
        return cls(
            spans=tuple(map(Span.of, spans)) if isinstance(spans, list | tuple) else None,
            indices=tuple(indices) if isinstance(indices, list | tuple) else None,
            raw=Raw(**raw) if isinstance(raw, dict) else None,
            **plain,
        )

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Span:
    """One part of a recording before it is made. The same spans give the same bytes, with the same decoder.

    `start` and `end` count blocks of a cut, packets of a copy, samples of a FLAC. One that is silent is not made.
    """

    index: int  # from 1, over all channels
    channel: int | None  # from 0; None: all together
    start: int
    end: int
    start_seconds: float
    end_seconds: float
    silent: bool

    @classmethod
    def of(cls, told: JsonObject) -> Self:
        """Return the span that `as_json` wrote. KeyError, TypeError."""
        return cls(**{name: told[name] for name in cls.__slots__})

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Made:
    """A part that was made and read back. It lies in its folder, whole and synced; not if its name is None."""

    span: Span
    name: str | None
    how: How
    sha256: str
    size: int
    media_type: str
    extension: str
    proof: JsonObject  # {"of": "blocks"|"packets"|"pcm", "sha256": of that, "decoder": text or null, …}

    @classmethod
    def of(cls, told: JsonObject) -> Self:
        """Return what `as_json` wrote. KeyError, TypeError."""
        plain = {name: told[name] for name in cls.__slots__ if name != "span"}
        return cls(span=Span.of(told["span"]), **plain)

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Facts:
    """What only the samples or the packets can tell about a recording. None: it was not looked at."""

    seconds: float
    channels: int
    rate: int
    silent: tuple[bool, ...] | None = None  # for each channel, whether it has no sound
    same_as: tuple[int, ...] | None = None  # for each channel, the first one with exactly its samples
    damaged_packets: int = 0  # that could not be decoded

    @property
    def has_sound(self) -> bool | None:
        """Whether any channel has sound; None where nobody listened."""
        return None if self.silent is None else not all(self.silent)

    def is_silent(self, channel: int | None) -> bool:
        """Return whether this channel, or for None every one, is known to have no sound."""
        if self.silent is None:
            return False
        return all(self.silent) if channel is None else self.silent[channel]

    def distinct(self, wanted: list[int | None]) -> list[int | None]:
        """Return those of the channels that no earlier one of them equals."""
        first = self.same_as
        return [
            one for one in wanted if one is None or first is None or first[one] not in wanted or first[one] == one
        ]

    @classmethod
    def of(cls, told: JsonObject) -> Self:
        """Return what `as_json` wrote. KeyError, TypeError."""
        plain = {name: told[name] for name in cls.__slots__}
        for name in ("silent", "same_as"):
            found = plain[name]
            plain[name] = tuple(found) if isinstance(found, list | tuple) else None
        return cls(**plain)

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All parts that a recording falls into, and those of them that were made now."""

    facts: Facts
    spans: tuple[Span, ...]
    made: tuple[Made, ...]

    @classmethod
    def of(cls, told: JsonObject) -> Self:
        """Return what `as_json` wrote. KeyError, TypeError."""
        facts, spans, made = told["facts"], told["spans"], told["made"]
        return cls(Facts.of(facts), tuple(map(Span.of, spans)), tuple(map(Made.of, made)))

    def as_json(self) -> JsonObject:
        return asdict(self)


def wanted_channels(channels: Channels, count: int) -> list[int | None]:
    """Return the channels to be sent each by itself; [None] for all in one. A mono recording has only one."""
    if channels == "together" or count == 1:
        return [None]
    return list(range(count)) if channels == "apart" else [0 if channels == "first" else 1]
