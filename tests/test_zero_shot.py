"""Films judged by prompts: against a slow reading of the same films, in SQL, and as an arm beside others."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from conftest import collection
from PIL import Image as PilImage
from planted_towers import NAME, SIDE, STUDIES, Words, film_vector, has_nodule, in_table, save_films
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score
from tiny_towers import save_towers
from transformers import AutoModel, AutoTokenizer

import cxremb
from cxremb.ablation import Trial
from cxremb.ablation import ablate as ablate_arms
from cxremb.api.check import check
from cxremb.calibrated import calibration_report
from cxremb.catalog import add_collection
from cxremb.embedding.choose import tower_store, tower_stores
from cxremb.embedding.start import run as embed
from cxremb.encoders.base import What
from cxremb.encoders.pretrained import PRETRAINED, seen_before
from cxremb.errors import DataError, EncoderError, StoreError, TrainError
from cxremb.features import Inputs
from cxremb.images import Frame, resize
from cxremb.labels import label_from_file
from cxremb.store.clean import clear
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.prompts import prompt_path
from cxremb.store.reader import open_store
from cxremb.training.runs import Run, list_runs, open_run
from cxremb.types import LabelSet
from cxremb.zeroshot.prompts import Prompt
from cxremb.zeroshot.score import scores_of

OWN = "nodule,1,a nodule\nnodule,1,some nodule is seen\nnodule,0,no nodule\neffusion,1,fluid\n"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """A store of the planted towers, a label set `both` of which one label is planted, and own prompts beside it."""
    folder = tmp_path_factory.mktemp("zero")
    in_table(patch)
    save_films(folder / "films")
    (folder / "own.csv").write_text(f"label,class,prompt\n{OWN}", encoding="utf-8")
    cxremb.add("folder", folder / "films", name="films", patient_pattern="(p[0-9]+)_", root=folder / "root")
    rng = np.random.default_rng(3)
    with (folder / "both.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["study_id", "label", "value"])
        for study in sorted(studies(folder / "root")):
            table.writerow([study, "nodule", int(has_nodule(number_of(study)))])
            table.writerow([study, "effusion", int(rng.random() < 0.4)])
    about = LabelSet("both", "multilabel", "what was planted, and what was not", ("effusion", "nodule"), "")
    label_from_file(open_dataset(folder / "root"), about, folder / "both.csv")
    for model in (NAME, "tiny"):
        embed(open_dataset(folder / "root"), What(model))
    return folder / "root"


def studies(root: Path) -> list[str]:
    return open_dataset(root).studies["study_id"].to_pylist()


def number_of(study: str) -> int:
    return int(study.rpartition("p")[2][:3])


def ablate(root: Path, *arms: str, inputs: Inputs | None = None, **more: Any) -> Any:
    """Without controls, which have tests of their own."""
    trial = Trial(controls=False, **more)
    return ablate_arms(open_dataset(root), arms, inputs or Inputs("both"), trial=trial)


def run_of(root: Path, arm: str) -> Run:
    return next(run for run in list_runs(open_dataset(root)) if run.arm == arm)


def slow_scores(data: Dataset, texts: dict[bool, list[str]]) -> dict[str, float]:
    """Film -> its score, one film and one prompt at a time. texts: side -> prompts."""
    found = {}
    columns = (data.images[name].to_pylist() for name in ("image_id", "path"))
    for name, path in zip(*columns, strict=True):
        film = film_vector(resize(np.asarray(PilImage.open(path)), Frame(SIDE))).astype(np.float16).astype(float)
        sides = {}
        for side, own in texts.items():
            cosines = []
            for text in own:
                words = Words().vector(text).astype(np.float16).astype(float)
                cosines.append(sum(film * words) / (sum(film**2) ** 0.5 * sum(words**2) ** 0.5))
            sides[side] = sum(cosines) / len(cosines) if cosines else 0.0
        found[name] = sides[True] - sides[False]
    return found


def test_a_planted_label_is_ranked_as_a_slow_reading_ranks_it(root: Path) -> None:
    """The AUROC of every fold by scikit-learn, and 1/2 for the label that the towers do not agree on."""
    ablate(root, "zero-shot[prompts=own]", alone=True, prompts=root.parent / "own.csv")
    run, data = run_of(root, "zero-shot[prompts=own]"), open_dataset(root)
    slow = slow_scores(data, {True: ["a nodule", "some nodule is seen"], False: ["no nodule"]})
    test = run.predictions()
    assert test.labels == ("effusion", "nodule")
    column = test.labels.index("nodule")
    np.testing.assert_allclose(test.logit[:, column], [slow[item] for item in test.items.tolist()], atol=1e-6)
    assert sorted(test.items.tolist()) == sorted(slow)  # each film is a test row once
    for fold in range(5):
        own = test.fold == fold
        expected = roc_auc_score(test.y[own, column], [slow[item] for item in test.items[own].tolist()])
        assert run.metric("auroc", f"test.fold{fold}", "nodule")[0] == pytest.approx(expected, abs=1e-9)
    assert run.metric("auroc", label="nodule")[0] > 0.75
    assert run.metric("auroc", label="effusion")[0] == pytest.approx(0.5, abs=0.2)


def test_scores_in_sql_are_those_of_the_run(root: Path) -> None:
    ablate(root, "zero-shot[prompts=own|own+plain]", alone=True, prompts=root.parent / "own.csv")
    rows = cxremb.sql(
        "select r.arm, z.label, z.score, p.y_logit from zero_shot z "
        "join predictions p using (dataset, item_id, label) join runs r using (run_id, dataset, label_set) "
        "where r.arm = 'zero-shot[prompts=' || z.prompts || ']'",
        root=root,
    ).to_arrow_table()
    counts = {arm: pc.sum(pc.equal(rows["arm"], arm)).as_py() for arm in set(rows["arm"].to_pylist())}
    val_and_test = {run_of(root, arm).prediction_rows.num_rows for arm in counts}
    assert set(counts) == {"zero-shot[prompts=own]", "zero-shot[prompts=own+plain]"}
    assert set(counts.values()) == val_and_test
    np.testing.assert_allclose(rows["score"].to_numpy(), rows["y_logit"].to_numpy(), atol=1e-12)
    asked = cxremb.sql("select label, class, prompt from prompts where prompts = 'own' order by all", root=root)
    wanted = [("effusion", 1, "fluid"), ("nodule", 0, "no nodule"), ("nodule", 1, "a nodule")]
    assert [tuple(row.values()) for row in asked.to_arrow_table().to_pylist()] == [
        *wanted,
        ("nodule", 1, "some nodule is seen"),
    ]
    digest = "select count(*) n from prompts where digest <> sha256(prompt)"
    assert cxremb.sql(digest, root=root).to_arrow_table()["n"].to_pylist() == [0]


def test_it_stands_beside_trained_arms_on_the_same_rows_and_folds(root: Path) -> None:
    found = ablate(root, "image[encoder=tiny]", "zero-shot", "zero-shot[prompts=report]", seeds=2)
    assert [row.arm for row in found.rows] == ["image[encoder=tiny]", "zero-shot", "zero-shot[prompts=report]"]
    assert {row.n for row in found.rows} == {STUDIES}
    image, zero = (run_of(root, arm) for arm in ("image[encoder=tiny]", "zero-shot"))
    for name in ("split_key", "folds", "repeats", "seeds", "preset", "rows", "label_set", "members"):
        assert getattr(image.record, name) == getattr(zero.record, name), name
    sides = [set(zip(p.items, p.fold, p.seed, strict=True)) for p in (image.predictions(), zero.predictions())]
    assert sides[0] == sides[1]
    assert zero.record.stores[0].startswith(NAME)
    assert zero.record.parameters == 0
    assert any("rank films" in caveat for caveat in zero.caveats)
    assert not any("rank films" in caveat for caveat in image.caveats)
    assert all(row.difference.p is not None for row in found.rows[1:])
    assert ["tiny@" in store for store in image.record.stores] == [True]


def test_what_was_asked_is_not_asked_again_and_what_changed_is(root: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "mine.csv"
    prompts.write_text(f"label,class,prompt\n{OWN}")
    first = ablate(root, "zero-shot[prompts=mine]", alone=True, prompts=prompts).rows[0]
    assert not first.reused
    assert ablate(root, "zero-shot[prompts=mine]", alone=True, prompts=prompts).rows[0].reused
    prompts.write_text(f"label,class,prompt\n{OWN}nodule,0,never a nodule\n")
    again = ablate(root, "zero-shot[prompts=mine]", alone=True, prompts=prompts).rows[0]
    assert not again.reused
    assert again.run_id != first.run_id
    known = cxremb.sql("select prompt from prompts where prompts = 'mine'", root=root).to_arrow_table()
    assert known.num_rows == 5
    asked = open_run(again.run_id, open_dataset(root)).record.spec["asked"]
    assert [text for _, _, text, _ in asked] == [
        *("fluid", "a nodule", "some nodule is seen", "no nodule", "never a nodule"),
    ]


def test_thresholds_and_temperature_come_from_validation_rows(root: Path, tmp_path: Path) -> None:
    inputs = Inputs("class")
    prompts = tmp_path / "one.csv"
    prompts.write_text("label,class,prompt\nnodule,1,a nodule\nnodule,0,no nodule\n")
    found = ablate(root, "zero-shot[prompts=one]", inputs=inputs, alone=True, prompts=prompts, threshold="val").rows[0]
    run = run_of(root, "zero-shot[prompts=one]")
    assert found.accuracy.value > run.metric("accuracy")[0]  # at .5 the score of a cosine means nothing
    test, val = run.predictions(), run.predictions("val")
    right = []
    for fold in range(5):
        there, here = val.fold == fold, test.fold == fold
        y, score = val.y[there, 0], val.prob[there, 0]
        tries = [((score >= cut)[y == 1].mean() + (score < cut)[y == 0].mean(), cut) for cut in score]
        best = max(value for value, _ in tries)
        report = calibration_report(run)
        chosen = report.thresholds[0].thresholds[fold]
        assert (score >= chosen)[y == 1].mean() + (score < chosen)[y == 0].mean() == pytest.approx(best)
        right += ((test.prob[here, 0] >= chosen) == (test.y[here, 0] == 1)).tolist()
    assert found.accuracy.value == pytest.approx(np.mean(right), abs=0.05)
    before, after = report.labels[0].before, report.labels[0].after
    assert after["loss"] < before["loss"]
    for fold, (temperature, offset) in enumerate(zip(report.temperatures, report.offsets, strict=True)):
        own = val.take(val.fold == fold)
        y, n1 = own.y[:, 0], own.y.sum()
        smooth = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (len(y) - n1 + 2))
        line = minimize(lambda line: platt_loss(line, own.logit[:, 0], smooth), [0.0, 0.0], tol=1e-12).x  # noqa: B023
        assert (1 / temperature, offset) == pytest.approx(tuple(line), rel=1e-2, abs=1e-2)


def platt_loss(line: np.ndarray, logit: np.ndarray, smooth: np.ndarray) -> float:
    """The mean negative log likelihood of slope and offset, by smoothed classes."""
    prob = 1 / (1 + np.exp(-(line[0] * logit + line[1])))
    return float(-(smooth * np.log(prob) + (1 - smooth) * np.log(1 - prob)).mean())


def test_a_study_is_scored_by_the_mean_of_its_films(root: Path) -> None:
    """Every study here has one film."""
    own = {"alone": True, "prompts": root.parent / "own.csv"}
    films, found = (
        next(run for run in list_runs(open_dataset(root)) if run.run_id == table.rows[0].run_id).predictions()
        for unit in ("image", "study")
        for table in [ablate(root, "zero-shot[prompts=own]", inputs=Inputs("both", unit=unit), **own)]
    )
    assert found.unit == "study"
    of_study = dict(zip(films.studies.tolist(), films.logit.tolist(), strict=True))
    np.testing.assert_allclose(found.logit, [of_study[item] for item in found.items.tolist()], atol=1e-12)


def test_films_that_are_not_there_count_for_nothing() -> None:
    """Three films, one, and two of three places; of several classes each is scored by its own prompts."""
    rng = np.random.default_rng(0)
    films, vectors = rng.standard_normal((3, 3, 4)), rng.standard_normal((3, 4))
    there = np.array([[True, True, True], [True, False, False], [True, False, True]])
    prompts = [Prompt("a", True, "", "1"), Prompt("a", True, "", "2"), Prompt("b", True, "", "3")]
    block = np.where(there[:, :, None], films, 0).astype(np.float32)
    features = SimpleNamespace(blocks={"image": block}, present={"image": there}, labels=("a", "b"))
    found = scores_of(
        features.blocks["image"], features.present["image"], features.labels, prompts=prompts, vectors=vectors
    )
    for row in range(3):
        own = [film for film, is_there in zip(block[row].astype(float), there[row], strict=True) if is_there]
        cosines = [[film @ v / np.linalg.norm(film) / np.linalg.norm(v) for v in vectors] for film in own]
        mean = np.mean(cosines, axis=0)
        np.testing.assert_allclose(found[row], [(mean[0] + mean[1]) / 2, mean[2]], atol=1e-12)
    features.present = {"image": np.zeros_like(there)}
    with pytest.raises(DataError, match="a row has none"):
        scores_of(
            features.blocks["image"], features.present["image"], features.labels, prompts=prompts, vectors=vectors
        )


@pytest.mark.arithmetic
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_real_network_of_two_towers_by_the_command_line(
    kind: str, tmp_path: Path, cxremb: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights from a folder; scores against one forward pass of the whole network; then without the weights."""
    monkeypatch.chdir(tmp_path)
    save_films(tmp_path / "films")
    weights = tmp_path / "weights"
    save_towers(weights, kind)
    words = ("data", "add", "folder", "films", "--name", "films", "--patient-pattern", "(p[0-9]+)_")
    assert cxremb(*words).code == 0
    assert cxremb("embed", "--model", f"hf:lab/{kind}", "--weights", weights).code == 0
    (tmp_path / "p.csv").write_text("label,class,prompt\nnodule,1,abnormal chest\nnodule,0,no nodule is seen\n")
    words = ("ablate", "--arms", "zero-shot[prompts=p]", "--prompts", "p.csv", "--alone", "--no-controls")
    done = cxremb(*words)
    assert done.code == 0, done.err
    assert "rank films and are no probabilities" in done.out
    run = run_of(Path("stores"), "zero-shot[prompts=p]")
    data = open_dataset(Path("stores"))
    network, tokeniser = AutoModel.from_pretrained(weights).eval(), AutoTokenizer.from_pretrained(weights)
    slow = whole_pass(network, tokeniser, kind, data, ["abnormal chest", "no nodule is seen"])
    test = run.predictions()
    expected = [slow[item][0] - slow[item][1] for item in test.items.tolist()]
    np.testing.assert_allclose(test.logit[:, 0], expected, atol=2e-3)
    assert np.ptp(expected) > 0.02
    shutil.rmtree(weights)  # what was asked once needs no network
    assert cxremb(*words).code == 0
    (tmp_path / "p.csv").write_text("label,class,prompt\nnodule,1,pneumonia\n")
    refused = cxremb(*words)
    assert refused.code == 1
    assert "which is not here" in refused.err


