"""A run's id names it, whatever data set it lies in."""

import json
from pathlib import Path

import pytest
from planted import Planted, plant

import cxremb as api
from cxremb.errors import DataError, StoreError, TrainError
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.training.runs import Run, dataset_of, list_runs, open_run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Data set -> its run of the text head, in one store root."""
    root = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("first", "second")):
        plant(root, Planted(studies=120, text=1.5, seed=seed), ("text",), name=name)
    return {name: api.train("text", epochs=1, dataset=name, root=root) for name in ("first", "second")}


@pytest.fixture
def root(two: dict[str, Run]) -> Path:
    return dataset_of(two["first"]).paths.root


def shortest(runs: dict[str, Run], name: str) -> str:
    """The first letters of a run's id, as few as tell it from the other."""
    other = next(run.run_id for key, run in runs.items() if key != name)
    own = runs[name].run_id
    return own[: next(n for n in range(1, len(own) + 1) if not other.startswith(own[:n]))]


def test_every_run_is_listed_newest_first_and_one_data_set_s_on_request(two, root, cxremb):
    listed = json.loads(cxremb("runs", "ls", "--root", root, "--format", "json").out)
    assert [one["run_id"] for one in listed] == sorted((run.run_id for run in two.values()), reverse=True)
    assert {one["run_id"]: one["dataset"] for one in listed} == {run.run_id: name for name, run in two.items()}
    said = cxremb("runs", "ls", "--root", root).out
    assert "first" in said
    assert "second" in said
    one = json.loads(cxremb("runs", "ls", "--root", root, "--dataset", "second", "--format", "json").out)
    assert [run["run_id"] for run in one] == [two["second"].run_id]


@pytest.mark.parametrize("name", ["first", "second"])
def test_first_letters_find_a_run_in_any_data_set(two, root, cxremb, name):
    part = shortest(two, name)
    shown = json.loads(cxremb("runs", "show", part, "--root", root, "--format", "json").out)
    assert (shown["run_id"], shown["dataset"]) == (two[name].run_id, name)
    judged = cxremb("evaluate", part, "--root", root, "--format", "json")
    assert judged.code == 0, judged.err
    assert api.load(part, root=root).run.run_id == two[name].run_id


def test_groups_are_of_the_run_s_own_data_set(two, root):
    for name, run in two.items():
        there = api.evaluate(run.run_id, by="view", root=root)
        alone = api.evaluate(run, by="view", dataset=name, root=root)
        assert there.to_arrow().equals(alone.to_arrow())


def test_first_letters_come_before_letters_within(two, root):
    runs = list(two.values())
    within = runs[0].run_id[4:8]  # month and day: in both, and the first letters of none
    sets = [open_dataset(root, name) for name in two]
    with pytest.raises(StoreError, match=f"several runs are called '{within}'") as caught:
        open_run(within, *sets)
    assert all(run.run_id in str(caught.value) for run in runs)


def test_an_unknown_run_says_where_it_was_looked_for(two, root, cxremb):
    said = cxremb("runs", "show", "zzz", "--root", root)
    assert (said.code, "first, second: no run 'zzz'" in said.err) == (1, True)
    said = cxremb("runs", "show", two["first"].run_id, "--root", root, "--dataset", "second")
    assert "second: no run" in said.err


def test_a_run_is_removed_wherever_it_is(tmp_path: Path, cxremb):
    for name in ("first", "second"):
        plant(tmp_path, Planted(studies=60, text=1.5), ("text",), name=name)
    run = api.train("text", epochs=1, dataset="second", root=tmp_path)
    assert cxremb("runs", "rm", run.run_id, "--yes", "--root", tmp_path).code == 0
    sets: list[Dataset] = [open_dataset(tmp_path, name) for name in ("first", "second")]
    assert list_runs(*sets) == []


def test_a_data_set_is_named_one_way_everywhere(two, root, cxremb):
    named = cxremb("data", "show", "--dataset", "second", "--root", root, "--format", "json")
    assert json.loads(named.out)["name"] == "second"
    assert cxremb("data", "show", "second", "--root", root, "--format", "json").out == named.out
    assert cxremb("data", "show", "first", "--dataset", "second", "--root", root).code == 2


def test_a_metric_that_is_misspelt_is_no_figure_that_is_not_there(two):
    run = two["first"]
    assert run.metric("auroc")[0] is not None
    assert run.metric("averaged") == (None, None, None)  # of runs of several labels alone
    with pytest.raises(DataError, match="has no metric 'aurok'") as caught:
        run.metric("aurok")
    assert caught.value.hint.startswith("did you mean auroc? ")


def test_an_ablation_without_a_reference_says_how(root):
    with pytest.raises(TrainError, match="no reference") as caught:
        api.ablate("text", reference=None, dataset="first", root=root)
    assert "alone" in caught.value.hint
