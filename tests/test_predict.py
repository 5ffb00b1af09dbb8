"""`cxremb predict`: what was stored comes out again, new films are the mean of the folds, and everything adds up."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import collection, save_film
from planted import Planted, plant, write_store

import cxremb as package
from cxremb.catalog import add_collection
from cxremb.encoders import tiny
from cxremb.evaluation.reliability import sigmoid
from cxremb.inference.cases import NotJudged, distinct, nothing_judged
from cxremb.inference.choice import ready
from cxremb.inference.distance import distances, limit_of
from cxremb.inference.judge import asked_of_models
from cxremb.inference.known import ONE_STUDY
from cxremb.inference.loaded import load_run
from cxremb.inference.rows import InputRow
from cxremb.inference.scales import Scales, name_of
from cxremb.splits.stored import fold_parts, read_split
from cxremb.store.dataset import open_dataset
from cxremb.training.runs import Run, list_runs

STUDIES = 60


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of films and texts, embedded and with three arms on all folds; `films` beside its `stores`."""
    here = tmp_path_factory.mktemp("predict")
    add_collection(collection(here / "films", STUDIES), here / "stores")
    for model in ("tiny", "tiny_text"):
        package.embed(model, root=here / "stores")
    package.ablate("image,text,fusion", controls=False, root=here / "stores")
    return here


@pytest.fixture(scope="module")
def runs(here: Path) -> dict[str, Run]:
    return {run.arm: run for run in reversed(list_runs(open_dataset(here / "stores")))}


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return save_film(tmp_path / "new.png", 4_711)


def copied(here: Path, to: Path) -> Path:
    """The store root once more, for runs that others would take for the newest."""
    return Path(shutil.copytree(here / "stores", to / "stores"))


def predict(here: Path, *files: Any, **options: Any) -> Any:
    return package.predict(list(files), root=here / "stores", **options)


def stored(run: Run) -> dict[str, tuple[float, float, str]]:
    """Test item -> what its model said, calibrated on its own validation rows; and which model."""
    test = run.predictions()
    after = test.calibrated(run.predictions("val"))[0]
    return {
        item: (float(test.prob[row, 0]), float(after.prob[row, 0]), name_of(test, row))
        for row, item in enumerate(test.items.tolist())
    }


def test_a_film_of_the_collection_gets_what_its_model_said_when_it_was_tested(here: Path, runs: dict[str, Run]) -> None:
    run = runs["image"]
    known = stored(run)
    found = predict(here, here / "films", run=run)
    films = [film for study in found.studies for film in study.films]
    assert (found.asked, found.judged, len(found.failed)) == (120, 119, 1)  # the last film repeats the first
    for film in films:
        raw, calibrated, name = known[str(film.item)]
        assert film.labels[0].uncalibrated == pytest.approx(raw, abs=1e-6)
        assert film.labels[0].probability == pytest.approx(calibrated, abs=1e-6)
        assert film.models == (name,)
    by_id = predict(here, *(film.item for film in films[:2]), run=run)
    for one, film in zip(by_id.studies[0].films, films[:2], strict=True):
        assert one.labels[0].probability == pytest.approx(film.labels[0].probability, abs=1e-6)


def test_thresholds_are_those_that_each_model_chose(here: Path, runs: dict[str, Run]) -> None:
    run = runs["image"]
    test = run.predictions()
    chosen = test.at_thresholds(run.predictions("val"))
    called = dict(zip(test.items.tolist(), (test.prob[:, 0] >= chosen.threshold).tolist(), strict=True))
    found = predict(here, here / "films", run=run)
    films = [film for study in found.studies for film in study.films]
    assert {film.item: film.labels[0].above for film in films} == {film.item: called[film.item] for film in films}
    assert {True, False} == set(called.values())
    val = run.predictions("val")
    assert f"{len(val.items)} rows, prevalence {val.y.mean():.2f}" in found.threshold
    assert "validation rows" in found.calibration


