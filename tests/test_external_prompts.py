"""Prompts as a column of an external validation: the AUROC of the very rows that the trained models judge."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_towers import NAME, Words, has_nodule, in_table, save_films
from sklearn.metrics import roc_auc_score

import cxremb
from cxremb.embedding.start import run as embed
from cxremb.encoders.base import What
from cxremb.errors import CxrembError, DataError, StoreError, TrainError
from cxremb.labels import label_from_file
from cxremb.predictions import Predictions
from cxremb.store.dataset import open_dataset
from cxremb.store.reader import open_store
from cxremb.transfer.prompted import ranked_by
from cxremb.types import LabelSet

SETS = {"here": 5, "there": 6}  # data set -> the seed of its films
ASK = {"vocabulary": "torchxrayvision", "image_model": NAME, "head": "linear-image", "site": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two data sets with a store of the planted towers and one of an encoder that reads no text."""
    folder = tmp_path_factory.mktemp("prompted")
    with pytest.MonkeyPatch.context() as patch:
        in_table(patch)
        for name, seed in SETS.items():
            save_films(folder / name, seed)
            cxremb.add("folder", folder / name, name=name, patient_pattern="(p[0-9]+)_", root=folder / "root")
            dataset = open_dataset(folder / "root", name)
            with (folder / f"{name}.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["study_id", "label", "value"])
                for study in dataset.studies["study_id"].to_pylist():
                    table.writerow([study, "Nodule", int(has_nodule(number_of(study)))])
            about = LabelSet("findings", "binary", "planted", ("Nodule",), "")
            dataset = label_from_file(dataset, about, folder / f"{name}.csv")
            for model in (NAME, "tiny"):
                embed(dataset, What(model))
        yield folder / "root"


def number_of(study: str) -> int:
    return int(study.rpartition("p")[2].partition("_")[0])


def external(root: Path, **options: Any) -> Any:
    return cxremb.external(tuple(f"{name}:findings" for name in SETS), root=root, **{**ASK, **options})


def slow_auroc(root: Path, name: str, tested: set[int]) -> float:
    """By a loop over the stored vectors and the sentences. tested: films; not those that are in the other set too."""
    ids, vectors = open_store(open_dataset(root, name), NAME).vectors()
    has, has_not = (Words().vector(text).astype(float) for text in ("nodule", "no nodule"))
    scores, y = [], []
    for film, vector in zip(map(number_of, ids), vectors.astype(float), strict=True):
        if film not in tested:
            continue
        y.append(has_nodule(film))
        cosines = [vector @ words / np.linalg.norm(vector) / np.linalg.norm(words) for words in (has, has_not)]
        scores.append(cosines[0] - cosines[1])
    return float(roc_auc_score(y, scores))


@pytest.mark.arithmetic
@pytest.mark.parametrize("unit", ["image", "study"])
def test_prompts_are_asked_of_the_rows_that_are_tested(root: Path, unit: str) -> None:
    found = external(root, zero_shot="plain", unit=unit)
    assert [(pair.trained_on, pair.tested_on) for pair in found.pairs] == [("here", "there"), ("there", "here")]
    for pair in found.pairs:
        figure = pair.figure("zero_shot")
        assert figure is not None
        rows = f"select distinct study_id from predictions where run_id = '{pair.run_id}'"
        tested = {number_of(row["study_id"]) for row in cxremb.sql(rows, root=root).to_arrow_table().to_pylist()}
        assert 80 < len(tested) <= 90
        assert figure.value == pytest.approx(slow_auroc(root, pair.tested_on, tested), abs=1e-9)
        assert figure.low < figure.value < figure.high
    assert "zero-shot" in found.table().headings
    assert any(line.startswith("zero-shot: AUROC of the same rows there by prompts plain") for line in found.caption)
    text = "select dataset, value from external where metric = 'zero_shot' and trained_on = 'here'"
    values = {row["dataset"]: row["value"] for row in cxremb.sql(text, root=root).to_arrow_table().to_pylist()}
    first = found.pairs[0].figure("zero_shot")
    assert first is not None
    assert values["there"] == pytest.approx(first.value, abs=1e-12)
    again = external(root, zero_shot="plain", unit=unit)
    assert all(pair.reused for pair in again.pairs)
    assert [pair.figures for pair in again.pairs] == [pair.figures for pair in found.pairs]


def test_a_study_ranks_as_the_mean_score_of_its_films() -> None:
    """Of the mean of their logistic functions the first study would be the second."""
    scores = np.array([[1.5], [-1.0], [0.3], [0.19]])
    ids, zeros = np.array(["a", "a", "b", "b"]), np.zeros(4, dtype=np.int64)
    rows = Predictions(
        run="", dataset="", unit="image", task="binary", labels=("Nodule",), part=np.full(4, "test"),
        items=np.array(["a1", "a2", "b1", "b2"]), studies=ids, patients=ids, repeat=zeros, fold=zeros, seed=zeros,
        y=np.array([[1.0], [1.0], [0.0], [0.0]]), prob=np.full((4, 1), 0.5), logit=np.zeros((4, 1)),
    )  # fmt: skip
    logistic = (1 / (1 + np.exp(-scores[:, 0]))).reshape(2, 2).mean(axis=1)
    assert logistic[0] < logistic[1]
    studies = ranked_by(rows, scores).by_study()
    assert studies.prob[:, 0] == pytest.approx((scores[:, 0].reshape(2, 2).mean(axis=1) + 2) / 4)
    assert studies.figures()["Nodule"]["auroc"] == 1.0


def test_without_prompts_there_is_no_column(root: Path) -> None:
    found = external(root)
    assert not found.has("zero_shot")
    assert "zero-shot" not in found.table().headings


def test_other_prompts_are_another_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("label,class,prompt\nnodule,1,a nodule\nnodule,0,no nodule\n", encoding="utf-8")
    own = external(root, zero_shot="own", prompts=tmp_path / "own.csv")
    shipped = external(root, zero_shot="plain")
    assert {pair.run_id for pair in own.pairs}.isdisjoint(pair.run_id for pair in shipped.pairs)


@pytest.mark.parametrize(
    ("options", "error", "says", "hint"),
    [
        ({"zero_shot": "nonsense"}, DataError, "no prompts called 'nonsense'", "--prompts FILE"),
        ({"zero_shot": "plain", "image_model": "tiny"}, StoreError, "its encoder reads no prompts", f"{NAME}@"),
        ({"prompts": "own.csv"}, TrainError, "nothing reads the prompts of own.csv", "--zero-shot"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_trained(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    error: type[CxrembError],
    says: str,
    hint: str,
) -> None:
    monkeypatch.setattr("cxremb.transfer.run.train_teams", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(error, match=says) as caught:
        external(root, **options)
    assert hint in caught.value.hint
