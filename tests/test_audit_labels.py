"""Prevalence is tested with patients counted once; labels that predictions contradict are found."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency

from cxremb.audit.audit import audit
from cxremb.audit.labels import count, p_of
from cxremb.audit.subject import Finding, Fold, Items
from cxremb.catalog import add_collection
from cxremb.evaluation.significance import holm
from cxremb.store.dataset import Dataset
from cxremb.store.layout import HISTORY, METRICS, PREDICTIONS
from cxremb.training.record import RunRecord
from cxremb.training.runs import write_run
from cxremb.types import Collection, LabelSet, Study


def items(y: np.ndarray, parts: np.ndarray, patients: np.ndarray) -> Items:
    ids = pa.array([str(row) for row in range(len(y))])
    return Items("studies", ids, ids, patients, y[:, None], [Fold(0, 0, parts)])


def drawn(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = rng.choice([1, 2, 3], n, p=[0.7, 0.1, 0.2]).astype(np.int8)
    return (rng.random(n) < np.array([0, 0.5, 0.6, 0.4])[parts]).astype(float), parts


def p_value(y: np.ndarray, parts: np.ndarray, patients: np.ndarray) -> float | None:
    made = items(y, parts, patients)
    return p_of(count(made, made.folds[0], 0, label="sick"))


@pytest.mark.parametrize("seed", range(5))
def test_with_one_row_a_patient_it_is_pearsons(seed: int) -> None:
    y, parts = drawn(seed)
    counts = np.array([[((y == value) & (parts == part)).sum() for part in (1, 2, 3)] for value in (0, 1)])
    pearson = chi2_contingency(counts, correction=False).pvalue
    assert p_value(y, parts, np.arange(len(y))) == pytest.approx(pearson)


def test_films_of_one_patient_are_no_more_evidence() -> None:
    y, parts = drawn(3)
    once = p_value(y, parts, np.arange(len(y)))
    many = [np.repeat(array, 10) for array in (y, parts, np.arange(len(y)))]
    assert p_value(*many) == pytest.approx(once)
    assert p_value(many[0], many[1], np.arange(6000)) < once / 100  # as if they were ten patients


def test_under_chance_p_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        patients = rng.integers(0, 150, 600)
        sick, part = (rng.random(150) < 0.4).astype(float), rng.choice([1, 3], 150, p=[0.7, 0.3]).astype(np.int8)
        found.append(p_value(sick[patients], part[patients], patients))
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_too_few_to_test() -> None:
    y, parts = np.zeros(100), np.repeat([1, 3], 50).astype(np.int8)
    y[:4] = 1
    assert p_value(y, parts, np.arange(100)) is None


def test_holm_as_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])


def labelled(folder: Path, wrong: set[int], unlike: bool = False) -> Dataset:
    """300 studies, sick every other; the labels of `wrong` are turned round. unlike: test holds three times as many."""
    studies = []
    for number in range(300):
        sick = number % 2 if number not in wrong else 1 - number % 2
        terms = {"problems": {"No Indexing" if number in range(7) else "Opacity": 1.0}}
        part = "test" if (number % 2 and number < 100) or (not unlike and number < 100) else "train"
        sections = {"findings": f"Film {number} {'opaque' if number % 2 else 'clear'}."}
        values = {"sick": {"sick": float(sick)}, **terms}
        studies.append(Study(f"s{number:03d}", f"p{number}", sections, {}, values, {"given": part}))
    sets = [LabelSet("sick", "binary", "x", ("sick",)), LabelSet("problems", "terms", "x")]
    collection = Collection("labelled", studies, [], "none", "none", {}, label_sets=sets)
    return add_collection(collection, folder).dataset


def find(dataset: Dataset, check: str) -> Finding:
    result = audit(dataset, split="given")
    return next(finding for finding in result.findings if finding.name == check)


def test_parts_that_differ_are_noted(tmp_path: Path) -> None:
    alike = find(labelled(tmp_path / "a", set()), "prevalence per part")
    assert (alike.status, alike.value) == ("ok", 1.0)
    assert "train 50.0%, test 50.0%" in alike.measured
    unlike = find(labelled(tmp_path / "b", set(), unlike=True), "prevalence per part")
    assert (unlike.status, unlike.value) == ("note", pytest.approx(0, abs=1e-6))
    assert "train 40.0%, test 100.0%" in unlike.measured


def test_a_part_without_a_class_fails(tmp_path: Path) -> None:
    found = find(labelled(tmp_path, set(), unlike=True), "smallest class")
    assert (found.value, found.status) == (0, "fail")
    assert found.examples[0] == "sick: 0 negatives in test"
    assert re.search(r"; \d+ of \d+ counts, one per class, part and fold, are below \d+$", found.measured)


def test_studies_that_nobody_indexed_are_counted(tmp_path: Path) -> None:
    found = find(labelled(tmp_path, set()), "not indexed")
    assert (found.value, found.status) == (7, "note")
    assert found.examples == [f"s{number:03d}" for number in range(7)]


def write_predictions(dataset: Dataset, sure: float = 0.95) -> str:
    """A run that knows what each study is, and is `sure` of it."""
    rows = [
        {"unit": "study", "item_id": row["study_id"], "study_id": row["study_id"], "patient_id": row["study_id"],
         "repeat": 0, "fold": 0, "seed": 0, "part": "test", "label": "sick", "y_true": row["value"],
         "y_prob": sure if int(row["study_id"][1:]) % 2 else 1 - sure, "y_logit": 0.0}
        for row in dataset.labels.to_pylist() if row["label_set"] == "sick"
    ]  # fmt: skip
    run = write_run(
        dataset,
        RunRecord("", "text", "sick", "sick", key="0" * 64, labels=("sick",)),
        history=HISTORY.empty_table(),
        predictions=pa.Table.from_pylist(rows, schema=PREDICTIONS),
        metrics=METRICS.empty_table(),
        weights={"x": np.zeros(1)},
        card="card RUN_ID",
    )
    return run.run_id


def test_wrong_labels_are_found_from_a_run(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    wrong = {11, 40, 77, 120, 205, 260}
    dataset = labelled(tmp_path, wrong)
    run = write_predictions(dataset)
    found = find(dataset, "suspected labels")
    assert found.value == len(wrong)
    assert found.status == "note"
    assert run in found.measured
    assert {example[:4] for example in found.examples} == {f"s{number:03d}" for number in wrong}
    assert found.examples[0] == "s011 (sick, given 0.05): Film 11 opaque."


def test_labels_that_a_run_agrees_with_are_not_doubted(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    dataset = labelled(tmp_path, set())
    write_predictions(dataset)
    found = find(dataset, "suspected labels")
    assert (found.value, found.status) == (0, "ok")