def test_a_new_film_is_the_mean_of_the_folds(here: Path, runs: dict[str, Run], new: Path, tmp_path: Path) -> None:
    run = runs["image"]
    other = collection(tmp_path / "other", 1, name="other")
    save_film(tmp_path / "other" / "0_Frontal.png", 4_711)
    add_collection(other, tmp_path / "stores")
    package.embed("tiny", root=tmp_path / "stores")
    vector = package.open_store("tiny", root=tmp_path / "stores").matrix(["0_Frontal"])
    bundle = package.load(run, root=here / "stores")
    fitted = run.predictions().calibrated(run.predictions("val"))[1]
    raw, calibrated = [], []
    for name, one in zip(bundle.weights, fitted, strict=True):  # both in the order of folds
        said = bundle.predict({"image": vector}, model=name)
        raw.append(said.prob[0, 0])
        calibrated.append(sigmoid(said.logit[0] / one.temperature)[0])
    (study,) = predict(here, new).studies
    assert study.labels[0].uncalibrated == pytest.approx(np.mean(raw), abs=1e-7)
    assert study.labels[0].probability == pytest.approx(np.mean(calibrated), abs=1e-7)
    assert study.films[0].models == tuple(bundle.weights)
    assert study.films[0].parts == {}
    assert study.labels[0].above == (study.labels[0].probability >= study.labels[0].threshold)


@pytest.mark.parametrize("header", ["path,study", "Filename,Study ID", "Image Index,study_id"])
def test_tables_by_the_headings_that_people_use(header: str, here: Path, runs: dict[str, Run], tmp_path: Path) -> None:
    table, films = tmp_path / "many.csv", here / "films"
    table.write_text(f"{header}\n{films}/5_Frontal.png,A\n{films}/5_Lateral.png,A\n", encoding="utf-8")
    (study,) = predict(here, table).studies
    (both,) = predict(here, films / "5_Frontal.png", films / "5_Lateral.png").studies
    assert study.study == "A"
    assert [label.probability for label in study.labels] == [label.probability for label in both.labels]


def test_films_of_a_study_are_averaged(here: Path, runs: dict[str, Run], new: Path) -> None:
    known = stored(runs["image"])
    (study,) = predict(here, here / "films" / "5_Frontal.png", here / "films" / "5_Lateral.png").studies
    assert study.study == "5_Frontal.png and 1 more"
    assert study.labels[0].probability == pytest.approx(
        np.mean([known[f"5_{view}"][1] for view in ("Frontal", "Lateral")]), abs=1e-6
    )
    table = predict(here, here / "films" / "5_Frontal.png", new).to_pandas()
    assert table["level"].tolist() == ["study", "film", "film"]
    assert table["probability"][0] == pytest.approx(table["probability"][1:].mean())


def test_films_of_several_studies_are_not_averaged(here: Path, runs: dict[str, Run], new: Path, tmp_path: Path) -> None:
    films, reason = here / "films", "and films of 2 studies were given as one"
    five, six = "is of study 5, ", "is of study 6, "
    for given, whose in (
        (("5_Frontal", "6_Frontal"), (five, six)),
        ((films / "5_Frontal.png", "6_Lateral"), (five, six)),
        (("5_Lateral", new, films / "6_Frontal.png"), (five, "is new, ", six)),
    ):
        with pytest.raises(package.CxrembError) as caught:
            predict(here, *given, run=runs["image"])
        reasons = [f"{film}: {which}{reason}" for film, which in zip(given, whose, strict=True)]
        assert str(caught.value) == f"nothing could be judged: {'; '.join(reasons)}"
        assert caught.value.hint == ONE_STUDY
    (tmp_path / "many.csv").write_text(
        f"path,study\n{films}/5_Frontal.png,A\n{films}/6_Frontal.png,A\n{films}/7_Frontal.png,B\n", encoding="utf-8"
    )
    found = predict(here, tmp_path / "many.csv", run=runs["image"])
    assert [study.study for study in found.studies] == ["B"]
    assert [reason in one.reason for one in found.failed] == [True, True]
    assert (found.asked, found.judged) == (3, 1)


def test_bytes_that_stand_in_two_studies_are_of_the_one_that_the_other_film_is_of(here: Path) -> None:
    films = here / "films"
    assert (films / "59_Lateral.png").read_bytes() == (films / "0_Frontal.png").read_bytes()
    for other, item in (("59_Frontal", "59_Lateral"), ("0_Lateral", "0_Frontal")):
        (study,) = predict(here, films / f"{other}.png", films / "0_Frontal.png").studies
        assert [film.item for film in study.films] == [other, item]


