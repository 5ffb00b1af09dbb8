"""What a clinician asks of a test: predictive values at a prevalence, likelihood ratios, net benefit, each with a span.

All follow from how many rows are TP, FP, FN and TN, as they are and in resamples of whole patients. An interval is
symmetric on the logit of a share and the logarithm of a ratio, with half a row added to each cell (Haldane 1956;
Anscombe 1956), so that it does not collapse near 1. Predictive values at a given prevalence are its odds times a
likelihood ratio (Mercaldo, Lau & Zhou 2007); likelihood ratios as in Simel et al. 1991, with the variance of the
resamples in place of that of independent rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.ranking import divided
from cxremb.evaluation.reliability import sigmoid

TP, FP, FN, TN = range(4)
HALF = 0.5  # of a row, added to each cell
TINY = 1e-12  # a threshold of 0 or 1 has no log odds
STEPS = 100  # of the decision curve: a risk of 1% to 99%
COMPANION = {TP: FN, FN: TP, FP: TN, TN: FP}  # the other cell of the same class
SHARES = {  # figure -> cells above the line, and what the line adds below
    "recall": ((TP,), (FN,)),
    "specificity": ((TN,), (FP,)),
    "precision": ((TP,), (FP,)),
    "f1": ((TP, TP), (FP, FN)),
    "accuracy": ((TP, TN), (FP, FN)),
}
UNDEFINED, UNBOUNDED = "undefined on these rows", "one cell is empty: it has no bound"


@dataclass(frozen=True, eq=False)
class Redrawn:
    """The cells of a table, as they are and in resamples of whole patients."""

    cells: Reals  # (1 + resamples, pools, 4) TP, FP, FN, TN, first as they are; NaN where no threshold can be chosen
    held: Reals | None = None  # the same with the first threshold held, where it is chosen again in each resample
    rests_on: float = np.inf  # how many of the lowest positives the threshold rests on
    weight: float = 1.0  # positive patients a positive row

    def reach(self, drawn: Reals, held: Reals | None, least: float) -> float:
        """How far the interval of a figure reaches to each side: Student's t times the spread of its resamples.

        drawn, held: (1 + resamples,) on the scale of the interval. least: a variance that the spread cannot be below.
        What the choice of the threshold adds rests on few positives, about two spacings each, and counts by these as
        degrees of freedom (Satterthwaite 1946).
        """
        total = max(float(np.nanvar(drawn[1:])), least)
        added = 0.0 if held is None else total - float(np.nanvar(held[1:]))
        share = max(0.0, added) / total if total else 0.0
        freedom = max(1.0, 2 * self.rests_on) / share**2 if share and np.isfinite(self.rests_on) else 1e9
        quantile: float = stdtrit(min(freedom, 1e9), 0.975)
        return float(quantile * total**0.5)


@dataclass(frozen=True)
class AtPrevalence:
    """What one threshold does where a share `prevalence` has the finding."""

    rule: str
    threshold: float  # of several models the one at the mean of their logits
    risk: float  # the same as a risk at that prevalence: who is called has at least so much
    figures: Mapping[str, Interval]


@dataclass(frozen=True)
class CurvePoint:
    """Net benefit at one risk threshold, in true positives a patient (Vickers & Elkin 2006); to treat none has 0."""

    risk: float
    recall: float
    specificity: float
    model: Interval
    treat_all: float
    gain: Interval  # of the model over the better of treating all and treating none


def shares(found: Redrawn, names: Sequence[str]) -> dict[str, Interval]:
    """Name of `SHARES` -> its mean over pools and its interval."""
    return {name: share(found, *SHARES[name]) for name in names}


def share(found: Redrawn, above: Sequence[int], below: Sequence[int]) -> Interval:
    """One of `shares`. Where it is 0 or 1 the interval ends there."""
    top, bottom = (found.cells[0][:, list(part)].sum(axis=1) for part in (above, below))
    value = float(divided(top, top + bottom).mean())
    if np.isnan(value):
        return Interval(None, None, None, reason=UNDEFINED)

    def odds(cells: Reals) -> Reals:
        up, down = (cells[..., list(part)].sum(axis=-1) + HALF for part in (above, below))
        return np.asarray(np.log(up / down).mean(axis=1), dtype=np.float64)

    middle, reach = spread(found, odds, max(rare(found, *above), rare(found, *below)))
    low, high = sigmoid(np.array([middle - reach, middle + reach])).tolist()
    return Interval(value, min(low, value), max(high, value))


def at_prevalence(found: Redrawn, prevalence: float, risk: float) -> dict[str, Interval]:
    """Figure -> what it is where a share `prevalence` has the finding, and its interval.

    recall, specificity, ppv, npv, lr_positive, lr_negative, flags_per_true_positive (1 / ppv) and net_benefit at the
    threshold `risk`, in true positives a patient.
    """
    figures = shares(found, ("recall", "specificity"))
    recall, specificity = (figures[name].value for name in ("recall", "specificity"))
    if recall is None or specificity is None:
        return figures
    odds = prevalence / (1 - prevalence)
    positive = ratio(found, (TP, FN), (FP, TN), value=quotient(recall, 1 - specificity))
    negative = ratio(found, (FN, TP), (TN, FP), value=quotient(1 - recall, specificity))
    figures["ppv"] = mapped(positive, lambda one: 1 / (1 + quotient(1, odds * one)))
    figures["npv"] = mapped(negative, lambda one: 1 / (1 + odds * one))
    figures |= {"lr_positive": bounded(positive), "lr_negative": bounded(negative)}
    figures["flags_per_true_positive"] = bounded(mapped(positive, lambda one: 1 + quotient(1, odds * one)))
    return figures | {"net_benefit": net_benefit(found, prevalence, risk)}


def ratio(found: Redrawn, ones: tuple[int, int], zeros: tuple[int, int], *, value: float) -> Interval:
    """The share of the first cell among `ones` over that among `zeros`, and its interval on the logarithm."""

    def logarithm(cells: Reals) -> Reals:
        parts = [cells[..., cell] + HALF for cell in (*ones, *zeros)]
        above, below = parts[0] / (parts[0] + parts[1]), parts[2] / (parts[2] + parts[3])
        return np.asarray(np.log(above / below).mean(axis=1), dtype=np.float64)

    middle, reach = spread(found, logarithm, rare(found, ones[0]) + rare(found, zeros[0]))
    low, high = float(np.exp(middle - reach)), float(np.exp(middle + reach))
    if np.isnan(value):
        return Interval(None, None, None, reason=UNDEFINED)
    return Interval(value, min(low, value), max(high, value))


def net_benefit(found: Redrawn, prevalence: float, risk: float) -> Interval:
    """True positives a patient, less the false ones at the odds of `risk` (Vickers & Elkin 2006)."""

    def benefit(cells: Reals) -> Reals:
        return benefit_of(*rates(cells + HALF), prevalence=prevalence, risk=risk)

    _, reach = spread(found, benefit, 0.0)
    value = float(benefit_of(*rates(found.cells[:1]), prevalence=prevalence, risk=risk).item())
    return Interval(value, value - reach, value + reach)


def curve_point(found: Redrawn, prevalence: float, risk: float) -> CurvePoint:
    """The point of the decision curve at one risk. found: the cells of who is called at it."""
    recall, specificity = (float(one.item()) for one in rates(found.cells[:1]))
    model = net_benefit(found, prevalence, risk)
    treat_all = float(benefit_of(np.array(1.0), np.array(0.0), prevalence=prevalence, risk=risk))
    return CurvePoint(risk, recall, specificity, model, treat_all, mapped(model, lambda one: one - max(0.0, treat_all)))


def limits(risks: Reals, observed: float, prevalence: float) -> Reals:
    """The probabilities, of rows whose prevalence is `observed`, that stand for these risks at `prevalence`.

    Where the prevalence alone is another, all log odds move by the same (Saerens, Latinne & Decaestecker 2002).
    """
    return sigmoid(np.log(risks / (1 - risks)) - log_odds(prevalence) + log_odds(observed))


def risk_of(threshold: float, observed: float, prevalence: float) -> float:
    """The risk at `prevalence` that a probability stands for: the other way round."""
    return float(limits(np.array(min(max(threshold, TINY), 1 - TINY)), prevalence, observed))


def log_odds(share: float) -> float:
    """Of a share between 0 and 1."""
    return float(np.log(share / (1 - share)))


def spread(found: Redrawn, figure: Callable[[Reals], Reals], least: float) -> tuple[float, float]:
    """(where the interval of a figure has its middle, how far it reaches). figure: cells -> (1 + resamples,)."""
    drawn = figure(found.cells)
    return float(drawn[0]), found.reach(drawn, None if found.held is None else figure(found.held), least)


def rare(found: Redrawn, *cells: int) -> float:
    """What an empty cell adds to the variance of a log odds: no resample fills it. 0 where none is empty."""
    counts = found.cells[0].mean(axis=0)
    if counts[list(cells)].sum():
        return 0.0
    return float(1 / HALF + 1 / (counts[[COMPANION[cell] for cell in cells]].sum() * found.weight + HALF))


def rates(cells: Reals) -> tuple[Reals, Reals]:
    """(sensitivity, specificity) of cells (b, pools, 4), each (b,): means over pools."""
    tp, fp, fn, tn = (cells[..., cell] for cell in range(4))
    return divided(tp, tp + fn).mean(axis=1), divided(tn, fp + tn).mean(axis=1)


def benefit_of(recall: Reals, specificity: Reals, *, prevalence: float, risk: float) -> Reals:
    """The net benefit of a sensitivity and a specificity."""
    return np.asarray(prevalence * recall - (1 - prevalence) * (1 - specificity) * risk / (1 - risk))


def mapped(found: Interval, function: Callable[[float], float]) -> Interval:
    """The interval of a function of a figure that rises or falls all the way."""
    value, first, second = (None if one is None else function(one) for one in (found.value, found.low, found.high))
    ends = [one for one in (first, second) if one is not None]
    if value is None or len(ends) < 2:
        return Interval(value, None, None, reason=found.reason)
    return Interval(value, min(ends), max(ends))


def bounded(found: Interval) -> Interval:
    """The interval without infinite ends."""
    value, low, high = (None if one is None or np.isinf(one) else one for one in (found.value, found.low, found.high))
    return Interval(value, low, high, reason=found.reason or (UNBOUNDED if high is None else None))


def quotient(above: float, below: float) -> float:
    """Infinite where there is nothing to divide by, NaN where there is nothing at all."""
    return above / below if below else np.inf if above else np.nan
