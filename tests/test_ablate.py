"""Arms are compared on the same rows; a planted difference is found, its absence is not; caveats stay attached."""

import csv
import io
import json

import numpy as np
import pyarrow.compute as pc
import pytest
import typer
from planted import Planted, known_auc, plant, write_store
from predicted import difference_of
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

from cxremb.ablation import ARMS, Ablation, Trial
from cxremb.ablation import ablate as ablate_all
from cxremb.cli.ablate import ablate as command
from cxremb.cli.ablation_view import headings
from cxremb.encoders.weights import suggested
from cxremb.errors import SplitError, StoreError, TrainError
from cxremb.evaluation.threshold import choose_threshold
from cxremb.features import Inputs
from cxremb.splits import SplitSpec, new_split
from cxremb.store.dataset import Dataset
from cxremb.training.runs import list_runs


def ablate(dataset, arms=ARMS, inputs=None, trial=None, **more) -> Ablation:
    """Without controls, which have tests of their own."""
    return ablate_all(dataset, arms, inputs, trial=trial or Trial(controls=False, **more))


NOISE_AND_SIGNAL = Planted(studies=600, image=0.0, text=1.2, seed=1)


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
        table = runs[row.run_id].prediction_rows
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
    alone = ablate(dataset, ["text"], alone=True)
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
        ablate(dataset, preset="cnn-llm/as-coded", split="image-80-20")
    trial = Trial("cnn-llm/as-coded", "image-80-20", allow_leaky=True, folds=(0,), controls=False)
    leaky = ablate(dataset, ["image"], trial=trial)
    assert leaky.leaky
    assert [row.title for row in leaky.rows] == ["image LEAKY", "fusion LEAKY"]
    caption = "\n".join(leaky.caption)
    assert "image, fusion: leaky split: patients are shared between train and test" in caption
    assert "80:20 by image at random" in caption
    assert "test rows of one fold" in caption
    words = ["--split", "image-80-20", "--allow-leaky", "--preset", "cnn-llm/as-coded", "--image-only", "--no-controls"]
    for style, marks in {"table": 2, "markdown": 2, "csv": 0}.items():
        said = CliRunner().invoke(app, [*words, "--format", style, "--root", str(dataset.paths.root)]).stdout
        assert said.count("image LEAKY") + said.count("fusion LEAKY") == marks
        if style == "csv":
            assert [row["leaky"] for row in csv.DictReader(io.StringIO(said))] == ["True", "True"]


def test_a_hold_out_and_a_second_repeat_are_used_as_they_are(tmp_path):
    dataset = plant(tmp_path, Planted(studies=150, text=1.0), modalities=("text",))
    new_split(dataset, "normal_abnormal", SplitSpec("twice", repeats=2))
    held = ablate(dataset, ["text"], split="holdout")
    assert held.folds == 1
    assert held.n == pytest.approx(30, abs=1)  # a fifth of the studies
    first, second = (ablate(dataset, ["text"], split="twice", repeat=repeat) for repeat in (0, 1))
    assert first.split == second.split
    assert first.rows[0].n == second.rows[0].n == 150
    assert first.rows[0].auroc != second.rows[0].auroc


@pytest.mark.parametrize(
    ("stores", "arms", "error", "says"),
    [
        (("image",), ["image", "text", "fusion"], StoreError, f"cxremb embed --model {suggested('text')}"),
        ((), ["image"], StoreError, f"cxremb embed --model {suggested('image')}"),
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
        ablate(plant(tmp_path, Planted(studies=30)), inputs=Inputs(), preset="unheard_of")


def test_table_fits_100_columns_and_carries_the_caption(app, dataset, result):
    said = CliRunner().invoke(app, ["--root", str(dataset.paths.root), "--no-controls"])
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("planted:"))]
    assert max(map(len, table)) <= 100
    assert "…" not in said.stdout
    image = next(line for line in table if line.strip().startswith("image"))
    row = result.rows[0]
    assert f".{row.auroc.value * 1000:03.0f} [.{row.auroc.low * 1000:03.0f}, .{row.auroc.high * 1000:03.0f}]" in image
    gap = row.difference
    assert f"-.{-gap.value * 1000:03.0f} [-.{-gap.low * 1000:03.0f}, -.{-gap.high * 1000:03.0f}]" in image
    assert all(line in lines for line in result.caption)
    assert "re-used: image, text, fusion" in said.stdout


