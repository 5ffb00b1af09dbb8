"""Trained on one collection, tested on others: planted matrices recovered, overlaps found, controls that bite."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import save_film
from elsewhere import Site, plant_site
from PIL import Image as PilImage
from planted import Planted, known_auc, plant, write_store
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner
from written import write_dataset

from cxremb import compare, external, load
from cxremb.audit.pixels import read_pixels
from cxremb.catalog import add_collection
from cxremb.cli.main import app
from cxremb.concepts import concept_labels, read_concepts
from cxremb.datasets import kermany, medmnist
from cxremb.datasets.folder import read as read_folder
from cxremb.embedding.trained_on import PATIENTS
from cxremb.encoders.pretrained import PRETRAINED, seen_before
from cxremb.encoders.table import ENCODERS
from cxremb.errors import DataError, StoreError, TrainError
from cxremb.predictions import Predictions
from cxremb.reporting.chosen import newest_ablation
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import replace_table
from cxremb.store.kinship import CONTAINED, collection_of, kinship
from cxremb.store.layout import DatasetPaths
from cxremb.store.manifest import latest_manifest, publish
from cxremb.store.reader import open_store
from cxremb.store.sql import query
from cxremb.training.runs import list_runs
from cxremb.transfer.figures import drop_of
from cxremb.transfer.matrix import External, ExternalFigure
from cxremb.transfer.overlap import near_copies, same_content
from cxremb.types import unwatched

SHARED, TURNED = ("Edema", (0, 2.0)), ("Pneumonia", (1, 2.0))
TWO = dict([SHARED, TURNED])
QUICK = {"head": "linear-image", "site": False}


def figure(found: External, trained: str, tested: str, metric: str, concept: str | None = None) -> ExternalFigure:
    pair = next(one for one in found.pairs if (one.trained_on, one.tested_on) == (trained, tested))
    known = pair.figure(metric, concept)
    assert known is not None, (metric, concept, [one.metric for one in pair.figures])
    return known


def ends(found: ExternalFigure | None) -> tuple[float, float, float]:
    """(low, value, high) of a figure that has an interval."""
    assert found is not None
    values = (found.low, found.value, found.high)
    assert None not in values, found
    return values  # type: ignore[return-value]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Edema shows alike in all three; pneumonia shows in `b` along another direction; `c` has a mark of its own."""
    root = tmp_path_factory.mktemp("planted")
    plant_site(root, Site("a", TWO, films=2))
    plant_site(root, Site("b", {**TWO, "Pneumonia": (2, 2.0)}, missing={"Edema": 0.3}))
    plant_site(root, Site("c", TWO, mark=3.0))
    return root


@pytest.fixture(scope="module")
def matrix(planted: Path) -> External:
    return external(root=planted, head="linear-image")


@pytest.mark.arithmetic
def test_the_planted_matrix_is_recovered(matrix: External) -> None:
    assert {(pair.trained_on, pair.tested_on) for pair in matrix.pairs} == {
        (a, b) for a in "abc" for b in "abc" if a != b
    }
    best = known_auc(2.0)
    for pair in matrix.pairs:
        there, drop = (ends(pair.figure(metric, "Edema")) for metric in ("auroc", "drop"))
        assert there[0] - 0.01 < best < there[2] + 0.01, (pair.trained_on, pair.tested_on, there)
        assert drop[0] - 0.02 < 0 < drop[2] + 0.02, (pair.trained_on, pair.tested_on, drop)
    for trained, tested in (("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")):
        there, drop = (ends(figure(matrix, trained, tested, metric, "Pneumonia")) for metric in ("auroc", "drop"))
        assert abs(there[1] - 0.5) < 0.12, (trained, tested, there)  # a fitted head leans a little, by chance
        assert drop[0] > 0.2
    for trained, tested in (("a", "c"), ("c", "a")):
        assert ends(figure(matrix, trained, tested, "auroc", "Pneumonia"))[0] > 0.85


@pytest.mark.arithmetic
def test_the_site_control_bites(matrix: External) -> None:
    for trained, tested in (("a", "c"), ("b", "c")):
        site = ends(figure(matrix, trained, tested, "site"))
        assert site[0] > 0.9, "a shift of 3 deviations tells nearly every film"
        assert site[1] == pytest.approx(known_auc(3.0), abs=0.03)
    small = ends(figure(matrix, "a", "b", "site"))
    assert 0.5 < small[1] < 0.85, "only what pneumonia shifts differs"


