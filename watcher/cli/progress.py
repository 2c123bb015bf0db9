"""How far a command has come, on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from watcher.outlet import Show, standard_error


@contextmanager
def show_progress() -> Iterator[Show]:
    """Show on standard error, if that is a terminal, what is being done and how much of it is."""
    console = Console(file=standard_error(), stderr=True)
    if not console.is_terminal:
        yield lambda _what, _number, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False, count="")

        def show(what: str, number: int, total: int | None) -> None:
            count = f"{number:,}" if total is None else f"{number:,} of {total:,}"
            bar.update(task, description=what, completed=number, total=total, visible=True, count=count)

        yield show
