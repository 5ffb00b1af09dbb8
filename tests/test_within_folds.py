"""The AUROC within folds and its variance: against all pairs, DeLong, the bootstrap, and a planted truth."""

from dataclasses import replace

import numpy as np
import pytest
from predicted import predicted

from cxremb.evaluation.delong import delong, delong_difference
from cxremb.predictions import Predictions
from cxremb.training.scores import BY_PATIENT, BY_STUDY, metrics_table


def folded(seed: int, n: int = 240, folds: int = 5, patients: int = 100) -> tuple[np.ndarray, ...]:
    """(classes, two scores on the scale of each fold, patients with rows of both classes, folds of whole patients)."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, patients, n)
    fold = rng.integers(0, folds, patients)[who]
    y = (rng.random(n) < 0.4).astype(float)
    shared, shift = rng.normal(size=patients)[who], np.linspace(-2, 2, folds)[fold]
    scores = [1 / (1 + np.exp(-(gap * y + shared + rng.normal(size=n) + shift))) for gap in (1.5, 0.8)]
    return y, *scores, who, fold


def with_folds(given: Predictions, fold: np.ndarray) -> Predictions:
    return replace(given, fold=fold.astype(np.int64))


def by_pairs(y: np.ndarray, score: np.ndarray, fold: np.ndarray) -> float:
    """Every pair of a fold, written out."""
    wins = [
        1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
        for i in np.flatnonzero(y == 1)
        for j in np.flatnonzero(y == 0)
        if fold[i] == fold[j]
    ]
    return float(np.mean(wins))


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_a_fold_each_counting_once(seed):
    y, good, poor, who, fold = folded(seed)
    for score in (good, np.round(poor, 1)):
        area = with_folds(predicted(y, score, who), fold).area()
        assert area.area == pytest.approx(by_pairs(y, score, fold), abs=1e-12)
        assert delong(y, score, who, folds=fold).value == pytest.approx(area.area, abs=1e-12)
        assert area.influence.sum() == pytest.approx(0, abs=0.1 * area.variance**0.5)  # but for small samples' factors
        assert area.left_out == 0


def test_one_fold_and_one_pool_is_delong():
    y, good, poor, who, _ = folded(7)
    a, b = (predicted(y, score, who).area() for score in (good, poor))
    assert a.variance == pytest.approx(delong(y, good, who).error ** 2, rel=1e-12)
    assert a.minus(b).variance == pytest.approx(delong_difference(y, good, poor, clusters=who).error ** 2, rel=1e-12)
    assert a.minus(b).area == pytest.approx(a.area - b.area)


def test_patients_are_in_order_whatever_the_rows():
    y, good, _, who, fold = folded(1)
    names = np.array([f"p{number:03d}" for number in who])
    turned = np.random.default_rng(0).permutation(len(y))
    first = with_folds(predicted(y, good, names), fold).area()
    second = with_folds(predicted(y[turned], good[turned], names[turned]), fold[turned]).area()
    assert len(first.influence) == len(np.unique(names))
    np.testing.assert_allclose(second.influence, first.influence, atol=1e-14)


def test_the_variance_is_that_of_resampled_patients():
    y, good, poor, who, fold = folded(2, n=1500, patients=600)
    areas = [with_folds(predicted(y, score, who), fold).area() for score in (good, poor)]
    rows_of = [np.flatnonzero(who == patient) for patient in range(600)]
    own_fold = {patient: fold[rows[0]] for patient, rows in enumerate(rows_of) if len(rows)}
    strata = [[p for p, own in own_fold.items() if own == f] for f in range(5)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):  # patients of each fold, since the models of the folds stay as they are
        chosen = np.concatenate([rows_of[p] for f in strata for p in rng.choice(f, len(f))])
        pair = [delong(y[chosen], score[chosen], folds=fold[chosen]).value for score in (good, poor)]
        drawn.append([*pair, pair[0] - pair[1]])
    found = [areas[0].variance, areas[1].variance, areas[0].minus(areas[1]).variance]
    np.testing.assert_allclose(np.sqrt(found), np.std(drawn, axis=0), rtol=0.12)  # 300 draws: an error of 4%


def test_pools_are_averaged_and_add_no_patients():
    y, good, poor, who, fold = folded(3)
    one = with_folds(predicted(y, good, who), fold).area()
    twice = [np.tile(values, 2) for values in (y, good, who, fold)]
    same = with_folds(predicted(*twice[:3], pools=np.repeat([0, 1], len(y))), twice[3]).area()
    assert (same.area, same.variance) == pytest.approx((one.area, one.variance))
    both = predicted(twice[0], np.r_[good, poor], twice[2], pools=np.repeat([0, 1], len(y)))
    other = with_folds(predicted(y, poor, who), fold).area()
    mean = with_folds(both, twice[3]).area()
    assert mean.area == pytest.approx((one.area + other.area) / 2)
    np.testing.assert_allclose(mean.influence, (one.influence + other.influence) / 2, atol=1e-14)


def test_labels_are_averaged_where_they_are_known():
    rng = np.random.default_rng(4)
    y, _, _, who, fold = folded(4)
    table = np.column_stack([y, (rng.random(len(y)) < 0.3), np.ones(len(y))]).astype(float)
    table[rng.random(table.shape) < 0.2] = np.nan
    prob = rng.random(table.shape)
    several = with_folds(predicted(table, prob, who, task="multilabel"), fold).area()
    alone = []
    for column in (0, 1):  # the third has one answer
        known = ~np.isnan(table[:, column])
        alone.append(by_pairs(table[known, column], prob[known, column], fold[known]))
    assert several.area == pytest.approx(np.mean(alone), abs=1e-12)


def test_folds_of_one_class_are_left_out_and_counted():
    y, good, _, who, fold = folded(5)
    y = np.where(fold == 2, 0.0, y)
    found = with_folds(predicted(y, good, who), fold).area()
    kept = fold != 2
    assert found.left_out == 1
    assert found.area == pytest.approx(by_pairs(y[kept], good[kept], fold[kept]))
    none = with_folds(predicted(y, good, who), y).area()  # each fold has one class
    assert (none.area, none.left_out, none.variance) == (None, 2, 0.0)


def test_a_fold_of_its_own_scale_moves_the_pooled_figure_alone():
    y, good, _, who, fold = folded(6, n=2000, patients=900)
    shifted = 1 / (1 + np.exp(-(np.log(good / (1 - good)) + 3.0 * (fold == 4))))
    within = [with_folds(predicted(y, score, who), fold).area().area for score in (good, shifted)]
    assert within[0] == pytest.approx(within[1], abs=1e-12)
    assert delong(y, good, who).value - delong(y, shifted, who).value > 0.02


def test_one_row_for_each_study_or_patient_of_the_same_answer():
    y, good, _, who, fold = folded(8)
    rows = with_folds(predicted(y, good, who), fold)
    found = rows.by_patient()
    keys = sorted(set(zip(who.tolist(), y.tolist(), strict=True)))
    assert list(zip(found.patients.tolist(), found.y[:, 0].tolist(), strict=True)) == keys
    for row, (patient, answer) in enumerate(keys):
        own = (who == patient) & (y == answer)
        assert found.prob[row, 0] == pytest.approx(good[own].mean())
        assert found.fold[row] == fold[own][0]
    assert len(np.unique(who)) < len(keys) < len(y)  # some have both answers
    heavy = np.concatenate([np.arange(60), np.zeros(200, int)])  # patient 0 has 201 films, which are all right
    truth = (heavy % 2 == 0).astype(float)
    prob = np.where(heavy == 0, 0.99, np.random.default_rng(0).random(260))
    films = predicted(truth, prob, heavy)
    accuracy = [one.figures()["label 1"]["accuracy"] for one in (films, films.by_patient())]
    assert accuracy[0] > 0.85
    assert accuracy[1] < 0.7


def test_metrics_have_them_beside_the_films():
    y, good, _, who, fold = folded(9)
    test = with_folds(predicted(y, good, who), fold)
    test = replace(test, studies=who * 2 + y.astype(int))  # a study has one answer
    table = metrics_table(test).to_pylist()
    found = {(row["part"], row["metric"]): row for row in table}
    for part, judged in ((BY_STUDY, test.by_study()), (BY_PATIENT, test.by_patient())):
        if part == BY_PATIENT:  # a study here is the rows of a patient with one answer
            assert (part, "auroc") not in found
            continue
        row = found[part, "auroc"]
        assert row["value"] == pytest.approx(judged.area().area)
        assert row["low"] < row["value"] < row["high"]
        assert row["folds"] == 5
    several = replace(test, studies=np.arange(len(y)))  # each film its own study
    parts = {row["part"] for row in metrics_table(several).to_pylist()}
    assert BY_PATIENT in parts
    assert BY_STUDY not in parts
    alone = predicted(y[:100], good[:100])  # a film a patient
    assert {row["part"] for row in metrics_table(alone).to_pylist()} == {"test"}
