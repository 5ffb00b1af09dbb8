"""Two runs on the units that both judge: by how much one is better, by three tests, and what that means in words."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Difference, Resampling
from cxremb.evaluation.delong import AreaDifference, delong_difference
from cxremb.evaluation.significance import McNemar, mcnemar
from cxremb.predictions import Predictions
from cxremb.tabular import Tabular
from cxremb.training.runs import Run

METRICS = ("auroc", "accuracy", "f1")
COMPARED = (
    *("head", "preset", "label_set", "task", "stores", "text", "pooling", "views", "unit", "missing", "split", "folds"),
    *("repeats", "seeds", "rows", "patients", "parameters", "leaky"),
)
ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """One figure of both runs on the same units, and A minus B."""

    a: float | None
    b: float | None
    difference: Difference


@dataclass(frozen=True)
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
    figures: Mapping[str, Pair]
    delong: AreaDifference
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
    first: Run, second: Run, *, shared: bool = False, label: str | None = None, resampling: Resampling | None = None
) -> Comparison:
    """A minus B on the test units that both have.

    shared: leave out the units that only one has. label: judge one of several; else their macro figures are compared,
    without DeLong and McNemar, which are of one label. Raises `DataError`, with counts, if the runs have other labels,
    other units (unless `shared`), or other answers for one unit.
    """
    a, b = (run.predictions() for run in (first, second))
    if a.labels != b.labels or a.task != b.task:
        labels = [f"{one.run} predicts {', '.join(one.labels)}" for one in (a, b)]
        raise DataError("; ".join(labels), hint="compare runs of one label set")
    a, b, left_out = paired(a, b, shared)
    if label is not None or len(a.labels) == 1:
        a, b = a.of_label(label), b.of_label(label)
    gaps = a.difference(b, METRICS, resampling)
    sides = [one.figures()[one.headline] for one in (a, b)]
    figures = {metric: Pair(sides[0][metric], sides[1][metric], gaps[metric]) for metric in METRICS}
    area, votes = tests(a, b)
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
        delong=area,
        mcnemar=votes,
        conclusion=conclusion(figures["auroc"], np.array_equal(a.prob, b.prob)),
        differs={name: pair for name, pair in requested.items() if pair[0] != pair[1]},
        caveats=tuple(caveats_of(first, second)),
    )


def caveats_of(first: Run, second: Run) -> Iterator[str]:
    """The caveats of both runs, each once."""
    for caveat in dict.fromkeys((*first.caveats, *second.caveats)):
        whose = [name for name, run in (("A", first), ("B", second)) if caveat in run.caveats]
        yield f"{' and '.join(whose)}: {caveat}"


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


def tests(a: Predictions, b: Predictions) -> tuple[AreaDifference, McNemar]:
    """DeLong's test with patients as clusters, and McNemar's of studies; with a reason where they do not apply."""
    reason = None
    if len(a.labels) > 1:
        reason = "for one label at a time: name it with --label"
    elif len(a.pools) > 1:
        reason = f"for one repeat and seed, and here are {len(a.pools)}: the bootstrap averages over them"
    if reason:
        return AreaDifference(None, None, None, None, None, reason), McNemar(0, 0, 0, None, reason)
    y, first, second = a.y[:, 0], a.prob[:, 0], b.prob[:, 0]
    return delong_difference(y, first, second, clusters=a.patients), mcnemar(y, first, second, studies=a.studies)


def conclusion(auroc: Pair, same: bool) -> str:
    """What the AUROC says, in words: which is better and by how much, or what cannot be told."""
    gap = auroc.difference
    if same:
        return "A and B predict the same."
    if gap.value is None or gap.low is None or gap.high is None or gap.p is None:
        return f"It cannot be told which is better: {gap.reason}."
    span = f"AUROC {abs(gap.value):.3f}"
    if gap.p >= ALPHA:
        return (
            f"No difference was found: A minus B is {gap.value:+.3f} in AUROC, and with other patients "
            f"anything from {gap.low:+.3f} to {gap.high:+.3f} would be no surprise."
        )
    low, high = sorted((abs(gap.low), abs(gap.high)))
    better, other = ("A", "B") if gap.value > 0 else ("B", "A")
    return f"{better} is better than {other}: by {span} [{low:.3f}, {high:.3f}], p {gap.p:.3f}."
