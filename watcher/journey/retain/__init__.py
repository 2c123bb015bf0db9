"""Last: what was filed is removed, when its time is over or a person wants it erased, and a tombstone stays.

    claim (commit)  →  tombstone, then removal  →  record (commit)

Everything outside the database can be repeated: after a crash the claim is still there, and is worked on again.
"""

from watcher.journey.retain.retention import Retention, sweep_claimed

__all__ = ["Retention", "sweep_claimed"]
