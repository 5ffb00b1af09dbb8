"""Encoders side by side: ranks equal a plain count, costs are those of the files; what has seen the films says so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import Planted, known_auc, plant, planted_tables, signal, write_store
from sklearn.metrics import roc_auc_score

from cxremb.ablation import ablate, compare_encoders
from cxremb.ablation.compare import judged_rows, mean_ranks
from cxremb.ablation.costs import pace
from cxremb.ablation.leaderboard import stores_of
from cxremb.ablation.trial import Trial
from cxremb.errors import StoreError, TrainError
from cxremb.reporting.chosen import runs_named
from cxremb.reporting.page import page_of, render
from cxremb.reporting.subject import ablation_of
from cxremb.store.dataset import Dataset
from cxremb.store.manifest import latest_manifest, publish
from cxremb.store.reader import list_stores, open_store
from cxremb.store.sql import query
from cxremb.table import bare, span
from cxremb.training.runs import read_run

DISTANCES = {"resnet50": 0.3, "densenet121": 1.2, "chest_nih": 2.0}
TRIAL = Trial(controls=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The planted films in three encoders, of 4, 8 and 12 dimensions, and a store of a tenth of them."""
    plan = Planted(studies=400)
    dataset = plant(tmp_path_factory.mktemp("board"), plan, modalities=("text",))
    tables, y = planted_tables(plan)
    place = {study: row for row, study in enumerate(tables["studies"]["study_id"].to_pylist())}
    ids = tables["images"]["image_id"].to_pylist()
    per_film = y[[place[study] for study in tables["images"]["study_id"].to_pylist()]]
    rng = np.random.default_rng(3)
    for number, (name, distance) in enumerate(DISTANCES.items(), 1):
        write_store(dataset, name, "image", ids, signal(per_film, distance, 4 * number, rng))
    write_store(dataset, "efficientnet_b1", "image", ids[:40], signal(per_film[:40], 3.0, 4, rng))
    dataset.descriptor["source"]["adapter"] = "nih"
    return dataset


def test_a_leaderboard_ranks_the_encoders(dataset: Dataset) -> None:
    found = compare_encoders(dataset, ["all"], trial=TRIAL)
    names = ["chest_nih", "densenet121", "resnet50"]
    assert [row.arm for row in found.rows] == [f"image[encoder={name}]" for name in names]
    for row, name in zip(found.rows, names, strict=True):
        assert row.auroc.value == pytest.approx(known_auc(DISTANCES[name]), abs=0.06)
        store = open_store(dataset, name)
        line = found.encoders[row.arm]
        files = sum((store.folder / part.file).stat().st_size for part in store.manifest.parts)
        assert (line.store, line.dim) == (store.title, store.dim)
        assert line.bytes_per_film == pytest.approx(files / len(set(store.table(["item_id"])["item_id"].to_pylist())))
    assert {row.n for row in found.rows} == {dataset.images.num_rows}
    assert "left out, 40 of" in found.notes[0]
    assert "efficientnet_b1" in found.notes[0]
    assert found.rows[0].may_be_best
    assert not found.rows[2].may_be_best


def test_a_report_has_ranks_and_costs(dataset: Dataset) -> None:
    found = compare_encoders(dataset, ["all"], trial=replace(TRIAL, seed=7))
    runs = [read_run(dataset.paths.runs / row.run_id) for row in found.rows]
    chosen = runs_named(sorted(runs, key=lambda run: run.arm != found.reference))
    again = ablation_of(chosen)
    assert [row.arm for row in again.rows] == [row.arm for row in found.rows]
    assert [row.mean_rank for row in again.rows] == [row.mean_rank for row in found.rows]
    assert again.encoders.keys() == found.encoders.keys()
    cost = open_store(dataset, "chest_nih")
    assert again.encoders["image[encoder=chest_nih]"].dim == cost.dim
    assert "films/s" in render(page_of(chosen))


