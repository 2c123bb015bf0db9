"""Fourth: move the recording from the drop folder to done/ or failed/, with its receipt beside it.

    claim (the state filing, its destination committed)  →  receipt, then durable move  →  record (commit)

The receipt comes first: a recording in done/ or failed/ always has one. Both effects are idempotent, so after a
crash between any two of these the step is simply repeated.
"""

from watcher.journey.file.filing import Filing

__all__ = ["Filing"]
