"""Two consoles and one progress bar."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

WIDTH = 100  # columns that a table may take; a pipe would get 80
console = Console()  # results
log = Console(stderr=True)  # progress and remarks


class Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """The rate so far, blank until there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


def bar(items: Iterable[T], total: int | None, what: str | Callable[[], str]) -> Iterator[T]:
    """The items as they come, with a bar on stderr: count, rate, time spent and, if `total` is known, time left.

    Where stderr is no terminal (a log file), one line at the end instead.
    """
    describe: Callable[[], str] = what if callable(what) else lambda: what
    if not log.is_terminal:
        done = 0
        for done, item in enumerate(items, 1):  # noqa: B007
            yield item
        log.print(f"{describe()}: {done:,} done")
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log) as progress:
        task = progress.add_task(describe(), total=total)
        for item in items:
            yield item
            progress.update(task, advance=1, description=describe())