@pytest.mark.arithmetic
def test_a_finding_that_is_the_site_is_no_finding(tmp_path: Path) -> None:
    """Edema shows nowhere, but is frequent where the mark is: trained on both, a model tells the site."""
    nothing = {"Edema": (0, 0.0)}
    plant_site(tmp_path, Site("a", nothing, n=600, prevalence={"Edema": 0.85}, mark=3.0))
    plant_site(tmp_path, Site("b", nothing, n=600, prevalence={"Edema": 0.15}))
    plant_site(tmp_path, Site("c", nothing, n=600, prevalence={"Edema": 0.5}))
    found = external(root=tmp_path, leave_one_out=True, test_on="c", **QUICK)
    (pair,) = found.pairs
    assert pair.trained_on == "a+b"
    pooled, inside, there = (pair.figure(metric) for metric in ("inside_pooled", "inside", "auroc"))
    assert ends(pooled)[0] > 0.75
    for own in map(ends, (inside, there)):
        assert own[0] < 0.5 < own[2]


@pytest.mark.arithmetic
def test_figures_follow_from_the_predictions_that_are_kept(planted: Path, matrix: External) -> None:
    pair = next(one for one in matrix.pairs if (one.trained_on, one.tested_on) == ("a", "b"))
    table = pq.read_table(planted / "b" / "runs" / pair.run_id / "predictions.parquet").to_pandas()
    assert set(table["item_id"]) == set(open_dataset(planted, "b").images["image_id"].to_pylist())
    assert set(table["part"]) == {"test"}
    own = table[(table["label"] == "Edema") & table["y_true"].notna()]
    assert own["item_id"].nunique() < table["item_id"].nunique(), "some studies do not say"
    by_model = [roc_auc_score(rows["y_true"], rows["y_prob"]) for _, rows in own.groupby("repeat")]
    assert len(by_model) == 5
    assert figure(matrix, "a", "b", "auroc", "Edema").value == pytest.approx(np.mean(by_model))
    brier = ((own["y_prob"] - own["y_true"]) ** 2).groupby(own["repeat"]).mean().mean()
    assert figure(matrix, "a", "b", "brier", "Edema").value == pytest.approx(brier)
    ratio = np.mean([np.log(rows["y_true"].sum() / rows["y_prob"].sum()) for _, rows in own.groupby("repeat")])
    assert figure(matrix, "a", "b", "observed_expected", "Edema").value == pytest.approx(np.exp(ratio))
    for metric in ("sensitivity", "specificity"):
        low, value, high = ends(figure(matrix, "a", "b", metric, "Edema"))
        assert low < value < high


