"""Networks from pixels: what they compute, what changes a film, that a stopped training goes on the same, and runs."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import save_film
from PIL import Image as PilImage
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from cxremb.catalog import add_collection
from cxremb.datasets.medmnist import read
from cxremb.embedding.pixels import open_pixels
from cxremb.embedding.trained_on import TuningPatients
from cxremb.errors import DataError, EncoderError, StoreError, TrainError
from cxremb.features import Inputs
from cxremb.images import Frame, decode_file
from cxremb.splits import choose_split, fold_parts
from cxremb.training.data import Member, Rows
from cxremb.training.heads import NETWORKS, NetworkSpec, find_network
from cxremb.training.inputs import tensors_of
from cxremb.training.loop import one_thread
from cxremb.training.options import Augment, Options, PixelRecipe, Stage
from cxremb.training.pixels import films as films_room
from cxremb.training.pixels.films import Films, augmented, clean, contrasted, load_films, moved, scaled
from cxremb.training.pixels.fit import NetworkPlan, fit_network, open_source, plan_of
from cxremb.training.pixels.loop import Training, epoch_seed, fit, mean_loss
from cxremb.training.pixels.networks import RANDOM, find_start, freeze, layers_of, new_network, parameters_of
from cxremb.training.pixels.predict import NetworkJob, load_networks, predict
from cxremb.training.presets import PRESETS, find_preset
from cxremb.training.runs import find_run, list_runs
from cxremb.training.schedule import SLOWER, STAND_STILL, next_step
from cxremb.types import Collection, Image, LabelSet, Study

FROM_PIXELS = [preset for preset in PRESETS.values() if preset.network]
TINY = NetworkSpec(convolutions=(4, 4), block_dropout=(0.2, 0.2), norm=True, padding=1, widths=(8,), dropout=0.3)
LAST = Options(0.01, batch_size=16, epochs=4, select="last", patience=None, standardise=False)


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """What is small here is many times slower on several cores that have other work."""
    with one_thread():
        yield


# What a network is


@pytest.mark.parametrize("preset", FROM_PIXELS, ids=lambda preset: preset.name)
def test_parameters_are_as_listed(preset):
    spec, binary = find_network(preset.network), preset.classes == 2
    outputs = spec.outputs("binary" if binary else "multiclass", 1 if binary else preset.classes)
    network = new_network(spec, preset.pixels.side, outputs, seed=0)
    assert parameters_of(network) == preset.parameters


def test_published_counts():
    listed = {
        name: PRESETS[name].parameters for name in ("medmnist-sample", "medmnist-dense", "custom-cnn", "resnet50")
    }
    assert listed["medmnist-sample"] == 18_379
    assert listed["medmnist-dense"] == 108_801
    assert round(listed["custom-cnn"] / 1e6, 1) == 2.8
    assert round(listed["resnet50"] / 1e6, 1) == 23.5


def test_every_base_is_a_timm_network_of_the_encoder_table():
    for spec in NETWORKS.values():
        if spec.base:
            with torch.device("meta"):
                network = new_network(spec, 64, 1, seed=0)
            assert network.base.num_features > 1000


def test_the_sample_network_is_what_it_says():
    network = new_network(NETWORKS["medmnist-sample"], 28, 11, seed=1).eval()
    first, first_bias, second, second_bias, last, last_bias = network.state_dict().values()
    X = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        Z = functional.max_pool2d(functional.conv2d(X, first, first_bias).relu(), 2)
        Z = functional.max_pool2d(functional.conv2d(Z, second, second_bias).relu(), 2)
        torch.testing.assert_close(network(X), Z.flatten(1) @ last.T + last_bias)


def test_the_custom_network_is_what_it_says():
    network = new_network(NETWORKS["medmnist-custom"], 28, 1, seed=1)
    plain = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Dropout(0.3), torch.nn.Conv2d(32, 64, 3), torch.nn.BatchNorm2d(64), torch.nn.ReLU()),
        *(torch.nn.MaxPool2d(2), torch.nn.Dropout(0.4), torch.nn.Flatten(), torch.nn.Linear(1600, 128)),
        *(torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(128, 1)),
    )
    weights = network.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    X = torch.rand(8, 1, 28, 28)
    for network_mode in ("train", "eval"):
        for one in (network, plain):
            getattr(one, network_mode)()
        found = []
        for one in (network, plain):
            torch.manual_seed(0)
            found.append(one(X))
        torch.testing.assert_close(*found)


def test_the_small_residual_network_is_what_it_says():
    network = new_network(NetworkSpec(residual=(4, 6)), 28, 3, seed=1).eval()
    block, X = network.stages[1], torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        Z = network.stages[0](network.stem((X - 0.5) / 0.25))
        inner = block.norms[0](functional.conv2d(Z, block.first.weight, stride=2, padding=1)).relu()
        inner = block.norms[1](functional.conv2d(inner, block.second.weight, padding=1))
        around = block.around[1](functional.conv2d(Z, block.around[0].weight, stride=2))
        pooled = (inner + around).relu().mean((2, 3))
        torch.testing.assert_close(network(X), network.head[1](pooled))


def test_the_two_stage_network_is_what_it_says():
    network = new_network(NETWORKS["two-stage"], 64, 1, seed=0).eval()
    X = torch.rand(2, 1, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    norm, (dense, _, dropout, last) = network.head[0], network.head[1]
    assert (type(norm).__name__, dense.out_features, dropout.p) == ("BatchNorm1d", 512, 0.3)
    with torch.no_grad():
        Z = network.base((X.repeat(1, 3, 1, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(network(X), last(dense(norm(Z)).relu()))


def test_same_seed_same_network_and_torchs_own_state_is_untouched():
    before = torch.random.get_rng_state()
    first, again, other = (new_network(TINY, 16, 1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = zip(first.parameters(), again.parameters(), other.parameters(), strict=True)
    same, differ = zip(*((torch.equal(a, b), torch.equal(a, c)) for a, b, c in pairs), strict=True)
    assert all(same)
    assert not all(differ)


def test_weights_of_a_base_come_from_the_file_or_the_user_is_told(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    spec = NETWORKS["efficientnet_b0"]
    file = tmp_path / "mine.safetensors"
    save_file(new_network(spec, 32, 1, seed=7).base.state_dict(), file)
    start = find_start(spec, file)
    base = new_network(spec, 32, 1, seed=0, start=start).base
    assert torch.equal(base.conv_stem.weight, new_network(spec, 32, 1, seed=7).base.conv_stem.weight)
    assert (start.note, len(start.sha256)) == ("", 64)
    with pytest.raises(EncoderError, match="no such file"):
        find_start(spec, tmp_path / "gone")
    assert find_start(TINY).note == ""

    def nowhere(*_):
        raise EncoderError("no weights", hint="--weights FILE")

    monkeypatch.setattr("cxremb.training.pixels.networks.locate_file", nowhere)
    for told in (find_start(spec), find_start(spec, pretrained=False)):
        assert told.note.startswith(RANDOM)
        assert told.path is None


# What changes a film


def films_of(n: int, side: int = 16, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return scaled(torch.from_numpy(rng.integers(0, 256, (n, side, side), dtype=np.uint8)))


def test_scaled_is_a_255th():
    film = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_allclose(scaled(torch.from_numpy(film))[0, 0].numpy(), film[0] / 255, atol=1e-7)


def change(
    films: torch.Tensor, angle: float = 0, down: float = 0, right: float = 0, mirror: bool = False
) -> np.ndarray:
    n = len(films)
    shift = torch.tensor([[down, right]]).repeat(n, 1)
    return moved(films, torch.full((n,), float(angle)), shift, mirrored=torch.full((n,), mirror))[:, 0].numpy()


def test_films_that_are_not_moved_stay_and_mirrored_ones_are_reversed():
    films = films_of(3)
    np.testing.assert_allclose(change(films), films[:, 0], atol=1e-6)
    np.testing.assert_allclose(change(films, mirror=True), films[:, 0].flip(2), atol=1e-6)
    once = augmented(films, Augment(), torch.Generator().manual_seed(0))
    assert torch.equal(once, films)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -2), (-5, 4)])
def test_whole_shifts_move_pixels_and_repeat_the_edge(down, right):
    films = films_of(2)
    rows = np.clip(np.arange(16) - down, 0, 15)
    columns = np.clip(np.arange(16) - right, 0, 15)
    expected = films[:, 0].numpy()[:, rows][:, :, columns]
    np.testing.assert_allclose(change(films, down=down / 16, right=right / 16), expected, atol=1e-5)


@pytest.mark.parametrize(("angle", "quarters"), [(90, -1), (180, 2), (-90, 1)])
def test_quarter_turns_are_numpys(angle, quarters):
    films = films_of(2)
    expected = np.rot90(films[:, 0].numpy(), quarters, axes=(1, 2))
    np.testing.assert_allclose(change(films, angle=angle), expected, atol=1e-5)


def test_mirrored_then_turned_then_shifted():
    films = films_of(1)
    step = np.rot90(films[0, 0].numpy()[:, ::-1], -1)  # mirrored, then a quarter clockwise
    expected = step[np.clip(np.arange(16) - 2, 0, 15)][:, np.clip(np.arange(16) - 3, 0, 15)]
    np.testing.assert_allclose(change(films, 90, 2 / 16, 3 / 16, True)[0], expected, atol=1e-5)


def test_contrast_is_around_the_mean_of_each_film():
    films = films_of(2) * 0.5 + 0.25
    means = films.mean((2, 3), keepdim=True)
    gains = torch.tensor([0.5, 3.0])
    expected = np.clip(((films - means) * gains.view(2, 1, 1, 1) + means).numpy(), 0, 1)
    np.testing.assert_allclose(contrasted(films, gains), expected, atol=1e-6)


def test_chance_stays_within_its_limits_and_follows_its_generator(monkeypatch):
    seen = {}

    def spy(films, angle, shift, mirrored):
        seen.update(angle=angle, shift=shift, mirrored=mirrored)
        return films

    monkeypatch.setattr("cxremb.training.pixels.films.moved", spy)
    recipe = Augment(rotation=20, shift=0.2, contrast=0.3, flip=True)
    films = films_of(2000, side=4)
    first = augmented(films, recipe, torch.Generator().manual_seed(3))
    assert 19 < seen["angle"].abs().max() <= 20
    assert 0.19 < seen["shift"].abs().max() <= 0.2
    assert abs(float(seen["angle"].mean())) < 1
    assert 0.45 < float(seen["mirrored"].float().mean()) < 0.55
    assert abs(float(torch.corrcoef(seen["shift"].T)[0, 1])) < 0.1  # down and right are drawn apart
    assert torch.equal(first, augmented(films, recipe, torch.Generator().manual_seed(3)))
    augmented(films, replace(recipe, flip=False), torch.Generator().manual_seed(3))
    assert not seen["mirrored"].any()


def test_our_own_presets_do_not_mirror_chests():
    mirroring = {preset.name for preset in FROM_PIXELS if preset.pixels.augment.flip}
    assert mirroring == {"medmnist-custom/binary"}
    assert any("heart" in line for line in PRESETS["medmnist-custom/binary"].differs)


def test_clahe_and_blur_are_opencvs():
    import cv2

    films = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    equalise = cv2.createCLAHE(2.0, (8, 8))
    only = clean(films, PixelRecipe(clahe=True))
    both = clean(films, PixelRecipe(clahe=True, blur=3))
    for film, one, two in zip(films, only, both, strict=True):
        np.testing.assert_array_equal(one, equalise.apply(film))
        np.testing.assert_array_equal(two, cv2.GaussianBlur(one, (3, 3), 0))
    assert clean(films, PixelRecipe()) is films


# How it goes on


def test_steps_follow_the_losses():
    recipe = PixelRecipe(stages=(Stage(3, 0.1, frozen=0.8), Stage(4, 0.01)))
    options = Options(epochs=10, patience=2, schedule="plateau")
    step = next_step([], options, recipe)
    assert (step.stage, step.first, step.learning_rate, step.frozen) == (0, True, 0.1, 0.8)
    assert not next_step([1.0], options, recipe).first
    assert (next_step([3, 2, 1], options, recipe).stage, next_step([3, 2, 1], options, recipe).first) == (1, True)
    early = next_step([1, 2, 3], options, recipe)  # patience ran out in the last epoch of the stage
    assert (early.stage, early.first, early.learning_rate, early.frozen) == (1, True, 0.01, 0.0)
    assert next_step([3, 2, 1, 1, 1, 2], options, recipe) is None
    assert next_step([3, 2, 1, 0.9, 0.8, 0.7], options, recipe) is not None
    assert next_step([3, 2, 1, 0.9, 0.8, 0.7, 0.6], options, recipe) is None


def test_rates_of_the_schedules():
    def rates(schedule, losses):
        options = Options(0.4, epochs=4, patience=None, schedule=schedule)
        return [next_step(losses[:n], options, PixelRecipe()).learning_rate for n in range(len(losses))]

    assert rates("constant", [1, 1, 1, 1]) == [0.4] * 4
    assert rates("cosine", [1, 1, 1, 1]) == pytest.approx([0.4, 0.4 * 0.853553, 0.2, 0.4 * 0.146447], rel=1e-5)
    options = Options(0.4, epochs=99, patience=None, schedule="plateau")
    found = [next_step([2.0, 1.0] + [1.5] * n, options, PixelRecipe()).learning_rate for n in range(13)]
    assert found[0] == 0.4
    assert found[2 + STAND_STILL] == 0.4 * SLOWER
    assert sorted(found, reverse=True) == found
    assert {after / before for before, after in pairwise(found)} == {1.0, SLOWER}


def planted(n: int = 120, side: int = 16, task: str = "binary", columns: int = 1) -> tuple[Films, Rows]:
    """Noise with a bright square in the quarter that the class names."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (n, side, side), dtype=np.uint8)
    kind = rng.integers(0, max(columns, 2), n)
    half = side // 2
    for film, one in zip(pixels, kind, strict=True):
        film[one // 2 * half :, one % 2 * half :][:half, :half] += 55
    y = (kind[:, None] == np.arange(columns)[None]) if columns > 1 else kind[:, None] == 1
    films = Films(PixelRecipe(side=side), None, [str(row) for row in range(n)], np.arange(n), pixels)
    return films, Rows({}, {}, y.astype(float), task, np.arange(n).astype(str))


def member(n: int = 120, seed: int = 3, name: str = "val") -> Member:
    return Member(np.arange(n - 40), np.arange(n - 40, n - 20), seed, name)


def weights_of(network) -> dict[str, torch.Tensor]:
    return network.state_dict()


class Pulled(Exception):
    """The plug."""


def pulled_after(batches: int):
    def progress(items, total, what):
        for number, item in enumerate(items, 1):
            yield item
            if number == batches:
                raise Pulled

    return progress


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        (LAST, PixelRecipe(side=16, augment=Augment(10, 0.1, 0.2))),
        (replace(LAST, optimiser="sgd", momentum=0.9, select="best", class_weights=True), PixelRecipe(side=16)),
        (
            replace(LAST, optimiser="adamw", weight_decay=0.01, select="best", patience=2, schedule="plateau"),
            PixelRecipe(side=16, stages=(Stage(2, 0.01, frozen=0.5), Stage(3, 0.002))),
        ),
    ],
    ids=["adam", "sgd", "two stages"],
)
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, options, recipe):
    films, rows = planted()
    targets = tensors_of(rows)
    straight = fit(NetworkJob(TINY, recipe, options), films, targets, member=member())
    job = NetworkJob(TINY, recipe, options, checkpoint=tmp_path / "one.safetensors")
    for batches in (2, 7, 11):  # within the first epoch, the second, and again later: 5 batches an epoch
        with pytest.raises(Pulled):
            fit(job, films, targets, member=member(), progress=pulled_after(batches))
    stopped = Training(job, films, targets, member=member())
    assert 0 < len(stopped.losses) < len(straight.history) // 2
    resumed = fit(job, films, targets, member=member())
    assert resumed.history == straight.history
    assert resumed.epoch == straight.epoch
    assert resumed.seconds > stopped.before > 0
    for name, value in weights_of(straight.network).items():
        assert torch.equal(value, weights_of(resumed.network)[name]), name
    trained = torch.cat([value.ravel() for value in weights_of(resumed.network).values()])
    again = fit(job, films, targets, member=member(), progress=pulled_after(1))  # there is nothing left to do
    assert torch.equal(torch.cat([value.ravel() for value in weights_of(again.network).values()]), trained)


