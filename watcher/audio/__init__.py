"""What a recording is: its container, its codec, how long it is, and whether all of it is there."""

from watcher.audio.examination import Completeness, Examination
from watcher.audio.recognition import examine

__all__ = ["Completeness", "Examination", "examine"]
