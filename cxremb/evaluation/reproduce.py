"""The confusion matrix behind a printed row of figures, by exact integer search (see `cxremb.evaluation.cone`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import ceil
from typing import TypeVar

from cxremb.errors import DataError
from cxremb.evaluation.cone import Cone, Pair, Span, find_cone, overlap, points, possible_pairs
from cxremb.evaluation.confusion import Confusion
from cxremb.evaluation.published import Printed, Published

MOST = 20_000  # matrices; with so many the printed row says next to nothing
LARGEST_N = 5_000  # how far n is searched where it is not known
T = TypeVar("T")
FINE = Fraction(1, 10_000)
NEED_POSITIVES = {"precision", "recall", "f1"}  # above 0 they need true positives
AVERAGES = "figures averaged over the classes (macro, weighted) come from no single matrix in this way"


@dataclass(frozen=True)
class KnownCounts:
    """What is known of an evaluation set. pairs: what its earlier rows left; None before the first."""

    sizes: range
    positives: int | None = None
    prevalence: Span = (Fraction(0), Fraction(1))
    pairs: Sequence[Pair] | None = None

    def inside(self, cone: Cone) -> Iterator[Pair]:
        """The (n, positives) to try."""
        if self.pairs is None:
            return possible_pairs(overlap([self.prevalence, cone.prevalence]), self.sizes, self.positives)
        return (pair for pair in self.pairs if cone.has(pair))

    def __str__(self) -> str:
        size = f"n = {self.sizes[0]:,}" if len(self.sizes) == 1 else f"n of {self.sizes[0]:,} to {self.sizes[-1]:,}"
        return size + (f" and {self.positives:,} positives" if self.positives is not None else "")


@dataclass(frozen=True)
class Recovered:
    """All matrices that fit the rows of one evaluation set.

    pairs: every possible (n, positives). matrices: for each row those that fit it with one of the pairs, by n, then by
    distance from what is printed. cut_off: figures are cut off, since rounding fits nothing or since it was asked for.
    """

    rows: list[Published]
    pairs: list[Pair]
    matrices: list[list[Confusion]]
    cut_off: bool

    @property
    def sizes(self) -> list[int]:
        """Every possible n, ascending."""
        return sorted({n for n, _ in self.pairs})


def recover(
    row: Published, n: range | None = None, positives: int | None = None, *, cut_off: bool | None = None
) -> list[Confusion]:
    """Every matrix that fits one row: by n, then by distance from what is printed.

    n: sizes to try, by default 1 to `LARGEST_N`. cut_off: figures were cut off rather than rounded; None takes rounding
    unless only cutting off fits. Raises `DataError` if none fits, with the closest, and if more than `MOST` do.
    """
    return reproduce([row], n, positives, cut_off=cut_off).matrices[0]


def reproduce(
    rows: Sequence[Published], n: range | None = None, positives: int | None = None, *, cut_off: bool | None = None
) -> Recovered:
    """As `recover`, for rows that share n and the number of positives: each row narrows both."""
    known = KnownCounts(range(1, LARGEST_N + 1) if n is None else n, positives)
    check_known(rows, known)
    for truncated in (False, True) if cut_off is None else (cut_off,):
        # what all rows allow spares most pairs of a long table
        shared = overlap(find_cone(row, cut_off=truncated).prevalence for row in rows)
        if pairs := narrowed(rows, replace(known, prevalence=shared), truncated)[-1]:
            known = replace(known, pairs=pairs)
            return Recovered(list(rows), pairs, [list_matrices(row, known, truncated) for row in rows], truncated)
    raise inconsistent(rows, known, cut_off or False)


def check_known(rows: Sequence[Published], known: KnownCounts) -> None:
    """Raise `DataError` on what no evaluation set can have."""
    if not rows or not known.sizes or known.sizes[0] < 1:
        raise DataError(f"{len(rows)} rows, n in {known.sizes}", hint="give at least one row, and n of 1 or more")
    if known.positives is not None and not 0 <= known.positives <= known.sizes[-1]:
        raise DataError(f"{known.positives} positives of n = {known.sizes[-1]:,}", hint="positives go from 0 to n")


def narrowed(rows: Sequence[Published], known: KnownCounts, cut_off: bool) -> list[list[Pair]]:
    """After each row, the pairs that fit it and all rows before it; ends with the first row that leaves none.

    Raises `DataError` if more than `MOST` matrices fit the last row.
    """
    history: list[list[Pair]] = []
    for row in rows:
        fitting: Iterable[Confusion] = fits(row, known, cut_off)
        if row is rows[-1]:
            fitting = at_most(fitting, row)
        history.append(list(dict.fromkeys((m.n, m.positives) for m in fitting)))
        if not history[-1]:
            break
        known = replace(known, pairs=history[-1])
    return history


def fits(row: Published, known: KnownCounts, cut_off: bool) -> Iterator[Confusion]:
    """The matrices that fit a row, by n and positives."""
    cone = find_cone(row, cut_off=cut_off)
    return (m for pair in known.inside(cone) for m in points(cone, pair) if row.fits(m, cut_off))


def list_matrices(row: Published, known: KnownCounts, cut_off: bool) -> list[Confusion]:
    """The matrices that fit a row, by n, then by distance. Raises `DataError` if they are more than `MOST`."""
    found = at_most(fits(row, known, cut_off), row)
    return sorted(found, key=lambda matrix: (matrix.n, row.misfit(matrix), matrix))


def at_most(items: Iterable[T], row: Published) -> list[T]:
    """The items as a list. Raises `DataError` if they are more than `MOST`."""
    listed = list(islice(items, MOST + 1))
    if len(listed) > MOST:
        hint = "give --n, --positives, another figure, more decimals, or more rows of one --table"
        raise DataError(f"more than {MOST:,} matrices fit {row}", hint=hint)
    return listed


def inconsistent(rows: Sequence[Published], known: KnownCounts, cut_off: bool) -> DataError:
    """The error for the first row that leaves nothing: what comes closest, and by how much it misses.

    Figures that contradict each other are reported at once: nothing comes close, whatever n is.
    """
    if wrong := next((row for row in rows if contradictory(row, cut_off)), None):
        problem = f"no matrix gives {describe_row(wrong, cut_off)}, whatever n is: the figures contradict each other"
        return DataError(f"{named(wrong)}{problem}", hint=f"{doubt(wrong, known, cut_off)}{AVERAGES}")
    history = narrowed(rows, known, cut_off)
    row, rest = rows[len(history) - 1], f" with {known}"
    if len(history) > 1:
        known = replace(known, pairs=history[-2])
        rest = f" with the n and the positives of the {len(history) - 1} rows before it"
    matrix = closest(row, known)
    problem = f"{named(row)}no matrix gives {describe_row(row, cut_off)}{rest}; the closest is {matrix}"
    misses = [miss for name, value in row.figures.items() if (miss := told_miss(matrix, name, value))]
    misprint = doubt(row, known, cut_off)
    return DataError(f"{problem}: {', '.join(misses) or 'which gives it rounded'}", hint=f"{misprint}{AVERAGES}")


def contradictory(row: Published, cut_off: bool) -> bool:
    """Whether no matrix of any size fits. A cone of 0 / 0 alone, which prints as 0, holds none of a figure above 0."""
    low, high = find_cone(row, cut_off=cut_off).prevalence
    above = {name for name, value in row.figures.items() if value.digits}
    return low > high or (high == 0 and bool(above & NEED_POSITIVES)) or (low == 1 and "specificity" in above)


def named(row: Published) -> str:
    """How a message about the row starts."""
    return f"{row.name}: " if row.name else ""


def describe_row(row: Published, cut_off: bool) -> str:
    """The row in words."""
    return f"{row}{' cut off' * cut_off}"


def told_miss(matrix: Confusion, name: str, value: Printed) -> str:
    """How far the matrix is from one printed figure, in words; empty where it rounds to it."""
    if value.rounds(*matrix.parts(name)):
        return ""
    got = value.like(*matrix.parts(name))
    return f"{name} {got} (off by {replace(value, digits=abs(got.digits - value.digits))})"


def doubt(row: Published, known: KnownCounts, cut_off: bool) -> str:
    """Which single figures may be misprints, each with what would do in its place; empty where none is enough."""
    found = []
    for name, value in row.figures.items():
        rest = replace(row, figures={key: one for key, one in row.figures.items() if key != name})
        if rest.figures and (matrix := next(fits(rest, known, cut_off), None)):
            found.append(f"without {name} ({value.like(*matrix.parts(name))} would do)")
    return f"it fits {' or '.join(found)}: look for a misprint there; " if found else ""


def closest(row: Published, known: KnownCounts) -> Confusion:
    """The matrix whose largest distance from a printed figure, in units of its last decimal, is smallest.

    Rounding is loosened to where fractional cells would fit, and from there until whole ones do. Of those as
    near, the one with the smallest sum.
    """
    empty = full = Fraction(1)
    while find_cone(row, full).empty:
        empty, full = full, 2 * full
    while full - empty > FINE * full:
        middle = (empty + full) / 2
        empty, full = (middle, full) if find_cone(row, middle).empty else (empty, middle)
    gap = FINE * full
    while True:
        slack, cone = full + gap, find_cone(row, full + gap)
        near = (m for pair in known.inside(cone) for m in points(cone, pair) if 2 * row.misfit(m) <= slack)
        if found := min(near, key=lambda m: (ceil(row.misfit(m)), sum(row.misses(m))), default=None):
            return found
        gap *= 2
