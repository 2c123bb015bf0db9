"""Decode a recording only to hear it: how loud it is when, and whether there is any sound. In the child."""

from contextlib import closing
from typing import BinaryIO

from watcher.audio.raw import Raw
from watcher.journey.prepare.decoding import opened
from watcher.journey.prepare.made import Facts
from watcher.journey.prepare.quiet import WIDTHS, Levels, Listener
from watcher.journey.prepare.sound import Comparison, Silence


def listen(file: BinaryIO, raw: Raw | None = None) -> tuple[Facts, Levels]:
    """Return what the samples tell, and how loud they are. Refused where nothing can be decoded."""
    with closing(opened(file, raw)) as recording:
        pieces = recording.samples()
        first = next(pieces, b"")
        form, channels, rate = recording.form, recording.channels, recording.rate
        ear, silence, comparison = Listener(form, channels, rate), Silence(form, channels), Comparison(channels)
        samples, piece = 0, first
        while piece:
            samples += len(piece) // WIDTHS[form] // channels
            ear.hear(piece)
            silence.note(piece)
            comparison.note(piece, WIDTHS[form])
            piece = next(pieces, b"")
        facts = Facts(
            seconds=samples / rate,
            channels=channels,
            rate=rate,
            silent=silence.of_channels(),
            same_as=comparison.same_as(),
            damaged_packets=recording.damaged,
        )
    return facts, ear.levels()
