"""A place to work in: three folders, a configuration, a sandbox, and the journey through them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from tests.clock import FalseClock
from watcher import composition, once
from watcher.audio.synthesis import wav
from watcher.clock import Clock
from watcher.config import Config, load
from watcher.domain import Item, Pause, State, Verdict
from watcher.key import Key
from watcher.sandbox import Sandbox
from watcher.store import Books, Store
from watcher.text import JsonObject

KEY = "a-key-for-tests"

REFUSED: dict[str, Any] = {
    "kind": "status",
    "status": 400,
    "body": {"error": "The uploaded file format is not supported."},
}
"""The sandbox's fault that is the service's verdict on a recording, in its documented words."""


def _toml(value: object) -> str:
    """JSON is TOML, but for tables in lists."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


class Place:
    """One site on a real disk. `root` holds drop/, done/, failed/, config.toml and the database."""

    config_name = "config.toml"
    usual: ClassVar[dict[str, dict[str, Any]]] = {}
    """What the configuration has where nothing else is said."""

    def __init__(self, root: Path, url: str, clock: Clock | None = None, **settings: dict[str, Any]) -> None:
        self.root = root
        self.clock = clock or FalseClock()
        self.url = url
        for name in ("drop", "done", "failed"):
            (root / name).mkdir(exist_ok=True)
        self.configure(**settings)

    def configure(self, **settings: dict[str, Any]) -> None:
        """The configuration is the defaults with these sections changed; a URL of our own."""
        tables = {name: {**self.usual.get(name, {}), **settings.get(name, {})} for name in self.usual | settings}
        tables.setdefault("identifai", {}).setdefault("base_url", self.url)
        lines = []
        for name, section in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in section.items()]
        self.config_path.write_text("\n".join(lines) + "\n")

    @property
    def config_path(self) -> Path:
        return self.root / self.config_name

    @property
    def config(self) -> Config:
        return load(self.config_path)

    # What people do

    def drop(self, path: str | bytes, content: bytes | None = None) -> Path:
        """A recording lies in the drop folder, whole."""
        target = Path(os.fsdecode(os.path.join(os.fsencode(self.root / "drop"), os.fsencode(path))))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(speech(str(path)) if content is None else content)
        return target

    def retry(self, path: str) -> None:
        """A person asked for another try of this failed recording."""
        with self.books() as books:
            item = self.item_in(books, path)
            books.items.change(item, State.RETURNING, self.clock.now(), retried=True)

    def run_once(self, *, verdicts: bool = False, seconds: float = 600.0) -> once.Outcome:
        """One pass over what is there, which waits so long for its verdicts."""
        with self.opened(once=True) as journey:
            return once.run_once(journey, verdict_seconds=seconds if verdicts else None)

    @contextmanager
    def opened(self, *, once: bool = False) -> Iterator[composition.Journey]:
        with composition.opened(self.config, Key(KEY, "the tests"), self.clock, once=once) as journey:
            yield journey

    # What can be seen afterwards

    @contextmanager
    def books(self) -> Iterator[Books]:
        url, local, account = _store(self.config_path, self.config_path.read_bytes())
        with Store(url, local, account=account) as store, store.writing() as books:
            yield books

    def items(self) -> dict[str, Item]:
        with self.books() as books:
            return {os.fsdecode(item.path): item for item in books.items.listed()}

    def states(self) -> dict[str, State]:
        return {path: item.state for path, item in self.items().items()}

    def item(self, path: str) -> Item:
        return self.items()[path]

    def verdict(self, path: str) -> Verdict | None:
        with self.books() as books:
            return books.verdicts.get(self.item_in(books, path).identifier)

    def item_in(self, books: Books, path: str) -> Item:
        item = books.items.latest_at(os.fsencode(path))
        assert item is not None, path
        return item

    def pauses(self) -> list[Pause]:
        with self.books() as books:
            return books.pauses.active()

    def receipt(self, path: str) -> JsonObject:
        """The receipt at this path relative to the place, as in `done/a.wav.json`."""
        receipt: JsonObject = json.loads((self.root / path).read_bytes())
        return receipt

    def files(self) -> set[str]:
        """Every file in the three folders, but the daemon's own hidden ones."""
        return {
            str(path.relative_to(self.root))
            for name in ("drop", "done", "failed")
            for path in (self.root / name).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@lru_cache(maxsize=64)
def _store(path: Path, content: bytes) -> tuple[str, Path, str]:
    """What this configuration of this content names: a test asks the database again and again."""
    config = load(path)
    return config.store.url, config.books, config.identifai.payer


@lru_cache(maxsize=256)
def speech(seed: str = "speech", *, seconds: float = 4.0, note: bytes = b"") -> bytes:
    """A recording that is whole, of its own content for each seed."""
    return wav(seconds, seed=sum(seed.encode()) * 1000 + len(seed), note=note + f" {seed}".encode())


@contextmanager
def sandbox(clock: Clock | None = None, **settings: Any) -> Iterator[Sandbox]:
    """The service's stand-in, on the tests' clock."""
    with Sandbox(KEY, clock=clock, **settings) as service:
        yield service
