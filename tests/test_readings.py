"""Readings stay as they were given, and policies make label sets of them, at any time."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import Result

from cxremb.catalog import add_collection
from cxremb.errors import DataError
from cxremb.labels import label_from_readings, read_labels
from cxremb.store.dataset import Dataset
from cxremb.store.readings import READERS, UNCERTAIN, decide
from cxremb.store.sql import query
from cxremb.types import Collection, LabelSet, Policy, Study

READINGS = {  # study -> reader -> label -> value
    "1": {"R1": {"Nodule": 1, "Edema": 0}, "R2": {"Nodule": 1, "Edema": 0}, "R3": {"Nodule": 0, "Edema": 0}},
    "2": {"R1": {"Nodule": -1, "Edema": 1}, "R2": {"Nodule": 1, "Edema": 1}, "R4": {"Nodule": 0}},
    "3": {"R2": {"Nodule": 0, "Edema": 0}, "R3": {"Nodule": 0, "Edema": 1}, "R4": {"Nodule": 0, "Edema": 0}},
    "4": {"R1": {"Nodule": -1}, "R2": {"Nodule": -1}, "R3": {"Nodule": -1}},
    "5": {},
}
LABELS = ("Nodule", "Edema")
GIVEN = Policy("readers")


def collection(policy: Policy = GIVEN) -> Collection:
    return Collection(
        "read",
        [Study(study, f"p{study}", {"findings": f"Text {study}."}, readings={"readers": said} if said else {})
         for study, said in READINGS.items()],
        [],
        "none",
        "nobody",
        {"made": "here"},
        label_sets=[LabelSet("readers", "multilabel", "what readers saw", LABELS, "as given", policy)],
    )  # fmt: skip


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return add_collection(collection(), tmp_path / "root").dataset


def values(dataset: Dataset, label_set: str) -> dict[str, list[float]]:
    """Study -> the values of `LABELS`."""
    found = read_labels(dataset, label_set)
    order = [found.names.index(label) for label in LABELS]
    return dict(zip(found.study_ids, found.values[:, order].tolist(), strict=True))


@pytest.mark.parametrize(("uncertain", "readers"), list(product(UNCERTAIN, READERS)))
@pytest.mark.parametrize("study", READINGS)
def test_a_policy_is_what_its_words_say(study: str, uncertain: str, readers: str) -> None:
    """By counting: how many say yes and no once the unsure are what the policy makes of them."""
    for label in LABELS:
        said = [reading[label] for reading in READINGS[study].values() if label in reading]
        yes = said.count(1) + said.count(-1) * (uncertain == "one")
        no = said.count(0) + said.count(-1) * (uncertain == "zero")
        expected = {
            "majority": None if yes == no else float(yes > no),
            "any": float(yes > 0) if yes + no else None,
            "all": float(no == 0) if yes + no else None,
        }[readers]
        assert decide(Policy("readers", uncertain, readers), READINGS[study]).get(label) == expected


def test_readings_are_in_sql_as_given(dataset: Dataset) -> None:
    rows = query(dataset.paths.root, "select study_id, reader, label, value from readings").to_pylist()
    expected = [
        {"study_id": study, "reader": reader, "label": label, "value": value}
        for study, readers in READINGS.items()
        for reader, said in readers.items()
        for label, value in said.items()
    ]
    assert rows == expected


def test_the_set_of_the_collection_follows_its_policy(dataset: Dataset, tmp_path: Path) -> None:
    nan = np.nan
    np.testing.assert_equal(values(dataset, "readers"), {"1": [1, 0], "2": [nan, 1], "3": [0, 0]})
    other = add_collection(collection(policy=Policy("readers", "one", "any")), tmp_path / "other").dataset
    np.testing.assert_equal(values(other, "readers"), {"1": [1, 0], "2": [1, 1], "3": [0, 1], "4": [1, nan]})


def test_a_sibling_is_made_at_any_time_and_says_how(dataset: Dataset) -> None:
    after = label_from_readings(dataset, LabelSet("careful", "", ""), Policy("readers", "zero", "all"))
    np.testing.assert_equal(values(after, "careful"), {"1": [0, 0], "2": [0, 1], "3": [0, 0], "4": [0, np.nan]})
    about = after.descriptor["label_sets"]["careful"]
    assert about["readings"] == "readers"
    assert about["task"] == "multilabel"
    assert about["policy"] == "uncertain (-1) is 0; blank (not mentioned) is missing; 1 if all readers say so"
    np.testing.assert_equal(values(after, "readers"), values(dataset, "readers"))  # which stays


def test_a_sibling_outlives_adding_the_collection_again(dataset: Dataset) -> None:
    made = label_from_readings(dataset, LabelSet("careful", "", ""), Policy("readers", "zero", "all"))
    again = add_collection(collection(), dataset.paths.root)
    assert again.changes == {}
    assert again.dataset.descriptor["label_sets"]["careful"] == made.descriptor["label_sets"]["careful"]


def test_adding_without_readings_again_says_what_changed(dataset: Dataset) -> None:
    fewer = collection()
    studies = [Study(it.study_id, it.patient_id, it.sections) for it in fewer.studies]
    again = add_collection(Collection("read", studies, [], "none", "nobody", {"made": "here"}), dataset.paths.root)
    assert again.changes == {"studies changed": 4}
    assert query(dataset.paths.root, "select count(*) as n from readings").to_pylist() == [{"n": 0}]


@pytest.mark.parametrize("value", [2, 0.5, float("nan")])
def test_a_reading_is_yes_no_or_unsure(tmp_path: Path, value: float) -> None:
    wrong = Collection("w", [Study("1", "1", readings={"set": {"": {"Edema": value}}})], [], "", "", {})
    with pytest.raises(DataError, match=r"study 1, readings 'set': 'Edema' is"):
        add_collection(wrong, tmp_path)
    assert not (tmp_path / "w" / "dataset.json").exists()


def test_what_is_not_there_is_named(small: Dataset, dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"no readings of 'reader'; it has readings of readers") as caught:
        label_from_readings(dataset, LabelSet("x", "", ""), Policy("reader"))
    assert "say --readings readers" in caught.value.hint
    with pytest.raises(DataError, match="it has readings of none") as caught:
        label_from_readings(small, LabelSet("x", "", ""), Policy("readers"))
    assert "add the collection again" in caught.value.hint
    with pytest.raises(DataError, match="--uncertain cannot be 'two'"):
        label_from_readings(dataset, LabelSet("x", "", ""), Policy("readers", "two"))


def test_the_command(dataset: Dataset, cxremb: Callable[..., Result]) -> None:
    words = ("--readings", "readers", "--uncertain", "one", "--readers", "any", "--root", dataset.paths.root)
    done = cxremb("data", "label", "bold", *words)
    assert done.code == 0, done.err
    assert "uncertain (-1) is 1; blank (not mentioned) is missing; 1 if any reader says so" in " ".join(
        done.out.split()
    )
    assert cxremb("data", "label", "bold", *words, "--sql", "select 1").code != 0
