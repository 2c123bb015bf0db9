"""A recording that is sent in five parts, and what these are."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from watcher.audio.riff import find_blocks
from watcher.audio.source import Source
from watcher.audio.synthesis import wav
from watcher.journey.prepare import wav_cut
from watcher.journey.prepare.made import Order

PARTS = 5
PART_BYTES = 15_000


@cache
def long_recording(seed: str) -> bytes:
    """A WAV of 61 KB, whole, that is sent in five parts where one may have PART_BYTES."""
    return wav(76.0, rate=800, codec="mulaw", seed=len(seed), note=seed.encode())


@cache
def parts_of(content: bytes) -> tuple[bytes, ...]:
    """What is sent in its stead: the same bytes whenever and however often it is made."""
    with TemporaryFile() as file, TemporaryDirectory() as name:
        file.write(content)
        file.flush()
        blocks = find_blocks(Source(file, len(content)))
        assert blocks is not None
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            made = wav_cut.cut(file, blocks, folder, Order("part", PART_BYTES)).made
        finally:
            os.close(folder)
        assert len(made) == PARTS
        return tuple(Path(name, part.name or "").read_bytes() for part in made)
