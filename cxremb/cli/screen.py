"""Text and tables on stdout, no wider than the screen and no word broken: a line goes on below, a table in two."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from rich.console import Console

from cxremb.cli.output import visible
from cxremb.cli.pasted import addressed
from cxremb.cli.progress import console, log
from cxremb.table import Table, with_columns

PIPE = 80  # columns where nobody says how many there are
WITHIN = re.compile(r" (?=\[[-+.\d]+, [-+.\d]+\])|(?<=\d,) (?=[-+.\d]+\])")  # spaces of .912 [.901, .922]
COMMAND = re.compile(r"`[^`]+`")
LITERAL = re.compile(r"'[^']*'")  # a word of a shell, or a text in SQL: its spaces are its own
HARD = "\N{NO-BREAK SPACE}"
INDENT = 2  # of what goes on in another line
NAMES = 24  # columns that names of rows may take beside figures that do not all fit


@dataclass(frozen=True)
class Columns:
    """Where the cells of a table stand."""

    widths: Sequence[int]
    left: Sequence[bool]  # whether they begin at the left
    gap: int  # spaces between two columns
    columns: int  # of the screen


def width() -> int:
    """Columns of the terminal, or of $COLUMNS; asked each time, since a window changes its size."""
    return shutil.get_terminal_size((PIPE, 24)).columns


def say(text: str = "", style: str = "", *, below: int | None = None) -> None:
    """Text on stdout, as it is but for its ends of lines: words, paths and brackets stay whole.

    below: the column in which a line goes on; two behind its first word, if left out.
    """
    for line in addressed(text).split("\n"):
        for part in folded(line, width(), below):
            put(part, style)


def remark(text: str, style: str = "") -> None:
    """Text on stderr: in a terminal as `say`, in a file a line is whole, for who looks for it there."""
    for line in addressed(text).split("\n"):
        for part in folded(line, width()) if log.is_terminal else [line]:
            put(part, style, log)


def folded(line: str, columns: int, below: int | None = None) -> list[str]:
    """The lines that `line` takes in so many columns: broken at spaces, the others set in."""
    start = len(line) - len(line.lstrip()) + INDENT if below is None else below
    return (len(line) > columns and broken(line, columns, start)) or [line.replace(HARD, " ")]


def say_commands(commands: Sequence[str], heading: str = "  ", style: str = "") -> None:
    """Commands on stdout, to be copied, the heading before the first: one that takes several lines is one for a shell.

    A line may end between words, with a backslash, or between words of SQL in double quotes, for which it is a space.
    """
    for place, text in enumerate(commands):
        start = heading if place == 0 else " " * len(heading)
        whole = LITERAL.sub(lambda found: found.group().replace(" ", HARD), text)
        *lines, last = folded(start + whole, width() - len(" \\"), len(heading) + INDENT)
        quotes = 0
        for line in lines:
            quotes += LITERAL.sub("", line).count('"')
            put(line if quotes % 2 else f"{line} \\", style)
        put(last, style)


def put(line: str, style: str, to: Console = console) -> None:
    """One line, as it is but for what a terminal would obey."""
    to.print(visible(line), style=style, markup=False, highlight=False, soft_wrap=True, emoji=False)


def show_table(table: Table) -> None:
    """A table on stdout."""
    for text, style in drawn(table, width()):
        put(text, style)


def fits(table: Table) -> bool:
    """Whether each row of a table takes one line."""
    return sum(natural(table, place) + 1 for place in range(len(table.headings))) - 1 <= width()


def drawn(table: Table, columns: int) -> Iterator[tuple[str, str]]:
    """(line, style) of a table in so many columns.

    What is too wide gives way in this order: space between columns, columns of words, the names of the rows (a long one
    gets a line of its own, with its figures below); then figures go into a second table below.
    """
    widths = [natural(table, place) for place in range(len(table.headings))]
    figures = len(widths) - 1
    gap = 2 if sum(widths) + 2 * figures <= columns else 1
    room = columns - gap * figures
    shrink(table, widths, room)
    if sum(widths) > room:
        names = (len(row[0]) for row in (table.headings, *table.rows))
        widths[0] = max((name for name in names if name <= room - sum(widths[1:])), default=INDENT)
    if sum(widths) <= room or figures < 2:
        for place in table.prose:  # words that are longer than all there is stand on lines of their own
            widths[place] = min(widths[place], max(1, room - sum(widths) + widths[place]))
        yield from ruled(table, Columns(widths, table.from_left, gap, columns))
        return
    many = fitting_columns(widths, columns)
    yield from drawn(with_columns(table, range(many)), columns)
    yield "", ""
    yield from drawn(without_last_blanks(with_columns(table, [0, *range(many, len(widths))])), columns)


def without_last_blanks(table: Table) -> Table:
    """The table less the rows at its end of which nothing but the name is said: the table above has their figures."""
    last = max((number for number, row in enumerate(table.rows, 1) if any(row[1:])), default=0)
    return replace(table, rows=table.rows[:last], lines=[line for line in table.lines if line < last])


def natural(table: Table, place: int) -> int:
    """Columns that one takes: its longest cell, and the longest word of its heading, or of a name all of it."""
    heading = table.headings[place]
    words = heading.split() if place else [heading]
    return max(map(len, ["", *words, *(row[place] for row in table.rows)]))


def shrink(table: Table, widths: list[int], room: int) -> None:
    """Make the columns of words narrower, the widest first, until all fits or a word would break."""
    least = {
        place: max((len(word) for row in (table.headings, *table.rows) for word in words_in(row[place], 1)), default=0)
        for place in table.prose
    }
    while sum(widths) > room:
        wide = [place for place in table.prose if widths[place] > least[place]]
        if not wide:
            return
        widths[max(wide, key=widths.__getitem__)] -= 1


def fitting_columns(widths: Sequence[int], columns: int) -> int:
    """How many of the columns fit, one space between: the names and one at least, and not all of them."""
    total, many = min(widths[0], NAMES), 1
    for wide in widths[1:]:
        if many > 1 and total + 1 + wide > columns:
            break
        total, many = total + 1 + wide, many + 1
    return min(many, len(widths) - 1)


def ruled(table: Table, at: Columns) -> Iterator[tuple[str, str]]:
    """The lines of a table with such columns."""
    for line in row_lines(table, table.headings, at, heading=True):
        yield line, "bold"
    rule = "─" * (sum(at.widths) + at.gap * (len(at.widths) - 1))
    yield rule, ""
    for place, row in enumerate(table.rows):
        if place in table.lines:
            yield rule, "dim"
        for line in row_lines(table, row, at):
            yield line, "bold" if place in table.bold else ""


def row_lines(table: Table, row: Sequence[str], at: Columns, *, heading: bool = False) -> Iterator[str]:
    """The lines of one row: words below each other; a name that is too long above its figures."""
    cells = [
        words_in(text, at.widths[place]) if heading or place in table.prose else [text]
        for place, text in enumerate(row)
    ]
    if 0 not in table.prose and len(row[0]) > at.widths[0]:
        yield from broken(row[0], at.columns)
        cells[0] = []
    high = max(map(len, cells))
    for number in range(high):
        parts = []
        for place, lines in enumerate(cells):
            here = number - (high - len(lines) if heading else 0)  # headings stand on the rule
            text = lines[here] if 0 <= here < len(lines) else ""
            wide = at.widths[place]
            parts.append(text.ljust(wide) if at.left[place] else text.rjust(wide))
        yield (" " * at.gap).join(parts).rstrip()


def words_in(text: str, columns: int) -> list[str]:
    """The lines of a cell, broken at spaces."""
    return [line for part in text.split("\n") for line in broken(part, columns)] or [""]


def unbroken(command: str, columns: int) -> str:
    """A command that a sentence names, in one piece if that fits: it can be pasted then."""
    return command.replace(" ", HARD) if len(command) <= columns else command


def broken(line: str, columns: int, below: int = 0) -> list[str]:
    """A line broken at spaces; a figure stays with its interval."""
    whole = WITHIN.sub(HARD, COMMAND.sub(lambda found: unbroken(found.group(), columns - below), line))
    found = wrap(whole, max(1, columns), subsequent_indent=" " * below, break_long_words=False, break_on_hyphens=False)
    return [part.replace(HARD, " ") for part in found]
