"""Look-ups score what they give away, as a slow look-up in a dictionary does; at chance where there is nothing."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_images import dicom

from cxremb.audit.audit import Audit, audit
from cxremb.audit.lookups import WHY, by_patient
from cxremb.audit.subject import TEST, TRAIN, Finding, open_subject
from cxremb.catalog import add_collection
from cxremb.labels import read_labels
from cxremb.splits import choose_split
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, Image, LabelSet, Study


def made(folder: Path, told: str, n: int = 400, **more: object) -> Dataset:
    """n studies, two films each that are only listed; `told` is the fact that goes with the label, 9 times in 10."""
    rng = np.random.default_rng(0)
    studies, images = [], []
    for number in range(n):
        sick = number % 2
        shown = sick if rng.random() < 0.9 else 1 - sick
        says = {name: shown if name == told else int(rng.integers(2)) for name in WHY}
        sections = {"findings": " ".join(f"a{rng.integers(10**6)}" for _ in range(20 + 10 * says["report length"]))}
        sections["findings"] += " XXXX" if says["masked words"] else " YYYY"
        sections["impression"] = "Seen."
        if says["empty sections"]:
            sections["technique"] = sections.pop("impression")  # as many words, in another section
        patient = f"p{number // 4}"
        study = f"s{number:04d}"
        values = {"sick": {"sick": float(sick)}, "two": {"sick": float(sick), "tall": float(rng.integers(2))}}
        studies.append(Study(study, patient, sections, {}, values))
        ward = ("er", "icu")[says["file name"]]
        view = ("PA", "AP")[says["view"]]
        images += [Image(f"{ward}_{rng.integers(10**9)}", study, patient, view, None) for _ in range(2)]
    sets = [LabelSet("sick", "binary", "x", ("sick",)), LabelSet("two", "multilabel", "x", ("sick", "tall"))]
    collection = Collection("made", studies, images, "none", "none", {}, label_sets=sets)
    return add_collection(collection, folder).dataset


def by_check(result: Audit) -> dict[str, Finding]:
    return {finding.name: finding for finding in result.findings}


@pytest.mark.parametrize("told", ["file name", "report length", "masked words", "empty sections", "view"])
def test_the_fact_that_tells_is_noted_and_no_other(told: str, tmp_path: Path) -> None:
    found = by_check(audit(made(tmp_path, told), label_set="sick"))
    noted = {name for name in WHY if found[name].status not in ("ok", "skip")}
    assert noted == {told}
    assert found[told].value == pytest.approx(0.9, abs=0.05)
    assert "accuracy 0.9" in found[told].measured or "accuracy 0.8" in found[told].measured
    assert found["patient"].value == 0.5  # patients are apart, so there is nobody to look up
    words = "accuracy 0.500, majority 0.500; AUROC (the score is constant within each fold)"
    assert found["patient"].measured.endswith(words)


def test_of_two_labels_the_worst_is_judged_and_named(tmp_path: Path) -> None:
    found = by_check(audit(made(tmp_path, "view"), label_set="two"))["view"]
    assert found.value == pytest.approx(0.9, abs=0.04)
    assert "view -> sick (worst of 2 labels): accuracy 0.8" in found.measured
    assert "corrected for 2 labels" in found.measured


NAMES = tuple(f"label{number}" for number in range(20))


def twenty(folder: Path, planted: int | None, prevalence: float = 0.3, seed: int = 0, n: int = 600) -> Dataset:
    """n studies with twenty labels that are noise; one of them is in the view, and in a word, 97 times in 100."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 20)) < 0.3).astype(float)
    y[:, 3] = np.arange(n) % 80 == 0  # too rare to judge
    if planted is not None:
        y[:, planted] = rng.random(n) < prevalence
    told = (y[:, planted or 0] == 1) if planted is not None else rng.random(n) < prevalence
    told = told ^ (rng.random(n) < 0.03)
    studies, images = [], []
    for number in range(n):
        study, says = f"s{number:04d}", "icu" if told[number] else "ward"
        words = " ".join([says, *(f"w{'abcdefgh'[at]}" for at in rng.integers(8, size=6))])
        studies.append(
            Study(study, study, {"indication": words}, {}, {"many": dict(zip(NAMES, y[number], strict=True))})
        )
        images.append(Image(f"i{number}", study, study, ("PA", "AP")[int(told[number])], None))
    collection = Collection(
        "many", studies, images, "none", "none", {}, label_sets=[LabelSet("many", "multilabel", "x", NAMES)]
    )
    return add_collection(collection, folder).dataset