def test_over_several_collections_the_mean_rank_is_asked_in_sql(dataset: Dataset, tmp_path: Path) -> None:
    """Three encoders here, two of them there, where the order is another: ranks are those of the two."""
    plan = Planted(studies=400)
    both = {"here": {"resnet50": 0.3, "densenet121": 1.2, "chest_nih": 2.0}, "there": {"resnet50": 2.0, "chest_nih": 1}}
    auroc = {}
    for name, distances in both.items():
        one = plant(tmp_path, plan, modalities=("text",), name=name)
        tables, y = planted_tables(plan)
        place = {study: row for row, study in enumerate(tables["studies"]["study_id"].to_pylist())}
        per_film = y[[place[study] for study in tables["images"]["study_id"].to_pylist()]]
        for encoder, distance in distances.items():
            X = signal(per_film, distance, 4, np.random.default_rng(len(encoder)))
            write_store(one, encoder, "image", tables["images"]["image_id"].to_pylist(), X)
        compare_encoders(one, ["resnet50", "chest_nih"], ["image[shots=20]"], trial=TRIAL)
        found = compare_encoders(one, ["all"], trial=TRIAL)
        auroc |= {(name, row.arm.removeprefix("image[encoder=").rstrip("]")): row.auroc.value for row in found.rows}
    text = (Path(__file__).parent.parent / "stores" / "queries" / "encoders.sql").read_text(encoding="utf-8")
    rows = query(tmp_path, text).to_pylist()
    films = [row for row in rows if row["arm"] == "image"]
    assert [row for row in rows if row["arm"] == "image[shots=20]"]
    ranks = {}
    for name in both:
        own = {encoder: auroc[name, encoder] for encoder in ("resnet50", "chest_nih")}
        ranks |= {(name, encoder): 1 + sum(own[encoder] < value for value in own.values()) for encoder in own}
    assert sorted(ranks.values()) == [1, 1, 2, 2]
    assert {(row["dataset"], row["encoder"].partition("@")[0]): row["rank"] for row in films} == ranks
    assert {row["mean_rank"] for row in films} == {1.5}
    for row in films:
        assert row["auroc"] == pytest.approx(auroc[row["dataset"], row["encoder"].partition("@")[0]], abs=1e-12)
        assert row["films"] == dataset.images.num_rows


def test_a_mean_rank_is_a_plain_count_over_models(dataset: Dataset) -> None:
    found = compare_encoders(dataset, ["all"], trial=replace(TRIAL, seeds=2))
    ranks: dict[str, list[float]] = {row.arm: [] for row in found.rows}
    runs = {row.arm: read_run(dataset.paths.runs / row.run_id) for row in found.rows}
    tests = {arm: run.prediction_rows.to_pandas().query("part == 'test'") for arm, run in runs.items()}
    for place in sorted(set(zip(*(next(iter(tests.values()))[name] for name in ("fold", "seed")), strict=True))):
        areas = {}
        for arm, rows in tests.items():
            own = rows[(rows["fold"] == place[0]) & (rows["seed"] == place[1])]
            areas[arm] = roc_auc_score(own["y_true"], own["y_prob"])
        for arm, area in areas.items():
            better, same = (
                sum(compared) for compared in zip(*((v > area, v == area) for v in areas.values()), strict=True)
            )
            ranks[arm].append(better + (same + 1) / 2)
    for row in found.rows:
        assert len(ranks[row.arm]) == 10
        assert row.mean_rank == pytest.approx(np.mean(ranks[row.arm]))
    plain = ablate(dataset, ["image[encoder=resnet50]", "image[encoder=chest_nih]"], trial=replace(TRIAL, alone=True))
    assert sum(row.mean_rank for row in plain.rows) == 3
    tied = mean_ranks(judged_rows({"a": runs[found.rows[0].arm], "b": runs[found.rows[0].arm]}, paired=True))
    assert tied == {"a": 1.5, "b": 1.5}


def test_an_arm_that_reads_more_comes_once_for_each_encoder(dataset: Dataset) -> None:
    found = compare_encoders(dataset, ["resnet50", "chest_nih"], ["image[head=linear]", "fusion"], trial=TRIAL)
    assert {row.arm for row in found.rows} == {
        f"{base}encoder={name}]" for base in ("image[head=linear,", "fusion[") for name in ("resnet50", "chest_nih")
    }


def test_who_has_seen_the_films_says_so(dataset: Dataset, cxremb) -> None:
    found = compare_encoders(dataset, ["all"], trial=TRIAL)
    assert [line.arm for line in found.encoders.values() if line.seen] == ["image[encoder=chest_nih]"]
    assert any(line.startswith("image[encoder=chest_nih]: chest_nih was trained on nih") for line in found.caption)
    rows = {row["arm"]: row for row in found.to_arrow().to_pylist()}
    assert rows["image[encoder=chest_nih]"]["seen"]
    assert rows["image[encoder=resnet50]"]["seen"] is None
    assert rows["image[encoder=resnet50]"]["dim"] == 4
    shown = cxremb("ablate", "--encoders", "all", "--no-controls", "--root", dataset.paths.root)
    assert shown.code == 0, shown.err
    for heading in ("rank", "films/s", "B/film"):
        assert heading in shown.out
    assert shown.out.index("chest_nih") < shown.out.index("densenet121") < shown.out.index("resnet50")


