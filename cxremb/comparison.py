"""Two runs on the units that both judge: by how much one is better, to which question, and what that means in words.

Two questions are told apart. Of recipes: would training the two anew, and testing them, on other patients show a
difference? Of the fitted models: would these two differ on other test patients? Only several folds answer the first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.ablation.recipes import judged_together, several_folds
from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Difference, Resampling
from cxremb.evaluation.metrics import called_positive
from cxremb.evaluation.significance import McNemar, mcnemar
from cxremb.evaluation.simultaneous import Contrast
from cxremb.predictions import Predictions
from cxremb.table import bare, span
from cxremb.tabular import Tabular
from cxremb.training.runs import Run
from cxremb.types import Progress, stages, unwatched

CALLED = ("accuracy", "f1")
COMPARED = (
    *("head", "preset", "label_set", "task", "stores", "text", "pooling", "views", "unit", "missing", "split", "folds"),
    *("repeats", "seeds", "rows", "patients", "parameters", "leaky"),
)
ALPHA = 0.05
STEPS = ("pairing their rows", "AUROC of recipes", "AUROC of these models", "accuracy and F1", "McNemar's test")
Both = tuple[Predictions, Predictions]


@dataclass(frozen=True)
class Pair:
    """One figure of both runs on the same units, and A minus B."""

    a: float | None
    b: float | None
    difference: Difference


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """Two runs on shared units. A unit is an item in one repeat, fold and seed, with its labels."""

    a: str  # run ids
    b: str
    arms: tuple[str, str]
    label: str
    units: int
    studies: int
    patients: int
    left_out: tuple[int, int]  # units that only A has, that only B has
    figures: Mapping[str, Pair]  # of the fitted models; what is called positive is counted in `called` units
    called: str  # the unit of accuracy, F1 and McNemar: study where a study has several films
    recipes: Contrast | None  # AUROC difference of the recipes; None of one fold
    over_folds: Difference | None  # the same by the corrected t over folds
    mcnemar: McNemar
    conclusion: str
    differs: Mapping[str, tuple[Any, Any]]  # what was asked of each, where that is not the same
    caveats: tuple[str, ...]  # what must stand beside the figures, and of which run

    def to_arrow(self) -> pa.Table:
        """A row for each metric: A, B, and A minus B with its interval and p."""
        return pa.Table.from_pylist(
            [
                {"metric": name, "a": pair.a, "b": pair.b}
                | {f"difference_{key}": value for key, value in asdict(pair.difference).items()}
                for name, pair in self.figures.items()
            ]
        )

    def heading(self) -> str:
        """What follows, in words."""
        return self.conclusion


def compare_runs(
    first: Run,
    second: Run,
    *,
    shared: bool = False,
    label: str | None = None,
    resampling: Resampling | None = None,
    progress: Progress = unwatched,
) -> Comparison:
    """A minus B on the test units that both have.

    shared: leave out the units that only one has. label: judge one of several; else their macro figures are compared,
    without McNemar's test, which is of one label. Raises `DataError`, with counts, if the runs have other labels,
    other units (unless `shared`), or other answers for one unit.
    """
    runs = {"a": first, "b": second}
    with stages(progress, "comparing", STEPS, quiet=True) as begin:
        begin()
        a, b = (run.predictions() for run in (first, second))
        if a.labels != b.labels or a.task != b.task:
            labels = [f"{one.run} predicts {', '.join(one.labels)}" for one in (a, b)]
            raise DataError("; ".join(labels), hint="compare runs of one label set")
        a, b, left_out = paired(a, b, shared)
        by_study = several_films(a)
        per_study = (a.by_study(), b.by_study()) if by_study else (a, b)
        if label is not None or len(a.labels) == 1:
            a, b = a.of_label(label), b.of_label(label)
            per_study = per_study[0].of_label(label), per_study[1].of_label(label)
        begin()
        judged = judged_together(runs, {"a": a, "b": b}, "b")["a"]
        begin()
        figures = pairs((a, b), ("auroc",), resampling)
        begin()
        figures |= pairs(per_study, CALLED, resampling)
        begin()
        votes = votes_of(*per_study)
    of_recipes = judged.difference if several_folds(runs) else None
    same = np.array_equal(a.prob, b.prob)
    requested = {name: (getattr(first.record, name), getattr(second.record, name)) for name in COMPARED}
    return Comparison(
        a=first.run_id,
        b=second.run_id,
        arms=(first.arm, second.arm),
        label=a.labels[0] if len(a.labels) == 1 else "macro",
        units=len(a.y),
        studies=len(np.unique(a.studies)),
        patients=len(np.unique(a.patients)),
        left_out=left_out,
        figures=figures,
        called="study" if by_study else a.unit,
        recipes=of_recipes,
        over_folds=judged.over_folds,
        mcnemar=votes,
        conclusion="A and B predict the same." if same else conclusion(figures["auroc"].difference, of_recipes, votes),
        differs={name: pair for name, pair in requested.items() if pair[0] != pair[1]},
        caveats=tuple(caveats_of((first, second), (a, b))),
    )


def caveats_of(runs: tuple[Run, Run], rows: tuple[Predictions, Predictions]) -> Iterator[str]:
    """The caveats of both runs, each once, and what they may know by heart of the rows that are compared."""
    first, second = runs
    for caveat in dict.fromkeys((*first.caveats, *second.caveats)):
        whose = [name for name, run in (("A", first), ("B", second)) if caveat in run.caveats]
        yield f"{' and '.join(whose)}: {caveat}"
    known = [run.verbatim_on(judged) for run, judged in zip(runs, rows, strict=True)]
    yield from (f"{name}: {words}" for name, words in zip("AB", known, strict=True) if words)


def paired(a: Predictions, b: Predictions, shared: bool) -> tuple[Predictions, Predictions, tuple[int, int]]:
    """(A, B, units that only one has), both on the same units in the same order.

    Raises `DataError` if they differ and `shared` is not given, none is shared, or an answer differs.
    """
    places = {unit: row for row, unit in enumerate(units(b))}
    found = [(row, places[unit]) for row, unit in enumerate(units(a)) if unit in places]
    left_out = len(a.y) - len(found), len(b.y) - len(found)
    only = " and ".join(f"{n:,} only in {one.run}" for n, one in zip(left_out, (a, b), strict=True))
    counts = f"{len(found):,} units are shared, {only}"
    if a.unit != b.unit:
        what = f"a unit of {a.run} is one {a.unit}, of {b.run} one {b.unit}"
        raise DataError(f"{what}: 0 are shared", hint="train both on the same rows, as `cxremb ablate` does")
    if not found:
        raise DataError(f"{counts}: nothing to pair", hint="train both on the same split, repeats, folds and seeds")
    if any(left_out) and not shared:
        raise DataError(counts, hint="compare on the shared units alone: add --shared")
    rows_a, rows_b = np.array(found, dtype=np.int64).T
    a, b = a.take(rows_a), b.take(rows_b)
    if other := int((~np.isclose(a.y, b.y, equal_nan=True)).any(axis=1).sum()):
        raise DataError(
            f"{other:,} of {len(a.y):,} shared units have another answer in {b.run}",
            hint="the labels changed between the two: train the older run again",
        )
    return a, b, left_out


def units(predictions: Predictions) -> list[tuple[str, int, int, int]]:
    """(item, repeat, fold, seed) of each row."""
    columns = (predictions.items, predictions.repeat, predictions.fold, predictions.seed)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def several_films(test: Predictions) -> bool:
    """Whether a study has more than one row in a pool."""
    return len(np.unique(test.pools[0].studies)) < len(test.pools[0].items)


def pairs(both: Both, metrics: tuple[str, ...], resampling: Resampling | None) -> dict[str, Pair]:
    """Metric -> the figure of each, and their difference."""
    a, b = both
    gaps = a.difference(b, metrics, resampling)
    sides = [one.figures()[one.headline] for one in both]
    return {metric: Pair(sides[0][metric], sides[1][metric], gaps[metric]) for metric in metrics}


def votes_of(a: Predictions, b: Predictions) -> McNemar:
    """McNemar's test of what the fitted models call positive, patients as clusters; a reason where there is none."""
    reason = None
    if len(a.labels) > 1:
        reason = "for one label at a time: name it with --label"
    elif len(a.pools) > 1:
        reason = f"for one repeat and seed, and here are {len(a.pools)}: the differences are averaged over them"
    if reason:
        return McNemar(0, 0, 0, None, reason)
    answers = [called_positive(one.prob[:, 0], one.threshold).astype(float) for one in (a, b)]
    return mcnemar(a.y[:, 0], *answers, studies=a.items, patients=a.patients)


