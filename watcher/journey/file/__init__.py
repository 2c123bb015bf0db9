"""Fourth: the recording leaves the drop folder for done/ or failed/, with its receipt beside it.

    claim (the state filing, its destination committed)  →  receipt, then durable move  →  record (commit)

The receipt comes first: a recording in done/ or failed/ always has one. Both effects are idempotent, so a
crash between any two of them leaves nothing to do but this step again.
"""

from watcher.journey.file.filing import Filing

__all__ = ["Filing"]