def whole_pass(network: Any, tokeniser: Any, kind: str, data: Dataset, texts: list[str]) -> dict[str, list[float]]:
    """Film -> its cosine to each text, as the library compares them."""
    import torch

    filled = {"padding": "max_length" if kind == "siglip" else True, "truncation": True, "return_tensors": "pt"}
    words = tokeniser(texts, **filled)
    words = {name: words[name] for name in ("input_ids", *(("attention_mask",) if kind == "clip" else ()))}
    mean, std = (torch.tensor(value)[:, None, None] for value in ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28]))
    found = {}
    for name, path in zip(*(data.images[column].to_pylist() for column in ("image_id", "path")), strict=True):
        film = torch.from_numpy(resize(np.asarray(PilImage.open(path)), Frame(32)).copy())
        batch = (film.expand(3, -1, -1)[None] / 255 - mean) / std
        with torch.inference_mode():
            answer = network(pixel_values=batch, **words)
        found[name] = (answer.image_embeds @ answer.text_embeds.T)[0].tolist()
    return found


@pytest.mark.parametrize(
    ("arm", "says", "hint"),
    [
        ("zero-shot[head=linear]", "nothing is trained, so there is no head", "prompts"),
        ("zero-shot[train-fraction=0.5]", "so there is no train-fraction", "prompts"),
        ("zero-shot[pooling=cls]", "so there is no pooling", "prompts"),
        ("zero-shot[text=findings]", "the zero-shot arm reads no text", "fusion"),
        ("image[prompts=report]", "a trained arm reads no prompts", "zero-shot[prompts="),
        ("zero-shot[prompts=]", "prompts= is not possible", "a set of prompts"),
    ],
)
def test_arms_that_cannot_be_are_refused(arm: str, says: str, hint: str, root: Path) -> None:
    with pytest.raises(TrainError) as caught:
        ablate(root, arm)
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_what_is_missing_is_named_with_what_to_do(root: Path, tmp_path: Path, cxremb: Any) -> None:
    with pytest.raises(StoreError, match="tiny reads no prompts") as caught:
        ablate(root, "zero-shot[encoder=tiny]")
    assert f"{NAME}@" in caught.value.hint
    refused = cxremb(
        "ablate", "--arms", "zero-shot", "--label-set", "both", "--prompts", root.parent / "own.csv", "--root", root
    )
    assert refused.code == 1
    assert "no arm reads the prompts" in refused.err
    assert "zero-shot[prompts=own]" in refused.err
    bad = tmp_path / "bad.csv"
    bad.write_text("label,class,prompt\nnodule,1,a nodule\n")
    refused = cxremb(
        "ablate", "--arms", "zero-shot[prompts=bad]", "--label-set", "both", "--prompts", bad, "--root", root
    )
    assert refused.code == 1
    assert "no prompt of 'bad' for effusion of both" in refused.err
    bad.write_text(f"label,class,prompt\n{OWN}nodule,1,a nodule in words that are far too many for it\n")
    with pytest.raises(EncoderError, match="reads 8 tokens, and this prompt has 11: 'a nodule in words"):
        ablate(root, "zero-shot[prompts=bad]", prompts=bad)
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        ablate(root, "zero-shot[prompts=bad]", prompts=tmp_path / "nowhere.csv")


