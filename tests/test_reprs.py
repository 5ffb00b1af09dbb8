"""What a public object shows in a shell: one line that names it, whatever it holds."""

from collections.abc import Iterator

import pytest
from planted import Planted, plant

import cxremb
from cxremb.store.dataset import Dataset

LONGEST = 200  # characters


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return plant(tmp_path_factory.mktemp("reprs"), Planted(studies=300, text=1.5))


def objects(dataset: Dataset) -> Iterator[object]:
    """One of each kind."""
    root = dataset.paths.root
    yield dataset
    yield cxremb.open_store("biobert", root=root)
    yield cxremb.load_features("text", root=root)
    table = cxremb.ablate("text", alone=True, controls=False, root=root)
    yield table
    first = cxremb.train("text", epochs=1, root=root)
    yield first
    yield cxremb.load(first.run_id, root=root)
    yield cxremb.evaluate(first.run_id, root=root)
    yield cxremb.evaluate(first.run_id, by="view", root=root)
    other = cxremb.train("text", epochs=2, root=root)
    yield cxremb.compare(first.run_id, other.run_id, root=root)


def test_a_repr_is_short_and_names_what_it_is(dataset: Dataset) -> None:
    found = {type(one).__name__: repr(one) for one in objects(dataset)}
    assert not {name: text for name, text in found.items() if len(text) > LONGEST or "\n" in text}
    assert found["Store"].startswith("<Store: biobert@")
    assert found["Run"].startswith("<Run: run 2")
    assert "planted" in found["Dataset"]
    assert "planted: 300 rows of 300 patients" in found["Ablation"]
    assert {"Features", "LoadedRun", "RunEvaluation", "Stratified", "Comparison"} <= set(found)