@pytest.mark.parametrize("prevalence", [0.3, 0.05])
def test_one_label_given_away_among_twenty_is_found_and_named(prevalence: float, tmp_path: Path) -> None:
    """A mean over the labels, as it was, is .52 and "ok"."""
    found = by_check(audit(twenty(tmp_path, 7, prevalence), label_set="many"))
    view, text = found["view"], found["label in indication"]
    assert (view.status, view.examples[0]) == ("note", f"label7 {view.value:.3f}")
    assert 0.88 < view.value <= 1.0
    assert "view -> label7 (worst of 19 labels, 1 too rare to judge): accuracy 0.9" in view.measured
    assert "corrected for 19 labels" in view.measured
    assert text.status == "note"
    assert "the name of label" in text.measured
    assert "most telling words of label7, each alone: " in text.measured
    words = dict(word.split() for word in text.measured.split("alone: ")[1].split(", "))
    assert min(float(words["icu"]), float(words["ward"])) > 0.75
    assert text.value == 0.5  # its name is in no text


def test_the_worst_of_twenty_that_are_noise_is_not_noted(tmp_path: Path) -> None:
    for seed in range(2):
        found = by_check(audit(twenty(tmp_path / str(seed), None, seed=seed, n=300), label_set="many"))
        noted = {name for name in (*WHY, "label in indication") if found[name].status not in ("ok", "skip")}
        assert noted == set()
        assert found["view"].examples == []


def test_the_patient_look_up_as_a_dictionary_does_it(tmp_path: Path) -> None:
    dataset = made(tmp_path, "none")
    labels = read_labels(dataset, "two")
    split = choose_split(dataset, "two", "image-80-20", allow_leaky=True)
    subject = open_subject(dataset, split, labels)
    rows = split.table.to_pylist()
    value = dict(zip(labels.study_ids, labels.values.tolist(), strict=True))
    means: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["part"] == "train":
            means[row["patient_id"]].append(value[row["study_id"]])
    prior = np.mean([value for found in means.values() for value in found], axis=0)
    expected = {
        row["image_id"]: np.mean(means[row["patient_id"]], axis=0) if means[row["patient_id"]] else prior
        for row in rows
        if row["part"] == "test"
    }
    guess = by_patient(subject.rows, np.array([0, 1]))
    assert guess is not None
    assert len(guess.rows) == len(expected) == 160
    for row, chance in zip(guess.rows.tolist(), guess.chance, strict=True):
        np.testing.assert_allclose(chance, expected[subject.rows.ids[row].as_py()])


def test_auroc_of_one_fold_is_that_of_sklearn(tmp_path: Path) -> None:
    dataset = made(tmp_path, "none")
    labels = read_labels(dataset, "sick")
    split = choose_split(dataset, "sick", "image-80-20", allow_leaky=True)
    subject = open_subject(dataset, split, labels)
    guess = by_patient(subject.rows, np.array([0]))
    assert guess is not None
    found = by_check(audit(dataset, "sick", split="image-80-20"))["patient"]
    assert found.value == pytest.approx(roc_auc_score(subject.rows.y[guess.rows, 0], guess.chance[:, 0]))


def test_rows_films_and_folds_as_the_tables_say(tmp_path: Path) -> None:
    dataset = made(tmp_path, "none")
    split = choose_split(dataset, "sick")
    subject = open_subject(dataset, split, read_labels(dataset, "sick"))
    assert (len(subject.rows), len(subject.films), len(subject.rows.folds)) == (400, 800, 5)
    for fold, films in zip(subject.rows.folds, subject.films.folds, strict=True):
        for code, part in ((TRAIN, "train"), (TEST, "test")):
            expected = {
                row["study_id"] for row in split.table.to_pylist() if (row["fold"], row["part"]) == (fold.fold, part)
            }
            assert set(subject.rows.ids.take(fold.of(code)).to_pylist()) == expected
            assert set(subject.films.study_ids.take(films.of(code)).to_pylist()) == expected
    of_image = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "study_id")), strict=True))
    assert [of_image[image] for image in subject.films.ids.to_pylist()] == subject.films.study_ids.to_pylist()


def test_the_machine_that_tells_is_noted(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    rng = np.random.default_rng(0)
    studies, images = [], []
    for number in range(100):
        sick = number % 2
        maker = ("Ward Inc.", "Clinic Ltd.")[sick if rng.random() < 0.9 else 1 - sick]
        path = tmp_path / f"{rng.integers(10**9)}"  # no suffix, as PACS write them
        path.write_bytes(dicom(rng.integers(0, 4096, (16, 16)).astype(np.uint16), Manufacturer=maker))
        name = f"s{number:03d}"
        studies.append(Study(name, name, {}, {}, {"sick": {"sick": float(sick)}}))
        images.append(Image(path.name, name, name, None, path))
    sets = [LabelSet("sick", "binary", "x", ("sick",))]
    collection = Collection("wards", studies, images, "none", "none", {}, label_sets=sets)
    found = by_check(audit(add_collection(collection, tmp_path / "root").dataset, pixels=False))
    assert found["DICOM metadata"].status == "note"
    assert found["DICOM metadata"].value == pytest.approx(0.9, abs=0.06)
    assert found["image size"].value == 0.5  # all alike
    assert found["view"].why == "no view is known"
    assert (found["MONOCHROME1"].value, found["MONOCHROME1"].status) == (0, "ok")
