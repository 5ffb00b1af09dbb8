"""What the audit says of real collections, against counts made here from the files themselves."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest

from cxremb.audit.audit import Audit, audit
from cxremb.audit.subject import Finding
from cxremb.catalog import add_collection
from cxremb.datasets import iu_xray, kermany
from cxremb.splits import choose_split, normalised
from cxremb.store.dataset import Dataset
from cxremb.store.files import sha256_of


def by_check(result: Audit) -> dict[str, Finding]:
    return {finding.name: finding for finding in result.findings}


@pytest.fixture(scope="module")
def iu(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """All 3,851 studies; 7,458 of their 7,466 images are only listed."""
    folder = real_data / "iu_xray"
    reports, projections = folder / "indiana_reports.csv", folder / "indiana_projections.csv"
    collection = iu_xray.read(reports, images=folder / "images", projections=projections)
    return add_collection(collection, tmp_path_factory.mktemp("iu")).dataset


def test_the_split_by_image_shares_patients_and_a_look_up_scores(iu: Dataset, real_data: Path) -> None:
    found = by_check(audit(iu, "normal_abnormal", "image-80-20"))
    rows = choose_split(iu, "normal_abnormal", "image-80-20", allow_leaky=True).table.to_pylist()
    train, test = ([row for row in rows if row["part"] == part] for part in ("train", "test"))
    known = {row["patient_id"] for row in train}
    shared = [row for row in test if row["patient_id"] in known]
    assert found["patients"].status == "fail"
    assert found["patients"].value == len(shared) / len(test) == pytest.approx(0.76, abs=0.02)
    assert f"test {len(shared):,} of 1,494" in found["patients"].measured
    with (real_data / "iu_xray" / "indiana_reports.csv").open(encoding="utf-8") as file:
        label = {row["uid"]: row["MeSH"] != "normal" for row in csv.DictReader(file)}
    majority = sum(label[row["patient_id"]] for row in train) * 2 > len(train)
    right = sum(label[row["patient_id"]] == majority for row in test if row["patient_id"] not in known)
    accuracy = (len(shared) + right) / len(test)  # every uid has one label: who is known is right
    assert accuracy == pytest.approx(0.92, abs=0.01)
    assert f"accuracy {accuracy:.3f}" in found["patient"].measured
    assert (found["patient"].status, found["patient"].value > 0.95) == ("fail", True)


def test_on_the_default_split_the_look_up_is_at_chance(iu: Dataset) -> None:
    result = audit(iu, "normal_abnormal")
    found = by_check(result)
    assert result.failed == []
    assert found["patient"].value == 0.5
    assert "accuracy 0.642, majority 0.642" in found["patient"].measured
    assert (found["patients"].value, found["copied reports"].value) == (0, 0)
    assert (found["identical reports"].status, found["identical reports"].value) == (
        "note",
        pytest.approx(0.2, abs=0.03),
    )
    assert found["report length"].status == found["masked words"].status == "note"
    assert found["not indexed"].value == 92


def test_reports_with_two_labels_as_counted_here(iu: Dataset, real_data: Path) -> None:
    labels: dict[str, set[bool]] = defaultdict(set)
    with (real_data / "iu_xray" / "indiana_reports.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if text := normalised(f"{row['findings']} {row['impression']}"):
                labels[text].add(row["MeSH"] == "normal")
    expected = sum(len(found) == 2 for found in labels.values())
    assert by_check(audit(iu, "normal_abnormal"))["reports with other labels"].value == expected > 0


def test_the_findings_of_iu_are_many_labels(iu: Dataset) -> None:
    found = by_check(audit(iu, "findings"))
    assert found["patient"].value == 0.5
    assert "worst of 20 labels" in found["report length"].measured


def test_the_folders_of_kermany_share_patients(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "kermany_224" / "chest_xray"
    collection = kermany.read(folder)
    dataset = add_collection(collection, tmp_path).dataset
    split = next(path.stem for path in dataset.paths.splits.glob("*.parquet"))
    result = audit(dataset, "pneumonia", split)
    found = by_check(result)
    patients, digests = defaultdict(set), defaultdict(set)
    for path in folder.rglob("*.jp*g"):
        who = re.match(r"person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+", path.name)
        assert who
        patients[path.parent.parent.name].add((who[0], path))
        digests[path.parent.parent.name].add((sha256_of(path), path))
    told = [
        (found["patients"], patients, "studies whose patient is in train"),
        (found["identical images"], digests, "images that are in train byte for byte"),
    ]
    for finding, groups, words in told:
        train = {who for who, _ in groups["train"]}
        met = {part: sum(who in train for who, _ in groups[part]) for part in ("test", "val")}
        assert finding.status == "fail"
        assert finding.measured == f"{words}: " + ", ".join(
            f"{part} {met[part]} of {len(groups[part])}" for part in ("test", "val")
        )
    assert met["test"] > 0
    assert found["patients"].value > 0.35
    assert found["file name"].value == pytest.approx(1, abs=0.001)  # the name says bacteria or virus
    assert found["near-identical images"].value == 0
    assert found["inverted films"].value == found["clipped films"].value == found["blank films"].value == 0