def test_films_a_second_are_of_all_that_was_spent(dataset: Dataset) -> None:
    store = open_store(dataset, "resnet50")
    assert pace(store) is None  # nothing says how long it took
    first = latest_manifest(store.folder)
    for version, seconds in ((2, {"decode": 1.0, "forward": 2.5, "write": 0.5}),):
        publish(replace(first, version=version, provenance={"seconds": seconds}), store.folder)
    assert pace(open_store(dataset, "resnet50")) is None  # of the first version it is not known
    other = open_store(dataset, "densenet121")
    (other.folder / "000001.json").unlink()
    publish(replace(other.manifest, provenance={"seconds": {"decode": 1.0, "forward": 4.0}}), other.folder)
    assert pace(open_store(dataset, "densenet121")) == pytest.approx(other.manifest.written / 5)
    publish(replace(other.manifest, version=2, provenance={"seconds": {"forward": 5.0}}), other.folder)
    assert pace(open_store(dataset, "densenet121")) == pytest.approx(other.manifest.written / 10)


def test_two_stores_of_one_encoder_have_their_full_names(tmp_path: Path) -> None:
    plan = Planted(studies=200, image=1.0)
    dataset = plant(tmp_path, plan)
    ids = planted_tables(plan)[0]["images"]["image_id"].to_pylist()
    write_store(
        dataset, "efficientnet_b1", "image", ids, np.random.default_rng(0).standard_normal((len(ids), 4)), tag="b"
    )
    found = compare_encoders(dataset, ["all"], trial=TRIAL)
    names = {store.name for store in list_stores(dataset) if store.modality == "image"}
    assert {row.arm for row in found.rows} == {f"image[encoder={name}]" for name in names}


def test_what_is_no_leaderboard_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="1 store of films") as caught:
        stores_of(dataset, ["resnet50"])
    assert "cxremb embed" in caught.value.hint
    with pytest.raises(StoreError, match="encodes no films"):
        stores_of(dataset, ["resnet50", "biobert"])
    for arm in ("text", "image[encoder=resnet50]"):
        with pytest.raises(TrainError, match="not an arm for every encoder"):
            compare_encoders(dataset, ["all"], [arm], trial=TRIAL)
    with pytest.raises(TrainError, match="0 store of films"):
        compare_encoders(plant(tmp_path, Planted(studies=50), modalities=("text",)), ["all"])


def test_the_page_has_the_figures_of_the_benchmark() -> None:
    root = Path(__file__).parent.parent
    found = json.loads((root / "benchmarks" / "results" / "leaderboard.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "ablation.md").read_text(encoding="utf-8")
    encoders = {store: title for title, store in found["stores"].items()}

    def named(arm: str) -> str:
        """The title of an arm's encoder, which has its full name or, where it has one store, its own."""
        name = arm.partition("encoder=")[2].partition(",")[0].rstrip("]")
        return next(title for store, title in encoders.items() if name in (store, store.partition("@")[0]))

    for row in found["rows"]:
        few = [one for one in found["shots"] if named(one["arm"]) == named(row["arm"])]
        few.sort(key=lambda one: int(one["arm"].partition("shots=")[2].rstrip("]")))
        cells = [
            span(row["auroc"], row["auroc_low"], row["auroc_high"]),
            f"{row['mean_rank']:.1f}",
            f"{row['films_per_second']:,.0f}",
            f"{row['bytes_per_film']:,.0f}",
            *(bare(one["auroc"]) for one in few),
        ]
        assert f" | {' | '.join(cells)} |" in page, row["arm"]


def test_encoders_that_never_met_are_not_ranked_against_each_other(tmp_path: Path) -> None:
    """Of three collections each has another pair of three encoders: none stands in all, so there is no mean rank."""
    plan = Planted(studies=200)
    one, two, three = "resnet50", "chest_nih", "densenet121"
    pairs = {"a": (one, two), "b": (one, three), "c": (two, three)}
    for name, encoders in pairs.items():
        dataset = plant(tmp_path, plan, modalities=("text",), name=name)
        tables, _ = planted_tables(plan)
        films = tables["images"]["image_id"].to_pylist()
        for number, encoder in enumerate(encoders):
            X = np.random.default_rng([number, ord(name)]).standard_normal((len(films), 4)).astype(np.float32)
            write_store(dataset, encoder, "image", films, X)
        compare_encoders(dataset, ["all"], trial=TRIAL)
    text = (Path(__file__).parent.parent / "stores" / "queries" / "encoders.sql").read_text(encoding="utf-8")
    assert query(tmp_path, text).num_rows == 0
