"""One table of results, ready to be shown: as Markdown, or as LaTeX that goes into a paper; `screen` has the third."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

WITH_INTERVAL = re.compile(r"\d \[[-+.\d]+, ")  # .912 [.901, .922]


@dataclass(frozen=True)
class Table:
    """Text in rows and columns. The first column names the rows, the others are figures, but for those in `prose`."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""  # what it shows: the caption of a paper
    label: str = ""  # how a paper refers to it, without `tab:`
    notes: Sequence[str] = ()  # short: they stand below it in a paper
    prose: Sequence[int] = ()  # columns of words, which may go on in a line below
    lines: Sequence[int] = ()  # rows that a line is drawn above
    bold: Sequence[int] = ()  # rows

    @property
    def from_left(self) -> list[bool]:
        """Whether each column begins at the left: names, words, and figures of which some have an interval, so that
        one without stands below the others. Other figures end at the right.
        """
        return [
            place == 0 or place in self.prose or any(WITH_INTERVAL.search(row[place]) for row in self.rows)
            for place in range(len(self.headings))
        ]


def with_columns(table: Table, places: Sequence[int]) -> Table:
    """The table with these columns alone, the names of its rows first."""
    return replace(
        table,
        headings=[table.headings[place] for place in places],
        rows=[[row[place] for place in places] for row in table.rows],
        prose=[new for new, old in enumerate(places) if old in table.prose],
    )


def shared_columns(table: Table, names: Sequence[str]) -> tuple[Table, str]:
    """The table without those of the columns `names` that say the same in every row, and what they say."""
    values = {name: {row[place] for row in table.rows} for place, name in enumerate(table.headings) if name in names}
    same = {name: found.pop() for name, found in values.items() if len(found) == 1}
    kept = [place for place, name in enumerate(table.headings) if name not in same]
    return with_columns(table, kept), ", ".join(f"{name} {value}" for name, value in same.items() if value)


def as_markdown(table: Table) -> str:
    """A GitHub table, its title above and its notes as a list below."""
    head = "| " + " | ".join(map(markdown_cell, table.headings)) + " |"
    aligned = (" --- |" if left else " ---: |" for left in table.from_left)
    body = ["| " + " | ".join(map(markdown_cell, row)) + " |" for row in table.rows]
    above = [f"**{table.title}**", ""] if table.title else []
    below = ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join([*above, head, "|" + "".join(aligned), *body, *below])


def markdown_cell(text: str) -> str:
    """A cell, whose bars would end it."""
    return text.replace("|", "\\|")


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"–": "--", "×": r"$\times$", "…": r"\ldots{}", "≤": r"$\leq$", "≥": r"$\geq$"}
SIGN = re.compile(r"(?<![\w.\]\-+])([-+])(?=\.?\d)|(?<=\w )(-)(?= \w)|^(-)(?= \w)")  # of a number, or between two names
NOTHING = "--"  # where a figure is undefined
ZERO = re.compile(r"(?<![\d.])0(?=\.)")  # before the point
UNDEFINED = "undefined"  # in a sentence, where a dash would be read as one


def as_latex(table: Table) -> str:
    """A table for the package booktabs, with caption and label, and its notes below."""
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering\small"]
    lines += [rf"\caption{{{latex(table.title)}}}", rf"\label{{tab:{table.label}}}"]
    columns = "".join("l" if left else "r" for left in table.from_left)
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", latex_row(table.headings), r"\midrule"]
    for place, row in enumerate(table.rows):
        lines += [r"\midrule"] if place in table.lines else []
        lines.append(latex_row(row))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines.append(r"\par\smallskip\raggedright\footnotesize")
        lines += [f"{latex(note).removesuffix('.')}.\\\\" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def latex_row(row: Sequence[str]) -> str:
    """One line of a tabular. A bracket first in a line would be taken for an option of the break before it."""
    cells = (NOTHING if cell == "-" else latex(cell) for cell in row)
    return " & ".join("{" + text + "}" if text.startswith("[") else text for text in cells) + r" \\"


def latex(text: str) -> str:
    """Text with what LaTeX would take for its own escaped, and signs of numbers as signs, not as hyphens."""
    parts, end = [], 0
    text = text.replace("<=", "≤").replace(">=", "≥")
    for sign in SIGN.finditer(text):
        parts += [escaped(text[end : sign.start()]), f"${sign.group()}$"]
        end = sign.end()
    return "".join([*parts, escaped(text[end:])])


def escaped(text: str) -> str:
    """Text with what LaTeX would take for its own escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def span(
    value: float | None, low: float | None, high: float | None, *, sign: str = "", places: int = 3, nothing: str = "-"
) -> str:
    """`.912 [.901, .922]`; nothing: what stands for an undefined one. The interval is left out where it has no end."""
    if value is None:
        return nothing
    ends = "" if low is None or high is None else f" [{bare(low, sign, places)}, {bare(high, sign, places)}]"
    return f"{bare(value, sign, places)}{ends}"


def short(value: float | None, nothing: str = "-") -> str:
    """A figure alone, or what stands for an undefined one."""
    return nothing if value is None else bare(value)


def bare(value: float, sign: str = "", places: int = 3) -> str:
    """A number as it is shown everywhere, without a zero before the point: seven columns fit a line of 80."""
    return ZERO.sub("", f"{value:{sign}z.{places}f}")  # z: there is no -.000


def probability(value: float) -> str:
    """`.912`; what is neither 0 nor 1 is not written as one: `<.001` and `>.999`."""
    text = bare(value)
    if 0 < value < 1 and text in (".000", "1.000"):
        return "<.001" if text == ".000" else ">.999"
    return text
