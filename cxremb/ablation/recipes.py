"""What a difference says of two recipes, trained anew on other patients: more than of the fitted models at hand.

A patient moves a figure twice, where he is judged and where he is trained on. How far he moves it where he is judged is
known from the ranks, and his training is taken to count as much (`patient_factor`). What the folds differ by beyond
that, such as the luck of a start, is added. Why so, in docs/evaluation.md: size, coverage and power by simulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.bootstrap import Difference
from cxremb.evaluation.significance import fold_difference
from cxremb.evaluation.simultaneous import Contrast, contrasts, may_be_best, patient_factor
from cxremb.predictions import Predictions
from cxremb.training.runs import Run

UNDEFINED = "AUROC is undefined on these rows"


@dataclass(frozen=True, eq=False)
class Standing:
    """The headline AUROC of one arm, and what would move it."""

    auroc: float
    influence: Reals  # (c,) what each patient adds to its error where he is judged
    models: Reals  # (j,) the AUROC of each training set, one a repeat and fold, seeds averaged; NaN: of one class
    by_model: Reals  # (repeats, c) what each patient adds to the errors of those
    by_repeat: Reals  # (repeats, c) as influence, of each repeat alone
    factor: float = 1.0  # how much larger the variance is than that of the patients who are judged


@dataclass(frozen=True)
class Judgement:
    """One arm beside the reference, of recipes where there are several folds, else of the fitted models."""

    difference: Contrast | None  # None: it is the reference
    over_folds: Difference | None  # the corrected t over folds, not corrected for other arms; None of one fold
    may_be_best: bool | None  # of all arms; None: it cannot be told


def what_p_means(differences: int, *, recipes: bool) -> str:
    """One sentence for the foot of a table."""
    together = f" for {'both' if differences == 2 else f'all {differences}'} differences at once (max-T),"
    of, equal = "of arms trained and tested on other patients", "equal arms"
    if not recipes:
        of, equal = "of these models on other test patients, as one fold shows no more", "equal models"
    start = f"Brackets beside p: 95%{together if differences > 1 else ','}"
    return f"{start} {of}; p: how often {equal} differ as much"


def judged_together(runs: Mapping[str, Run], tests: Mapping[str, Predictions], reference: str) -> dict[str, Judgement]:
    """Arm -> how it stands, differences and who may be the best for all arms at once.

    tests: arm -> the same rows of the same patients.
    """
    recipes = several_folds(runs)
    found = {
        arm: standing(test, factor=factor_of(runs[arm], len(np.unique(test.patients))) if recipes else 1.0)
        for arm, test in tests.items()
    }
    known = {arm: one for arm, one in found.items() if one is not None}
    why = next((why for test in tests.values() if (why := test.no_interval())), None)
    base = known.get(reference)
    others = [arm for arm in known if arm != reference]
    gaps = {arm: Contrast(None, reason=why or UNDEFINED) for arm in tests if arm != reference}
    if base and why:
        gaps |= {arm: Contrast(known[arm].auroc - base.auroc, reason=why) for arm in others}
    elif base and others:
        judged = contrasts(
            np.array([known[arm].auroc - base.auroc for arm in others]),
            np.array([known[arm].influence - base.influence for arm in others]),
            np.array([factor_between(known[arm], base) for arm in others]),
        )
        gaps |= dict(zip(others, judged, strict=True))
    best = {} if why else best_of(known)
    return {
        arm: Judgement(
            gaps.get(arm),
            over_folds(known[arm], base, (runs[arm], runs[reference])) if recipes and base and arm in others else None,
            best.get(arm),
        )
        for arm in tests
    }


def difference_alone(a: Predictions, b: Predictions, *, factor: float) -> Contrast:
    """A minus B on the same rows, as a table says it of one arm beside the reference. factor: as of `standing`."""
    one, other = standing(a, factor=factor), standing(b, factor=factor)
    if one is None or other is None:
        return Contrast(None, reason=UNDEFINED)
    if why := a.no_interval():
        return Contrast(one.auroc - other.auroc, reason=why)
    moved = one.influence - other.influence
    return contrasts(np.array([one.auroc - other.auroc]), moved[None], np.array([factor_between(one, other)]))[0]


def standing(test: Predictions, *, factor: float = 1.0) -> Standing | None:
    """That of some test rows; None where the AUROC is undefined. factor: `factor_of` a recipe, 1 of fitted models."""
    placed = test.area()
    if placed.area is None:
        return None
    names = np.unique(test.patients)
    repeats, models = np.unique(test.repeat), []
    by_model, by_repeat = np.zeros((2, len(repeats), len(names)))
    for row, repeat in enumerate(repeats.tolist()):
        pool = test.take(test.repeat == repeat)
        by_repeat[row, np.searchsorted(names, np.unique(pool.patients))] = pool.area().influence
        for fold in np.unique(test.fold[test.repeat == repeat]).tolist():
            own = test.take((test.repeat == repeat) & (test.fold == fold))
            of_model = own.area()
            models.append(np.nan if of_model.area is None else of_model.area)
            by_model[row, np.searchsorted(names, np.unique(own.patients))] += of_model.influence
    return Standing(placed.area, placed.influence, np.array(models), by_model, by_repeat, factor)


def factor_of(run: Run, judged: int, *, models: int | None = None) -> float:
    """`patient_factor` of a run. judged: how many patients are. models: training sets, where not all of its own.

    A smaller share of the training patients (`train_fraction`) is drawn anew in every fold: what that moves is among
    what the folds differ by. Zero-shot nobody is trained on.
    """
    if run.record.is_zero_shot:
        return 1.0
    train, _ = rows_of_model(run, shots=False)
    share = min(1.0, train / run.record.train_fraction / run.record.rows)
    return patient_factor(min(1.0, judged / run.record.patients), share, models or len(training_sets(run)))


def rows_of_model(run: Run, *, shots: bool = True) -> tuple[int, int]:
    """(training rows, test rows) of one model, the mean over all. shots: whether few of each class count as few."""
    models = len(run.record.members)
    test, val = (len(run.predictions(part).items) / models for part in ("test", "val"))
    train = max(1, round((run.record.rows - test - val) * run.record.train_fraction))
    few = run.record.shots * max(2, len(run.record.labels)) if shots and run.record.shots else train
    return min(train, few), max(1, round(test))


def training_sets(run: Run) -> set[tuple[int, int]]:
    """The (repeat, fold) of its models: seeds share them."""
    return {(place.repeat, place.fold) for place in run.record.members}


def several_folds(runs: Mapping[str, Run]) -> bool:
    """Whether every run has several training sets, without which nothing tells how much a figure moves with them.

    Models of other collections have none here: whom they were trained on is none of those who are judged.
    """
    return all(len(training_sets(run)) > 1 and not run.record.is_external for run in runs.values())


def factor_between(a: Standing, b: Standing) -> float:
    """How much larger the variance of A minus B is than that of the patients who are judged.

    The larger of both factors, where what is trained counts as the patients of one repeat do: the mean over repeats
    takes out of the figure what models of other folds say of a patient, but no patient out of their training. And the
    folds' differences vary about their mean by what their patients explain: what they vary by beyond that is of the
    trainings, and is added, divided by their number.
    """
    factor, gaps = max(a.factor, b.factor), gaps_of(a, b)
    of_patients = float(((a.influence - b.influence) ** 2).sum())
    if factor == 1 or not of_patients:
        return factor
    of_one_repeat = float(((a.by_repeat - b.by_repeat) ** 2).sum()) / len(a.by_repeat)
    beyond = 0.0
    if len(gaps) > 1:
        explained = float(((a.by_model - b.by_model) ** 2).sum()) / len(gaps)
        beyond = max(0.0, float(gaps.var(ddof=1)) - explained) / len(gaps)
    return 1 + ((factor - 1) * of_one_repeat + factor * beyond) / of_patients


def over_folds(a: Standing, b: Standing, runs: tuple[Run, Run]) -> Difference:
    """The corrected t over the folds. Where two train on different shares, the smaller counts."""
    return fold_difference(gaps_of(a, b), *min(map(rows_of_model, runs)))


def gaps_of(a: Standing, b: Standing) -> Reals:
    """(j,) A minus B of each training set, without those that one class was tested with."""
    gaps = a.models - b.models
    return np.asarray(gaps[np.isfinite(gaps)])


def best_of(known: Mapping[str, Standing]) -> dict[str, bool]:
    """Arm -> whether it may be the best."""
    sides = list(known.values())
    if len(sides) < 2:
        return {}
    kept = may_be_best(
        np.array([one.auroc for one in sides]),
        np.array([one.influence for one in sides]),
        np.array([[factor_between(one, other) for other in sides] for one in sides]),
    )
    return dict(zip(known, kept.tolist(), strict=True))
