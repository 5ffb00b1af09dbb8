"""Two consoles, and how far a long job is: a bar in a terminal, a line now and then in a file."""

import time
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

from cxremb.cli.output import visible

T = TypeVar("T")

MEANS = 3  # seconds from which on a rate says something: the first items come from caches, or all at once
EVERY = 30  # seconds between two lines in a file
console = Console()  # results
log = Console(stderr=True)  # progress and remarks


class Doing(ProgressColumn):
    """What is being done and waited for, asked for as often as the bar is drawn: one item may take minutes."""

    def __init__(self, describe: Callable[[], str]) -> None:
        super().__init__()
        self.describe = describe

    def render(self, task: Task) -> Text:
        """The words of now."""
        return Text(self.describe())


class Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """The rate since the start, blank as long as it means nothing."""
        return Text(rate(task.completed, task.elapsed or 0.0), style="cyan")


def rate(done: float, seconds: float) -> str:
    """Items per second, or seconds of an item that takes longer; nothing before a few seconds are over."""
    if seconds < MEANS or not done:
        return ""
    speed = done / seconds
    return f"{1 / speed:,.1f} s each" if speed < 1 else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def bar(items: Iterable[T], total: int | None, what: str | Callable[[], str]) -> Iterator[T]:
    """The items as they come, with a bar on stderr: count, rate, time spent and, if `total` is known, time left.

    The bar is gone when they are done, or when nobody asks for more. Where stderr is no terminal (a log file), a line
    every half minute instead, and one at the end.
    """

    def describe() -> str:
        return visible(what() if callable(what) else what)

    if not log.is_terminal:
        yield from logged(items, total, describe)
        return
    columns = (
        SpinnerColumn(),
        Doing(describe),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log, transient=True, expand=True) as progress:
        task = progress.add_task("", total=total)
        for item in items:
            yield item
            progress.advance(task)


def logged(items: Iterable[T], total: int | None, describe: Callable[[], str]) -> Iterator[T]:
    """The items, with a line every `EVERY` seconds while they come, and one when all are done."""
    done, start = 0, time.monotonic()
    last = start
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            log_line(describe(), done, total, now - start)
    log.print(f"{describe()}: {done:,} done", markup=False, highlight=False, soft_wrap=True)


def log_line(what: str, done: int, total: int | None, seconds: float) -> None:
    """How far a job is, for a file: how many of how many, the rate, and how long the others will take."""
    of = "" if total is None else f" of {total:,}"
    remaining = "" if total is None else f", {seconds / done * (total - done):,.0f} s to go"
    speed = f", {found}" if (found := rate(done, seconds)) else ""
    log.print(f"{what}: {done:,}{of}{speed}{remaining}", markup=False, highlight=False, soft_wrap=True)
