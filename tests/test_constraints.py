"""The pinned versions can be installed wherever the project says that it runs."""

import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_the_pinned_versions_run_on_the_first_python_that_is_promised() -> None:
    """On Python 3.11.2 pip finds no version of a package that asks for 3.11.5, and installs nothing at all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    first = project["requires-python"].removeprefix(">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    asked = {canonicalize_name(one.metadata["Name"]): one.metadata["Requires-Python"] for one in distributions()}
    late = {name: asked[name] for name in pinned & asked.keys() if not SpecifierSet(asked[name] or "").contains(first)}
    assert late == {}
    assert len(pinned & asked.keys()) > 100
