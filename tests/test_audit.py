"""An audit finds what is planted, exactly, and nothing where nothing is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import audited
import numpy as np
import pyarrow.parquet as pq
import pytest
from audited import audited as build
from planted import write_store

from cxremb.audit.audit import Audit, audit
from cxremb.audit.subject import Finding
from cxremb.images import decode_file
from cxremb.store.dataset import Dataset
from cxremb.store.sql import query


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build(tmp_path_factory.mktemp("planted"), planted=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build(tmp_path_factory.mktemp("clean"), planted=False)


@pytest.fixture(scope="module")
def found(planted: Dataset) -> dict[str, Finding]:
    return by_check(audit(planted, split="published"))


def by_check(result: Audit) -> dict[str, Finding]:
    assert len({finding.name for finding in result.findings}) == len(result.findings)
    return {finding.name: finding for finding in result.findings}


def ids(*numbers: int) -> list[str]:
    return [f"s{number:03d}" for number in numbers]


TESTED, CHOSEN = len(audited.TEST), len(audited.VAL)


@pytest.mark.parametrize(
    ("check", "test", "val", "status"),
    [
        ("patients", 3, 1, "fail"),
        ("copied reports", 2, 1, "fail"),
        ("identical reports", 2, 1, "note"),
        ("near-identical reports", 1, 0, "note"),
        ("identical images", 1, 0, "fail"),
        ("near-identical images", 1, 0, "fail"),
    ],
)
def test_overlaps_are_counted(check: str, test: int, val: int, status: str, found: dict[str, Finding]) -> None:
    finding = found[check]
    assert finding.measured.endswith(f": test {test} of {TESTED}, val {val} of {CHOSEN}")
    assert finding.value == pytest.approx(max(test / TESTED, val / CHOSEN))
    assert finding.status == status
    assert finding.why
    assert finding.remedy


def test_overlaps_are_named(found: dict[str, Finding]) -> None:
    pairs = {tuple(text.split(" ~ ")) for text in found["patients"].examples}
    assert pairs == {(f"s{late:03d}", f"s{early:03d}") for late, early in audited.SAME_PATIENT.items() if late >= 100}
    assert found["near-identical reports"].examples == ["s105 ~ s007"]


@pytest.mark.parametrize(
    ("check", "numbers", "status"),
    [
        ("blank films", {audited.FLAT, audited.CONSTANT}, "note"),
        ("clipped films", {audited.CLIPPED}, "note"),
        ("inverted films", {audited.INVERTED}, "note"),
        ("burnt-in borders", {audited.FRAMED}, "note"),
        ("MONOCHROME1", {audited.NEGATIVE}, "note"),
    ],
)
def test_films_that_look_wrong(
    check: str, numbers: set[int], status: str, planted: Dataset, found: dict[str, Finding]
) -> None:
    study_of = dict(zip(*(planted.images[name].to_pylist() for name in ("image_id", "study_id")), strict=True))
    assert {study_of[image] for image in found[check].examples} == set(ids(*numbers))
    assert (found[check].value, found[check].status) == (len(numbers), status)


def test_labels_that_contradict_each_other(planted: Dataset, found: dict[str, Finding]) -> None:
    assert found["copies with other labels"].value == 1
    assert found["copies with other labels"].status == "fail"
    assert found["reports with other labels"].examples == [" = ".join(ids(*audited.OTHER_LABEL))]
    assert found["no frontal view"].examples == ids(audited.LATERAL)
    assert found["unreadable files"].value == 1
    path = dict(zip(*(planted.images[name].to_pylist() for name in ("study_id", "path")), strict=True))
    assert Path(path[ids(audited.BROKEN)[0]]).name in found["unreadable files"].examples[0]


def test_what_is_not_measured_says_so(found: dict[str, Finding]) -> None:
    skipped = {name: finding.why for name, finding in found.items() if finding.status == "skip"}
    assert skipped == {
        "embedding neighbours": "no image store",
        "not indexed": "the collection lists no terms",
        "patients of two people": "neither sex nor age nor year of birth is known",
        "suspected labels": "no run predicts sick yet",
    }


def test_a_clean_collection_has_nothing_that_fails(clean: Dataset) -> None:
    result = audit(clean, split="published")
    assert result.failed == []
    quiet = {
        name: finding for name, finding in by_check(result).items() if finding.section in ("overlap", "collection")
    }
    assert {finding.value for finding in quiet.values()} == {0.0, None}
    assert {finding.status for finding in quiet.values()} == {"ok", "skip"}


def test_the_default_split_of_the_planted_collection_shares_no_patient_and_no_report(planted: Dataset) -> None:
    found = by_check(audit(planted))
    assert (found["patients"].value, found["copied reports"].value) == (0, 0)
    assert found["patient"].value == 0.5
    assert "(worst of 5 folds)" in found["patients"].measured


def test_the_stored_table_is_what_was_told(planted: Dataset) -> None:
    result = audit(planted, split="published")
    rows = pq.read_table(result.path).to_pylist()
    assert len(rows) == len(result.findings)
    for row, finding in zip(rows, result.findings, strict=True):
        assert (row["split"], row["label_set"], row["created"]) == (result.split, "sick", result.created)
        for name in ("section", "name", "measured", "value", "status", "why", "remedy"):
            assert row[name] == getattr(finding, name)
        assert row["examples"] == list(finding.examples)
    newest = f"status = 'fail' and split = '{result.split}' and created = (select max(created) from audits)"
    told = f"select dataset, name, value from audits where {newest}"
    asked = query(planted.paths.root, told).to_pylist()
    assert {(row["name"], row["value"]) for row in asked} == {(f.name, f.value) for f in result.failed}


class Watched:
    """A progress that remembers what went by."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []

    def __call__(self, items: Iterable[object], total: int | None, what: str) -> Iterator[object]:
        self.seen.append((what, total))
        yield from items


