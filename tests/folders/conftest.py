"""What the folders' tests share: a place on a real disk, and people who own nothing of it."""

from tests.people import person, place, small_disk

__all__ = ["person", "place", "small_disk"]  # fixtures