def conclusion(fitted: Difference, recipes: Contrast | None, votes: McNemar) -> str:
    """What follows, in words: which recipe is better and by how much, or what cannot be told; then of the answers."""
    gap = recipes or fitted
    if gap.value is None or gap.low is None or gap.high is None or gap.p is None:
        return f"It cannot be told which is better: {gap.reason}."
    what, patients = ("recipe", "to train and test on") if recipes else ("fitted model", "to test on")
    if gap.p < ALPHA:
        low, high = sorted((abs(gap.low), abs(gap.high)))
        better = "A" if gap.value > 0 else "B"
        said = f"{better} is the better {what}: by AUROC {span(abs(gap.value), low, high)}, {of(gap.p)}."
    else:
        said = (
            f"No difference of {what}s was found: A minus B is {bare(gap.value, '+')} in AUROC, and with other "
            f"patients {patients} anything from {bare(gap.low, '+')} to {bare(gap.high, '+')} would be no surprise."
        )
        if recipes and fitted.p is not None and fitted.p < ALPHA:
            said += f" These two fitted models do differ ({of(fitted.p)}); other training patients may undo it."
    if votes.p is not None and votes.p < ALPHA:
        more = "A" if votes.only_a > votes.only_b else "B"
        said += f" At its threshold {more} is right more often ({of(votes.p)}, these fitted models)."
    return said


def of(p: float) -> str:
    """A p in words."""
    return "p below .001" if p < 0.001 else f"p {bare(p)}"
