"""The integer points of the cone that a printed row of figures leaves.

Each figure is a quotient of sums of cells, so "it rounds to 0.6827" is two linear inequalities in the cells, and all
matrices that fit a row are the integer points of a cone. Its shadows, found once by elimination (Fourier 1827), bound the
positives for a given n, then TP, then FP; so the search visits little else than what fits. All arithmetic is in integers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from cxremb.evaluate.confusion import RATIOS, Confusion, Form
from cxremb.evaluate.published import Published

N, POSITIVES, TP, FP = range(4)  # the axes: a half-space holds the points with sum(form * point) >= 0
CELLS: tuple[Form, ...] = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))

Pair = tuple[int, int]  # n, positives


@dataclass(frozen=True)
class Cone:
    """The half-spaces that a printed row leaves, and their shadows."""

    whole: list[Form]
    without_fp: list[Form]
    without_tp: list[Form]  # in n and positives alone


def find_cone(row: Published, slack: Fraction = Fraction(1), cut_off: bool = False) -> Cone:
    """The cone of a row. slack: 1 for what rounds to the printed figures, more for what is that much further away."""
    whole = [axes(cell) for cell in CELLS]
    for name, value in row.figures.items():
        above, below = (axes(form) for form in RATIOS[name])
        low, high = (Fraction(0), Fraction(1)) if cut_off else (-slack / 2, slack / 2)
        unit = 10**value.decimals
        whole.append(combine(above, Fraction(1), below, -(value.digits + low) / unit))
        whole.append(combine(below, (value.digits + high) / unit, above, Fraction(-1)))
    without_fp = eliminate(whole, FP)
    return Cone(whole, without_fp, eliminate(without_fp, TP))


def axes(form: Form) -> Form:
    """A sum over the cells (TP, FN, FP, TN) as a sum over (n, positives, TP, FP)."""
    tp, fn, fp, tn = form
    return (tn, fn - tn, tp - fn, fp - tn)


def combine(first: Form, times: Fraction, second: Form, other: Fraction) -> Form:
    """times * first + other * second as the smallest integers of that direction."""
    sums = [times * a + other * b for a, b in zip(first, second, strict=True)]
    scale = lcm(*(value.denominator for value in sums))
    n, positives, tp, fp = (int(value * scale) for value in sums)
    shrink = gcd(n, positives, tp, fp) or 1
    return (n // shrink, positives // shrink, tp // shrink, fp // shrink)


def eliminate(spaces: Iterable[Form], axis: int) -> list[Form]:
    """The shadow of a cone along one axis: each lower bound of the axis is at most each upper bound."""
    kept = {space for space in spaces if space[axis] == 0}
    lower = [space for space in spaces if space[axis] > 0]
    upper = [space for space in spaces if space[axis] < 0]
    kept |= {combine(a, Fraction(-b[axis]), b, Fraction(a[axis])) for a in lower for b in upper}
    return sorted(kept - {(0, 0, 0, 0)})


def between(spaces: Iterable[Form], axis: int, point: Sequence[int]) -> range:
    """The integers on one axis that the half-spaces leave, given the values on the axes before it."""
    lowest, highest = 0, point[N]  # no cell is below 0 or above n
    for space in spaces:
        slope, rest = space[axis], sum(a * b for a, b in zip(space, point, strict=False))
        if slope > 0:
            lowest = max(lowest, -(rest // slope))
        elif slope < 0:
            highest = min(highest, rest // -slope)
        elif rest < 0:
            return range(0)
    return range(lowest, highest + 1)


def possible_pairs(cone: Cone, sizes: range, positives: int | None) -> Iterator[Pair]:
    """Each n with each number of positives that the cone's shadow leaves it."""
    for n in sizes:
        left = between(cone.without_tp, POSITIVES, (n,))
        yield from ((n, p) for p in (left if positives is None else (positives,)) if p in left)


def points(cone: Cone, pair: Pair) -> Iterator[Confusion]:
    """The cone's matrices with this n and number of positives. A figure of theirs that is 0 / 0 fits all that is printed."""
    n, positives = pair
    for tp in between(cone.without_fp, TP, pair):
        for fp in between(cone.whole, FP, (n, positives, tp)):
            yield Confusion(tp, positives - tp, fp, n - positives - fp)
