"""Examine a recording: its container, its codec, its length, and whether all of it is there."""

from watcher.audio.examination import Completeness, Examination
from watcher.audio.recognition import examine

__all__ = ["Completeness", "Examination", "examine"]