def test_json_csv_markdown_and_latex_hold_the_same_figures(app, dataset, result):
    def output(style: str) -> str:
        words = ["--root", str(dataset.paths.root), "--format", style, "--no-controls"]
        return CliRunner().invoke(app, words).stdout

    told = json.loads(output("json"))
    listed = list(csv.DictReader(io.StringIO(output("csv"))))
    lines = output("markdown").splitlines()
    latex = output("latex")
    body = latex.partition("\\midrule\n")[2].partition("\n\\bottomrule")[0].splitlines()
    assert (
        lines[1].count("---")
        == lines[0].count("|") - 1
        == latex.partition("tabular}{")[2].partition("}")[0].count("r") + 1
    )
    for row, as_json, as_csv, line, tex in zip(result.rows, told["rows"], listed, lines[2:], body, strict=False):
        assert as_json["auroc"]["value"] == float(as_csv["auroc"]) == row.auroc.value
        assert (as_csv["difference_p_holm"] or "None") == str(row.holm)
        assert float(as_csv["ece"]) == row.ece
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells == [cell.strip() for cell in tex.removesuffix("\\\\").split("&")]
        assert cells[0] == row.arm
        assert cells[2].startswith(f".{row.auroc.value * 1000:03.0f} [")
        assert as_csv["caveats"] == "; ".join(row.caveats)
    assert told["caption"] == list(result.caption)
    for begin in ("table", "tabular"):
        assert latex.count(f"\\begin{{{begin}}}") == latex.count(f"\\end{{{begin}}}") == 1
    bare = latex.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    said = (
        latex.partition("\\footnotesize")[2].replace("\\%", "").replace("\\_", "").replace("\\#", "").replace("\\&", "")
    )
    assert not set(said) & set("%_#&^~")


def test_text_only_and_image_only_exclude_each_other(app, dataset):
    said = CliRunner().invoke(app, ["--text-only", "--image-only", "--root", str(dataset.paths.root)])
    assert said.exit_code == 2


def shaped(tmp_path, studies: int, seed: int = 3) -> Dataset:
    """The label is whether the signs of image and text agree: neither tells anything alone."""
    dataset = plant(tmp_path, Planted(studies=studies), modalities=())
    rng = np.random.default_rng(seed)
    place = {study: row for row, study in enumerate(dataset.studies["study_id"].to_pylist())}
    labels = dict(zip(*(dataset.labels[name].to_pylist() for name in ("study_id", "value")), strict=True))
    sign = rng.choice([-1.0, 1.0], len(place))
    agreed = sign * np.array([2 * labels[study] - 1 for study in place])
    of_image = sign[[place[study] for study in dataset.images["study_id"].to_pylist()]]
    for encoder, modality, ids, signal in (
        ("efficientnet_b1", "image", dataset.images["image_id"].to_pylist(), of_image),
        ("biobert", "text", list(place), agreed),
    ):
        vectors = rng.standard_normal((len(ids), 3)).astype(np.float32)
        vectors[:, 0] += 2.5 * signal
        write_store(dataset, encoder, modality, ids, vectors)
    return dataset


def test_an_interaction_is_found_and_called_one(tmp_path):
    found = ablate(shaped(tmp_path, 400), ["image", "text", "fusion[head=mlp|gated|late]"])
    image, text, fusion, gated, late = found.rows
    assert max(image.auroc.value, text.auroc.value) < 0.6
    for row in (image, text, late):
        assert row.difference.high < 0
    for row, fuse, least in zip((fusion, gated), found.fusing, (0.9, 0.75), strict=False):
        assert row.auroc.value > least
        assert fuse.auroc == pytest.approx(row.auroc.value)
        assert abs(fuse.additive - 0.5) < 0.1
        assert 0.8 < fuse.share < 1.25
    assert f"{found.fusing[0].share:.0%} of the gain needs an interaction" in "\n".join(found.caption)
    assert late.auroc.value < 0.6
    assert found.fusing[2].additive == found.fusing[2].auroc


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Dataset:
    return plant(tmp_path_factory.mktemp("two"), Planted(studies=500, image=1.2, text=1.2))


@pytest.fixture(scope="module")
def changed(two) -> Ablation:
    arms = ["image", "text", "fusion", "fusion[missing=image|text]", "fusion[train-fraction=0.05|0.3|1]"]
    return ablate(two, [*arms, "fusion[views=frontal]"])


def test_sums_of_signals_need_no_interaction(changed):
    fuse = changed.fusing[0]
    assert fuse.arm == "fusion"
    assert abs(fuse.share) < 0.2
    assert fuse.single in ("image", "text")


def test_a_modality_that_is_missing_leaves_the_other(changed):
    rows = {row.arm: row for row in changed.rows}
    for missing, left in (("image", "text"), ("text", "image")):
        assert abs(rows[f"fusion[missing={missing}]"].auroc.value - rows[left].auroc.value) < 0.04
        assert rows[f"fusion[missing={missing}]"].difference.high < 0


def test_more_patients_teach_more(changed):
    rows = {row.arm: row for row in changed.rows}
    least, some, most = (
        rows[arm].auroc.value for arm in ("fusion[train-fraction=0.05]", "fusion[train-fraction=0.3]", "fusion")
    )
    assert least < some < most
    assert rows["fusion[train-fraction=0.05]"].difference.high < 0


