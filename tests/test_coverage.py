"""The intervals hold, the docs quote what was measured, and the benchmark still runs."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

ROOT = Path(__file__).parent.parent
BENCHMARK = ROOT / "benchmarks" / "coverage.py"
STORED = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def steps():
    """Step -> its module, as the benchmark imports it."""
    sys.path.insert(0, str(BENCHMARK.parent))
    try:
        names = importlib.import_module("coverage").STEPS
        return {name: importlib.import_module(f"coverage_steps.{name}") for name in names}
    finally:
        sys.path.remove(str(BENCHMARK.parent))


def test_every_step_was_run_and_stands_in_the_docs(steps):
    docs = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    assert list(STORED) == list(steps)
    for name, step in steps.items():
        lines = step.table(STORED[name])
        assert len(lines) > 2
        assert "\n".join(lines) in docs, name


def test_only_one_step_leaves_the_others_in_place(steps, tmp_path):
    out = tmp_path / "coverage.json"
    out.write_text(json.dumps({name: {"was": "here"} for name in steps}), encoding="utf-8")
    command = [sys.executable, BENCHMARK, "--quick", "--only", "fixed", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found) == list(steps)
    assert done.stdout.splitlines() == steps["fixed"].table(found["fixed"])
    assert all(found[name] == {"was": "here"} for name in steps if name != "fixed")


def test_intervals_of_fixed_models_hold_and_equal_models_are_seldom_told_apart():
    fixed = STORED["fixed"]
    assert fixed["data_sets"] >= 500  # a share of .95 has a standard error of .01
    assert len(fixed["cells"]) == 36
    for cell in fixed["cells"]:
        assert 0.93 <= cell["auroc"] <= 0.99
        assert 0.93 <= cell["accuracy"] <= 0.99
        assert 0.93 <= cell["recall"] <= 0.995
        assert max(cell[f"{figure} p"] for figure in ("auroc", "accuracy", "recall")) <= 0.075
        assert abs(cell["bias"]) < 0.006
        assert cell["printed"] > (0.99 if (cell["patients"], cell["prevalence"]) != (60, 0.2) else 0.7)
    for key, most in (("auroc", 0.97), ("accuracy", 0.98), ("recall", 0.98)):
        assert 0.94 <= np.mean([cell[key] for cell in fixed["cells"]]) <= most
        assert np.mean([cell[f"{key} p"] for cell in fixed["cells"]]) <= 0.06
    worst = [cell["before auroc"] for cell in fixed["cells"] if cell["area"] == 0.98]
    assert np.mean(worst) < 0.75  # what it was for


def test_intervals_of_the_other_figures_hold_and_like_groups_do_not_differ(steps):
    figures, step = STORED["figures"], steps["figures"]
    assert figures["data_sets"] >= 300  # a share of .95 has a standard error of .013
    for cell in figures["cells"]:
        held = [cell[name] for name in step.FIGURES if cell[name] is not None]
        assert len(held) >= len(step.FIGURES) - 1  # a rate at a given rate needs 40 patients of its class
        assert min(held) >= 0.89
        rejected = [cell[f"{name} p"] for name in step.COMPARED] + [cell[f"{name} gap"] for name in step.GAPS]
        assert max(share for share in rejected if share is not None) <= 0.095
    for name in step.FIGURES:
        assert np.mean([cell[name] for cell in figures["cells"] if cell[name] is not None]) >= 0.94, name


def test_calibration_intervals_hold_and_few_rows_give_no_temperature():
    found = STORED["calibration"]
    assert found["data_sets"] >= 400
    for row in found["intervals"]:
        assert row["printed"] > 0.95
        assert all(0.92 <= row[name] <= 0.975 for name in ("slope", "in_the_large", "observed_expected"))
    helped = {(row["too_far"], row["n"]): row["helped"] for row in found["temperatures"]}
    assert helped[1.2, 20] < 0.5 < helped[1.2, 80]
    assert helped[1.5, 400] > 0.99
    assert max(share for (too_far, _), share in helped.items() if too_far == 1) < 0.25


def test_a_sensitivity_aimed_at_is_delivered_where_there_are_positives_enough():
    rows = [row for row in STORED["aimed"]["rows"] if row["data_sets"]]
    enough = [row for row in rows if row["positives"] >= 19]
    assert {row["n"] for row in enough} == {120, 300, 600}
    for row in enough:
        assert 0.94 <= row["delivered, after"] <= 0.965
        assert row["delivered, before"] < row["delivered, after"]
        assert 0.90 <= row["recall, after"] <= 0.99
        assert 0.86 <= row["specificity, after"] <= 0.99
    for row in rows:
        assert abs(row["delivered, after"] - 0.95) < abs(row["delivered, before"] - 0.95) + 0.001
        assert row["specificity, after"] > row["specificity, before"] + 0.05


def test_recipes_are_judged_as_promised_and_better_than_by_folds_alone():
    cells = STORED["trained"]["cells"]
    equal = [cell["ways"] for cell in cells if cell["kind"] == "equal"]
    better = [cell["ways"] for cell in cells if cell["kind"] == "B adds signal"]
    assert len(equal) > 10
    assert min(ways["fitted models"]["rejects"] for ways in equal) > 0.06
    assert max(ways["recipes"]["rejects"] for ways in equal) <= 0.065
    assert min(ways["recipes"]["covers"] for ways in equal + better) >= 0.935
    for cell in cells:
        ways = cell["ways"]
        if cell["repeats"] == 1:
            assert ways["recipes"]["reach"] < 0.9 * ways["t over folds"]["reach"]
    for ways in better:
        assert ways["recipes"]["rejects"] > ways["t over folds"]["rejects"]


def test_the_studies_of_a_patient_are_no_independent_votes():
    for many, row in STORED["units"]["rejection"].items():
        assert row["patients"] <= 0.065
        assert many == "1" or row["studies"] > 0.15


def test_a_regression_of_the_benchmark_is_that_of_scikit_learn(steps):
    trained = steps["trained"]
    cell = trained.Cell(120, 16)
    y, ((columns, _), _) = trained.simulated(cell, np.random.default_rng(0))
    learnt, tested = trained.folds(y, 1, np.random.default_rng(1))
    assert (tested.sum(axis=0) == 1).all()
    assert not (learnt & tested).any()
    weights = trained.fitted(columns, y, learnt.T.astype(float))
    for fold, rows in enumerate(learnt):
        expected = LogisticRegression(C=1, tol=1e-8, max_iter=1000).fit(columns[rows], y[rows]).coef_[0]
        np.testing.assert_allclose(weights[:, fold], expected, atol=2e-3)
    found = trained.measured(cell, 3)
    assert set(found["ways"]) == {"fitted models", "t over folds", "recipes"}


def test_the_docs_say_what_was_simulated():
    fixed, words = STORED["fixed"], " ".join((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split())
    assert f"{fixed['data_sets']:,} data sets of 60, 120 and 600 patients" in words
    assert f"and of {fixed['data_sets_before']} data sets" in words


def test_an_interaction_is_shown_where_there_is_one_and_seldom_else():
    found = STORED["interaction"]
    assert found["data_sets"] >= 100  # a share of .95 has a standard error of .02
    rows = {(row["interaction"], row["n"]): row for row in found["rows"]}
    assert len(rows) == 9
    for (planted, n), row in rows.items():
        assert row["covers"] >= 0.89  # three standard errors below .95
        if planted == "none":
            assert row["shown"] <= 0.05
        elif n == 600 and planted == "strong":
            assert row["shown"] >= 0.9


def test_the_simulated_fusion_is_solved_and_its_projection_is_the_sum(steps):
    step = steps["interaction"]
    rng = np.random.default_rng(0)
    image, text, y = step.drawn(rng, 400, 2.0)
    X = np.column_stack([image, text, step.products(image, text)])
    found = step.ridge(X, y)
    known = Ridge(alpha=step.RIDGE, fit_intercept=False).fit(np.column_stack([X, np.ones(len(X))]), 2 * y - 1)
    assert found == pytest.approx(known.coef_)
    weights = found[:5], found[5:10], found[10:-1].reshape(5, 5)
    rows = np.arange(400)
    pairs = step.bilinear(image, text, weights)(rows, rows)
    assert pairs[rows, rows, 0] == pytest.approx(X @ found[:-1])
    gap, lost, _, _ = step.measured(np.random.default_rng(1), 600, 2.0)
    assert 0 < gap.low < gap.high
    assert lost > 0.03
