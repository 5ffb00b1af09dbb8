"""Who is missed more: sensitivity and specificity of groups of rows at one threshold, chosen on validation rows.

A resample draws patients once: their validation rows, on which each model's threshold is chosen again, and their test
rows in every group. So both sides of a difference come from one resample, and who has rows on both is paired.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags
from cxremb.evaluation.bootstrap import FLAT, UNDEFINED, Difference, Interval, Resampling
from cxremb.evaluation.decision import HALF, Redrawn, rates, shares
from cxremb.evaluation.significance import holm
from cxremb.predictions.chosen import cells_chosen, choosers, patients_a_row
from cxremb.predictions.gaps import mirrored, questions
from cxremb.predictions.judged import Predictions
from cxremb.table import span

RATES = ("recall", "specificity")
RULE = "youden"
SAID = {"recall": "Missed more", "specificity": "More false alarms"}  # what a rate below the others' means
CALLED = {"recall": "sensitivity", "specificity": "specificity"}

Sides = Mapping[str, tuple[Flags, Flags]]  # group -> ((n,) its rows, (n,) the rows that it is held against)


@dataclass(frozen=True)
class GroupRates:
    """Sensitivity (`recall`) and specificity of one group, and each minus that of the other rows."""

    figures: Mapping[str, Interval]
    gaps: Mapping[str, Difference]


@dataclass(frozen=True)
class Missed:
    """All groups at the threshold of each model; or the reason why there is none."""

    thresholds: tuple[float, ...] = ()  # of each model, the same for all groups
    groups: Mapping[str, GroupRates] = field(default_factory=dict)
    reason: str | None = None

    @property
    def words(self) -> list[str]:
        """Who is missed more and who is flagged more, or that no interval says so."""
        if self.reason or not self.groups:
            return [f"No threshold for the groups: {self.reason}"] if self.reason else []
        lines = []
        for rate, said in SAID.items():
            known = {name: one.gaps[rate] for name, one in self.groups.items() if one.gaps[rate].p is not None}
            lower = {name: gap for name, gap in known.items() if (gap.high or 0.0) < 0}
            each = (f"{name} {span(gap.value, gap.low, gap.high)}, p {gap.p:.2g}" for name, gap in lower.items())
            of = f"{CALLED[rate]} minus that of the other rows"
            if known:
                lines.append(f"{said}: {'; '.join(each)} ({of})" if lower else f"{said}: no group for sure ({of})")
        return lines


def missed(
    test: Predictions, val: Predictions, sides: Sides, *, level: float = 0.95, resampling: Resampling | None = None
) -> Missed:
    """Sensitivity and specificity of each group at one threshold for all: of each model, Youden's on its `val` rows.

    Of one label. Intervals of differences hold for all groups at once (Bonferroni), p is after Holm over them; of two
    groups that are each other's rest there is one question, and no correction. A difference reaches Student's t times
    the spread of its resamples, half a row added to each cell, with as many degrees of freedom as the smaller side has
    patients of that class, less one.
    """
    names = np.unique(np.concatenate([test.patients, val.patients]))
    how = resampling or Resampling()
    try:
        at, models = test.at_thresholds(val, RULE), choosers(test, val, names, rule=RULE)
    except DataError as error:
        return Missed(reason=str(error))
    cells = cells_chosen(at, models, names, resampling=how, groups=[side for pair in sides.values() for side in pair])
    redrawn = [Redrawn(one, weight=patients_a_row(test)) for one in cells]
    pairs = [(test.take(own), test.take(rest)) for own, rest in sides.values()]
    each, found = 1 - (1 - level) / max(1, questions(pairs)), {}
    for number, (name, (own, rest)) in enumerate(zip(sides, pairs, strict=True)):
        both = redrawn[2 * number], redrawn[2 * number + 1]
        gaps = {rate: gap(*both, (own, rest), rate=rate, level=each) for rate in RATES}
        found[name] = GroupRates(figures_of(own, both[0]), gaps)
    thresholds = tuple(float(np.broadcast_to(at.threshold, len(at.items))[rows[0]]) for rows in at.models)
    return Missed(thresholds, found if mirrored(pairs) else after_holm(found))


def figures_of(rows: Predictions, redrawn: Redrawn) -> dict[str, Interval]:
    """The rates of one group, without an interval where the group bears none."""
    figures = shares(redrawn, RATES)
    if (reason := rows.no_interval()) is None:
        return figures
    return {rate: Interval(one.value, None, None, reason=reason) for rate, one in figures.items()}


def gap(own: Redrawn, rest: Redrawn, rows: tuple[Predictions, Predictions], *, rate: str, level: float) -> Difference:
    """The rate of the group minus that of the others, both from the same resamples."""
    which, kind = RATES.index(rate), 1.0 - RATES.index(rate)
    value = float((rates(own.cells[:1])[which] - rates(rest.cells[:1])[which]).item())
    if np.isnan(value):
        return Difference(None, None, None, None, reason=UNDEFINED)
    if reason := rows[0].no_interval() or rows[1].no_interval():
        return Difference(value, None, None, None, reason=reason)
    drawn = rates(own.cells + HALF)[which] - rates(rest.cells + HALF)[which]
    variance = float(np.nanvar(drawn[1:])) + unseen(own, which) + unseen(rest, which)
    if not variance:
        return Difference(value, None, None, None, reason=FLAT)
    freedom = min(len(np.unique(side.patients[side.y[:, 0] == kind])) for side in rows) - 1
    error = variance**0.5
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return Difference(value, value - reach, value + reach, p, int(np.isnan(drawn[1:]).sum()))


def unseen(side: Redrawn, which: int) -> float:
    """The variance of a rate of 0 or 1, which no resample shows: of so many patients, half a row added to each cell."""
    one, other = side.cells[0].mean(axis=0)[[(0, 2), (3, 1)][which],]
    if one and other:
        return 0.0
    n = (one + other) * side.weight + 2 * HALF
    share = HALF / n
    return float(share * (1 - share) / n)


def after_holm(found: Mapping[str, GroupRates]) -> dict[str, GroupRates]:
    """The same with p after Holm over the groups."""
    out = dict(found)
    for rate in RATES:
        for name, p in zip(out, holm([one.gaps[rate].p for one in out.values()]), strict=True):
            out[name] = GroupRates(out[name].figures, {**out[name].gaps, rate: replace(out[name].gaps[rate], p=p)})
    return out