def test_every_row_is_paired_and_run_under_its_own_name(two, changed):
    runs = {run.run_id: run for run in list_runs(two)}
    frontal = [name for name in two.images["image_id"].to_pylist() if name.endswith("frontal")]
    for row in changed.rows:
        run = runs[row.run_id]
        assert run.arm == row.arm
        table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        y, prob, items = (table[name].to_numpy(zero_copy_only=False) for name in ("y_true", "y_prob", "item_id"))
        kept = np.isin(items, frontal)
        assert row.n == kept.sum() == len(frontal)
        assert row.auroc.value == pytest.approx(roc_auc_score(y[kept], prob[kept]))
        assert len(items) == (len(frontal) if "views" in row.arm else two.images.num_rows)


def test_p_is_corrected_as_by_statsmodels(changed):
    told = [(row.difference.p, row.holm) for row in changed.rows if row.difference]
    raw, corrected = zip(*told, strict=True)
    np.testing.assert_allclose(corrected, multipletests(raw, method="holm")[1])
    assert len(raw) == len(changed.rows) - 1
    assert changed.rows[2].holm is None


def test_the_caption_says_how_small_p_can_be_and_how_many_were_corrected(two, changed, result):
    told = next(line for line in changed.caption if line.startswith("p: "))
    assert f"after Holm over {len(changed.rows) - 1} comparisons; 1,000 resamples" in told
    least = min(row.difference.p for row in changed.rows if row.difference)
    assert least == pytest.approx(2 / 1001)
    assert f"none is below {least:.3f}".replace("0.", ".") + " before Holm" in told
    once = next(line for line in ablate(two, ["text"]).caption if line.startswith("p: "))
    assert "against fusion, of one comparison; 1,000 resamples" in once
    assert "Holm" not in once
    assert all(any(f"{name}: " in line for line in result.caption) for name in ("sp@.95", "ECE", "s"))


def test_another_encoder_is_compared_on_the_rows_of_both(two):
    studies = two.studies["study_id"].to_pylist()[:400]
    vectors = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
    write_store(two, "minilm", "text", studies, vectors, created="2026-10-01T00:00:00+00:00")
    found = ablate(two, ["text", "text[encoder=minilm]"], alone=True)
    assert [row.n for row in found.rows] == [400, 400]
    assert sum(found.left_out.values()) == 100
    assert found.reference == "text"
    assert found.rows[1].difference.high < 0
    assert "text[encoder=minilm] reads minilm@" in "\n".join(found.caption)


def test_attention_over_a_studys_films_is_compared_study_by_study(two):
    found = ablate(two, ["image", "image[head=attention]"], reference="image")
    assert found.unit == "study"
    assert [row.n for row in found.rows] == [500, 500]
    assert headings("fusion[head=attention]")[3] == "- reference"
    run = next(run for run in list_runs(two) if run.run_id == found.rows[0].run_id)
    table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test")).group_by("study_id")
    means = table.aggregate([("y_prob", "mean"), ("y_true", "max")])
    assert found.rows[0].auroc.value == pytest.approx(roc_auc_score(means["y_true_max"], means["y_prob_mean"]))


def test_the_test_over_folds_counts_the_rows_that_an_arm_was_trained_on(tmp_path):
    dataset = plant(tmp_path, Planted(studies=200, text=0.8))
    arms = ["text", "text[head=linear]", "text[train-fraction=0.25]"]
    found = ablate(dataset, arms, Inputs(), reference="text", repeats=2)
    for row, share in zip(found.rows[1:], (1, 0.25), strict=True):
        run, base = (
            next(run for run in list_runs(dataset) if run.run_id == one) for one in (row.run_id, found.rows[0].run_id)
        )
        tables = [one.prediction_rows.to_pandas().query("part == 'test'") for one in (run, base)]
        aucs = [
            [roc_auc_score(fold["y_true"], fold["y_prob"]) for _, fold in table.groupby(["repeat", "fold"])]
            for table in tables
        ]
        gaps = np.subtract(*aucs)
        reach = (row.over_folds.high - row.over_folds.low) / 2
        ratio = (reach / stats.t.ppf(0.975, 9)) ** 2 / gaps.var(ddof=1) - 1 / 10
        trained = 200 * 0.7 * share  # of five folds one is tested, and a tenth of all is watched
        assert ratio == pytest.approx(40 / trained, rel=0.05)


