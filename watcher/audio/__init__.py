"""Examine a recording: its container, its codec, its length, and whether all of it is there."""

from watcher.audio.examination import Completeness, Examination
from watcher.audio.raw import Raw
from watcher.audio.recognition import examine
from watcher.audio.refusal import conversion

__all__ = ["Completeness", "Examination", "Raw", "conversion", "examine"]