def test_films_of_one_name_are_told_apart(here: Path, tmp_path: Path, cxremb: Callable[..., Any]) -> None:
    for place, (folder, seed) in enumerate((("P0", 4_810), ("P1", 4_820))):
        save_film(tmp_path / "bring" / folder / "a.png", seed)
        save_film(tmp_path / "bring" / folder / f"b{place}.png", seed + 5)
    found = predict(here, tmp_path / "bring")
    assert [study.study for study in found.studies] == ["P0/a.png", "b0.png", "P1/a.png", "b1.png"]
    folder = tmp_path / "bring"
    said = cxremb("predict", folder / "P0" / "a.png", folder / "P1" / "a.png", "--root", here / "stores").out
    assert "P0/a.png and 1 more" in said
    assert re.search(r"^  P1/a\.png ", said, re.MULTILINE)
    assert distinct(["P0/x", "Q/P0/x", "y", "Q/z"]) == {"P0/x": "P0/x", "Q/P0/x": "Q/P0/x", "y": "y", "Q/z": "z"}


def test_the_table_has_as_many_neighbours_as_asked(here: Path, new: Path, cxremb: Callable[..., Any]) -> None:
    for words, count in (((), 5), (("--neighbours", 7), 7), (("--neighbours", 0), 0)):
        said = cxremb("predict", new, *words, "--root", here / "stores").out
        assert len(re.findall(r"^new\.png  +\d+_\w+ +0?\.\d{3}", said, re.MULTILINE)) == count


