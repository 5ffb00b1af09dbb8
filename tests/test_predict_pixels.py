"""`cxremb predict` by networks from pixels: what was stored comes out again, a new film is the mean of the folds."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import collection, save_film
from dicom_files import dataset as dicom
from dicom_files import written
from PIL import Image as PilImage

import cxremb as package
from cxremb.api.serve import opened_judge
from cxremb.catalog import add_collection
from cxremb.evaluation.reliability import sigmoid
from cxremb.features import Inputs
from cxremb.images import Frame, decode_file
from cxremb.inference.judge import SEEN
from cxremb.inference.scales import name_of
from cxremb.inference.words import NO_SPACE
from cxremb.service.batches import judge_studies
from cxremb.service.study import SentFilm, SentStudy
from cxremb.splits import choose_split
from cxremb.splits.stored import fold_parts, read_split
from cxremb.store.dataset import open_dataset
from cxremb.training.options import Options, PixelRecipe
from cxremb.training.pixels.films import clean, scaled
from cxremb.training.pixels.fit import NetworkPlan, fit_network, open_source
from cxremb.training.pixels.predict import load_networks
from cxremb.training.runs import Run, list_runs

STUDIES = 60
RECIPE = PixelRecipe(side=32, aspect="pad", clahe=True, blur=3)
OPTIONS = Options(2e-3, batch_size=16, epochs=2, select="last", patience=None, standardise=False)
PLAN = NetworkPlan("medmnist-custom", "medmnist-custom/binary", OPTIONS, (0, 1, 2), (0,), (0,), RECIPE)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with one run of a network on three folds, and no store at all; `films` beside its `stores`."""
    here = tmp_path_factory.mktemp("pixels")
    dataset = add_collection(collection(here / "films", STUDIES), here / "stores").dataset
    source = open_source(dataset, Inputs(), PLAN)
    fit_network(dataset, source, choose_split(dataset, None), plan=PLAN, device="cpu")
    return here


@pytest.fixture(scope="module")
def run(here: Path) -> Run:
    (found,) = list_runs(open_dataset(here / "stores"))
    return found


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return save_film(tmp_path / "new.png", 4_711)


def predict(here: Path, *files: Any, **options: Any) -> Any:
    return package.predict(list(files), root=here / "stores", **options)


def by_hand(run: Run, path: Path) -> np.ndarray:
    """(models,) logits of a film that is decoded, put into its square, cleaned and shown, each step by itself."""
    square = decode_file(path, frame=Frame(RECIPE.side, RECIPE.aspect)).pixels[None]
    X = scaled(torch.from_numpy(clean(square, RECIPE)))
    with torch.inference_mode():
        return np.array([float(network(X)[0, 0]) for network in load_networks(run).networks.values()])


def test_a_film_of_the_collection_gets_what_was_stored_when_it_was_tested(here: Path, run: Run) -> None:
    test, val = run.predictions(), run.predictions("val")
    calibrated = test.calibrated(val)[0]
    chosen = test.at_thresholds(val)
    found = predict(here, here / "films")  # the only run there is
    assert (found.run_id, found.asked, found.judged) == (run.run_id, 120, 119)  # the last film repeats the first
    films = {film.item: film for study in found.studies for film in study.films}
    assert len(test.items) > 60
    seen = 0
    for row, item in enumerate(test.items.tolist()):
        if item not in films:
            continue
        (label,), seen = films[item].labels, seen + 1
        assert films[item].models == (name_of(test, row),)
        assert label.uncalibrated == pytest.approx(float(test.prob[row, 0]), abs=1e-6)
        assert label.probability == pytest.approx(float(calibrated.prob[row, 0]), abs=1e-6)
        assert label.above == bool(test.prob[row, 0] >= chosen.threshold[row])
    assert seen >= len(test.items) - 1
    assert f"{len(val.items)} rows, prevalence {val.y.mean():.2f}" in found.threshold
    by_id = predict(here, "5_Frontal")
    assert by_id.studies[0].labels == predict(here, here / "films" / "5_Frontal.png").studies[0].labels


def test_a_new_film_is_the_mean_of_the_folds(here: Path, run: Run, new: Path, tmp_path: Path) -> None:
    logits = by_hand(run, new)
    temperatures = [one.temperature for one in run.predictions().calibrated(run.predictions("val"))[1]]
    found = predict(here, new)
    ((label,), (film,)) = found.studies[0].labels, found.studies[0].films
    assert label.uncalibrated == pytest.approx(sigmoid(logits).mean(), abs=1e-6)
    assert label.probability == pytest.approx(sigmoid(logits / temperatures).mean(), abs=1e-6)
    assert label.above == (label.probability >= label.threshold)
    assert (len(film.models), film.parts, film.item) == (3, {}, None)
    cache = set((here / "stores").rglob("*.npy"))
    save_film(tmp_path / "other.png", 4_712)
    predict(here, tmp_path / "other.png")
    assert set((here / "stores").rglob("*.npy")) == cache  # no pixel of somebody's film stays