def test_random_towers_are_found_beside_other_encoders(tmp_path: Path) -> None:
    """As `docs/zero_shot.md` says, they try the commands: a better encoder that reads no prompts does not hide them."""
    small = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    embed(small, What("tiny_towers"))
    ids = small.images["image_id"].to_pylist()
    (tmp_path / "ids.txt").write_text("\n".join(ids), encoding="utf-8")
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(len(ids), 4)))
    cxremb.import_store(tmp_path / "v.npy", ids=tmp_path / "ids.txt", encoder_name="mine", root=tmp_path / "root")
    small = open_dataset(tmp_path / "root")
    for usual in (None, "tiny_towers", "mine"):
        assert tower_store(small, None, usual=usual).encoder == "tiny_towers"
    embed(small, What("tiny_towers", scaled_jpeg=True))
    older, newer = sorted(store.name for store in tower_stores(small))
    assert tower_store(small, None, usual=older).name == older, "the one that --image-model names"
    assert tower_store(small, newer, usual=older).name == newer, "an arm's own word goes before it"
    with pytest.raises(StoreError, match="mine reads no prompts") as caught:
        tower_store(small, "mine", usual=older)
    assert older in caught.value.hint


def test_without_towers_the_command_that_makes_them_is_told(tmp_path: Path) -> None:
    small = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    embed(small, What("tiny"))
    with pytest.raises(StoreError, match="no store of an encoder that reads prompts") as caught:
        ablate_arms(small, ["zero-shot"], Inputs(), trial=Trial(controls=False))
    assert "cxremb embed --model medsiglip" in caught.value.hint


