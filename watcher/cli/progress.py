"""How far a command has come, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from watcher.domain import FILED, UNDER_WAY, State
from watcher.outlet import Show, standard_error

if TYPE_CHECKING:
    from watcher.once import Progress as Passed


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


@contextmanager
def show_pass(*, verdicts: bool) -> Iterator[Callable[["Passed"], None]]:
    """Show a progress bar on a terminal; elsewhere the log is enough. `verdicts`: they are waited for, too."""
    console = Console(file=standard_error(), stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("filed", total=None, note="")
        at_first: dict[State, int] = {}
        most_awaited = 0

        def show(progress: "Passed") -> None:
            nonlocal most_awaited
            counts = progress.counts
            at_first.update({s: at_first.get(s, counts[s]) for s in FILED})
            filed = sum(counts[s] - at_first[s] for s in at_first)
            under_way = sum(counts[s] for s in UNDER_WAY)
            note = f"paused: {progress.paused}" if progress.paused else ""
            left = under_way + progress.settling
            most_awaited = max(most_awaited, progress.verdicts_awaited)
            if verdicts and most_awaited and not left:  # a full bar that stays would look stuck
                came = most_awaited - progress.verdicts_awaited
                description, completed, total = "waiting for verdicts", came, most_awaited
            else:
                description, completed, total = "filed", filed, filed + left
            bar.update(task, description=description, completed=completed, total=total, note=note)

        yield show
