"""Arms are compared on the same rows; a planted difference is found, its absence is not; caveats stay attached."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
import typer
from planted import Planted, known_auc, plant, write_store
from predicted import difference_of, within
from scipy import stats
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import cxremb
from cxremb.ablation import ARMS, Ablation, Trial
from cxremb.ablation import ablate as ablate_all
from cxremb.ablation.headline import headings
from cxremb.ablation.recipes import judged_together
from cxremb.cli.ablate import ablate as command
from cxremb.encoders.weights import suggested
from cxremb.errors import DataError, SplitError, StoreError, TrainError
from cxremb.evaluation.bootstrap import Difference
from cxremb.evaluation.threshold import choose_threshold
from cxremb.features import Inputs
from cxremb.splits import SplitSpec, new_split
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store
from cxremb.table import bare, span
from cxremb.training.runs import list_runs, open_run


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
        aucs[row.arm] = within(*(table[name].to_numpy() for name in ("y_true", "y_prob", "fold")))
        items[row.arm] = sorted(zip(table["item_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
        assert row.auroc.value == pytest.approx(aucs[row.arm])
        assert row.n == table.num_rows == dataset.images.num_rows
    assert items["image"] == items["text"] == items["fusion"]
    for row in result.rows[:2]:
        own, base = (runs[one.run_id].predictions().area().area for one in (row, result.rows[2]))
        assert row.difference.value == pytest.approx(own - base)
        assert row.fitted.value == pytest.approx(row.auroc.value - result.rows[2].auroc.value)
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
    alone, beside = text_only.rows[0].difference, result.rows[1].difference
    assert (alone.value, alone.error) == (beside.value, beside.error)
    assert alone.high - alone.low < beside.high - beside.low  # which holds for two arms together
    assert [row.arm for row in ablate(dataset, ["image"]).rows] == ["image", "fusion"]


def test_text_alone_is_one_row_per_study_and_says_there_is_nothing_to_compare(tmp_path, dataset):
    without_images = ablate(plant(tmp_path, Planted(studies=200, text=1.5), modalities=("text",)), ["text"])
    alone = ablate(dataset, ["text"], alone=True)
    for found, n in ((without_images, 200), (alone, 600)):
        assert [row.arm for row in found.rows] == ["text"]
        assert (found.unit, found.n, found.reference) == ("study", n, None)
        assert any("Nothing to compare with" in line for line in found.caption)
        assert not any("simulated" in line for line in found.caption)


@pytest.mark.parametrize(("few", "many", "n"), [("image", "text", 200), ("text", "image", 267)])
def test_an_arm_beside_too_few_of_the_other_modality_goes_alone_and_says_so(app, tmp_path, few, many, n):
    dataset = plant(tmp_path, Planted(studies=200, image=1.5, text=1.5, simulated=False), modalities=(many,))
    studies = dataset.studies["study_id"].to_pylist()[:8]
    ids = studies if few == "text" else [f"{study}-frontal" for study in studies]
    write_store(dataset, {"image": "efficientnet_b1", "text": "biobert"}[few], few, ids, np.eye(8, dtype=np.float32))
    beside, alone = ablate(dataset, [many]), ablate(dataset, [many], alone=True)
    assert [row.arm for row in beside.rows] == [many]
    assert (beside.n, beside.reference, beside.rows) == (n, None, tuple(replace(r, reused=False) for r in alone.rows))
    sentence = beside.notes[0]
    why = f"fold 0 of split {beside.split} has "
    assert sentence.startswith(f"fusion is left out, so every row counts that the others can use: {why}")
    assert "training rows of unit image, 10 are the least" in sentence
    assert sentence not in alone.caption
    said = CliRunner().invoke(app, [f"--{many}-only", "--no-controls", "--root", str(dataset.paths.root)])
    assert said.exit_code == 0
    assert sentence in " ".join(said.stdout.split())
    with pytest.raises(TrainError, match="10 are the least"):
        ablate(dataset, [many, "fusion"])
    with pytest.raises(TrainError, match="10 are the least"):
        ablate(dataset, [many], reference="late")


def test_an_arm_without_a_row_beside_the_other_modality_is_refused(tmp_path):
    dataset = plant(tmp_path, Planted(studies=60, text=1.0), modalities=())
    write_store(dataset, "biobert", "text", dataset.studies["study_id"].to_pylist()[:30], np.ones((30, 2), np.float32))
    films = [f"{study}-frontal" for study in dataset.studies["study_id"].to_pylist()[30:]]
    write_store(dataset, "efficientnet_b1", "image", films, np.ones((30, 2), np.float32))
    with pytest.raises(DataError, match="no image has a label and every vector asked for"):
        ablate(dataset, ["text"])


def test_caption_says_what_the_figures_rest_on(result):
    caption = "\n".join(result.caption)
    for text in (
        "800 rows, one per image, of 600 patients",
        f"prevalence {bare(result.prevalence)}",
        f"majority accuracy {bare(result.majority_accuracy)}",
        "95% over patients; AUROC within 5 folds",
        "5 folds, 70:10:20, grouped by patient and copied report, seed 0",
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


def test_a_split_is_refused_before_the_vectors_are_read(tmp_path, monkeypatch):
    dataset = plant(tmp_path, Planted(studies=60, text=1.0), modalities=("text",))
    monkeypatch.setattr(Store, "load", lambda *_: pytest.fail("vectors were read"))
    for wrong in ("image-80-20", "nowhere"):
        with pytest.raises(SplitError):
            ablate(dataset, ["text"], split=wrong)
        with pytest.raises(SplitError):
            cxremb.train("text", split=wrong, dataset=dataset.name, root=dataset.paths.root)


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


def test_table_fits_80_columns_and_carries_the_caption(app, dataset, result):
    said = CliRunner().invoke(app, ["--root", str(dataset.paths.root), "--no-controls"], env={"COLUMNS": "80"})
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("planted:"))]
    assert max(map(len, table)) <= 80
    assert "…" not in said.stdout
    image = next(line for line in table if line.strip().startswith("image"))
    row = result.rows[0]
    assert f".{row.auroc.value * 1000:03.0f} [.{row.auroc.low * 1000:03.0f}, .{row.auroc.high * 1000:03.0f}]" in image
    gap = row.difference
    assert f"-.{-gap.value * 1000:03.0f} [-.{-gap.low * 1000:03.0f}, -.{-gap.high * 1000:03.0f}]" in image
    assert max(map(len, lines)) <= 80
    whole = " ".join(said.stdout.split())
    assert all(" ".join(line.split()) in whole for line in result.caption)
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
    columns = latex.partition("tabular}{")[2].partition("}")[0]
    assert lines[1].count("---") == lines[0].count("|") - 1 == len(columns)
    for row, as_json, as_csv, line, tex in zip(result.rows, told["rows"], listed, lines[2:], body, strict=False):
        assert as_json["auroc"]["value"] == float(as_csv["auroc"]) == row.auroc.value
        assert (as_csv["difference_p"] or "None") == str(row.difference and row.difference.p)
        assert float(as_csv["ece"]) == row.ece
        assert float(as_csv["seconds"]) == row.seconds
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        typed = [cell.strip() for cell in tex.removesuffix("\\\\").split("&")]
        assert [cell.replace("-", "$-$").replace("+", "$+$").replace("<", "$<$") for cell in cells] == typed
        assert cells[0] == row.arm
        assert cells[1].startswith(f".{row.auroc.value * 1000:03.0f} [")
        assert as_csv["caveats"] == "; ".join(row.caveats)
    assert without_count(told["caption"]) == list(result.caption)
    assert without_count(line.removeprefix("- ") for line in lines[lines.index("") + 1 :]) == list(result.caption)


def without_count(caption) -> list[str]:
    """The lines but that of other runs, of which there are more and more."""
    return [line for line in caption if "judged these test rows" not in line]


def test_latex_goes_into_a_paper(app, dataset, result):
    words = ["--root", str(dataset.paths.root), "--format", "latex", "--no-controls"]
    latex = CliRunner().invoke(app, words).stdout
    for begin in ("table", "tabular"):
        assert latex.count(f"\\begin{{{begin}}}") == latex.count(f"\\end{{{begin}}}") == 1
    bare = latex.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    assert "\\caption{planted: " in latex
    assert "\\label{tab:planted-normal-abnormal}" in latex
    notes = latex.partition("\\footnotesize\n")[2].partition("\n\\end")[0]
    assert len(notes.splitlines()) == len(result.notes_of_paper) < len(result.caption)
    assert f"Split {result.split}: 5 folds, 70:10:20" in notes
    assert all(sum(caveat in note for note in notes.splitlines()) for row in result.rows for caveat in row.caveats)
    assert not set(notes.replace("\\%", "").replace("\\_", "").replace("\\#", "").replace("\\&", "")) & set("%_#&^~")
    assert "seconds" not in latex
    asked = CliRunner().invoke(app, [*words, "--seconds"]).stdout
    assert " & s \\\\" in asked
    assert "s: seconds of training" in asked


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
    dataset = shaped(tmp_path, 400)
    found = ablate(dataset, ["image", "text", "fusion[head=mlp|gated|late]"])
    image, text, fusion, gated, late = found.rows
    assert max(image.auroc.value, text.auroc.value) < 0.6
    for row in (image, text, late):
        assert row.difference.high < 0
    for row, fuse, least in zip(
        (fusion, gated), found.fusing, (0.9, 0.65), strict=False
    ):  # gated: .71 to .78 by the processor
        assert row.auroc.value > least
        own = open_run(row.run_id, dataset).predictions().area().area  # within folds, as the projection is
        assert fuse.auroc == pytest.approx(own)
        assert fuse.interaction.value == pytest.approx(fuse.auroc - fuse.additive)
        assert abs(fuse.additive - 0.5) < 0.1
    fuse, gated_fuse = found.fusing[:2]
    assert 0 < fuse.interaction.low < fuse.interaction.value < fuse.interaction.high
    assert 0.8 < fuse.share < 1.25
    assert fuse.gain.low > 0
    assert (gated_fuse.share is None) == (gated_fuse.gain.low <= 0)  # its folds differ much
    words, gap = found.fusing[0].words, found.fusing[0].interaction
    ends = span(gap.value, gap.low, gap.high, sign="+")
    assert f": an interaction of image and text adds {ends}; a gain of" in words
    assert f", {found.fusing[0].share:.0%} of it by interaction" in words
    assert words in found.caption
    flat = found.to_arrow().to_pylist()[2]
    ends = (flat["interaction"], flat["interaction_low"], flat["interaction_high"])
    assert ends == (gap.value, gap.low, gap.high)
    assert late.auroc.value < 0.6
    assert found.fusing[2].additive == found.fusing[2].auroc
    assert found.fusing[2].interaction is None


def test_a_gain_that_may_be_chance_is_not_explained(dataset):
    """Of noise in the films and a signal in the texts the fusion may win by chance, or lose."""
    for seed in range(3):
        found = ablate(dataset, ["image", "text", "fusion[head=linear]"], seed=seed)
        fuse = found.fusing[0]
        best = next(row for row in found.rows if row.arm == fuse.single)
        alone = open_run(best.run_id, dataset).predictions().area().area
        assert fuse.gain.value == pytest.approx(fuse.auroc - alone)
        assert fuse.gain.low <= 0
        assert fuse.share is None
        assert "by interaction" not in fuse.words
    won, lost = (replace(fuse, gain=Difference(value, -0.02, 0.03, 0.5)) for value in (0.004, -0.004))
    assert "; a gain of +.004 [-.020, +.030] over the best single arm (" in won.words
    assert "), which may be chance; its head, linear, is additive" in won.words
    assert "; no gain over the best single arm (" in lost.words
    unsure = replace(fuse, gain=Difference(0.1, None, None, None, reason="few"))
    assert "; a gain of +.100 over the best single arm (" in unsure.words
    assert "), which may be chance" in unsure.words
    untold = replace(fuse, interaction=Difference(0.1, None, None, None, reason="few")).words
    assert ": an interaction of +.100, without an interval (few); " in untold


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
    assert fuse.gain.low > 0
    assert abs(fuse.share) < 0.2
    assert fuse.interaction.low < 0 < fuse.interaction.high
    assert f": no interaction is shown, {bare(fuse.interaction.value, '+')} [" in fuse.words
    assert "by interaction" not in fuse.words
    assert fuse.single in ("image", "text")


def test_a_modality_that_is_missing_leaves_the_other(changed):
    rows = {row.arm: row for row in changed.rows}
    for missing, left in (("image", "text"), ("text", "image")):
        assert abs(rows[f"fusion[missing={missing}]"].auroc.value - rows[left].auroc.value) < 0.04
        assert rows[f"fusion[missing={missing}]"].difference.value < 0


def test_more_patients_teach_more(changed):
    rows = {row.arm: row for row in changed.rows}
    least, some, most = (
        rows[arm].auroc.value for arm in ("fusion[train-fraction=0.05]", "fusion[train-fraction=0.3]", "fusion")
    )
    assert least < some < most
    assert rows["fusion[train-fraction=0.05]"].difference.value < 0


def test_every_row_is_paired_and_run_under_its_own_name(two, changed):
    runs = {run.run_id: run for run in list_runs(two)}
    frontal = [name for name in two.images["image_id"].to_pylist() if name.endswith("frontal")]
    for row in changed.rows:
        run = runs[row.run_id]
        assert run.arm == row.arm
        table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        names = ("y_true", "y_prob", "item_id", "fold")
        y, prob, items, fold = (table[name].to_numpy(zero_copy_only=False) for name in names)
        kept = np.isin(items, frontal)
        assert row.n == kept.sum() == len(frontal)
        assert row.auroc.value == pytest.approx(within(y[kept], prob[kept], fold[kept]))
        assert len(items) == (len(frontal) if "views" in row.arm else two.images.num_rows)


def test_intervals_and_p_of_a_table_are_those_of_the_largest_error(two, changed):
    runs = {run.run_id: run for run in list_runs(two)}
    frontal = [name for name in two.images["image_id"].to_pylist() if name.endswith("frontal")]
    base = next(row for row in changed.rows if row.arm == changed.reference)
    others = [row for row in changed.rows if row.difference]
    assert len(others) == len(changed.rows) - 1 > 1
    sides = {}
    for row in changed.rows:
        test = runs[row.run_id].predictions()
        sides[row.arm] = test.take(np.isin(test.items, frontal)).area()
    moved = np.array([sides[row.arm].influence - sides[base.arm].influence for row in others])
    drawn = np.random.default_rng(5).multivariate_normal(np.zeros(len(others)), np.corrcoef(moved), 200_000)
    largest = np.abs(drawn).max(axis=1)
    for row, own in zip(others, moved, strict=True):
        gap = row.difference
        assert gap.value == pytest.approx(sides[row.arm].area - sides[base.arm].area)
        assert gap.error >= np.sqrt((own**2).sum()) * 1.4  # who trains moves it too, as much as who is judged
        assert (gap.high - gap.value) / gap.error == pytest.approx(np.quantile(largest, 0.95), abs=0.06)
        assert gap.p == pytest.approx((largest >= abs(gap.value) / gap.error).mean(), abs=0.01)
        assert (gap.p < 0.05) == (not gap.low <= 0 <= gap.high)
        assert row.fitted.p is not None
        assert (row.fitted.high - row.fitted.low) < gap.high - gap.low


def test_the_caption_says_what_p_means_and_who_may_be_the_best(two, changed, result):
    told = next(line for line in changed.caption if line.startswith("Brackets beside p"))
    assert told == (
        f"Brackets beside p: 95% for all {len(changed.rows) - 1} differences at once (max-T), of arms trained and "
        "tested on other patients; p: how often equal arms differ as much"
    )
    once = next(line for line in ablate(two, ["text"]).caption if line.startswith("Brackets beside p"))
    assert once.startswith("Brackets beside p: 95%, of arms trained")
    best = [row.arm for row in result.rows if row.may_be_best]
    assert best == ["text", "fusion"]  # the image is noise
    shown = next(line for line in result.caption if line.startswith("The best is"))
    spans = sorted(row.difference.detectable for row in result.rows if row.difference)
    expected = (
        f"The best is one of text, fusion (95%); a true difference of {bare(spans[0])} to {bare(spans[1])} is found"
    )
    assert shown == f"{expected} 4 times in 5"
    assert all(any(f"{name}: " in line for line in result.caption) for name in ("sp@.95", "ECE", "s"))


def test_a_margin_names_the_arms_that_are_as_good(dataset, result):
    gaps = {row.arm: row.difference for row in result.rows if row.difference}
    margin = round(-gaps["text"].low + 0.001, 4)
    found = ablate(dataset, margin=margin)
    assert f"At most {margin:g} worse than fusion, by the brackets: text" in found.caption
    assert [row["within_margin"] for row in found.to_arrow().to_pylist()] == [False, True, None]
    assert "At most 0.001 worse than fusion, by the brackets: no arm" in ablate(dataset, margin=0.001).caption
    assert not any("worse than fusion" in line for line in result.caption)
    with pytest.raises(TrainError, match="no margin 2"):
        ablate(dataset, margin=2.0)


def test_one_fold_is_of_the_fitted_models_and_says_so(dataset):
    found = ablate(dataset, folds=(0,))
    image = found.rows[0]
    assert not found.recipes
    told = next(line for line in found.caption if line.startswith("Brackets beside p"))
    assert told == (
        "Brackets beside p: 95% for both differences at once (max-T), of these models on other test patients, as one "
        "fold shows no more; p: how often equal models differ as much"
    )
    runs = {run.run_id: run for run in list_runs(dataset)}
    sides = [runs[found.rows[place].run_id].predictions().area() for place in (0, 2)]
    assert image.difference.error == pytest.approx(np.sqrt((sides[0].minus(sides[1]).influence ** 2).sum()))
    assert image.over_folds is None
    assert found.to_arrow()["difference_of"].to_pylist() == ["fitted models"] * 3


def test_runs_that_were_judged_on_the_same_rows_are_counted(tmp_path):
    dataset = plant(tmp_path, Planted(studies=120, text=0.8))
    first = ablate_all(dataset, ["text", "text[head=linear]"], trial=Trial(alone=True, reference="text"))
    assert first.judged_before == 0  # its controls are runs, and no competitors
    assert not any("looks better" in line for line in first.caption)
    again = ablate(dataset, ["text", "text[train-fraction=0.5]"], reference="text")
    assert again.judged_before == 1
    assert "1 other run judged these test rows: the best of many looks better than it is" in again.caption


def test_how_many_settings_were_tried_stands_in_the_row_and_below_where_rows_differ(tmp_path):
    dataset = plant(tmp_path, Planted(studies=120, text=0.8))
    trial = Trial(alone=True, reference="text[head=linear]")
    found = ablate_all(dataset, ["text", "text[head=linear]"], trial=trial)
    rows = {row["arm"]: row["tuned_over"] for row in found.to_arrow().to_pylist()}
    penalties = {"text": 1, "text[head=linear]": 9, "label-shuffle": 9, "text-shuffle": 9, "tf-idf": 5}
    assert {arm: count for arm, count in rows.items() if count} == penalties | dict.fromkeys(
        ("length", "metadata", "majority"), 1
    )
    linear = "text[head=linear], label-shuffle, text-shuffle 9"
    assert f"Settings tried on validation rows: {linear}, tf-idf 5, the others 1" in found.caption
    for arms in (["text"], ["text[head=linear]"]):  # alone, all rows have the same
        one = ablate(dataset, arms, alone=True, reference=arms[0])
        assert not any("Settings tried" in line for line in one.caption)


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
    means = table.aggregate([("y_prob", "mean"), ("y_true", "max"), ("fold", "max")])
    columns = (means[name].to_numpy() for name in ("y_true_max", "y_prob_mean", "fold_max"))
    assert found.rows[0].auroc.value == pytest.approx(within(*columns))


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
        sides = [one.predictions() for one in (run, base)]
        moved = sides[0].area().minus(sides[1].area()).influence
        beyond = (
            gaps.var(ddof=1)
            - sum(
                (one.take((one.repeat == repeat) & (one.fold == fold)).area().minus(other).influence ** 2).sum()
                for repeat in (0, 1)
                for fold in range(5)
                for one, other in [
                    (sides[0], sides[1].take((sides[1].repeat == repeat) & (sides[1].fold == fold)).area())
                ]
            )
            / 10
        )
        alone = np.mean(
            [
                (sides[0].take(sides[0].repeat == r).area().minus(other).influence ** 2).sum()
                for r in (0, 1)
                for other in [sides[1].take(sides[1].repeat == r).area()]
            ]
        )
        factor = 2 + 0.3 / (10 * 0.7)  # each of ten models is trained on seven in ten of the patients, or some of them
        expected = (moved**2).sum() + (factor - 1) * alone + factor * max(0, beyond) / 10
        assert row.difference.error**2 == pytest.approx(expected, rel=0.01)


def test_whether_a_fusion_fuses_is_told_of_the_rows_of_the_table(tmp_path):
    dataset = plant(tmp_path, Planted(studies=200, image=0.7, text=0.9))
    found = ablate(dataset, ["image", "text", "fusion", "fusion[views=frontal]"])
    told = found.fusing[0]
    assert told.rows == found.n == 200 < dataset.images.num_rows
    image, text, fusion, frontal = found.rows
    assert told.auroc == pytest.approx(fusion.auroc.value, abs=1e-4)
    assert told.single_auroc == pytest.approx(max(image.auroc.value, text.auroc.value))
    runs = {row.arm: open_run(row.run_id, dataset) for row in (text, fusion)}
    items = open_run(frontal.run_id, dataset).predictions().items
    tests = {arm: run.predictions() for arm, run in runs.items()}
    tests = {arm: test.take(np.isin(test.items, items)) for arm, test in tests.items()}
    gap = judged_together(runs, tests, "fusion")["text"].difference  # the same estimator as that of the table
    assert told.single == "text"
    assert (told.gain.value, told.gain.low, told.gain.p) == pytest.approx((-gap.value, -gap.high, gap.p))


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
    aucs = [within(*(one[name][pools == pool] for name in ("y_true", "y_prob", "fold"))) for pool in range(4)]
    row = found.rows[1]
    assert row.auroc.value == pytest.approx(np.mean(aucs))
    assert row.n == 200
    given = {"pools": pools, "fold": one["fold"], "metrics": ("auroc",)}
    expected = difference_of(one["y_true"], one["y_prob"], other["y_prob"], one["patient_id"], **given)["auroc"]
    assert (row.fitted.value, row.fitted.low, row.fitted.p) == pytest.approx((expected.value, expected.low, expected.p))
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
    for label_set, what in (("kind", "classes"), ("found", "labels")):
        found = ablate(dataset, ["text"], Inputs(label_set))
        run = next(run for run in list_runs(dataset) if run.run_id == found.rows[0].run_id)
        table = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        aucs = []
        for label in run.record.labels:
            own = table.filter(pc.and_(pc.equal(table["label"], label), pc.is_valid(table["y_true"])))
            aucs.append(within(own["y_true"], own["y_prob"], own["fold"]))
        row = found.rows[0]
        assert row.auroc.value == pytest.approx(np.mean(aucs))
        assert row.auroc.low < row.auroc.value < row.auroc.high
        assert f"Macro means over the {what}, " in "\n".join(found.caption)
        assert row.difference.low <= row.difference.value <= row.difference.high
    with pytest.raises(TrainError, match="no one threshold"):
        ablate(dataset, ["text"], Inputs("kind"), threshold="val")


def test_controls_stand_below_and_speak(app, dataset):
    said = CliRunner().invoke(app, ["--root", str(dataset.paths.root), "--arms", "text"], env={"COLUMNS": "80"})
    assert said.exit_code == 0, said.output
    table = said.stdout.partition("planted:")[0]
    above, below = table.split("Controls:")
    assert "fusion" in above
    for name in ("label-shuffle", "text-shuffle", "majority"):
        assert name in below
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "fusion is not measurably worse with every image exchanged" in said.stdout  # images carry nothing here
