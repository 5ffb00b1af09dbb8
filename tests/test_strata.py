"""Figures per group: the same as of the group alone, and the worst one named only where it can be told."""

import numpy as np
import pytest
from predicted import intervals_of, predicted

from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Resampling
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
