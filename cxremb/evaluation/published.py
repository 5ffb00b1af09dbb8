"""Figures as a paper prints them: a row of accuracy, precision, recall, F1 or specificity, and tables of such rows."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path

from cxremb.errors import DataError
from cxremb.evaluation.confusion import RATIOS, Confusion
from cxremb.tablefile import open_table

NUMBER = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)\s*(%?)")
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "half up": lambda value: floor(value + Fraction(1, 2)),
    "half even": round,
    "cut off": floor,
}
MOST_DECIMALS = 12  # of a figure with more, a float's last digits are noise


@dataclass(frozen=True)
class Printed:
    """A share as printed: 0.6827 is `digits` 6827 with 4 `decimals`."""

    digits: int
    decimals: int

    def __str__(self) -> str:
        return f"{Decimal(self.digits).scaleb(-self.decimals):f}"

    def rounds(self, above: int, below: int) -> bool:
        """Whether above / below rounds to this; a tie goes either way. 0 / 0 is printed as 0, as by scikit-learn."""
        return 2 * abs(above * 10**self.decimals - self.digits * below) <= below if below else self.digits == 0

    def truncates(self, above: int, below: int) -> bool:
        """Whether above / below starts with these decimals."""
        return 0 <= above * 10**self.decimals - self.digits * below < below if below else self.digits == 0

    def like(self, above: int, below: int) -> "Printed":
        """The share above / below, with as many decimals."""
        return Printed(round(Fraction(above * 10**self.decimals, below or 1)), self.decimals)

    def misses(self, above: int, below: int) -> float:
        """How far above / below is from what is printed, in units of the last decimal; 0.5 still rounds to it."""
        return abs((above / below if below else 0.0) * float(10**self.decimals) - self.digits)


@dataclass(frozen=True)
class Published:
    """One printed row: figure -> as printed, for any of `RATIOS`. `name` says which row in messages."""

    figures: Mapping[str, Printed]
    name: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.figures.items())

    def fits(self, matrix: Confusion, cut_off: bool = False) -> bool:
        """Whether the matrix gives every printed figure, rounded to the nearest or cut off."""
        return all(
            (value.truncates if cut_off else value.rounds)(*matrix.parts(name)) for name, value in self.figures.items()
        )

    def roundings(self, matrix: Confusion) -> list[str]:
        """Which of `ROUNDINGS` give every printed figure. At a tie a float may follow none."""
        exact = [
            (value, Fraction(above * 10**value.decimals, below) if below else Fraction(0))
            for name, value in self.figures.items()
            for above, below in [matrix.parts(name)]
        ]
        return [name for name, rule in ROUNDINGS.items() if all(rule(x) == value.digits for value, x in exact)]

    def misfit(self, matrix: Confusion) -> float:
        """The largest distance of a figure from what is printed, in units of its last decimal."""
        return max(self.misses(matrix))

    def misses(self, matrix: Confusion) -> list[float]:
        """The distance of each figure from what is printed, in units of its last decimal."""
        return [value.misses(*matrix.parts(name)) for name, value in self.figures.items()]


def printed(text: str, name: str = "figure") -> Printed:
    """A share from its text: 0.6827, .6827 or 68.27%, trailing zeros counted.

    Raises `DataError` if it is no number or not between 0 and 1.
    """
    match = NUMBER.fullmatch(text.strip())
    if not match:
        raise DataError(f"{name}: {text!r} is no number", hint=f"write it as printed, such as --{name} 0.6827")
    decimals = len(match[1].partition(".")[2]) + 2 * bool(match[2])
    digits = round(Decimal(match[1]).scaleb(decimals - 2 * bool(match[2])))
    if decimals > MOST_DECIMALS:
        digits, decimals = round(Decimal(digits).scaleb(MOST_DECIMALS - decimals)), MOST_DECIMALS
    if digits > 10**decimals:
        raise DataError(
            f"{name}: {text.strip()} is more than 1", hint=f"if it is in percent, write {text.strip().rstrip('%')}%"
        )
    return Printed(digits, decimals)


def published(texts: Mapping[str, str | None], name: str = "") -> Published:
    """A row from the texts of its figures; None and blank are not known.

    Raises `DataError` on an unknown figure, a text that is no share, and a row without any figure.
    """
    if unknown := set(texts) - set(RATIOS):
        raise DataError(f"no figure called {min(unknown)!r}", hint=f"there are {', '.join(RATIOS)}")
    row = {key: printed(text, key) for key in RATIOS if (text := texts.get(key)) and text.strip()}
    if not row:
        raise DataError(f"{name or 'the row'} has no figure", hint=f"give some of {', '.join(RATIOS)}")
    return Published(row, name)


def read_table(path: Path) -> list[Published]:
    """The rows of a CSV file with columns accuracy, precision, recall, f1, specificity (some of them) and maybe epoch.

    Other columns are left aside. Raises `DataError` with file and line of what cannot be used.
    """
    table = open_table(path, encoding="utf-8")
    columns = {name.lower(): name for name in reversed(table.columns) if name}
    wanted = {name: columns[name] for name in (*RATIOS, "epoch") if name in columns}
    lines = list(table.rows(list(wanted.values())))
    if not lines or wanted.keys() <= {"epoch"}:
        raise DataError(
            f"{path}: has {', '.join(table.columns)} and {len(lines)} rows",
            hint="give a first line such as epoch,accuracy,precision,recall,f1 and a line for each row",
        )
    rows = []
    for number, cells in lines:
        texts = {name: cells[column] for name, column in wanted.items()}
        epoch = texts.pop("epoch", "")
        name = f"epoch {epoch}" if epoch else table.place(number)
        try:
            rows.append(published(texts, name))
        except DataError as error:
            raise DataError(f"{path}, {name}: {error}", hint=error.hint) from error
    return rows