def test_a_run_of_prompts_is_no_model(root: Path) -> None:
    ablate(root, "zero-shot[prompts=own]", alone=True, prompts=root.parent / "own.csv")
    run = run_of(root, "zero-shot[prompts=own]")
    with pytest.raises(TrainError, match="nothing is trained"):
        cxremb.load(run)
    assert "Nothing is trained" in (run.folder / "README.md").read_text()
    arms = {run.arm for run in list_runs(open_dataset(root)) if run.record.is_zero_shot}
    assert all(arm.startswith("zero-shot") for arm in arms)


def test_an_encoder_that_was_pretrained_on_the_collection_is_marked(tmp_path: Path, monkeypatch: Any) -> None:
    assert seen_before("medsiglip", "mimic_cxr") == "medsiglip was trained on mimic_cxr"
    assert seen_before("hf_google_medsiglip_448", "mimic_cxr", model="google/medsiglip-448")
    assert seen_before("medsiglip", "nih") is None
    monkeypatch.setitem(PRETRAINED, "tiny_towers", ("small",))
    small = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    embed(small, What("tiny_towers"))
    found = ablate_arms(small, ["zero-shot", "image"], Inputs(), trial=Trial(controls=False))
    words = "tiny_towers was trained on small: these films, or some of them, are not new to it"
    assert all(words in row.caveats for row in found.rows)
    assert f"zero-shot, image: {words}" in found.caption