def test_films_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counted(path: Path, **options: Any) -> Any:
        decoded.append(path)
        return decode_file(path, **options)

    monkeypatch.setattr("cxremb.audit.pixels.decode_file", counted)
    dataset = build(tmp_path, planted=False)
    first, second = Watched(), Watched()
    before = audit(dataset, split="published", progress=first)
    assert (first.seen, len(set(decoded))) == ([("looking at films", 130)], 130)
    after = audit(dataset, split="published", progress=second)
    assert (second.seen, len(decoded)) == (first.seen, 130)  # looked at again, and none decoded again
    assert list(before.findings) == list(after.findings)
    (dataset.paths.cache / "pixels.parquet").write_bytes(b"not a table")
    assert list(audit(dataset, split="published").findings) == list(before.findings)
    assert len(decoded) == 260


@pytest.mark.parametrize("cached", [False, True])
def test_films_that_changed_or_are_gone_are_unreadable(tmp_path: Path, cached: bool) -> None:
    """That their pixels were once looked at makes no difference."""
    dataset = build(tmp_path, planted=False)
    if cached:
        audit(dataset, split="published")
    changed, gone = (Path(dataset.images["path"][row].as_py()) for row in (3, 5))
    changed.write_bytes(audited.png(audited.chest(999)))
    gone.unlink()
    found = by_check(audit(dataset, split="published"))["unreadable files"]
    assert found.value == 2
    assert "changed since it was added" in found.examples[0]
    assert "cannot be read" in found.examples[1]


def test_without_pixels_nothing_is_decoded(tmp_path: Path) -> None:
    dataset = build(tmp_path, planted=True)
    watched = Watched()
    found = by_check(audit(dataset, split="published", pixels=False, progress=watched))
    assert [what for what, _ in watched.seen] == ["reading DICOM headers"]
    assert found["near-identical images"].why == "left out with --no-pixels"
    assert found["identical images"].status == "fail"
    assert found["MONOCHROME1"].value == 1
    assert found["unreadable files"].status == "ok"  # its header is whole
    assert not (dataset.paths.cache / "pixels.parquet").exists()


def test_neighbours_in_embedding_space(tmp_path: Path) -> None:
    dataset = build(tmp_path, planted=True)
    studies = dataset.images["study_id"].to_pylist()
    vectors = np.random.default_rng(0).standard_normal((len(studies), 32)).astype(np.float32)
    vectors[107] = vectors[9] + 0.05 * vectors[50]  # a copy, to this encoder
    vectors[106] = vectors[8]  # the very same bytes: counted elsewhere
    vectors[20] = vectors[21]  # both in train
    write_store(dataset, "tiny", "image", dataset.images["image_id"].to_pylist(), vectors + 100)  # one common direction
    found = by_check(audit(dataset, split="published", pixels=False))["embedding neighbours"]
    assert found.measured.endswith(f"(tiny): test 1 of {TESTED}, val 0 of {CHOSEN}")
    assert found.status == "note"
    place = dict(zip(dataset.images["image_id"].to_pylist(), studies, strict=True))
    assert [[place[name] for name in text.split(" ~ ")] for text in found.examples] == [ids(107, 9)]


def cxremb(*words: object) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own, on a screen of 100 columns."""
    command = [sys.executable, "-m", "cxremb", *map(str, words)]
    screen = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=screen)


def test_exit_codes(planted: Dataset, clean: Dataset) -> None:
    words = ("audit", "--split", "published", "--root")
    strict = cxremb(*words, planted.paths.root, "--strict")
    assert strict.returncode == 1, strict.stderr
    assert "FAIL" in strict.stdout
    lines = [line for line in strict.stdout.splitlines()[:-1] if "--root" not in line]  # a command is never broken
    assert max(map(len, lines)) <= 100
    assert cxremb(*words, planted.paths.root).returncode == 0
    assert cxremb(*words, clean.paths.root, "--strict").returncode == 0
    lost = cxremb(*words[:2], "nonsense", *words[3:], clean.paths.root)
    assert lost.returncode == 1
    assert "nonsense" in lost.stderr


def test_json_is_what_the_table_holds(planted: Dataset) -> None:
    done = cxremb("audit", "--split", "published", "--format", "json", "--root", planted.paths.root)
    told = json.loads(done.stdout)
    rows = pq.read_table(told["table"]).to_pylist()
    kept = ("section", "name", "measured", "value", "status", "why", "remedy", "examples")
    assert [[finding[name] for name in kept] for finding in told["findings"]] == [
        [row[name] for name in kept] for row in rows
    ]
    assert told["leaky"] is True


def test_phantoms_that_are_alike_are_said_to_be_simulated(planted: Dataset) -> None:
    drawn = replace(planted, descriptor={**planted.descriptor, "simulated": True})
    found = by_check(audit(drawn, split="published"))
    near = found["near-identical images"]
    assert (near.status, near.value) == ("note", pytest.approx(1 / TESTED))
    assert "these films are simulated" in near.measured
    assert found["identical images"].status == "fail"  # the same bytes are a copy, whoever drew them