def test_every_kind_of_file_is_read_as_in_training(here: Path, run: Run, tmp_path: Path) -> None:
    grey = np.random.default_rng(3).integers(0, 255, (90, 60), dtype=np.uint8)
    PilImage.fromarray(grey).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "b.dcm").write_bytes(written(dicom(grey)))
    np.save(tmp_path / "c.npy", grey)
    with (tmp_path / "many.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "study"], ["a.jpg", "X"], ["b.dcm", "X"], ["c.npy", "Y"], ["no.png", "Z"]])
    found = predict(here, tmp_path / "many.csv")
    assert [study.study for study in found.studies] == ["X", "Y"]
    assert "no.png" in found.failed[0].reason
    assert found.asked == found.judged + 1 == 4
    each = {Path(str(film.film)).name: film.labels[0] for study in found.studies for film in study.films}
    for name, label in each.items():
        assert label.uncalibrated == pytest.approx(sigmoid(by_hand(run, tmp_path / name)).mean(), abs=1e-6), name
    assert found.studies[0].labels[0].uncalibrated == pytest.approx(
        np.mean([each["a.jpg"].uncalibrated, each["b.dcm"].uncalibrated])
    )
    (tmp_path / "many.csv").unlink()
    folder = predict(here, tmp_path)
    assert {study.study: study.labels[0].uncalibrated for study in folder.studies} == {
        name: label.uncalibrated for name, label in each.items()
    }


def test_a_film_that_all_models_learned_from_says_so(here: Path, run: Run) -> None:
    dataset = open_dataset(here / "stores")
    split = read_split(dataset.paths.splits / f"{run.record.split}.parquet")
    folds = [fold_parts(split.table, 0, place.fold) for place in run.record.members]
    item = next(item for item in folds[0] if all(parts.get(item) in {"train", "val"} for parts in folds))
    (study,) = predict(here, f"{item}_Frontal").studies
    assert len(study.films[0].models) == 3
    assert study.films[0].part == ", ".join(
        f"{part} {n}" for part in ("train", "val") if (n := [parts[item] for parts in folds].count(part))
    )
    assert f"{item}_Frontal {SEEN}" in study.notes


def test_what_it_cannot_know_is_empty_with_its_reason(
    here: Path, new: Path, cxremb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = predict(here, new, report_text="Clear lungs.")
    (film,) = found.studies[0].films
    assert (film.unusual, film.distance, film.limit, film.neighbours) == (None, None, None, ())
    assert (found.space, found.false_alarms) == (NO_SPACE, None)
    assert "a report was given, and the run does not read it" in found.studies[0].notes
    monkeypatch.setenv("COLUMNS", "100")
    said = cxremb("predict", new, "--root", here / "stores").out
    assert "unusual and nearest are empty: a network from pixels has no stored vectors" in " ".join(said.split())
    assert "nearest in training" not in said
    told = json.loads(cxremb("predict", new, "--root", here / "stores", "--format", "json").out)
    assert (told["studies"][0]["films"][0]["unusual"], told["space"]) == (None, NO_SPACE)


def test_a_loaded_run_takes_films_and_files(here: Path, run: Run, new: Path) -> None:
    loaded = package.load(run.run_id, root=here / "stores")
    square = decode_file(new, frame=Frame(RECIPE.side, RECIPE.aspect)).pixels
    logits = by_hand(run, new)
    np.testing.assert_allclose(loaded.predict([square])[1][:, 0], [logits.mean()], atol=1e-5)
    assert loaded.predict_files(new).to_pandas().equals(predict(here, new).to_pandas())
    assert len(repr(loaded)) <= 200


def test_a_head_on_vectors_comes_first(here: Path, run: Run, new: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(here / "stores", tmp_path / "stores"))
    package.embed("tiny", root=root)
    package.train("image", epochs=2, root=root)
    network = fit_again(root, epochs=1)
    assert package.predict(new, root=root).arm == "image"
    assert package.predict(new, run=network.run_id, root=root).run_id == network.run_id


def fit_again(root: Path, epochs: int) -> Run:
    """A newer network on the same data set."""
    dataset = open_dataset(root)
    plan = replace(PLAN, folds=(0,), options=replace(OPTIONS, epochs=epochs))
    return fit_network(dataset, open_source(dataset, Inputs(), plan), choose_split(dataset, None), plan=plan)


def test_weights_and_pixels_that_do_not_match_are_refused(
    here: Path, run: Run, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr("cxremb.embedding.pixels.RECIPE", "another decoder")
        with pytest.raises(package.CxrembError, match="another decoder, other pixels") as caught:
            predict(here, new)
        assert caught.value.hint == "train it again: `cxremb train --preset medmnist-custom/binary`"
    root = Path(shutil.copytree(here / "stores", tmp_path / "stores"))
    (copy,) = list_runs(open_dataset(root))
    with (copy.folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(package.CxrembError, match=r"not the file that run\.json names"):
        package.predict(new, root=root)


def test_a_film_that_was_altered_or_is_gone_is_named(here: Path, tmp_path: Path) -> None:
    films = shutil.copytree(here / "films", tmp_path / "films")
    dataset = add_collection(collection(films, STUDIES), tmp_path / "stores").dataset
    fit_again(tmp_path / "stores", epochs=1)
    save_film(films / "3_Frontal.png", 4_900)
    (films / "4_Frontal.png").unlink()
    for number, why in ((3, "changed since it was added"), (4, "cannot be read")):
        with pytest.raises(package.CxrembError, match=why):
            package.predict(f"{number}_Frontal", root=dataset.paths.root)
    assert package.predict("5_Frontal", root=dataset.paths.root).judged == 1


def test_the_service_says_the_same(here: Path, run: Run, new: Path) -> None:
    judge = opened_judge(None, None, here / "stores")
    study = SentStudy([SentFilm("film.png", new.read_bytes())], None)
    try:
        (answer,) = judge_studies(judge, [study], neighbours=5)
    finally:
        study.close()
    assert isinstance(answer, dict)
    label = predict(here, new).studies[0].labels[0]
    assert answer["studies"][0]["labels"][0]["probability"] == pytest.approx(label.probability, abs=1e-9)
    assert (answer["run_id"], answer["space"]) == (run.run_id, NO_SPACE)
