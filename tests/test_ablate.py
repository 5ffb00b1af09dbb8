"""Arms are compared on the same rows; a planted difference is found, its absence is not; caveats stay attached."""

import csv
import io
import json

import numpy as np
import pyarrow.compute as pc
import pytest
import typer
from planted import Planted, known_auc, plant
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cxremb.ablate import Ablation, Trial, ablate
from cxremb.cli.ablate import ablate as command
from cxremb.errors import SplitError, StoreError, TrainError
from cxremb.features import Inputs
from cxremb.splits import SplitSpec, new_split
from cxremb.store.dataset import Dataset
from cxremb.train.runs import list_runs

NOISE_AND_SIGNAL = Planted(studies=600, image=0.0, text=1.2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return plant(tmp_path_factory.mktemp("ablate"), NOISE_AND_SIGNAL)


@pytest.fixture(scope="module")
def result(dataset) -> Ablation:
    return ablate(dataset)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def test_noise_covers_one_half_and_signal_is_as_strong_as_planted(result):
    image, text, fusion = result.rows
    assert [row.arm for row in result.rows] == ["image", "text", "fusion"]
    assert image.auroc.low <= 0.5 <= image.auroc.high
    assert text.auroc.low <= known_auc(1.2) <= text.auroc.high
    assert image.difference.high < 0
    assert image.difference.p < 0.05
    assert fusion.difference is None
    assert result.reference == "fusion"


def test_a_fusion_of_two_signals_beats_both(tmp_path):
    image, text, fusion = ablate(plant(tmp_path, Planted(studies=600, image=1.2, text=1.2))).rows
    assert fusion.auroc.value > max(image.auroc.value, text.auroc.value)
    assert image.difference.high < 0
    assert text.difference.high < 0
    assert abs(fusion.auroc.value - known_auc(1.2, 1.2)) < 0.05


def test_figures_are_those_of_the_stored_out_of_fold_predictions(dataset, result):
    runs = {run.run_id: run for run in list_runs(dataset)}
    aucs, items = {}, {}
    for row in result.rows:
        table = runs[row.run_id].predictions
        table = table.filter(pc.equal(table["part"], "test"))
        aucs[row.arm] = roc_auc_score(table["y_true"].to_numpy(), table["y_prob"].to_numpy())
        items[row.arm] = sorted(zip(table["item_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
        assert row.auroc.value == pytest.approx(aucs[row.arm])
        assert row.n == table.num_rows == dataset.images.num_rows
    assert items["image"] == items["text"] == items["fusion"]
    for row in result.rows[:2]:
        assert row.difference.value == pytest.approx(aucs[row.arm] - aucs["fusion"])
        assert row.difference.low <= row.difference.value <= row.difference.high
    y = dict(zip(*(dataset.labels[name].to_pylist() for name in ("study_id", "value")), strict=True))
    assert result.prevalence == pytest.approx(np.mean([y[study] for study in dataset.images["study_id"].to_pylist()]))


def test_a_second_ablation_trains_nothing_and_says_the_same(dataset, result):
    again = ablate(dataset)
    assert all(row.reused for row in again.rows)
    assert not any(row.reused for row in result.rows)
    for first, second in zip(result.rows, again.rows, strict=True):
        assert (first.auroc, first.difference, first.run_id) == (second.auroc, second.difference, second.run_id)


def test_one_arm_gets_the_fusion_beside_it(dataset, result):
    text_only = ablate(dataset, ["text"])
    assert [row.arm for row in text_only.rows] == ["text", "fusion"]
    assert text_only.unit == "image"
    assert text_only.rows[0].difference == result.rows[1].difference
    assert [row.arm for row in ablate(dataset, ["image"]).rows] == ["image", "fusion"]


def test_text_alone_is_one_row_per_study_and_says_there_is_nothing_to_compare(tmp_path, dataset):
    without_images = ablate(plant(tmp_path, Planted(studies=200, text=1.5), modalities=("text",)), ["text"])
    alone = ablate(dataset, ["text"], trial=Trial(alone=True))
    for found, n in ((without_images, 200), (alone, 600)):
        assert [row.arm for row in found.rows] == ["text"]
        assert (found.unit, found.n, found.reference) == ("study", n, None)
        assert any("Nothing to compare with" in line for line in found.caption)
        assert not any("simulated" in line for line in found.caption)


def test_caption_says_what_the_figures_rest_on(result):
    caption = "\n".join(result.caption)
    for text in (
        "800 rows, one per image, of 600 patients",
        f"prevalence {result.prevalence:.3f}",
        f"majority accuracy {result.majority_accuracy:.3f}",
        "95% patient-cluster bootstrap; test rows pooled over 5 folds",
        "5 folds, 70:10:20, grouped by patient and identical report text, seed 0",
        "image, fusion: simulated images",
        "text, fusion: label recovery, not diagnosis",
        result.split,
        *result.stores.values(),
    ):
        assert text in caption


def test_a_leaky_ablation_has_the_word_beside_every_arm(app, tmp_path, result):
    assert not result.leaky
    dataset = plant(tmp_path, Planted(studies=100, image=1.0, text=1.0))
    with pytest.raises(SplitError, match="films of one patient"):
        ablate(dataset, trial=Trial("cnn-llm/as-coded", split="image-80-20"))
    trial = Trial("cnn-llm/as-coded", "image-80-20", allow_leaky=True, folds=(0,))
    leaky = ablate(dataset, ["image"], trial=trial)
    assert leaky.leaky
    assert [row.title for row in leaky.rows] == ["image LEAKY", "fusion LEAKY"]
    caption = "\n".join(leaky.caption)
    assert "image, fusion: leaky split: patients are shared between train and test" in caption
    assert "80:20 by image at random" in caption
    assert "test rows of one fold" in caption
    words = ["--split", "image-80-20", "--allow-leaky", "--preset", "cnn-llm/as-coded", "--image-only"]
    for style, marks in {"table": 2, "markdown": 2, "csv": 0}.items():
        said = CliRunner().invoke(app, [*words, "--format", style, "--root", str(dataset.paths.root)]).stdout
        assert said.count("image LEAKY") + said.count("fusion LEAKY") == marks
        if style == "csv":
            assert [row["leaky"] for row in csv.DictReader(io.StringIO(said))] == ["True", "True"]


def test_a_hold_out_and_a_second_repeat_are_used_as_they_are(tmp_path):
    dataset = plant(tmp_path, Planted(studies=150, text=1.0), modalities=("text",))
    new_split(dataset, "normal_abnormal", SplitSpec("twice", repeats=2))
    held = ablate(dataset, ["text"], trial=Trial(split="holdout"))
    assert held.folds == 1
    assert held.n == pytest.approx(30, abs=1)  # a fifth of the studies
    first, second = (ablate(dataset, ["text"], trial=Trial(split="twice", repeat=repeat)) for repeat in (0, 1))
    assert first.split == second.split
    assert first.rows[0].n == second.rows[0].n == 150
    assert first.rows[0].auroc != second.rows[0].auroc


@pytest.mark.parametrize(
    ("stores", "arms", "error", "says"),
    [
        (("image",), ["image", "text", "fusion"], StoreError, "cxremb embed --model biobert"),
        ((), ["image"], StoreError, "cxremb embed --model efficientnet_b1"),
        (("image",), ["sound"], TrainError, "image, text"),
        (("image",), [], TrainError, "image, text"),
    ],
)
def test_what_is_missing_says_what_to_type(tmp_path, stores, arms, error, says):
    dataset = plant(tmp_path, Planted(studies=30), modalities=stores)
    with pytest.raises(error) as caught:
        ablate(dataset, arms)
    assert says in caught.value.hint
    assert not dataset.paths.runs.exists()


def test_unknown_preset_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(TrainError, match="no preset"):
        ablate(plant(tmp_path, Planted(studies=30)), inputs=Inputs(), trial=Trial(preset="unheard_of"))


def test_table_fits_100_columns_and_carries_the_caption(app, dataset, result):
    said = CliRunner().invoke(app, ["--root", str(dataset.paths.root)], env={"COLUMNS": "100"})
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("planted:"))]
    assert max(map(len, table)) <= 100
    assert "…" not in said.stdout
    image = next(line for line in table if line.strip().startswith("image"))
    row = result.rows[0]
    assert f"{row.auroc.value:.3f} [.{row.auroc.low * 1000:03.0f}, .{row.auroc.high * 1000:03.0f}]" in image
    gap = row.difference
    assert f"{gap.value:+.3f} [-.{-gap.low * 1000:03.0f}, -.{-gap.high * 1000:03.0f}]" in image
    assert all(line in lines for line in result.caption)


def test_json_csv_and_markdown_hold_the_same_figures(app, dataset, result):
    def output(style: str) -> str:
        return CliRunner().invoke(app, ["--root", str(dataset.paths.root), "--format", style]).stdout

    told = json.loads(output("json"))
    listed = list(csv.DictReader(io.StringIO(output("csv"))))
    lines = output("markdown").splitlines()
    for row, as_json, as_csv, line in zip(result.rows, told["rows"], listed, lines[2:], strict=False):
        assert as_json["auroc"]["value"] == float(as_csv["auroc"]) == row.auroc.value
        assert line.startswith(f"| {row.arm} | {row.auroc.value:.3f} ")
        assert as_csv["caveats"] == "; ".join(row.caveats)
    assert told["caption"] == list(result.caption)


def test_text_only_and_image_only_exclude_each_other(app, dataset):
    said = CliRunner().invoke(app, ["--text-only", "--image-only", "--root", str(dataset.paths.root)])
    assert said.exit_code == 2
