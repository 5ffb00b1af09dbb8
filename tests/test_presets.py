"""Presets hold what was published, count what they train, and say what differs here."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from cxremb.errors import SplitError, TrainError
from cxremb.splits import choose_split
from cxremb.training.heads import NETWORKS, find_head, find_network
from cxremb.training.options import Augment, Options
from cxremb.training.presets import PRESETS, find_preset

PUBLISHED = {name: preset for name, preset in PRESETS.items() if not name.startswith("default")}


def test_every_reference_system_has_its_preset():
    families = {name.partition("/")[0] for name in PUBLISHED}
    assert families == {
        *("cnn", "cnn-llm", "custom-cnn", "resnet50", "two-stage"),
        *("medmnist-sample", "medmnist-dense", "medmnist-custom"),
    }


@pytest.mark.parametrize(
    ("name", "batch_size", "epochs", "learning_rate", "parameters"),
    [
        ("cnn-llm/as-documented", 8, 40, 0.003, 525_058),
        ("cnn-llm/as-coded", 8, 40, 0.001, 525_058),
        ("cnn/as-documented", 8, 40, 0.003, 6_513_184 + 2 * (1280 + 1)),
        ("cnn/as-coded", 8, 40, 0.001, 6_513_184 + 2 * (1280 + 1)),
        ("custom-cnn", 128, 15, 3e-4, 2_750_657),
        ("resnet50", 32, 10, 1e-4, 23_508_032 + 2048 + 1),
    ],
)
def test_recipes_are_the_published_ones(name, batch_size, epochs, learning_rate, parameters):
    preset = find_preset(name)
    options = preset.options
    assert (options.batch_size, options.epochs, options.learning_rate) == (batch_size, epochs, learning_rate)
    assert (options.optimiser, options.select, options.schedule) == ("adam", "last", "constant")
    assert preset.parameters == parameters


def test_the_medmnist_recipes():
    sample, dense = find_preset("medmnist-sample"), find_preset("medmnist-dense")
    assert (sample.options.optimiser, sample.options.learning_rate, sample.parameters) == ("sgd", 0.001, 18_379)
    assert (dense.options.optimiser, dense.parameters) == ("adam", 108_801)
    described = find_preset("medmnist-dense/as-described")
    assert described.parameters - dense.parameters == 64 * 32 + 32 + 32 + 1 - (64 + 1)
    custom = find_preset("medmnist-custom", "binary")
    assert custom.pixels.augment == Augment(rotation=20, shift=0.2, flip=True)
    spec = find_network(find_preset("medmnist-custom", "multiclass").network)
    assert (spec.convolutions, spec.block_dropout, spec.widths) == ((32, 64, 128), (0.3, 0.4, 0.5), (256,))
    assert all(PRESETS[name].pixels.side == 28 for name in PRESETS if name.startswith("medmnist"))


def test_the_two_stage_recipe_and_its_figures():
    preset = find_preset("two-stage")
    first, second = preset.pixels.stages
    assert (first.frozen, second.frozen) == (0.8, 0)
    assert second.learning_rate < first.learning_rate
    assert preset.pixels.clahe
    assert preset.pixels.blur
    options = preset.options
    assert (options.class_weights, options.schedule, options.select) == (True, "plateau", "best")
    assert options.patience
    tp, fn, tn, fp = 415, 13, 137, 21  # the published confusion matrix
    assert preset.reported["accuracy"] == pytest.approx((tp + tn) / (tp + fn + tn + fp), abs=5e-5)
    assert preset.reported["precision"] == pytest.approx(tp / (tp + fp), abs=5e-5)
    assert preset.reported["recall"] == pytest.approx(tp / (tp + fn), abs=5e-5)
    assert preset.reported["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=5e-5)


@pytest.mark.parametrize("name", ["cnn/as-coded", "cnn-llm/as-coded"])
def test_reported_f1_follows_from_precision_and_recall(name):
    reported = find_preset(name).reported
    precision, recall = reported["precision"], reported["recall"]
    assert reported["f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-4)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_each_names_a_model_and_says_what_differs(preset):
    assert (preset.network in NETWORKS) != bool(preset.head)
    if preset.head:
        assert find_head(preset.head).parameters(preset.dims) == preset.parameters
    if preset.name in PUBLISHED:
        assert preset.differs
        assert preset.reported_on
    assert set(preset.tasks) <= {"binary", "multiclass", "multilabel"}


def test_only_the_leaky_originals_need_leave_and_only_for_their_split(small):
    leaky = {name for name, preset in PRESETS.items() if preset.split == "image-80-20"}
    assert leaky == {"cnn/as-documented", "cnn/as-coded", "cnn-llm/as-documented", "cnn-llm/as-coded"}
    for name in leaky:
        preset = find_preset(name)
        assert any("--allow-leaky" in line for line in preset.differs)
        with pytest.raises(SplitError, match="one patient into train and test") as caught:
            choose_split(small, "normal_abnormal", preset.split)
        assert "--allow-leaky" in caught.value.hint
        assert choose_split(small, "normal_abnormal", preset.split, allow_leaky=True).leaky


def test_a_family_is_told_apart_by_the_task():
    assert find_preset("medmnist-custom", "binary").name == "medmnist-custom/binary"
    assert find_preset("medmnist-custom", "multiclass").name == "medmnist-custom/multi-class"
    with pytest.raises(TrainError, match="'medmnist-custom' stands for several presets") as caught:
        find_preset("medmnist-custom")
    assert "medmnist-custom/binary, medmnist-custom/multi-class" in caught.value.hint
    assert "resnet50" not in caught.value.hint
    with pytest.raises(TrainError, match="'cnn' stands for several"):
        find_preset("cnn", "binary")  # the two differ in the learning rate: only the user can say
    with pytest.raises(TrainError, match="no preset called 'vgg'") as unknown:
        find_preset("vgg")
    assert all(name in unknown.value.hint for name in list(PRESETS)[:12])
    assert f"and {len(PRESETS) - 12} more: see `cxremb presets`" in unknown.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        *({"select": "first"}, {"optimiser": "lion"}, {"schedule": "step"}, {"epochs": 0}, {"batch_size": 0}),
        *({"learning_rate": -1.0}, {"weight_decay": -1.0}, {"momentum": -0.1}, {"patience": 0}),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(TrainError):
        Options(**wrong)


def test_what_chooses_an_epoch():
    last = Options(select="last", patience=None)
    assert not last.chooses_epoch
    assert not replace(last, schedule="cosine").chooses_epoch
    assert all(
        replace(last, **one).chooses_epoch for one in ({"select": "best"}, {"patience": 3}, {"schedule": "plateau"})
    )


def test_listing_needs_no_torch():
    script = "import sys, cxremb.training.presets, cxremb.training.heads; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command_lists_them_all(cxremb):
    told = json.loads(cxremb("presets", "--format", "json").out)
    assert {preset["name"]: preset["parameters"] for preset in told} == {
        name: preset.parameters for name, preset in PRESETS.items()
    }
    said = cxremb("presets").out
    for text in ("18,379", "108,801", "525,058", "f1 0.9606", "its heart on the right"):
        assert text in said
