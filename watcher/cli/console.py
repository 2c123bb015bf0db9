"""The console for tables. Who prints none does without rich, which takes a while to import."""

import os
import sys

from rich.console import Console


class _Console(Console):
    """rich's console, but a closed pipe is ours to handle; rich would exit."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def wide_console() -> Console:
    """A console on stdout for tables: as wide as the terminal, or without one wide enough for a row in a line."""
    return _Console(
        width=None if sys.stdout.isatty() else 200,
        soft_wrap=True,
        markup=False,
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",  # rich itself would still print bold
    )
