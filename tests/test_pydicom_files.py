"""The decoder on the files that pydicom carries, and on pictures of other packages, against independent readings."""

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "pydicom_files.py"
REASONS = ("DICOM without an image", "frames: a film has one", "JPEG of 12 bits", "damaged", "no Rows and no Columns")
REASONS += ("NumberOfFrames is", "no DICOM")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, dict[str, Any]]]:
    survey: dict[str, dict[str, dict[str, Any]]] = runpy.run_path(str(BENCHMARK))["survey"]()
    return survey


def test_no_film_is_read_otherwise_than_by_pydicom(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    read = {name: one for name, one in found["pydicom"].items() if one["outcome"] == "read"}
    assert len(read) >= 75
    assert {name: one["off"] for name, one in read.items() if one["off"] > 2} == {}


def test_what_is_refused_says_why(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    refused = {name: one["why"] for name, one in found["pydicom"].items() if one["outcome"] == "refused"}
    assert {name: why for name, why in refused.items() if not any(reason in why for reason in REASONS)} == {}
    assert not any("object has no attribute" in why or "unsupported operand" in why for why in refused.values())
    counts = Counter(next(reason for reason in REASONS if reason in why) for why in refused.values())
    assert counts["damaged"] == 2  # MR_truncated, and a stream of JPEG 2000 that no codec reads


def test_pictures_of_other_packages(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    assert {name: one["off"] for name, one in found["others"].items() if one.get("off", 0) > 2} == {}
    refused = [one["why"] for one in found["others"].values() if one["outcome"] == "refused"]
    assert all("frames" in why for why in refused)
