"""Two runs on shared units: a known difference is found, none is none, and what cannot be paired is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_runs import Desk, desk, made_run, noisy
from planted import Planted, plant
from predicted import difference_of, within
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import f1_score, roc_auc_score

from cxremb.comparison import compare_runs, conclusion
from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Difference
from cxremb.evaluation.delong import delong_difference
from cxremb.evaluation.shares import ALIKE as JUDGED_ALIKE
from cxremb.evaluation.significance import McNemar
from cxremb.evaluation.simultaneous import ALIKE, Contrast
from cxremb.features import Features
from cxremb.splits import SplitSpec, new_split
from cxremb.table import bare
from cxremb.training.runs import Run


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Desk:
    return desk(
        plant(tmp_path_factory.mktemp("compare"), Planted(studies=300, kinds=1.0)), modalities=("image", "text")
    )


def folds_at(at: Desk, run: Run) -> np.ndarray:
    """The fold that judges each item of the features."""
    test = run.predictions()
    fold = dict(zip(test.items.tolist(), test.fold.tolist(), strict=True))
    return np.array([fold[item] for item in at.features.item_ids.tolist()])


@pytest.fixture(scope="module")
def pair(at) -> tuple[np.ndarray, np.ndarray, Run, Run]:
    good, bad = noisy(at.features.y[:, 0], 2.0, 1), noisy(at.features.y[:, 0], 0.5, 2)
    return good, bad, made_run(at, good, "good"), made_run(at, bad, "bad")


def test_a_run_against_itself_has_no_difference(pair):
    *_, run, _ = pair
    found = compare_runs(run, run)
    for one in found.figures.values():
        assert (one.difference.value, one.difference.low, one.difference.high, one.difference.p) == (
            0,
            None,
            None,
            None,
        )
        assert one.difference.reason == JUDGED_ALIKE
    assert (found.mcnemar.only_a, found.mcnemar.only_b, found.mcnemar.p) == (0, 0, 1)
    assert (found.recipes.value, found.recipes.p, found.recipes.reason) == (0, None, ALIKE)
    assert found.conclusion == "A and B predict the same."
    assert not found.differs


def test_a_caveat_says_whose_it_is(pair):
    *_, first, second = pair
    (shared,) = second.caveats
    own, other = (replace(run, record=replace(run.record, caveats=(shared, run.run_id))) for run in (first, second))
    found = compare_runs(own, other).caveats
    assert found == (f"A and B: {shared}", f"A: {first.run_id}", f"B: {second.run_id}")


def test_every_figure_of_a_known_difference(at, pair):
    good, bad, first, second = pair
    y, patients = at.features.y[:, 0], at.features.patient_ids
    found, fold = compare_runs(first, second), folds_at(at, first)
    assert (found.units, found.studies, found.patients) == (400, 300, 300)
    assert found.left_out == (0, 0)
    studies = at.features.study_ids
    of_study = np.array([y[studies == one][0] for one in np.unique(studies)])

    def called(prob: np.ndarray) -> np.ndarray:
        return np.array([prob[studies == one].mean() >= 0.5 for one in np.unique(studies)])

    judge = {
        "auroc": lambda prob: within(y, prob, fold),
        "accuracy": lambda prob: (called(prob) == of_study).mean(),
        "f1": lambda prob: f1_score(of_study, called(prob)),
    }
    assert found.called == "study"
    for name, figure in judge.items():
        assert found.figures[name].a == pytest.approx(figure(good))
        assert found.figures[name].b == pytest.approx(figure(bad))
        assert found.figures[name].difference.value == pytest.approx(figure(good) - figure(bad))
    assert found.figures["auroc"].difference.low > 0.1
    rows = first.predictions()
    order = np.array([{item: n for n, item in enumerate(at.features.item_ids)}[item] for item in rows.items])
    alone = delong_difference(y[order], good[order], bad[order], clusters=patients[order], folds=rows.fold)
    fitted = found.figures["auroc"].difference
    assert (fitted.value, fitted.low, fitted.p) == pytest.approx((alone.value, alone.low, alone.p))
    assert found.recipes.value == pytest.approx(alone.value)
    assert found.recipes.error >= alone.error * 2.08**0.5  # who trains moves it as much as who is judged
    folds = np.array(
        [
            roc_auc_score(y[order][rows.fold == k], good[order][rows.fold == k])
            - roc_auc_score(y[order][rows.fold == k], bad[order][rows.fold == k])
            for k in range(5)
        ]
    )
    error = np.sqrt((1 / 5 + 80 / 280) * folds.var(ddof=1))
    assert found.over_folds.value == pytest.approx(folds.mean())
    assert found.over_folds.p == pytest.approx(2 * stats.t.sf(folds.mean() / error, 4), rel=0.05)
    right = [called(prob) == of_study for prob in (good, bad)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == only
    assert found.mcnemar.p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert found.conclusion.startswith("A is the better recipe: by AUROC .")
    assert compare_runs(second, first).conclusion.startswith("B is the better recipe: by AUROC .")


def test_the_interval_is_that_of_the_same_rows_elsewhere(at, pair):
    good, bad, first, second = pair
    order = np.concatenate([np.flatnonzero(np.isin(at.features.item_ids, ids)) for ids in folds_of(first)])
    y, patients = at.features.y[order, 0], at.features.patient_ids[order]
    plain = difference_of(y, good[order], bad[order], patients, fold=folds_at(at, first)[order])
    studies, first_film = np.unique(at.features.study_ids[order], return_index=True)
    sides = [[side[order][at.features.study_ids[order] == one].mean() for one in studies] for side in (good, bad)]
    plain |= difference_of(y[first_film], *sides, patients[first_film], metrics=("accuracy", "f1"))
    for name, one in compare_runs(first, second).figures.items():
        assert (one.difference.low, one.difference.high) == pytest.approx((plain[name].low, plain[name].high))
        assert one.difference.p == pytest.approx(plain[name].p)


def folds_of(run: Run) -> list[list[str]]:
    """The test items of each fold."""
    rows = [row for row in run.prediction_rows.to_pylist() if row["part"] == "test"]
    return [[row["item_id"] for row in rows if row["fold"] == fold] for fold in range(5)]


def test_noise_against_noise_is_said_to_be_no_difference(at):
    y = at.features.y[:, 0]
    found = compare_runs(made_run(at, noisy(y, 1.0, 3), "one"), made_run(at, noisy(y, 1.0, 4), "two"))
    assert found.figures["auroc"].difference.low < 0 < found.figures["auroc"].difference.high
    assert found.conclusion.startswith("No difference of recipes was found: A minus B is ")
    assert found.recipes.low < 0 < found.recipes.high


def test_one_fold_answers_for_the_fitted_models_alone(at, pair, cxremb):
    good, bad, *_ = pair
    runs = [made_run(at, prob, name, folds=(0,)) for prob, name in ((good, "good 0"), (bad, "bad 0"))]
    found = compare_runs(*runs)
    assert (found.recipes, found.over_folds) == (None, None)
    assert found.conclusion.startswith("A is the better fitted model: by AUROC .")
    said = cxremb("compare", runs[0].run_id, runs[1].run_id, "--root", at.dataset.paths.root)
    assert "One fold: it cannot be told what other training patients would change" in said.out
    assert "auroc, recipes" not in said.out


def test_the_conclusion_is_of_what_is_printed():
    fitted, sure = Difference(0.03, 0.01, 0.05, 0.004), Contrast(0.03, 0.01, 0.05, 0.004)
    unsure = Contrast(0.03, -0.01, 0.07, 0.14)
    nothing, right = McNemar(90, 5, 6, 0.9), McNemar(90, 5, 21, 0.002)
    assert conclusion(fitted, sure, nothing) == "A is the better recipe: by AUROC .030 [.010, .050], p .004."
    told = conclusion(fitted, unsure, right)
    assert told.startswith("No difference of recipes was found: A minus B is +.030 in AUROC")
    assert "These two fitted models do differ (p .004); other training patients may undo it." in told
    assert told.endswith("At its threshold B is right more often (p .002, these fitted models).")
    assert "fitted models was found" in conclusion(replace(fitted, low=-0.1, p=0.3), None, nothing)
    none = conclusion(Difference(0.03, None, None, None, reason="only 3 positive"), None, nothing)
    assert none == "It cannot be told which is better: only 3 positive."


def test_units_that_differ_are_counted_and_refused(at, pair):
    good, bad, first, _ = pair
    part = made_run(at, bad, "part", folds=(0, 1, 2))
    n = [len(set(ids)) for ids in folds_of(first)]
    shared, lost = sum(n[:3]), sum(n[3:])
    with pytest.raises(
        DataError, match=f"{shared} units are shared, {lost} only in {first.run_id} and 0 only in"
    ) as told:
        compare_runs(first, part)
    assert "--shared" in told.value.hint
    found = compare_runs(part, first, shared=True)
    assert (found.units, found.left_out) == (shared, (0, lost))
    rows = np.isin(at.features.item_ids, np.concatenate(folds_of(first)[:3]))
    y = at.features.y[rows, 0]
    assert found.figures["auroc"].b == pytest.approx(within(y, good[rows], folds_at(at, first)[rows]))
    with pytest.raises(DataError, match="0 units are shared"):
        compare_runs(first, made_run(at, bad, "seeded", seeds=(1,)), shared=True)


def test_other_units_labels_and_answers_are_refused(at, pair, tmp_path):
    _, bad, first, _ = pair
    studies = desk(at.dataset)
    with pytest.raises(DataError, match=r"is one image, of .* one study"):
        compare_runs(first, made_run(studies, noisy(studies.features.y, 1.0, 0), "studies"), shared=True)
    several = desk(at.dataset, "found")
    run = made_run(several, noisy(np.nan_to_num(several.features.y), 1.0, 0), "several")
    with pytest.raises(DataError, match=r"predicts abnormal; .* predicts nodule, effusion"):
        compare_runs(first, run)
    y = at.features.y.copy()
    y[:3] = 1 - y[:3]
    flipped: Features = replace(at.features, y=y)
    with pytest.raises(DataError, match="3 of 400 shared units have another answer"):
        compare_runs(first, made_run(replace(at, features=flipped), bad, "flipped"))


def test_several_labels_are_compared_by_their_mean_or_one_by_one(at):
    several = desk(at.dataset, "found")
    y = several.features.y
    runs = [made_run(several, noisy(np.nan_to_num(y), gap, 5), f"gap {gap}") for gap in (2.0, 0.5)]
    probs = [noisy(np.nan_to_num(y), gap, 5) for gap in (2.0, 0.5)]
    known = ~np.isnan(y)
    fold = folds_at(several, runs[0])
    areas = np.array(
        [[within(y[known[:, k], k], prob[known[:, k], k], fold[known[:, k]]) for k in (0, 1)] for prob in probs]
    )
    found = compare_runs(*runs)
    assert found.label == "macro"
    assert found.figures["auroc"].difference.value == pytest.approx(areas[0].mean() - areas[1].mean())
    assert "--label" in found.mcnemar.reason
    one = compare_runs(*runs, label="nodule")
    assert (one.label, one.units) == ("nodule", int(known[:, 0].sum()))
    assert one.figures["auroc"].difference.value == pytest.approx(areas[0, 0] - areas[1, 0])
    assert one.figures["auroc"].difference.p is not None
    with pytest.raises(DataError, match="no label 'nonsense'"):
        compare_runs(*runs, label="nonsense")


def test_seeds_are_averaged_and_never_ranked_together(at):
    y = at.features.y[:, 0]
    runs = [made_run(at, noisy(y, gap, 6), f"seeds {gap}", seeds=(0, 1)) for gap in (1.5, 0.5)]
    found = compare_runs(*runs)
    assert found.units == 800
    fold = folds_at(at, runs[0])
    single = within(y, noisy(y, 1.5, 6), fold) - within(y, noisy(y, 0.5, 6), fold)
    assert found.figures["auroc"].difference.value == pytest.approx(single)  # the two seeds say the same
    once = compare_runs(*[made_run(at, noisy(y, gap, 6), f"once {gap}") for gap in (1.5, 0.5)])
    assert found.figures["auroc"].difference.low == pytest.approx(once.figures["auroc"].difference.low)
    assert "the differences are averaged" in found.mcnemar.reason


def test_repeats_pair_fold_by_fold(tmp_path):
    dataset = plant(tmp_path, Planted(studies=120), modalities=("text",))
    split = new_split(dataset, "normal_abnormal", SplitSpec("twice", repeats=2))
    at = replace(desk(dataset), split=split)
    y = at.features.y[:, 0]
    runs = [made_run(at, noisy(y, gap, 6), f"gap {gap}", repeats=(0, 1)) for gap in (1.5, 0.5)]
    found = compare_runs(*runs)
    assert (found.units, found.patients) == (240, 120)


def test_the_command_says_it_in_words_and_in_json(cxremb, at, pair):
    *_, first, second = pair
    root = ("--root", at.dataset.paths.root)
    said = cxremb("compare", first.run_id, second.run_id, *root)
    assert said.code == 0, said.err
    told = json.loads(cxremb("compare", first.run_id, second.run_id, "--format", "json", *root).out)
    assert told["conclusion"] in said.out
    assert max(len(line) for line in said.out.splitlines() if line != told["conclusion"]) <= 110
    assert f"{bare(told['figures']['auroc']['difference']['value'], '+')}" in said.out
    assert "400 shared units, 300 studies of 300 patients" in said.out
    assert first.caveats == second.caveats != ()
    assert all(f"A and B: {caveat}" in said.out.splitlines() for caveat in first.caveats)
    part = made_run(at, pair[1], "part", folds=(0, 1, 2))
    refused = cxremb("compare", first.run_id, part.run_id, *root)
    assert refused.code == 1
    assert "--shared" in refused.err
    assert cxremb("compare", first.run_id, part.run_id, "--shared", *root).code == 0
