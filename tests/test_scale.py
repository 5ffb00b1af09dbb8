"""docs/scale.md is what was measured, and what follows from it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import growth  # noqa: E402
import growth_root  # noqa: E402
import growth_steps  # noqa: E402
import scale  # noqa: E402

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def between(name: str) -> list[str]:
    return PAGE.partition(f"<!-- {name}: begin")[2].partition("\n")[2].partition("<!--")[0].strip().splitlines()


def test_the_tables_are_their_files() -> None:
    steps, measured = results("growth")["steps"], results("scale")["measured"]
    assert between("growth") == growth.table(steps)
    assert between("plan") == scale.table(measured)
    assert between("sizes") == scale.sizes(measured, steps)


def test_nothing_grows_faster_than_the_films() -> None:
    """Between the two largest sizes, by processor time; more is caches that are outgrown, and a busy machine."""
    steps = results("growth")["steps"]
    grown = {name: own["exponent_last"] for name, own in steps.items() if "exponent_last" in own}
    assert {name: exponent for name, exponent in grown.items() if exponent > 1.25} == {}
    assert {"features, warm", "train fusion, one fold", "audit", "store check", "embed, 1% new"} <= set(grown)
    assert set(growth_steps.STEPS) == set(steps)


def test_an_exponent_is_that_of_the_power() -> None:
    step = {f"{size}x": {"cpu_s": 3 * size**1.5} for size in (1, 10, 50)}
    assert growth.exponents(step) == {"exponent": 1.5, "exponent_last": 1.5}


@pytest.mark.parametrize("name", sorted(set(growth_steps.STEPS) - {"ablate with controls", "audit"}))
def test_each_step_runs(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "growing"
    if not root.exists():
        growth_root.make_root(root, 600)
    growth_steps.STEPS[name](root)()
