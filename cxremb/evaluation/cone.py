"""The integer points of the cone that a printed row of figures leaves.

Each figure is a quotient of sums of cells, so "it rounds to 0.6827" is two linear inequalities in the cells, and all
matrices that fit a row are the integer points of a cone. Its shadows, found once by elimination (Fourier 1827), bound
the positives for a given n, then TP, then FP; so the search visits little else than what fits. Arithmetic is exact.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, gcd, lcm

from cxremb.evaluation.confusion import RATIOS, Confusion, Form
from cxremb.evaluation.published import Published

POSITIVES, TP, FP = 1, 2, 3  # axes of (n, positives, TP, FP): a half-space holds the points with sum(form * point) >= 0
CELLS: tuple[Form, ...] = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))

Pair = tuple[int, int]  # n, positives
Span = tuple[Fraction, Fraction]  # of positives / n


@dataclass(frozen=True)
class Bounds:
    """What keeps one axis from below and from above: factors of n, positives, TP (the axes before it), its slope."""

    lower: Sequence[Form]
    upper: Sequence[Form]

    def at(self, n: int, positives: int, tp: int = 0) -> range:
        """The integers left on the axis."""
        above = max(-((a * n + b * positives + c * tp) // slope) for a, b, c, slope in self.lower)
        below = min((a * n + b * positives + c * tp) // slope for a, b, c, slope in self.upper)
        return range(above, below + 1)


@dataclass(frozen=True)
class Cone:
    """The share of positives that a row leaves, and the bounds of TP and of FP."""

    prevalence: Span
    tp: Bounds
    fp: Bounds

    @property
    def empty(self) -> bool:
        """Whether no matrix of any size is in it."""
        return self.prevalence[0] > self.prevalence[1]

    def has(self, pair: Pair) -> bool:
        """Whether the share of positives is one of those left."""
        return self.prevalence[0] * pair[0] <= pair[1] <= self.prevalence[1] * pair[0]


def find_cone(row: Published, slack: Fraction = Fraction(1), cut_off: bool = False) -> Cone:
    """The cone of a row. slack: 1 for what rounds to the printed figures, more for what is that much further away."""
    whole = [axes(cell) for cell in CELLS]
    for name, value in row.figures.items():
        above, below = (axes(form) for form in RATIOS[name])
        low, high = (Fraction(0), Fraction(1)) if cut_off else (-slack / 2, slack / 2)
        unit = 10**value.decimals
        whole.append(combine(above, Fraction(1), below, other=-(value.digits + low) / unit))
        whole.append(combine(below, (value.digits + high) / unit, above, other=Fraction(-1)))
    fp, without_fp = eliminate(whole, FP)
    tp, without_tp = eliminate(without_fp, TP)
    share, rest = eliminate(without_tp, POSITIVES)
    if any(form[0] < 0 for form in rest):
        return Cone((Fraction(1), Fraction(0)), tp, fp)
    low, high = (
        max(Fraction(-n, slope) for n, *_, slope in share.lower),
        min(Fraction(n, slope) for n, *_, slope in share.upper),
    )
    return Cone((low, high), tp, fp)


def axes(form: Form) -> Form:
    """A sum over the cells (TP, FN, FP, TN) as a sum over (n, positives, TP, FP)."""
    tp, fn, fp, tn = form
    return (tn, fn - tn, tp - fn, fp - tn)


def combine(first: Form, times: Fraction, second: Form, *, other: Fraction) -> Form:
    """The sum times * first + other * second, as the smallest integers of that direction."""
    sums = [times * a + other * b for a, b in zip(first, second, strict=True)]
    scale = lcm(*(value.denominator for value in sums))
    n, positives, tp, fp = (int(value * scale) for value in sums)
    shrink = gcd(n, positives, tp, fp) or 1
    return (n // shrink, positives // shrink, tp // shrink, fp // shrink)


def eliminate(spaces: Sequence[Form], axis: int) -> tuple[Bounds, list[Form]]:
    """The bounds of an axis, and the cone's shadow along it: each lower bound is at most each upper bound."""
    shadow = {form for form in spaces if form[axis] == 0}
    lower, upper = ([form for form in spaces if sign * form[axis] > 0] for sign in (1, -1))
    for a in lower:
        shadow |= {combine(a, Fraction(-b[axis]), b, other=Fraction(a[axis])) for b in upper}
    return Bounds([given(form, axis) for form in lower], [given(form, axis) for form in upper]), sorted(shadow)


def given(form: Form, axis: int) -> Form:
    """A half-space as a bound of one axis: what n, positives and TP add where they come before it, and the slope."""
    n, positives, tp, _ = form
    return (n, positives if axis > POSITIVES else 0, tp if axis > TP else 0, abs(form[axis]))


def overlap(spans: Iterable[Span]) -> Span:
    """What all spans share; the low end is above the high one if they share nothing."""
    lows, highs = zip(*spans, strict=True)
    return max(lows), min(highs)


def possible_pairs(prevalence: Span, sizes: Iterable[int], positives: int | None) -> Iterator[Pair]:
    """Each n with each number of positives that the span leaves it."""
    low, high = prevalence
    for n in sizes:
        others = range(ceil(low * n), floor(high * n) + 1)
        yield from ((n, p) for p in others if positives is None or p == positives)


def points(cone: Cone, pair: Pair) -> Iterator[Confusion]:
    """The cone's matrices with one of its `possible_pairs`. A figure of theirs that is 0 / 0 passes as anything."""
    n, positives = pair
    for tp in cone.tp.at(n, positives):
        for fp in cone.fp.at(n, positives, tp):
            yield Confusion(tp, positives - tp, fp, n - positives - fp)
