"""Figures per group: the same as of the group alone, and the worst one named only where it can be told."""

import numpy as np
import pytest
from predicted import intervals_of, predicted
from scipy.stats import norm

from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Resampling
from cxremb.evaluation.delong import delong
from cxremb.stratify import MISSING, strata


def made_up() -> tuple[np.ndarray, ...]:
    """(classes, probabilities that are worth less in lateral views, the view or None, patients)."""
    rng = np.random.default_rng(0)
    view = np.array(["PA"] * 200 + ["lateral"] * 150 + [None] * 40 + ["swimmer"] * 6, dtype=object)
    y = (rng.random(396) < 0.5).astype(float)
    gap = np.where(view == "lateral", 0.1, 0.5)
    return y, np.clip(0.5 + gap * (y - 0.5) + 0.2 * rng.standard_normal(396), 0, 1), view, np.arange(396) // 2


def test_a_group_is_judged_as_if_it_were_alone():
    y, prob, view, patients = made_up()
    found = strata(predicted(y, prob, patients), view, metrics=("auroc", "f1"), resampling=Resampling(200, 0.9, 3))
    assert [(group.name, group.rows) for group in found.groups] == [
        ("PA", 200),
        ("lateral", 150),
        (MISSING, 40),
        ("swimmer", 6),
    ]
    for group in found.groups:
        rows = [(MISSING if value is None else value) == group.name for value in view]
        alone = intervals_of(
            y[rows], prob[rows], patients[rows], metrics=("auroc", "f1"), resamples=200, level=0.9, seed=3
        )
        assert group.metrics == alone
        assert (group.positives, group.clusters) == (y[rows].sum(), len(set(patients[rows])))
    assert (found.worst.name, found.by, found.reason) == ("lateral", "auroc", None)
    swimmer = found.groups[-1].metrics["auroc"]
    assert swimmer.low is None
    assert "an interval needs 10 of each" in swimmer.reason


def test_less_is_better_for_a_loss():
    y, prob, view, patients = made_up()
    assert strata(predicted(y, prob, patients), view, metrics=("brier",)).worst.name == "lateral"


def test_no_group_is_the_worst_of_one():
    y, prob, view, patients = made_up()
    found = strata(predicted(y, prob, np.where(view == "PA", patients, 0)), np.where(view == "PA", "PA", "rest"))
    assert (found.worst, found.reason) == (None, "1 of 2 groups bear an interval")
    assert strata(predicted([], []), []).groups == []


def test_numbers_and_nan_are_groups_too():
    y, prob, _, patients = made_up()
    column = np.where(np.arange(396) < 100, np.nan, 2.0)
    assert [group.name for group in strata(predicted(y, prob, patients), column).groups] == ["2.0", MISSING]


def test_what_is_no_grouping_is_refused():
    y, prob, view, patients = made_up()
    for column, metrics, told in (
        (np.arange(396), ("auroc",), "396 groups, more than 50"),
        (view[:3], ("auroc",), "396 rows, but the column"),
        (view, (), "worst by nothing"),
        (view, ("prevalence",), "worst by prevalence"),
        (view, ("auc",), "no interval for auc"),
    ):
        with pytest.raises(DataError, match=told) as caught:
            strata(predicted(y, prob, patients), column, metrics=metrics)
        assert caught.value.hint


def test_a_gap_is_the_group_minus_the_rest_for_all_groups_at_once():
    y, prob, view, _ = made_up()
    groups = strata(predicted(y, prob, np.arange(396)), view, metrics=("auroc", "accuracy")).groups
    names = np.array([MISSING if value is None else value for value in view])
    judged = [group for group in groups if group.name != "swimmer"]  # 6 rows bear no interval
    z = norm.ppf(1 - 0.025 / len(judged))
    raw = []
    for group in judged:
        own = names == group.name
        sides = [delong(y[rows], prob[rows]) for rows in (own, ~own)]
        gap = group.gaps["auroc"]
        assert gap.value == pytest.approx(sides[0].value - sides[1].value)
        error = np.hypot(*(side.error for side in sides))  # of two independent groups
        assert (gap.high - gap.low) / 2 == pytest.approx(z * error, rel=0.12)  # Student's t reaches a little further
        assert gap.low < gap.value < gap.high
        right = (prob >= 0.5) == y
        assert group.gaps["accuracy"].value == pytest.approx(right[own].mean() - right[~own].mean())
        raw.append(gap.p)
    lateral = next(group for group in groups if group.name == "lateral").gaps["auroc"]
    assert lateral.high < 0
    assert lateral.p == min(raw) < 0.05
    swimmer = groups[-1].gaps["auroc"]
    assert (swimmer.low, swimmer.p) == (None, None)
    assert "needs 10 of each" in swimmer.reason


def test_patients_on_both_sides_of_a_gap_are_paired():
    rng = np.random.default_rng(3)
    own = rng.standard_normal(150)
    y = np.tile((np.arange(150) % 2).astype(float), 2)
    score = np.tile(own, 2) + 1.0 * y + 0.1 * rng.standard_normal(300)
    prob, side = 1 / (1 + np.exp(-score)), np.repeat(["left", "right"], 150)
    paired, apart = (
        strata(predicted(y, prob, patients), side, metrics=("auroc",)).groups[0].gaps["auroc"]
        for patients in (np.tile(np.arange(150), 2), np.arange(300))
    )
    assert paired.value == apart.value
    assert paired.high - paired.low < (apart.high - apart.low) / 2