def test_a_damaged_checkpoint_says_what_to_delete(tmp_path):
    films, rows = planted()
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"half a file")
    with pytest.raises(StoreError, match="damaged") as caught:
        fit(NetworkJob(TINY, PixelRecipe(side=16), LAST, checkpoint=path), films, tensors_of(rows), member=member())
    assert "delete it" in caught.value.hint


def test_loop_equals_a_plain_torch_loop():
    films, rows = planted()
    spec = NetworkSpec(convolutions=(4,), padding=1)
    options = replace(LAST, optimiser="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.01, epochs=3)
    trained = fit(NetworkJob(spec, PixelRecipe(side=16), options), films, tensors_of(rows), member=member())

    plain = new_network(spec, 16, 1, seed=3)
    sgd = torch.optim.SGD(plain.parameters(), 0.1, 0.5, weight_decay=0.01)
    X, y = torch.from_numpy(films.ready / 255).float().unsqueeze(1), torch.from_numpy(rows.y).float()
    for epoch in (1, 2, 3):
        order = torch.randperm(80, generator=torch.Generator().manual_seed(epoch_seed(3, epoch)))
        for batch in order.split(16):
            sgd.zero_grad()
            functional.binary_cross_entropy_with_logits(plain(X[batch]), y[batch]).backward()
            sgd.step()
    for ours, theirs in zip(trained.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        loss = functional.binary_cross_entropy_with_logits(plain(X[80:100]), y[80:100])
    assert trained.history[-1].loss == pytest.approx(float(loss), abs=1e-4)


@pytest.mark.parametrize(("task", "columns"), [("binary", 1), ("multiclass", 4), ("multilabel", 4)])
def test_a_planted_square_is_found(task, columns):
    films, rows = planted(400, task=task, columns=columns)
    if task == "multilabel":
        rows.y[::7, 1] = np.nan
    job = NetworkJob(TINY, PixelRecipe(side=16), replace(LAST, epochs=12, select="best"))
    trained = fit(job, films, tensors_of(rows), member=member(400))
    test = np.arange(380, 400)
    prob, logit = predict(trained.network, films, test, job=job, task=task)
    assert prob.shape == logit.shape == (20, columns)
    there = ~np.isnan(rows.y[test])
    assert ((prob >= 0.5)[there] == rows.y[test][there]).mean() > 0.9
    if task == "multiclass":
        np.testing.assert_allclose(prob.sum(axis=1), 1)
    losses = [row.loss for row in trained.history if row.phase == "val"]
    assert trained.epoch == int(np.argmin(losses)) + 1


def test_of_eleven_outputs_the_first_two_tell_a_binary_task():
    films, rows = planted()
    spec = replace(TINY, binary_outputs=11)
    job = NetworkJob(spec, PixelRecipe(side=16), replace(LAST, epochs=1))
    trained = fit(job, films, tensors_of(rows), member=member())
    prob, logit = predict(trained.network, films, np.arange(5), job=job, task="binary")
    with torch.no_grad():
        logits = trained.network(torch.from_numpy(films.ready[:5] / 255).float().unsqueeze(1))
    p = torch.softmax(logits, dim=1).numpy()
    assert p.shape == (5, 11)
    np.testing.assert_allclose(prob[:, 0], p[:, 1] / (p[:, 0] + p[:, 1]), atol=1e-6)
    np.testing.assert_allclose(np.log(prob / (1 - prob)), logit, atol=1e-6)


def test_weighted_loss_leaves_missing_labels_out():
    rows = Rows({}, {}, np.array([[1, 0], [0, np.nan], [0, 1], [0, 1.0]]), "multilabel", np.array(list("abcd")))
    targets = tensors_of(rows)
    logits, weights = torch.randn(4, 2), torch.tensor([[0.5, 2.0], [1.5, 0.75]])
    total, weighed = 0.0, 0.0
    for row in range(4):
        for label in range(2):
            if np.isnan(rows.y[row, label]):
                continue
            value = int(rows.y[row, label])
            chance = torch.sigmoid(logits[row, label]).item()
            total += float(weights[label, value]) * -np.log(chance if value else 1 - chance)
            weighed += float(weights[label, value])
    found = mean_loss(logits, targets, torch.arange(4), weights=weights)
    assert float(found) == pytest.approx(total / weighed, rel=1e-5)


def test_frozen_layers_stay_with_their_statistics_and_the_second_stage_moves_all():
    films, rows = planted()
    recipe = PixelRecipe(side=16, stages=(Stage(2, 0.005, frozen=0.5),))
    before = new_network(TINY, 16, 1, seed=3)
    frozen = freeze(before, 0.5)
    assert len(frozen) == 3 == len(list(layers_of(before))) // 2  # conv, norm, conv of conv norm conv norm dense dense
    trained = fit(NetworkJob(TINY, recipe, LAST), films, tensors_of(rows), member=member()).network
    moved_names = {
        name for name, value in before.state_dict().items() if not torch.equal(value, trained.state_dict()[name])
    }
    assert not any(name.startswith(("0.", "1.", "5.")) for name in moved_names)  # the running mean of norm 1 too
    assert {"6.weight", "6.running_mean", "11.0.weight"} <= moved_names
    both = replace(recipe, stages=(*recipe.stages, Stage(1, 0.005)))
    after = fit(NetworkJob(TINY, both, LAST), films, tensors_of(rows), member=member()).network.state_dict()
    assert not torch.equal(after["0.weight"], before.state_dict()["0.weight"])


def test_a_network_that_diverges_later_keeps_its_best_epoch(monkeypatch):
    """From the third epoch on its weights are no numbers."""
    films, rows = planted()
    options = replace(LAST, epochs=6, select="best", patience=None)
    close = Training.close_epoch

    def broken(self, epoch):
        if epoch == 3:
            with torch.no_grad():
                next(self.network.parameters()).fill_(torch.nan)
        close(self, epoch)

    monkeypatch.setattr(Training, "close_epoch", broken)
    trained = fit(NetworkJob(TINY, PixelRecipe(side=16), options), films, tensors_of(rows), member=member())
    losses = [one.loss for one in trained.history if one.phase == "val"]
    assert (trained.diverged, len(losses)) == (3, 2)
    assert trained.epoch == int(np.argmin(losses)) + 1
    assert all(torch.isfinite(tensor).all() for tensor in trained.network.state_dict().values())


def test_what_cannot_be_is_refused():
    films, rows = planted()
    with pytest.raises(TrainError, match="must not be chosen on test rows"):
        fit(NetworkJob(TINY, PixelRecipe(side=16), Options()), films, tensors_of(rows), member=member(name="test"))
    wild = replace(LAST, learning_rate=1e30, optimiser="sgd")
    with pytest.raises(TrainError, match="no number after epoch 1") as caught:
        fit(
            NetworkJob(NETWORKS["medmnist-dense"], PixelRecipe(side=16), wild), films, tensors_of(rows), member=member()
        )
    assert "--learning-rate" in caught.value.hint
    with pytest.raises(TrainError, match="no network called 'vgg'"):
        find_network("vgg")
    with pytest.raises(TrainError, match="trains a head on stored vectors"):
        plan_of(find_preset("default"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("auto", 0.1)])
def test_a_gpu_gives_what_the_cpu_gives(precision: str, tolerance: float):
    """Augmented by the same chance; without dropout, whose chance each device draws for itself.

    By SGD: the first steps of Adam are of one size however small a gradient is, and make 0.006 of rounding.
    """
    films, rows = planted()
    spec = replace(TINY, block_dropout=(0.0, 0.0), dropout=0.0)
    recipe = PixelRecipe(side=16, augment=Augment(10, 0.1, 0.2))
    slow = replace(LAST, epochs=1, optimiser="sgd", momentum=0.9)
    found = []
    for device in ("cpu", "cuda"):
        job = NetworkJob(spec, recipe, replace(slow, precision=precision), device=device)
        network = fit(job, films, tensors_of(rows), member=member()).network
        found.append(predict(network, films, np.arange(9), job=job, task="binary").prob)
    np.testing.assert_allclose(*found, rtol=0, atol=tolerance)


# From a data set to a run


def shapes(folder: Path, n: int = 60) -> Collection:
    """Films of 20 pixels, brighter on the right if positive; one is damaged, one is not here, one has no label."""
    studies, images = [], []
    for number in range(n):
        study, positive = f"s{number}", number % 2
        labels = {} if number == 3 else {"bright": {"right": float(positive)}}
        studies.append(Study(study, f"p{number}", {}, {}, labels))
        path = save_film(folder / f"{number}.png", number)
        film = np.random.default_rng(number).integers(0, 150, (20, 20), dtype=np.uint8)
        film[:, 10:] += np.uint8(100 * positive)
        PilImage.fromarray(film).save(path)
        if number == 4:
            path.write_bytes(path.read_bytes()[:60])
        images.append(Image(study, study, f"p{number}", "PA", None if number == 5 else path))
    about = [LabelSet("bright", "binary", "1 = the right half is brighter", ("right",))]
    return Collection("shapes", studies, images, "none", "made by the tests", {"images": str(folder)}, label_sets=about)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return add_collection(shapes(folder / "films"), folder / "root").dataset


PLAN = NetworkPlan(
    "medmnist-custom", "medmnist-custom/binary", replace(LAST, epochs=3), (0,), pixels=PixelRecipe(side=20)
)


def test_films_are_decoded_once_as_stored_and_what_cannot_be_is_counted_and_named(dataset, monkeypatch, tmp_path):
    features, films = load_films(dataset, Inputs("bright"), PLAN.pixels)
    assert features.left_out == {"no label": 1, "no film on this machine": 1, "no film that can be decoded": 1}
    assert (len(features.y), features.unit) == (57, "image")
    assert any("1 films cannot be decoded" in note and "4.png" in note for note in features.notes)
    assert len(open_pixels(dataset.paths.cache, Frame(20))) == 57
    paths = dict(zip(dataset.images["image_id"].to_pylist(), dataset.images["path"].to_pylist(), strict=True))
    order = np.array([40, 0, 7, 40])
    for row, film in zip(order, films.take(order), strict=True):
        np.testing.assert_array_equal(film, np.asarray(PilImage.open(paths[features.item_ids[row]])))
    tried: list[str] = []
    monkeypatch.setattr(
        "cxremb.images.decode_file",
        lambda path, frame, **more: tried.append(path.name) or decode_file(path, frame, **more),
    )
    again, _ = load_films(dataset, Inputs("bright"), PLAN.pixels)
    assert tried == ["4.png"]  # only the damaged one was tried again
    assert (again.item_ids.tolist(), again.digest) == (features.item_ids.tolist(), features.digest)
    hidden = Path(paths["s9"]).rename(tmp_path / "9.png")  # gone: that its pixels are kept makes no difference
    fewer, _ = load_films(dataset, Inputs("bright"), PLAN.pixels)
    hidden.rename(paths["s9"])
    assert sorted(set(features.item_ids.tolist()) - set(fewer.item_ids.tolist())) == ["s9"]
    assert any("9.png: cannot be read" in note for note in fewer.notes)
    monkeypatch.setattr(films_room, "IN_MEMORY", 0)
    _, from_disk = load_films(dataset, Inputs("bright"), PLAN.pixels)
    assert from_disk.ready is None
    np.testing.assert_array_equal(from_disk.take(order), films.take(order))


def test_no_film_at_all_is_an_error(tmp_path):
    gone = shapes(tmp_path / "films", 12)
    images = [replace(image, path=None) for image in gone.images]
    empty = add_collection(replace(gone, images=images), tmp_path / "root").dataset
    with pytest.raises(DataError, match="no labelled film can be read"):
        load_films(empty, Inputs("bright"), PLAN.pixels)


def test_a_network_gives_a_run_like_any_other(dataset):
    split = choose_split(dataset, "bright")
    plan = replace(PLAN, folds=(0, 1), seeds=(0, 1))
    opened = open_source(dataset, Inputs("bright"), plan)
    run, again = (fit_network(dataset, opened, split, plan=plan, device="cpu") for _ in range(2))
    assert (run.reused, again.reused, again.run_id) == (False, True, run.run_id)
    seen = TuningPatients(dataset.name, None, None, [run.predictions().of_part("test").patients[0]], [])
    merged = replace(opened, features=replace(opened.features, seen={"image": seen}))  # `data add` merged two patients
    with pytest.raises(TrainError, match="was fine-tuned on"):
        fit_network(dataset, merged, split, plan=plan, device="cpu")
    assert not list(dataset.paths.runs.glob(".training-*"))
    record = run.record
    assert (record.head, record.preset) == ("medmnist-custom", "medmnist-custom/binary")
    assert record.stores[0].startswith("pixels 20-squash-")
    assert record.spec["outputs"] == 1
    assert record.spec["pixels"]["side"] == 20
    assert record.left_out["no film that can be decoded"] == 1
    rows = run.prediction_rows.to_pylist()
    for row in rows:
        assert fold_parts(split.table, 0, row["fold"])[row["study_id"]] == row["part"] != "train"
    row_of = {item: number for number, item in enumerate(opened.features.item_ids.tolist())}
    loaded = load_networks(run)
    assert loaded.job.recipe == plan.pixels
    for name in loaded.networks:
        _, fold, seed = (int(part.lstrip("repatfolds")) for part in name.split("."))
        here = [row for row in rows if (row["fold"], row["seed"]) == (fold, seed)]
        shown = opened.films.take(np.array([row_of[row["item_id"]] for row in here]))
        prob, logit = loaded.predict(list(shown), name)
        np.testing.assert_allclose(prob[:, 0], [row["y_prob"] for row in here], atol=1e-6)
        np.testing.assert_allclose(logit[:, 0], [row["y_logit"] for row in here], atol=1e-4)
    each = [loaded.predict(list(shown), name)[0] for name in loaded.networks]
    np.testing.assert_allclose(loaded.predict(list(shown))[0], np.mean(each, axis=0))
    with pytest.raises(TrainError, match="no model 'fold9'"):
        loaded.predict(list(shown), "fold9")
    with (run.folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(StoreError, match=r"not the file that run\.json names"):
        load_networks(run)
    assert {row["phase"] for row in run.history.to_pylist()} == {"train", "val"}
    tests = [row for row in rows if row["part"] == "test" and row["seed"] == 0]
    auroc = roc_auc_score([row["y_true"] for row in tests], [row["y_prob"] for row in tests])
    assert run.metric("auroc", part="test.repeat0.seed0")[0] == pytest.approx(auroc)


def test_any_change_trains_anew_and_a_stopped_run_goes_on(dataset):
    split = choose_split(dataset, "bright")
    opened = open_source(dataset, Inputs("bright"), PLAN)
    before = {run.run_id for run in list_runs(dataset)}
    with pytest.raises(Pulled):
        fit_network(dataset, opened, split, plan=PLAN, progress=pulled_after(4), device="cpu")
    assert {run.run_id for run in list_runs(dataset)} == before
    (stopped,) = dataset.paths.runs.glob(".training-*")
    assert sorted(path.name for path in stopped.iterdir()) == [".lock", "repeat0.fold0.seed0.safetensors"]
    batches = []

    def counted(items, total, what):
        for item in items:
            batches.append(total)
            yield item

    run = fit_network(dataset, opened, split, plan=PLAN, progress=counted, device="cpu")
    assert 0 < len(batches) == batches[0] < 3 * -(-run.record.rows * 7 // 10 // 16)  # less than three epochs
    assert find_run(dataset, run.record.key).run_id == run.run_id
    turned = replace(PLAN, pixels=replace(PLAN.pixels, augment=Augment(rotation=5)))
    for changed in (turned, replace(PLAN, seeds=(5,)), replace(PLAN, options=replace(PLAN.options, batch_size=8))):
        assert not fit_network(dataset, opened, split, plan=changed, device="cpu").reused


def test_a_task_that_the_preset_is_not_for_is_refused(dataset):
    plan = replace(PLAN, arm="medmnist-custom-deep", preset="medmnist-custom/multi-class")
    opened = open_source(dataset, Inputs("bright"), plan)
    with pytest.raises(TrainError, match="is for multiclass and multilabel labels; bright is binary"):
        fit_network(dataset, opened, choose_split(dataset, "bright"), plan=plan, device="cpu")


def test_a_base_without_weights_is_told_loudly(dataset):
    plan = replace(PLAN, arm="efficientnet_b0", preset="default", pixels=PixelRecipe(side=32))
    opened = open_source(dataset, Inputs("bright"), plan, pretrained=False)
    assert any(note.startswith(RANDOM) for note in opened.features.notes)


# Real films


@pytest.fixture(scope="module")
def pneumonia(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pneumonia")
    file = real_data / "medmnist" / "pneumoniamnist.npz"
    return add_collection(read(file, folder / "unpacked"), folder / "root").dataset


def test_real_films_are_those_of_the_file(pneumonia, real_data):
    features, films = load_films(pneumonia, Inputs("class"), PixelRecipe(side=28))
    with np.load(real_data / "medmnist" / "pneumoniamnist.npz") as arrays:
        for part in ("train", "val", "test"):
            rows = [row for row, item in enumerate(features.item_ids.tolist()) if item.startswith(f"{part}_")]
            index = [int(features.item_ids[row].split("_")[1]) for row in rows]
            np.testing.assert_array_equal(films.take(np.array(rows)), arrays[f"{part}_images"][index])
            np.testing.assert_array_equal(features.y[rows], arrays[f"{part}_labels"][index])


def test_a_short_training_tells_real_pneumonia(pneumonia):
    plan = plan_of(find_preset("medmnist-custom", "binary"), epochs=3)
    plan = replace(plan, pixels=replace(plan.pixels, augment=Augment()))
    opened = open_source(pneumonia, Inputs("class"), plan)
    run = fit_network(pneumonia, opened, choose_split(pneumonia, "class", "official"), plan=plan, device="cpu")
    value, low, high = run.metric("auroc")
    assert value > 0.9
    assert low < value < high
    tests = [row for row in run.prediction_rows.to_pylist() if row["part"] == "test"]
    assert len(tests) == 624