def drawn(rng: np.random.Generator, n: int, name: str, distance: float, models: int) -> Predictions:
    """n rows, two of each patient, judged by so many models that are much alike; each a pool."""
    y = np.repeat((rng.random(n // 2) < 0.4).astype(float), 2)
    shared = distance * y + np.repeat(rng.standard_normal(n // 2), 2)
    logit = np.concatenate([shared + 0.3 * rng.standard_normal(n) for _ in range(models)])[:, None]
    ids = np.tile(np.array([f"{name}/{i}" for i in range(n)]), models)
    patients = np.tile(np.array([f"{name}/p{i // 2}" for i in range(n)]), models)
    repeat, zeros = np.repeat(np.arange(models), n), np.zeros(n * models, dtype=np.int64)
    of_run = {"run": "x", "dataset": "x", "unit": "image", "task": "binary", "labels": ("e",)}
    columns = {"items": ids, "studies": ids, "patients": patients, "repeat": repeat, "fold": zeros, "seed": zeros}
    columns |= {"part": np.full(n * models, "test"), "y": np.tile(y, models)[:, None], "logit": logit}
    return Predictions(**of_run, **columns, prob=1 / (1 + np.exp(-logit)))  # type: ignore[arg-type]


@pytest.mark.arithmetic
def test_the_drop_is_as_wide_as_a_bootstrap_of_the_patients_of_both() -> None:
    """The slow way: patients of either side drawn anew, independently, and every AUROC made again."""
    rng = np.random.default_rng(3)
    inside, outside = drawn(rng, 300, "a", 2.0, 1), drawn(rng, 400, "b", 1.0, 3)
    found = drop_of(inside, outside)

    def again(side: Predictions) -> float:
        names = np.unique(side.patients)
        rows_of = {name: np.flatnonzero(side.patients == name) for name in names}
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        one = [rows[side.repeat[rows] == repeat] for repeat in np.unique(side.repeat)]
        return float(np.mean([roc_auc_score(side.y[own, 0], side.logit[own, 0]) for own in one]))

    spread = np.std([again(inside) - again(outside) for _ in range(400)])
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 / 1.97 == pytest.approx(spread, rel=0.15)
    other = replace(outside, patients=np.char.replace(outside.patients, "b/", "a/"))
    confused = drop_of(inside, other)  # as if ids of both were of the same people
    assert confused.high != found.high


@pytest.mark.arithmetic
def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Patients of both sides drawn anew 300 times; the truth is that of the scores, of two normal distributions."""
    rng = np.random.default_rng(11)
    truth = [known_auc(distance / 1.09**0.5) for distance in (2.0, 1.2)]  # a model adds a variance of .09 to that of 1
    drop, there = [], []
    for _ in range(300):
        inside, outside = drawn(rng, 240, "a", 2.0, 1), drawn(rng, 300, "b", 1.2, 3)
        gap, area = drop_of(inside, outside), outside.interval(("auroc",))["auroc"]
        drop.append(gap.low < truth[0] - truth[1] < gap.high)  # type: ignore[operator]
        there.append(area.low < truth[1] < area.high)  # type: ignore[operator]
    for held in (drop, there):
        assert 0.92 <= np.mean(held) <= 0.985


def test_a_second_call_reads_what_the_first_one_wrote(planted: Path, matrix: External) -> None:
    again = external(root=planted, head="linear-image")
    assert all(pair.reused for pair in again.pairs)
    assert again.to_arrow().equals(matrix.to_arrow())
    before = len(list_runs(open_dataset(planted, "b")))
    aimed = external("a,b", root=planted, test_on="b", concepts="Edema", sensitivity=0.9, **QUICK)
    assert not any(pair.reused for pair in aimed.pairs)
    assert len(list_runs(open_dataset(planted, "b"))) == before + 1
    assert figure(aimed, "a", "b", "sensitivity").value != figure(matrix, "a", "b", "sensitivity", "Edema").value
    assert 0.85 < ends(figure(aimed, "a", "b", "inside_sensitivity"))[1] < 0.95


def test_sql_has_runs_predictions_and_figures(planted: Path, matrix: External) -> None:
    rows = query(
        planted, "select dataset, trained_on, count(*) as n from external group by all order by all"
    ).to_pylist()
    assert [(row["dataset"], row["trained_on"]) for row in rows][:2] == [("a", "b"), ("a", "c")]
    edema = query(
        planted,
        "select value from external where dataset = 'b' and trained_on = 'a' and concept = 'Edema' "
        "and metric = 'auroc' and len(stores) = 1 order by created limit 1",
    ).to_pylist()
    assert edema[0]["value"] == figure(matrix, "a", "b", "auroc", "Edema").value
    sets = query(
        planted, "select distinct p.dataset, r.dataset as of_run from predictions p join runs r using (run_id)"
    )
    assert all(row["dataset"] == row["of_run"] for row in sets.to_pylist())


def test_the_shipped_query_has_a_row_of_each_pair(planted: Path, matrix: External) -> None:
    text = (Path(__file__).parent.parent / "stores" / "queries" / "external.sql").read_text(encoding="utf-8")
    found = query(planted, text).to_pylist()
    pairs = query(planted, "select distinct trained_on, dataset from external").to_pylist()
    assert {(row["trained_on"], row["tested_on"]) for row in found} == {
        (row["trained_on"], row["dataset"]) for row in pairs
    }
    assert any(row["auroc"] is not None for row in found)


def test_what_was_trained_elsewhere_is_no_model_and_no_arm(planted: Path, matrix: External) -> None:
    with pytest.raises(DataError, match="no run to report"):
        newest_ablation([open_dataset(planted, "b")])
    with pytest.raises(TrainError, match="was trained on a: it keeps its predictions and no model"):
        load(next(one.run_id for one in matrix.pairs if one.trained_on == "a"), root=planted)


@pytest.mark.arithmetic
def test_two_that_were_trained_elsewhere_are_compared_as_fitted_models(planted: Path, matrix: External) -> None:
    """Nothing is known of other training patients: none of them are among those who are judged."""
    first, second = (
        next(pair for pair in matrix.pairs if (pair.trained_on, pair.tested_on) == (name, "c")) for name in "ab"
    )
    found = compare(first.run_id, second.run_id, root=planted)
    assert found.recipes is None
    gap = found.figures["auroc"].difference
    assert gap.value == pytest.approx(ends(first.figure("auroc"))[1] - ends(second.figure("auroc"))[1])
    assert gap.low is not None
    assert gap.low > 0.1, "only the first has learnt pneumonia as it shows there"


@pytest.mark.arithmetic
def test_recalibration_mends_what_is_too_extreme_and_tests_nobody_it_used(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", {"Edema": (0, 2.0)}, n=800))
    plant_site(tmp_path, Site("b", {"Edema": (0, 1.0)}, n=800, films=2, prevalence={"Edema": 0.15}))
    found = external(root=tmp_path, test_on="b", recalibrate=200, **QUICK)
    slope, large = (ends(figure(found, "a", "b", metric)) for metric in ("slope", "in_the_large"))
    assert slope[2] < 0.8
    assert large[2] < -0.1, "a finding that is rarer there is called too often"
    again, level = (ends(figure(found, "a", "b", f"recalibrated_{metric}")) for metric in ("slope", "in_the_large"))
    assert again[0] < 1 < again[2] + 0.2
    assert abs(level[1]) < 0.4
    (run,) = [one for one in list_runs(open_dataset(tmp_path, "b")) if one.record.is_external]
    assert run.record.patients == 600
    assert (run.record.spec["recalibrate"], run.record.spec["sensitivity"]) == (200, None)
    assert run.record.left_out["rows of patients that probabilities are fitted on"] == 400
    plain = external(root=tmp_path, test_on="b", **QUICK)
    assert figure(plain, "a", "b", "patients").value == 800


def test_who_does_not_say_is_none_of_those_whom_probabilities_are_fitted_on(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", {"Edema": (0, 2.0), "Pneumonia": (1, 2.0)}))
    b = plant_site(tmp_path, Site("b", {"Edema": (0, 2.0), "Pneumonia": (1, 2.0)}, missing={"Edema": 0.5}))
    found = external(root=tmp_path, train_on="a", test_on="b", recalibrate=60, **QUICK)
    said = {study for study, label in zip(*(b.labels[one].to_pylist() for one in ("study_id", "label")), strict=True)
            if label == "Edema"}  # fmt: skip
    drawn = np.random.default_rng(0).permutation(np.sort([f"b/p{number}" for number in range(400)]))[:60]
    own = sum(f"s{patient.removeprefix('b/p')}" in said for patient in drawn.tolist())
    assert 20 < own < 40
    assert figure(found, "a", "b", "recalibrated_on_patients", "Edema").value == own
    assert figure(found, "a", "b", "recalibrated_on_patients", "Pneumonia").value == 60
    assert "again: fitted on those of 60 patients there who have the label; none is tested" in found.caption[2]


def test_films_that_both_have_are_not_tested_nor_is_their_patient(tmp_path: Path) -> None:
    a = plant_site(tmp_path, Site("a", TWO))
    b = plant_site(tmp_path, Site("b", TWO, films=2))
    table = pq.read_table(b.table_path("images"))
    digests = table["sha256"].to_pylist()
    digests[6] = a.images["sha256"][0].as_py()  # a film of patient p3
    tables = {name: getattr(b, name) for name in ("studies", "labels")}
    tables["images"] = b.images.set_column(b.images.column_names.index("sha256"), "sha256", [digests])
    about = {name: b.descriptor[name] for name in ("simulated", "label_sets", "source")}
    write_dataset(b.paths, tables, about)
    found = external(root=tmp_path, test_on="b", concepts="Edema", **QUICK)
    (pair,) = found.pairs
    assert pair.left_out == {
        "films of which the training collection has the very film": 1,
        "rows of patients with such a film": 2,
    }
    assert figure(found, "a", "b", "rows").value == 798
    run = list_runs(open_dataset(tmp_path, "b"))[0]
    assert "p3" not in run.predictions().patients.tolist()
    assert "not tested: 1 films" in " ".join(found.caption)


def test_the_same_pixels_in_another_file_are_found_by_their_vector(tmp_path: Path) -> None:
    site = Site("a", TWO)
    a = plant_site(tmp_path, site)
    b = plant_site(tmp_path, replace(site, name="b"))
    # another collection with some of the same vectors, under other digests and ids
    store = next(iter((a.paths.embeddings).iterdir()))
    vectors = np.stack(pq.read_table(next(store.glob("part-*.parquet")))["embedding"].to_numpy(zero_copy_only=False))
    own = np.random.default_rng(9).standard_normal(vectors.shape).astype(np.float32)
    own[:7] = vectors[10:17]
    shutil.rmtree(b.paths.embeddings)
    write_store(b, site.encoder, "image", b.images["image_id"].to_pylist(), own, tag=site.tag)
    found = external(root=tmp_path, test_on="b", concepts="Edema", **QUICK)
    assert found.pairs[0].left_out == {
        "films of which the training collection has the same vector": 7,
        "rows of patients with such a film": 7,
    }


def test_collections_with_the_same_films_are_refused_or_marked(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("ours", {"Edema": (0, 2.0)}, source={"adapter": "nih"}))
    plant_site(tmp_path, Site("kaggle", {"Edema": (0, 2.0)}, source={"adapter": "rsna"}))
    plant_site(tmp_path, Site("other", {"Edema": (0, 2.0)}))
    found = external(root=tmp_path, **QUICK)
    refused = [pair for pair in found.pairs if pair.reason]
    assert {(pair.trained_on, pair.tested_on) for pair in refused} == {("ours", "kaggle"), ("kaggle", "ours")}
    assert all("rsna has films of NIH ChestX-ray14" in str(pair.reason) for pair in refused)
    with pytest.raises(DataError, match="no pair can be judged: ours → kaggle, kaggle → ours: rsna has films of NIH"):
        external("ours,kaggle", root=tmp_path, **QUICK)
    allowed = external("ours,kaggle", root=tmp_path, allow_overlap=True, **QUICK)
    assert all(pair.figures and pair.caveats[0].startswith("not external: rsna has films") for pair in allowed.pairs)
    alone = external(root=tmp_path, leave_one_out=True, **QUICK)
    assert {pair.tested_on: pair.trained_on for pair in alone.pairs} == {
        "kaggle": "other",
        "ours": "other",
        "other": "kaggle",  # both have the same films: one of them is trained on
    }


def shuffled_copy(root: Path, of: Dataset, name: str, source: dict[str, str]) -> None:
    """The same films and labels of 120 patients under other ids, so that another fold tests each."""
    other = dict(zip(range(120), np.random.default_rng(1).permutation(120).tolist(), strict=True))

    def renamed(column: list[str]) -> list[str]:
        return [re.sub(r"\d+", lambda found: str(other[int(found.group())]), one, count=1) for one in column]

    tables = {}
    for kind in ("studies", "images", "labels"):
        table = getattr(of, kind)
        ids = {one: renamed(table[one].to_pylist()) for one in table.column_names if one.endswith("_id")}
        tables[kind] = pa.table({one: ids.get(one, table[one]) for one in table.column_names}, table.schema)
    sets = of.descriptor["label_sets"]
    copy = write_dataset(DatasetPaths(root, name), tables, {"simulated": False, "label_sets": sets, "source": source})
    store = open_store(of, "efficientnet_b1")
    ids, vectors = store.vectors()
    write_store(copy, "efficientnet_b1", "image", renamed(ids), vectors, tag="one")


@pytest.mark.arithmetic
def test_a_patient_whom_two_training_collections_have_is_trained_on_once(tmp_path: Path) -> None:
    """Nothing is to be learnt: a copy in another fold's training rows would make of noise an AUROC inside."""
    a = plant_site(tmp_path, Site("a", {"Edema": (0, 0.0)}, n=120, prevalence={"Edema": 0.5}))
    plant_site(tmp_path, Site("b", {"Edema": (0, 0.0)}, n=120, prevalence={"Edema": 0.5}))
    alone = external(root=tmp_path, train_on="a", test_on="b", **QUICK)
    shuffled_copy(tmp_path, a, "copy", {})
    (both,) = external(root=tmp_path, leave_one_out=True, test_on="b", **QUICK).pairs
    assert both.trained_on == "a+copy"
    assert both.caveats[-1] == "120 films of copy are trained on once: a has the films"
    for metric in ("auroc", "inside", "drop", "sensitivity"):
        assert ends(both.figure(metric)) == pytest.approx(ends(alone.pairs[0].figure(metric)), abs=1e-6)


def test_of_training_collections_that_contain_one_another_the_largest_is_trained_on(tmp_path: Path) -> None:
    for name, n, adapter in (("own", 100, "folder"), ("part", 80, "rsna"), ("whole", 120, "nih")):
        plant_site(tmp_path, Site(name, {"Edema": (0, 2.0)}, n=n, source={"adapter": adapter}))
    found = external(root=tmp_path, leave_one_out=True, test_on="own", **QUICK)
    assert [one.trained_on for one in found.pairs] == ["whole"]
    why = "rsna has films of NIH ChestX-ray14, read again"
    assert f"whole → own: part is not trained on beside them: {why}" in found.caption
    (marked,) = external(root=tmp_path, leave_one_out=True, test_on="own", allow_overlap=True, **QUICK).pairs
    assert marked.trained_on == "part+whole"
    assert f"inside is too good: {why}; both are trained on" in marked.caveats


def test_a_contaminated_encoder_is_marked(tmp_path: Path) -> None:
    for name, adapter in (("films", "nih"), ("challenge", "siim"), ("spain", "padchest")):
        plant_site(tmp_path, Site(name, {"Edema": (0, 2.0)}, source={"adapter": adapter}, encoder="chest_nih"))
    found = external(root=tmp_path, **QUICK)
    pair = next(one for one in found.pairs if (one.trained_on, one.tested_on) == ("spain", "films"))
    assert pair.caveats == ("not external: chest_nih was trained on nih",)
    kin = next(one for one in found.pairs if (one.trained_on, one.tested_on) == ("spain", "challenge"))
    assert kin.caveats[0].startswith("not external: chest_nih was trained on nih, and siim has films of NIH")
    clean = next(one for one in found.pairs if (one.trained_on, one.tested_on) == ("films", "spain"))
    assert clean.caveats == ()
    cells = {row[0]: row for row in found.matrix().rows}
    assert any(text.endswith("*") for text in cells["spain"])
    assert not any(text.endswith("*") for text in cells["films"])
    runs = query(tmp_path, "select note from runs where dataset = 'films' and trained_on = 'spain'").to_pylist()
    assert runs[0]["note"] == pair.caveats[0]


def test_the_tables_of_who_has_seen_whom_name_what_there_is() -> None:
    assert set(PRETRAINED) <= set(ENCODERS)
    assert seen_before("rad_dino", "vindr") is None
    assert seen_before("hf_microsoft_rad_dino", "brax", model="microsoft/rad-dino") == "rad_dino was trained on brax"
    assert seen_before("efficientnet_b1", "nih") is None
    assert kinship("nih", "nih") == "both are nih"
    assert kinship("rsna", "siim") is not None, "both are of NIH"
    assert kinship("kermany", "nih") is None
    assert all(kinship(part, whole) and kinship(whole, part) for part, whole, _ in CONTAINED)


def test_a_collection_without_a_store_of_the_key_is_told_the_command(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", TWO))
    plant_site(tmp_path, Site("b", TWO, tag="another"))
    plant_site(tmp_path, Site("c", TWO))
    with pytest.raises(StoreError, match=r"b has no store efficientnet_b1@.* the recipe that the others have") as error:
        external("a,b,c", root=tmp_path, **QUICK)
    assert error.value.hint == "encode it with the same recipe: `cxremb embed --model efficientnet_b1 --dataset b`"
    found = external(root=tmp_path, **QUICK)  # nobody named it: it is left out, and said to be
    assert {pair.tested_on for pair in found.pairs} == {"a", "c"}
    assert any("b is left out: it has no store efficientnet_b1@" in note for note in found.notes)
    plant_site(tmp_path / "two", Site("a", TWO))
    plant_site(tmp_path / "two", Site("b", TWO, tag="another"))
    with pytest.raises(StoreError, match=r"no two collections have a store of one key; it is there of [ab]$") as error:
        external(root=tmp_path / "two", **QUICK)
    assert "`cxremb embed --model efficientnet_b1 --dataset " in error.value.hint


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ({"concepts": "Edma"}, "no collection has the concept 'Edma'", "did you mean Edema?"),
        ({"collections": "a:strange,b"}, "a has no label set 'strange'", "it has findings"),
        ({"collections": "a,a"}, "named twice", "once"),
        ({"collections": "a"}, "one collection, a", "data add"),
        ({"collections": "a,zoo"}, "no data set called 'zoo'", "data add"),
        ({"train_on": "zoo"}, "'zoo' is none of the collections", "they are a, b"),
        ({"vocabulary": "mine"}, "no vocabulary 'mine'", "chexpert, torchxrayvision"),
        ({"unit": "film"}, "no unit 'film'", "image or study"),
        ({"sensitivity": 95}, "no sensitivity 95", "0.95"),
        ({"recalibrate": 3}, "3 cases to recalibrate on", "10 patients"),
        ({"recalibrate": 5000}, "no row is left to test", "fewer than 5000 patients"),
        ({"collections": "a,b", "image_model": "resnet50"}, "no store of 'resnet50'", "resnet50 --dataset"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: dict[str, object], problem: str, hint: str) -> None:
    for name in "ab":
        plant_site(tmp_path, Site(name, TWO, n=60))
    with pytest.raises((DataError, StoreError, TrainError), match=problem) as error:
        external(**{"root": tmp_path, **QUICK, **words})  # type: ignore[arg-type]
    assert hint in error.value.hint


def test_a_tested_collection_without_a_positive_has_no_figure_and_says_so(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", TWO))
    plant_site(tmp_path, Site("b", TWO, prevalence={"Pneumonia": -1.0}))
    found = external(root=tmp_path, **QUICK)
    there = {pair.tested_on: pair for pair in found.pairs}
    assert there["b"].concepts == ("Edema",)
    assert there["b"].not_judged == {"Pneumonia": "all tested rows are negative"}
    assert there["a"].not_judged == {"Pneumonia": "b has one answer to it in training"}
    with pytest.raises(DataError, match=r"no pair can be judged.*Pneumonia: all tested rows are negative"):
        external(root=tmp_path, concepts="Pneumonia", **QUICK)


def test_collections_without_a_common_concept_say_what_each_has(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", {"Edema": (0, 2.0)}))
    plant_site(tmp_path, Site("b", {"Pneumonia": (0, 2.0)}))
    with pytest.raises(DataError, match=r"no two of a, b have a concept in common \(a: Edema; b: Pneumonia\)"):
        external(root=tmp_path, **QUICK)


def test_ids_that_two_collections_have_are_of_two_people(planted: Path, matrix: External) -> None:
    assert any("patient ids that are in both a and b (400, such as p0)" in note for note in matrix.notes)
    assert figure(matrix, "a", "b", "patients", "Pneumonia").value == 400


def test_films_without_a_vector_or_a_label_are_counted(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", {"Edema": (0, 2.0)}, n=200))
    b = plant_site(tmp_path, Site("b", {"Edema": (0, 2.0)}, n=200, missing={"Edema": 0.1}))
    ids, vectors = open_store(b, "efficientnet_b1").vectors()
    shutil.rmtree(b.paths.embeddings)
    write_store(b, "efficientnet_b1", "image", ids[:170], vectors[:170], tag="one")
    found = external(root=tmp_path, train_on="a", test_on="b", **QUICK)
    said = set(b.labels["study_id"].to_pylist())
    unsaid = 200 - len(said)
    rows = sum(film.partition("-")[0] in said for film in ids[:170])
    assert figure(found, "a", "b", "rows").value == rows
    assert f"Left out of b: {unsaid} no label, {200 - unsaid - rows} no image embedding" in found.caption
    assert not any(line.startswith("Left out of a") for line in found.caption)


def test_rows_that_no_split_lists_are_counted(tmp_path: Path) -> None:
    """A split is made of the studies of one label set, and the concepts of `a` are of two."""
    a = plant_site(tmp_path, Site("a", TWO, n=200, label_set="one"))
    plant_site(tmp_path, Site("b", TWO, n=200))
    said = a.labels.to_pandas()
    other = said["label"] == "Pneumonia"
    said.loc[other, "label_set"] = "two"
    number = said["study_id"].str[1:].astype(int)
    kept = said[(other & (number >= 80)) | (~other & (number < 120))]
    sets = {name: {"task": "binary", "means": "planted", "labels": [label], "policy": "", "version": "0"}
            for name, label in (("one", "Edema"), ("two", "Pneumonia"))}  # fmt: skip
    tables = {"studies": a.studies, "images": a.images}
    tables["labels"] = pa.Table.from_pandas(kept, schema=a.labels.schema, preserve_index=False)
    a = write_dataset(a.paths, tables, {"simulated": False, "label_sets": sets, "source": {}})
    rows = ["label_set,label,concept,relation,source", "one,Edema,Edema,exact,me", "two,Pneumonia,Pneumonia,exact,me"]
    (tmp_path / "means.csv").write_text("\n".join(rows), encoding="utf-8")
    read_concepts(a, file=tmp_path / "means.csv")
    found = external(root=tmp_path, train_on="a", test_on="b", **QUICK)
    assert found.collections["a"]["rows"] == 200
    (note,) = [line for line in found.notes if "in no part" in line]
    assert re.fullmatch(
        r"80 of 200 rows of a are in no part of its split patient-5fold@\w+: nothing learns from them", note
    )


def test_a_study_counts_once_where_that_is_asked(planted: Path) -> None:
    films = external("a,b", root=planted, test_on="a", concepts="Edema", **QUICK)
    studies = external("a,b", root=planted, test_on="a", concepts="Edema", unit="study", **QUICK)
    assert (figure(films, "b", "a", "rows").value, figure(studies, "b", "a", "rows").value) == (800, 400)
    assert films.of_rows.startswith("One row per image: a 800 of 400 patients")
    assert studies.of_rows.startswith("One row per study: a 400 of 400 patients")
    (alone, mean) = (ends(figure(one, "b", "a", "auroc"))[1] for one in (films, studies))
    assert mean > alone + 0.02, "two films of one study say more than one"
    text = (Path(__file__).parent.parent / "stores" / "queries" / "external.sql").read_text(encoding="utf-8")
    rows = [row for row in query(planted, text).to_pylist() if (row["trained_on"], row["tested_on"]) == ("b", "a")]
    both = {row["arm"]: row["auroc"] for row in rows if row["concept"] == "Edema"}
    assert both["linear-image trained on b, a study counts once"] == pytest.approx(mean)
    assert both["linear-image trained on b"] < mean - 0.02


def test_the_command_shows_the_matrix_and_the_pairs(planted: Path, matrix: External) -> None:
    run = CliRunner().invoke
    done = run(app, ["external", "--head", "linear-image", "--each", "--root", str(planted)])
    assert done.exit_code == 0, done.output
    for words in ("trained on", "a → b", "mean of 2", "Pneumonia", "6 of 6 pairs re-used", "Brackets: 95%"):
        assert words in done.output
    rows = run(app, ["external", "--head", "linear-image", "--root", str(planted), "--format", "csv"])
    assert len(rows.output.splitlines()) == 1 + matrix.to_arrow().num_rows
    page = run(app, ["external", "--head", "linear-image", "--root", str(planted), "--format", "markdown"])
    assert "| a → b | mean of 2 |" in page.output


def test_a_copy_of_a_collection_has_nobody_left_to_test(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", TWO))
    plant_site(tmp_path, Site("other", TWO))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    found = external(root=tmp_path, **QUICK)
    copies = [pair for pair in found.pairs if {pair.trained_on, pair.tested_on} == {"a", "copy"}]
    why = "no row is left to test: 400 films of which the training collection has the very film"
    assert all(str(pair.reason).startswith(why) for pair in copies)
    assert copies[0].left_out["films of which the training collection has the very film"] == 400


def test_films_that_look_the_same_are_found_by_their_pixels(tmp_path: Path) -> None:
    """The very picture as another file, smaller and brighter: neither bytes nor vectors agree."""
    films = {name: tmp_path / name for name in "ab"}
    for number in range(12):
        save_film(films["a"] / "p" / f"{number}.png", number)
        save_film(films["b"] / "p" / f"{number}.png", 100 + number)
    for number in (3, 5):
        with PilImage.open(films["a"] / "p" / f"{number}.png") as picture:
            small = picture.resize((60, 70)).point(lambda value: min(255, value + 10))
            small.save(films["b"] / "p" / f"{number}.png")
    sets = {
        name: add_collection(read_folder(folder, name), tmp_path / "root").dataset for name, folder in films.items()
    }
    facts = {name: read_pixels(one, unwatched) for name, one in sets.items()}
    assert not any(isinstance(one, str) for one in facts.values())
    same = near_copies(facts["a"], facts["b"], sets["b"])  # type: ignore[arg-type]
    by_path = {Path(row["path"]).stem for row in sets["b"].images.to_pylist() if row["image_id"] in same}
    assert by_path == {"3", "5"}
    assert same_content(sets["b"], [sets["a"]]) == set()


def test_patients_whom_the_encoder_was_fine_tuned_on_are_not_tested(tmp_path: Path) -> None:
    plant_site(tmp_path, Site("a", {"Edema": (0, 2.0)}))
    b = plant_site(tmp_path, Site("b", {"Edema": (0, 2.0)}))
    (folder,) = b.paths.embeddings.iterdir()
    seen = [f"p{number}" for number in range(150)]
    replace_table(folder / PATIENTS, pa.table({"patient_id": seen}))
    manifest = latest_manifest(folder)
    assert manifest is not None
    tuned = {"trained_on": PATIENTS, "fine_tuned": {"dataset": "b", "split": "holdout", "fold": 0}}
    publish(replace(manifest, version=manifest.version + 1, provenance=tuned), folder)
    found = external(root=tmp_path, train_on="a", test_on="b", **QUICK)
    (pair,) = found.pairs
    assert pair.left_out == {"rows of patients whom the encoder was fine-tuned on": 150}
    assert figure(found, "a", "b", "patients").value == 250
    assert pair.caveats == ("not external: efficientnet_b1 was fine-tuned on patients of b",)
    with pytest.raises(DataError, match=r"b → a: .* are among those that efficientnet_b1@.* was fine-tuned on"):
        external(root=tmp_path, train_on="b", test_on="a", **QUICK)


def test_without_any_store_the_command_names_the_data_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        found = plant_site(tmp_path, Site(name, {"Edema": (0, 2.0)}, n=40))
        shutil.rmtree(found.paths.embeddings)
    with pytest.raises(StoreError, match="a has no image store yet") as error:
        external(root=tmp_path, **QUICK)
    assert re.fullmatch(r"run `cxremb embed --model \w+ --dataset a`", error.value.hint)


def test_pneumoniamnist_is_known_to_be_kermany(real_data: Path, tmp_path: Path) -> None:
    """Of the real files: they have no byte in common, so only the table knows."""
    root = tmp_path / "root"
    small = medmnist.read(real_data / "medmnist" / "pneumoniamnist.npz", tmp_path / "unpacked", "small")
    sets = [
        add_collection(one, root).dataset
        for one in (kermany.read(real_data / "kermany_224" / "chest_xray", "children"), small)
    ]
    assert [collection_of(one) for one in sets] == ["kermany", "pneumoniamnist"]
    assert same_content(sets[1], [sets[0]]) == set()
    assert kinship("kermany", "pneumoniamnist") == "pneumoniamnist has films of Kermany, made small"
    both = [concept_labels(one, ["Pneumonia"]) for one in sets]
    assert [int(labels.values.sum()) for labels in both] == [4273, 4273]
    assert [len(labels.values) for labels in both] == [5856, 5856]


def test_heads_of_texts_and_of_both_are_judged_too(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 5)):
        found = plant(tmp_path, Planted(studies=200, image=1.0, text=1.5, simulated=False, seed=seed), name=name)
        films = found.images["sha256"].to_pylist()
        own = found.images.set_column(found.images.column_names.index("sha256"), "sha256", [[name + x for x in films]])
        tables = {table: getattr(found, table) for table in ("studies", "labels", "reports")}
        about = {what: found.descriptor[what] for what in ("simulated", "label_sets", "source")}
        write_dataset(found.paths, {**tables, "images": own}, about)
    for head, unit in (("linear-text", "study"), ("late", "image")):
        found_here = external(root=tmp_path, head=head, site=False)
        assert found_here.unit == unit
        for pair in found_here.pairs:
            assert pair.concepts == ("Abnormal",)
            assert ends(pair.figure("auroc"))[0] > 0.6
            assert any(caveat.startswith("label recovery, not diagnosis") for caveat in pair.caveats)
    with pytest.raises(TrainError, match="pools the films of a study"):
        external(root=tmp_path, head="attention-image")