def test_where_nothing_can_be_judged_each_is_named_with_its_reason(here: Path, tmp_path: Path) -> None:
    contents = {"text.png": b"words", "leer.png": b"", "bild.dcm": b"no film"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(package.CxrembError, match="nothing could be judged: ") as caught:
        predict(here, *(tmp_path / name for name in contents), run=list_runs(open_dataset(here / "stores"))[-1])
    for name in contents:
        assert f"{name}: " in str(caught.value)
    (tmp_path / "many.csv").write_text("path\nD:\\PACS\\a.png\n", encoding="utf-8")
    with pytest.raises(package.CxrembError, match=r"nothing could be judged: D:\\PACS") as caught:
        predict(here, tmp_path / "many.csv", run=list_runs(open_dataset(here / "stores"))[-1])
    assert "a table with their paths on this machine" in str(caught.value.hint)
    many = nothing_judged([NotJudged(str(number), f"{number}: gone") for number in range(22)], "hint")
    assert str(many).endswith("; 19: gone; and 2 more")


@pytest.mark.parametrize("arm", ["text", "fusion"])
def test_a_study_by_its_id_brings_its_report(arm: str, here: Path, runs: dict[str, Run]) -> None:
    run = runs[arm]
    test = run.predictions()
    known = dict(zip(test.items.tolist(), test.prob[:, 0].tolist(), strict=True))
    for number in (4, 9):
        (study,) = predict(here, str(number), run=run).studies
        for film in study.films:
            item = f"{number}_Frontal" if arm == "text" else str(film.item)  # rows of all arms are films
            assert film.labels[0].uncalibrated == pytest.approx(known[item], abs=1e-6)
        assert {film.item for film in study.films} == (
            {str(number)} if arm == "text" else {f"{number}_Frontal", f"{number}_Lateral"}
        )


def test_a_report_that_is_given_counts_before_the_stored_one(here: Path, runs: dict[str, Run], tmp_path: Path) -> None:
    film, own = here / "films" / "3_Frontal.png", "Opacity number 3. Abnormal."
    report = tmp_path / "report.txt"
    report.write_text(own + "\n", encoding="utf-8")
    same = predict(here, film, report=report)
    stored_one = predict(here, film, run=runs["fusion"])
    assert same.run_id == stored_one.run_id  # the newest that reads both
    assert same.studies[0].labels == stored_one.studies[0].labels
    assert "with the report that the collection has of its study" in stored_one.studies[0].notes
    other = predict(here, film, report_text="Clear lungs 4. Normal.")
    assert other.studies[0].labels[0].probability < same.studies[0].labels[0].probability


def test_which_run_is_taken(here: Path, runs: dict[str, Run], new: Path) -> None:
    assert predict(here, new).arm == "image"
    assert predict(here, report_text="Clear lungs. Normal.").arm == "text"
    both = predict(here, new, report_text="Clear lungs. Normal.")
    assert (both.arm, both.why) == ("fusion", "the newest run that reads films and reports")
    assert predict(here, "7").arm == "fusion"
    named = predict(here, new, report_text="Clear lungs.", run=runs["image"].run_id[-8:])
    assert "a report was given, and the run does not read it" in named.studies[0].notes


def test_of_runs_that_ask_the_same_the_one_on_all_folds_is_taken(
    here: Path, runs: dict[str, Run], new: Path, tmp_path: Path
) -> None:
    root = copied(here, tmp_path)
    one = package.train("image", fold=0, root=root)
    found = package.predict(new, root=root)
    assert (found.run_id, len(found.studies[0].films[0].models)) == (runs["image"].run_id, 5)
    assert found.why == f"the newest run that reads films, but on 5 folds: the newest, {one.run_id}, is of one"
    root = copied(here, tmp_path / "other")
    other = package.train("linear-image", fold=0, root=root)  # another question: nothing on five folds is its like
    assert (package.predict(new, root=root).run_id, len(other.record.folds)) == (other.run_id, 1)


def test_parts_are_those_of_the_split(here: Path, runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["image"]
    dataset = open_dataset(here / "stores")
    split = read_split(dataset.paths.splits / f"{run.record.split}.parquet")
    expected = {place.name: fold_parts(split.table, 0, place.fold)["8"] for place in run.record.members}
    (study,) = predict(here, "8_Frontal").studies
    assert study.films[0].parts == expected
    assert sorted(expected.values()).count("test") == 1
    root = copied(here, tmp_path)
    one = package.train("image", fold=0, epochs=2, root=root)
    item = next(item for item, part in fold_parts(split.table, 0, 0).items() if part == "train")
    (seen,) = package.predict(f"{item}_Frontal", run=one, root=root).studies
    assert seen.films[0].part == "train 1"
    assert any("they have learned from it" in note for note in seen.notes)


def slow_distances(vectors: np.ndarray, train: np.ndarray) -> np.ndarray:
    """One minus the cosine to the 10th nearest of `train`, pair by pair."""
    found = []
    for one in vectors.astype(float):
        cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in train.astype(float)]
        found.append(1 - sorted(cosines, reverse=True)[9])
    return np.array(found)


def slow_limit(at: np.ndarray, whose: list[str]) -> float:
    """The least distance that all but 5% lie within, if each of k patients counts once and one more lies beyond all."""
    k = len(set(whose))
    for limit in sorted(at):
        within = sum(
            np.mean([one <= limit for one, name in zip(at, whose, strict=True) if name == own]) for own in set(whose)
        )
        if within / (k + 1) >= 0.95 - 1e-9:
            return float(limit)
    return float(max(at))


def test_what_is_unusual_is_beyond_all_but_5_percent_of_the_films_of_other_patients(
    here: Path, runs: dict[str, Run]
) -> None:
    run = runs["image"]
    store = package.open_store("tiny", root=here / "stores")
    dataset = open_dataset(here / "stores")
    split = read_split(dataset.paths.splits / f"{run.record.split}.parquet")
    (study,) = predict(here, "8_Frontal", neighbours=4).studies
    (film,) = study.films
    (name,) = film.models
    patient = dict(zip(*(dataset.studies[one].to_pylist() for one in ("study_id", "patient_id")), strict=True))
    folds = {}
    for place in run.record.members:
        parts = fold_parts(split.table, 0, place.fold)
        folds[place.name] = {
            part: [f"{number}_{view}" for number in range(STUDIES) for view in ("Frontal", "Lateral")
                   if parts[str(number)] == part]
            for part in ("train", "val", "test")
        }  # fmt: skip
    whose = [patient[item.partition("_")[0]] for fold in folds.values() for item in fold["val"]]
    at = {
        part: {
            one: slow_distances(store.matrix(fold[part]), store.matrix(fold["train"])) for one, fold in folds.items()
        }
        for part in ("val", "test")
    }
    limits = {}
    for one, fold in folds.items():
        tested = {patient[item.partition("_")[0]] for item in fold["test"]}
        others = [owner not in tested for owner in whose]
        every = np.concatenate(list(at["val"].values()))[others]
        limits[one] = slow_limit(every, [own for own, other in zip(whose, others, strict=True) if other])
    assert film.limit == pytest.approx(limits[name], abs=2e-6)
    items, own = folds[name], store.matrix(["8_Frontal"])
    assert film.distance == pytest.approx(slow_distances(own, store.matrix(items["train"]))[0], abs=2e-6)
    beyond = [value > limits[one] + 1e-6 for one, found in at["test"].items() for value in found]
    assert predict(here, "8_Frontal").false_alarms == pytest.approx(np.mean(beyond), abs=1e-9)
    vectors = {"train": store.matrix(items["train"])}
    # the nearest are training films of the model that tested it, so none of its own patient
    x = vectors["train"].astype(float) @ own[0] / np.linalg.norm(vectors["train"].astype(float), axis=1)
    order = np.argsort(-x)[:4]
    assert [row.item_id for row in film.neighbours] == [items["train"][place] for place in order]
    cosines = (x[order] / np.linalg.norm(own)).tolist()
    assert [row.similarity for row in film.neighbours] == pytest.approx(cosines, abs=2e-6)


def test_the_nearest_have_the_labels_that_the_run_was_trained_on(tmp_path: Path) -> None:
    dataset = plant(tmp_path / "stores", Planted(studies=150, image=1.5, kinds=1.5), modalities=("image",))
    run = package.train("image", label_set="kind", root=tmp_path / "stores")
    film = dataset.images["image_id"].to_pylist()[0]
    judged = package.predict([film], run=run.run_id, neighbours=4, root=tmp_path / "stores")
    known = {row["study_id"]: row["label"] for row in dataset.labels.to_pylist()
             if row["label_set"] == "kind" and row["value"] == 1}  # fmt: skip
    near = judged.studies[0].films[0].neighbours
    assert len(near) == 4
    assert [row.labels for row in near] == [known[row.study_id] for row in near]


def test_a_film_that_is_like_none_is_unusual(tmp_path: Path) -> None:
    """All vectors point one way but for three films, which point the other."""
    dataset = plant(tmp_path / "stores", Planted(studies=150), modalities=())
    ids = dataset.images["image_id"].to_pylist()
    vectors = np.random.default_rng(0).standard_normal((len(ids), 6))
    vectors[:, 0] += 8
    odd = [ids.index(f"s000{number}-frontal") for number in (20, 50, 80)]
    vectors[odd, 0] = -8
    write_store(dataset, "efficientnet_b1", "image", ids, vectors.astype(np.float32))
    package.ablate("image", reference="image", controls=False, root=tmp_path / "stores")
    studies = [f"s000{number}" for number in range(10, 100)]
    found = package.predict(studies, root=tmp_path / "stores", run=package_runs(tmp_path)[0])
    unusual = {film.item: film.unusual for study in found.studies for film in study.films}
    assert all(unusual[ids[place]] for place in odd)
    assert sum(map(bool, unusual.values())) <= 3 + 0.07 * len(unusual)
    assert found.false_alarms is not None
    assert found.false_alarms < 0.08


@pytest.mark.parametrize(("patients", "films", "old"), [(12, 1, 0.065), (30, 1, 0.055), (30, 4, 0.05), (150, 4, 0.05)])
def test_an_ordinary_film_is_called_unusual_5_percent_of_the_time_at_most(
    patients: int, films: int, old: float
) -> None:
    """Films of a patient share 70% of the variance of their distance; 95% of few films are less than they seem."""
    rng = np.random.default_rng(0)
    told, before, expected = [], [], 0.0
    for _ in range(1500):
        whose = np.repeat(np.arange(patients), rng.integers(1, films + 1, patients))
        spread = rng.standard_normal((2, len(whose)))
        at = 0.7**0.5 * spread[0][np.unique(whose, return_index=True)[1]][whose] + 0.3**0.5 * spread[1]
        other = rng.standard_normal(400)
        limit, expected = limit_of(at, whose.astype(str))
        told.append((other > limit).mean())
        before.append((other > np.percentile(at, 95, method="higher")).mean())
    assert expected == max(0.05, 1 / (patients + 1))
    assert 0.4 * expected < np.mean(told) < expected + 0.004
    assert np.mean(before) > old


def test_films_of_the_same_patient_do_not_make_a_film_ordinary() -> None:
    vectors = np.eye(3, 8, dtype=np.float16)[[0] * 12 + [1] * 12 + [2]]
    patients = np.array(["a"] * 12 + ["b"] * 12 + ["c"])
    rows, films = np.arange(25), vectors[[0, 24]]
    at = distances(SimpleNamespace(vectors=vectors), films, rows, own=np.array(["a", "d"]), patients=patients)
    assert at.tolist() == [1.0, 1.0]  # of the twelve films of a none counts; c is near to one of its own alone
    new = distances(SimpleNamespace(vectors=vectors), films, rows, own=np.array(["", ""]), patients=patients)
    assert new.tolist() == [0.0, 1.0]


def package_runs(folder: Path) -> list[Run]:
    """The runs of the only data set, the newest first."""
    return list_runs(open_dataset(folder / "stores"))


def test_a_table_of_many(here: Path, tmp_path: Path, cxremb: Callable[..., Any]) -> None:
    for number in (2, 3):
        shutil.copy(here / "films" / f"{number}_Frontal.png", tmp_path / f"f{number}.png")
    save_film(tmp_path / "g.png", 4_713)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    lines = [
        "path,report,study",
        "f2.png,Clear lungs. Normal.,A",
        "g.png,,A",
        "f3.png,Opacity. Abnormal.,",
        ",,",
        "bad.png,Clear lungs.,B",
        "gone.png,Clear lungs.,C",
        "f2.png,Clear lungs.,D",
        "g.png,Other words.,A",
    ]
    table = tmp_path / "many.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = predict(here, table)
    assert [study.study for study in found.studies] == ["A", "f3.png"]
    assert [len(study.films) for study in found.studies] == [2, 1]
    reasons = [one.reason for one in found.failed]
    assert found.asked == found.judged + len(found.failed) == 8
    for words in (
        "many.csv, line 5: neither a path nor a report",
        "bad.png: ",
        "gone.png",
        "f2.png: the same film as f2.png",
        "many.csv, line 9: another report of study A",
    ):
        assert any(words in reason for reason in reasons), (words, reasons)
    said = cxremb("predict", table, "--root", here / "stores", "--format", "json")
    assert said.code == 0
    assert len(json.loads(said.out)["failed"]) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("film.png", b"no film", "film.png: not a readable image"),
        ("empty.dcm", b"", "empty.dcm: the file is empty"),
        ("empty.csv", b"path\n", "nothing to judge"),
        ("other.csv", b"name,finding\nx.png,none\n", "no column 'path'"),
    ],
)
def test_what_is_no_film(name: str, content: bytes, message: str, here: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(package.CxrembError, match=message):
        predict(here, tmp_path / name)


def test_reports_that_are_none(here: Path, new: Path, tmp_path: Path) -> None:
    for content, message in (
        (b"word " * 3_000_000, "bytes, which is no report"),
        (b"word " * 30_000, "150,000 letters, which is no report"),
        ("Lungenödem".encode("cp1252"), "not a text in UTF-8"),
        (b" \n", "is empty"),
    ):
        (tmp_path / "report.txt").write_bytes(content)
        with pytest.raises(package.CxrembError, match=message) as caught:
            predict(here, new, report=tmp_path / "report.txt")
        assert "report.txt" in str(caught.value)
    with pytest.raises(package.CxrembError, match="cannot be read"):
        predict(here, report=tmp_path / "gone.txt")
    with pytest.raises(package.CxrembError, match="a report in a file, and one as a text"):
        predict(here, report=tmp_path / "report.txt", report_text="Clear.")
    with pytest.raises(package.CxrembError, match="one report, but 120 studies"):
        predict(here, here / "films", report_text="Clear lungs.")


def test_another_language_is_said(here: Path) -> None:
    german = predict(here, report_text="Kein Erguss, keine Stauung, das Herz ist normal groß.")
    assert "8 of the 9 words of the report stand in no report of small" in german.studies[0].notes[0]
    assert "3 of the 3 words" in predict(here, report_text="Xyzzy plugh quux").studies[0].notes[0]
    assert not predict(here, report_text="Clear quux").studies[0].notes
    assert not predict(here, report_text="Clear lungs, opacity number abnormal normal chest pain.").studies[0].notes


def test_a_missing_report_is_refused_or_handled_as_the_run_was_trained(
    here: Path, runs: dict[str, Run], new: Path
) -> None:
    with pytest.raises(package.CxrembError, match="was trained on rows that have both, and here is no text"):
        predict(here, new, run=runs["fusion"])
    root = copied(here, new.parent)
    either = package.train("either", missing="keep", epochs=3, root=root)
    found = package.predict(new, run=either, root=root)
    assert "without a text (findings+impression), as the run was trained to do" in found.studies[0].notes
    bundle = package.load(either, root=root)
    vector = package.open_store("tiny", root=here / "stores").matrix(["3_Frontal"])
    zeros = np.zeros((1, bundle.run.record.dims["text"]), np.float32)
    alone = bundle.predict({"image": vector, "text": zeros}, {"text": np.zeros(1, np.bool_)})

    row = InputRow(0, "x", None, None, None, None, {"image": (vector[0].astype(np.float16),)})
    said = asked_of_models(ready(load_run(either.folder), ""), [row], Scales())
    np.testing.assert_allclose(said.prob[0], alone.prob, atol=1e-7)


def test_all_films_of_a_study_at_once(here: Path, tmp_path: Path) -> None:
    run = package.train("attention", epochs=3, root=copied(here, tmp_path))
    test = run.predictions()
    for item in test.items.tolist()[:3]:
        (study,) = package.predict(item, run=run, root=tmp_path / "stores").studies
        assert study.labels[0].uncalibrated == pytest.approx(test.prob[test.items.tolist().index(item), 0], abs=1e-6)
        assert study.films[0].film is None


@pytest.mark.parametrize(("label_set", "task"), [("kind", "multiclass"), ("found", "multilabel")])
def test_several_labels(label_set: str, task: str, tmp_path: Path) -> None:
    plant(tmp_path / "stores", Planted(studies=300, image=1.0, text=1.0, kinds=2.0))
    run = package.train("text", label_set=label_set, epochs=5, root=tmp_path / "stores")
    assert run.record.task == task
    test = run.predictions()
    val = run.predictions("val")
    after = test.calibrated(val)[0]
    for row, item in enumerate(test.items.tolist()[:20]):
        found = package.predict(item, run=run, root=tmp_path / "stores")
        labels = found.studies[0].labels
        assert [one.probability for one in labels] == pytest.approx(after.prob[row].tolist(), abs=1e-6)
        if task == "multiclass":
            assert [one.above for one in labels] == [place == after.prob[row].argmax() for place in range(3)]
            assert all(one.threshold is None for one in labels)
            assert "the likeliest" in found.threshold
        else:
            for one in labels:
                judged = test.of_label(one.label).at_thresholds(val.of_label(one.label))
                if item in judged.items.tolist():
                    threshold = np.broadcast_to(judged.threshold, len(judged.items))[judged.items.tolist().index(item)]
                    assert one.above == (one.uncalibrated >= threshold)


def test_runs_that_cannot_judge(here: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copied(here, tmp_path)
    control = package.ablate("text", controls=True, root=root).controls[0]
    with pytest.raises(package.CxrembError, match="a control keeps its predictions"):
        package.predict(new, run=Path(control.folder).name, root=root)

    whole = tiny.fixed_projection
    with monkeypatch.context() as other:
        other.setattr(tiny, "fixed_projection", lambda rows, dim: whole(rows, dim) * np.float32(2))
        with pytest.raises(package.CxrembError, match="was made by another tiny than is here") as caught:
            package.predict(new, root=root)
        assert "cxremb embed --model tiny" in caught.value.hint
        assert package.predict("8_Frontal", root=root).judged == 1  # of what is stored nothing is encoded
    (store,) = (root / "small" / "embeddings").glob("tiny@*")
    shutil.rmtree(store)
    with pytest.raises(package.CxrembError, match="has no store of that key any more") as caught:
        package.predict(new, root=root)
    assert "cxremb embed --model tiny" in caught.value.hint
    with pytest.raises(package.CxrembError, match="no run reads films"):
        package.predict(new, root=empty_root(tmp_path))


def empty_root(folder: Path) -> Path:
    """A data set without a run."""
    add_collection(collection(folder / "two", 2, name="two"), folder / "empty")
    return folder / "empty"


def test_a_film_that_the_store_lacks_is_encoded_or_named(here: Path, tmp_path: Path) -> None:
    """Added since the store was made: by its file it is judged, by its id the command that encodes it is named."""
    root = copied(here, tmp_path)
    grown = collection(tmp_path / "films", STUDIES + 1)
    add_collection(replace(grown, name="small"), root)
    late = f"{STUDIES}_Frontal"
    (study,) = package.predict(tmp_path / "films" / f"{late}.png", root=root).studies
    assert len(study.films[0].models) == 5
    assert study.films[0].parts == {}
    with pytest.raises(package.CxrembError, match="has no vector of it: `cxremb refresh`"):
        package.predict(late, root=root)


def test_a_film_that_could_not_be_encoded_says_why(here: Path, tmp_path: Path) -> None:
    """Another `refresh` would do nothing."""
    root = copied(here, tmp_path)
    grown = collection(tmp_path / "films", STUDIES + 2)
    cut, gone = (tmp_path / "films" / f"{number}_Frontal.png" for number in (STUDIES, STUDIES + 1))
    cut.write_bytes(cut.read_bytes()[:600])
    gone.unlink()
    add_collection(replace(grown, name="small"), root)
    package.embed("tiny", root=root)
    for number, why in (
        (STUDIES, r"_Frontal.png: not a readable image \("),
        (STUDIES + 1, r"_Frontal.png: cannot be read \(No such"),
    ):
        with pytest.raises(package.CxrembError, match=why) as refused:
            package.predict(f"{number}_Frontal", root=root)
        assert "refresh" not in str(refused.value)


def test_what_is_leaky_or_simulated_says_so(tmp_path: Path) -> None:
    plant(tmp_path / "stores", Planted(studies=200, image=1.0), modalities=("image",))
    run = package.train("image", split="image-80-20", allow_leaky=True, epochs=2, preset="cnn-llm/as-coded",
                        root=tmp_path / "stores")  # fmt: skip
    found = package.predict("s00003-frontal", run=run, root=tmp_path / "stores")
    assert "simulated images" in found.caveats
    assert any("leaky split" in one for one in found.caveats)
    assert "no medical device" in found.notice


def test_a_loaded_run_takes_films(here: Path, runs: dict[str, Run], new: Path) -> None:
    loaded = package.load(runs["image"].run_id, root=here / "stores")
    found = loaded.predict_files(new)
    assert found.to_pandas().equals(predict(here, new).to_pandas())
    assert loaded.predict_files(["3_Frontal"]).judged == 1


def test_the_command_prints_what_python_gives(
    here: Path, new: Path, cxremb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", new, here / "films" / "3_Frontal.png", "--root", here / "stores")
    found = predict(here, new, here / "films" / "3_Frontal.png")
    said = json.loads(cxremb(*words, "--format", "json").out)
    assert said["studies"][0]["labels"][0]["probability"] == found.studies[0].labels[0].probability
    assert said["notice"] == found.notice
    csv = cxremb(*words, "--format", "csv")
    assert csv.out.splitlines()[0].startswith("level,study,film,label,probability,uncalibrated,threshold,above")
    assert len(csv.out.splitlines()) == 1 + found.to_arrow().num_rows
    assert "no medical device" in csv.err
    monkeypatch.setenv("COLUMNS", "80")
    table = cxremb(*words).out
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"^  new\.png .* new$", table, re.M)  # one line each, parts and all
    assert re.search(r"^  3_Frontal\.png .* \d/\d/1$", table, re.M)
    for line in ("0 failed", "the newest run that reads films", "prevalence 0.33", "no medical device", "false alarms"):
        assert line in " ".join(table.split())
    nothing = cxremb("predict", "gone.png", "--root", here / "stores")
    assert nothing.code == 1
    assert "gone.png: no such file" in nothing.err


PAGE = Path(__file__).parent.parent / "docs" / "predict.md"


@pytest.mark.slow
def test_the_page_does_what_it_says(
    here: Path, tmp_path: Path, cxremb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands and its Python, on the small collection, by encoders that need no weights."""
    root = copied(here, tmp_path)
    monkeypatch.setenv("CXREMB_STORES", str(root))
    monkeypatch.chdir(tmp_path)
    assert cxremb("align", "--dim", 8, "--epochs", 3).code == 0
    save_film(tmp_path / "film.png", 4_711)
    save_film(tmp_path / "films" / "one.png", 4_712)
    (tmp_path / "report.txt").write_text("Opacity number 3. Abnormal.", encoding="utf-8")
    (tmp_path / "many.csv").write_text("path,report\nfilms/one.png,Clear lungs.\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    image, fusion = (
        run.run_id for arm in ("image", "fusion") for run in list_runs(open_dataset(root)) if run.arm == arm
    )
    commands = [shlex.split(line, comments=True)[1:] for line in page.splitlines() if line.startswith("cxremb ")]
    assert len(commands) == 13
    here_called = {"biobert": "tiny_text", "0a1b2c3d": fusion, "12_IM-0001-4001": "12_Frontal"}
    for words in commands:
        done = cxremb(*(here_called.get(word, word) for word in words))
        assert done.code == 0, (words, done.err)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(block.replace("4e5f6a7b", image).replace("0a1b2c3d", fusion), names)
    assert names["table"]["study"].tolist() == ["one.png", "one.png"]