def test_prompts_go_with_their_store(root: Path, tmp_path: Path) -> None:
    ablate(root, "zero-shot", alone=True)
    shutil.copytree(root, tmp_path / "copy")
    data = open_dataset(tmp_path / "copy")
    [store] = list(data.paths.embeddings.glob(f"{NAME}@*"))
    path = prompt_path(open_store(data, NAME))
    assert path.is_file()
    shutil.rmtree(store)
    assert cxremb.sql("from zero_shot", root=tmp_path / "copy").to_arrow_table().num_rows == 0
    clear(data.paths)
    assert not path.exists()


def test_a_link_in_place_of_prompts_is_not_followed(root: Path, tmp_path: Path) -> None:
    ablate(root, "zero-shot", alone=True)
    shutil.copytree(root, tmp_path / "copy")
    [path] = open_dataset(tmp_path / "copy").paths.prompts.glob("*.parquet")
    shutil.move(path, tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(StoreError, match="a link that leads out"):
        cxremb.sql("from prompts", root=tmp_path / "copy").to_arrow_table()
    assert any("a link that leads out" in problem.what for problem in check(tmp_path / "copy").problems)


def test_a_damaged_file_of_prompts_is_named(root: Path, tmp_path: Path) -> None:
    ablate(root, "zero-shot", alone=True)
    shutil.copytree(root, tmp_path / "copy")
    data = open_dataset(tmp_path / "copy")
    [path] = data.paths.prompts.glob("*.parquet")
    path.write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"prompts/planted_towers.*parquet") as caught:
        ablate_arms(data, ["zero-shot"], Inputs("both"), trial=Trial(controls=False, alone=True))
    assert "delete the file" in caught.value.hint
    assert str(path) in [problem.where for problem in check(tmp_path / "copy").problems]
    path.unlink()
    assert (
        ablate_arms(data, ["zero-shot"], Inputs("both"), trial=Trial(controls=False, alone=True)).rows[0].n == STUDIES
    )
