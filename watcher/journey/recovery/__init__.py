"""Rebuild what a lost database knew, from the receipts, the spool and the journal of answers."""

from watcher.journey.recovery.rebuilding import Found, Rebuilding, check_marks
from watcher.journey.recovery.testimony import Left, owners_trusted

__all__ = ["Found", "Left", "Rebuilding", "check_marks", "owners_trusted"]