def test_whether_a_fusion_fuses_is_told_of_the_rows_of_the_table(tmp_path):
    dataset = plant(tmp_path, Planted(studies=200, image=0.7, text=0.9))
    found = ablate(dataset, ["image", "text", "fusion", "fusion[views=frontal]"])
    told = found.fusing[0]
    assert told.rows == found.n == 200 < dataset.images.num_rows
    image, text, fusion, _ = found.rows
    assert told.auroc == pytest.approx(fusion.auroc.value, abs=1e-4)
    assert told.single_auroc == pytest.approx(max(image.auroc.value, text.auroc.value))


def test_repeats_are_averaged_and_patients_counted_once(tmp_path):
    dataset = plant(tmp_path, Planted(studies=150, image=0.8, text=0.8))
    found = ablate(dataset, repeats=2, seeds=2)
    runs = {row.arm: next(run for run in list_runs(dataset) if run.run_id == row.run_id) for row in found.rows}
    columns = {}
    for arm, run in runs.items():
        table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        table = table.sort_by([(name, "ascending") for name in ("repeat", "seed", "item_id")])
        columns[arm] = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    one, other = columns["text"], columns["fusion"]
    pools = one["repeat"] * 2 + one["seed"]
    aucs = [roc_auc_score(one["y_true"][pools == pool], one["y_prob"][pools == pool]) for pool in range(4)]
    row = found.rows[1]
    assert row.auroc.value == pytest.approx(np.mean(aucs))
    assert row.n == 200
    expected = difference_of(
        one["y_true"], one["y_prob"], other["y_prob"], one["patient_id"], pools=pools, metrics=("auroc",)
    )["auroc"]
    assert (row.difference.value, row.difference.low, row.difference.p) == pytest.approx(
        (expected.value, expected.low, expected.p)
    )
    gaps = []
    for repeat in (0, 1):
        for fold in range(5):
            here = [(one["repeat"] == repeat) & (one["fold"] == fold) & (one["seed"] == seed) for seed in (0, 1)]
            gaps.append(
                np.mean(
                    [
                        roc_auc_score(one["y_true"][h], one["y_prob"][h])
                        - roc_auc_score(one["y_true"][h], other["y_prob"][h])
                        for h in here
                    ]
                )
            )
    assert row.over_folds.value == pytest.approx(np.mean(gaps))
    assert row.over_folds.low < row.over_folds.value < row.over_folds.high
    assert "Nadeau & Bengio" in "\n".join(found.caption)
    assert found.folds == 5


def test_a_threshold_is_each_folds_own_and_from_its_validation_rows(dataset, result):
    row = ablate(dataset, ["text"], threshold="val").rows[0]
    run = next(run for run in list_runs(dataset) if run.run_id == row.run_id)
    assert row.run_id == result.rows[1].run_id
    assert row.auroc == result.rows[1].auroc
    right = []
    for fold in range(5):
        sides = {}
        for name in ("val", "test"):
            side = run.prediction_rows.filter(
                pc.and_(pc.equal(run.prediction_rows["part"], name), pc.equal(run.prediction_rows["fold"], fold))
            )
            sides[name] = [side[column].to_numpy(zero_copy_only=False) for column in ("item_id", "y_true", "y_prob")]
        _, y, prob = sides["val"]
        threshold = choose_threshold(y, prob).threshold
        right += list((sides["test"][2] >= threshold) == (sides["test"][1] == 1))
    assert row.accuracy.value == pytest.approx(np.mean(right))


def test_several_labels_are_compared_by_their_macro_mean(tmp_path):
    dataset = plant(tmp_path, Planted(studies=300, image=0.5, text=0.5, kinds=2.0))
    for label_set in ("kind", "found"):
        found = ablate(dataset, ["text"], Inputs(label_set))
        run = next(run for run in list_runs(dataset) if run.run_id == found.rows[0].run_id)
        table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        aucs = []
        for label in run.record.labels:
            own = table.filter(pc.and_(pc.equal(table["label"], label), pc.is_valid(table["y_true"])))
            aucs.append(roc_auc_score(own["y_true"], own["y_prob"]))
        row = found.rows[0]
        assert row.auroc.value == pytest.approx(np.mean(aucs))
        assert row.auroc.low < row.auroc.value < row.auroc.high
        assert "Macro means over the labels" in "\n".join(found.caption)
        assert row.difference.low <= row.difference.value <= row.difference.high
    with pytest.raises(TrainError, match="no one threshold"):
        ablate(dataset, ["text"], Inputs("kind"), threshold="val")


def test_controls_stand_below_and_speak(app, dataset):
    said = CliRunner().invoke(app, ["--root", str(dataset.paths.root), "--arms", "text"])
    assert said.exit_code == 0, said.output
    table = said.stdout.partition("planted:")[0]
    above, below = table.split("Controls:")
    assert "fusion" in above
    for name in ("label-shuffle", "text-shuffle", "majority"):
        assert name in below
    assert max(map(len, table.splitlines())) <= 100
    assert "fusion is not measurably worse with every image exchanged" in said.stdout  # images carry nothing here
