"""Training on the device: heads against the reference loop and the CPU, a network from pixels, fine-tuning, align."""

import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gpu_steps import package
from gpu_steps.package import HEADS, Member, Rows, Trained
from gpu_steps.setting import Check, Findings, Setting, rounded

DIMS = {"image": 1280, "text": 768}
ARMS = {"fusion": 2, "image": 1, "text": 4}  # shapes of the usual table of seven arms: how many of it have each
CLOSE = 0.01  # figures of two devices: losses, and shares of rows
EPOCHS = 40  # of a fit of the reference


def rows_of(setting: Setting) -> Rows:
    """Random vectors in which the label shifts some columns: the image alone is worth an AUROC of .76, the text .98."""
    random, n = np.random.default_rng(0), setting.sizes.head_rows * 11 // 10
    y = random.integers(0, 2, (n, 1)).astype(np.float64)
    blocks = {}
    for name, distance in (("image", 1.0), ("text", 3.0)):
        direction = random.normal(size=DIMS[name])
        shifted = random.normal(size=(n, DIMS[name])) + y * distance * direction / np.linalg.norm(direction)
        blocks[name] = shifted.astype(np.float32)
    return Rows(blocks, {name: np.ones(n, bool) for name in blocks}, y, "binary", np.arange(n).astype(np.str_))


def members_of(rows: Rows, count: int) -> list[Member]:
    """Members that learn from the same rows with seeds of their own."""
    index = np.arange(len(rows.y))
    train = len(index) * 10 // 11
    return [Member(index[:train], index[train:], seed) for seed in range(count)]


def heads(setting: Setting) -> Findings:
    """One fusion fit: figures equal to the CPU's, and its time beside the published loop's on the same device."""
    rows, sizes, device = rows_of(setting), setting.sizes, setting.device
    one = members_of(rows, 1)
    options = package.head_options(min(10, sizes.head_epochs), "fp32", whole=True)
    quiet = {
        where: package.fit_heads(rows, one, "fusion", options, where, by_chance=False)[0] for where in ("cpu", device)
    }
    yield "without chance", {where: figures(fit) for where, fit in quiet.items()}
    yield Check(
        "fp32, without chance: largest difference of a figure from the CPU's",
        -apart(quiet["cpu"], quiet[device]),
        -CLOSE,
    )
    options = package.head_options(sizes.head_epochs, "auto", whole=False)
    chance = {where: package.fit_heads(rows, one, "fusion", options, where)[0] for where in ("cpu", device)}
    yield "as by default", {where: figures(fit) for where, fit in chance.items()}
    yield Check("as by default: difference of the accuracy from the CPU's", -abs(
        best(chance["cpu"]).accuracy - best(chance[device]).accuracy), -2 * CLOSE)  # chance is drawn anew  # fmt: skip
    for precision in ("fp32", "auto"):
        options = package.head_options(sizes.head_epochs, precision, whole=True)
        seconds = setting.seconds(lambda options=options: package.fit_heads(rows, one, "fusion", options, device), 0.1)
        yield f"a fit of {sizes.head_epochs} epochs, {precision}", {"seconds": rounded(seconds)}
    epoch = reference(setting, rows, "fusion")
    yield "reference", {"seconds_per_epoch": rounded(epoch), "seconds": rounded(epoch * sizes.head_epochs)}
    yield "times as fast as the reference", rounded(epoch * sizes.head_epochs / seconds)


def grid(setting: Setting) -> Findings:
    """25 models of each of seven arms, trained together, beside the published loop that fits them one by one."""
    rows, sizes = rows_of(setting), setting.sizes
    spent = {"whole": 0.0, "stopping": 0.0, "reference": 0.0}
    for head, arms in ARMS.items():
        members = members_of(rows, sizes.grid_members)
        package.fit_heads(rows, members[:2], head, package.head_options(1, "auto", whole=True), setting.device)  # warm
        for way in ("whole", "stopping"):
            options = package.head_options(sizes.head_epochs, "auto", whole=way == "whole")
            start = time.perf_counter()
            package.fit_heads(rows, members, head, options, setting.device)
            setting.wait()
            seconds = time.perf_counter() - start
            yield f"{head}, {len(members)} together, {way}", rounded(seconds)
            spent[way] += seconds * arms
        epoch = reference(setting, rows, head)
        yield f"{head}, an epoch of the reference", rounded(epoch)
        spent["reference"] += epoch * sizes.head_epochs * sizes.grid_members * arms
    found = {way: rounded(seconds) for way, seconds in spent.items()}
    yield f"{sizes.grid_members * sum(ARMS.values())} fits, seconds", found  # arms of one shape take as long
    yield (
        "times as fast as the reference",
        {way: rounded(spent["reference"] / spent[way]) for way in ("whole", "stopping")},
    )


def figures(fit: Trained) -> dict[str, Any]:
    """The last figures of both parts, and which epoch was kept."""
    return {"epoch": fit.epoch, **{one.phase: {"loss": rounded(one.loss), "accuracy": rounded(one.accuracy)}
                                   for one in fit.history[-2:]}}  # fmt: skip


def best(fit: Trained) -> Any:
    """The watched figures of the epoch that was kept."""
    return next(one for one in fit.history if one.epoch == fit.epoch and one.phase != "train")


def apart(one: Trained, other: Trained) -> float:
    """The largest difference between any two figures of the same epoch and part."""
    pairs = zip(one.history, other.history, strict=True)
    return max(abs(getattr(a, name) - getattr(b, name)) for a, b in pairs for name in ("loss", "accuracy"))


def reference(setting: Setting, rows: Rows, head: str) -> float:
    """Seconds per epoch of the published loop: a DataLoader with batches of 8, each loss and count fetched at once."""
    device, blocks = setting.device, HEADS[head].blocks
    X = torch.from_numpy(np.hstack([rows.blocks[name] for name in blocks]))
    y = torch.from_numpy(rows.y[:, 0].astype(np.int64))
    model = nn.Sequential(nn.Linear(X.shape[1], 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 2)).to(device)
    optimiser, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    train = len(X) * 10 // 11
    part = train if setting.quick else train // 3
    start = time.perf_counter()
    for learning, some in ((True, slice(0, part)), (False, slice(train, train + (len(X) - train) * part // train))):
        model.train(learning)
        with torch.set_grad_enabled(learning):
            for inputs, labels in DataLoader(TensorDataset(X[some], y[some]), batch_size=8, shuffle=learning):
                outputs = model(inputs.to(device))
                loss = criterion(outputs, labels.to(device))
                if learning:
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                loss.item(), (outputs.argmax(dim=1).cpu() == labels).sum().item()
    return (time.perf_counter() - start) * train / part


def network(setting: Setting) -> Findings:
    """One epoch of a network from pixels by the command, in mixed precision where the device has it."""
    preset, name, side = ("medmnist-dense",) * 2 + (28,) if setting.quick else ("custom-cnn", "custom-cnn", 128)
    run = package.command(
        setting, "train", "--preset", preset, "--epochs", "1", "--label-set", package.LABELS, "--dataset", "films",
        "--device", setting.device,
    )  # fmt: skip
    yield epoch_of(setting, package.network_flops(name, side), package.train_rows(setting), run["seconds"])


def epoch_of(setting: Setting, flops: int, films: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """What a training of one epoch came to, with its evaluation; a step costs three forward passes."""
    share = setting.share(3 * flops * films / seconds, "bf16_operations")
    return "epoch", {"films": films, "seconds": seconds, "a_second": rounded(films / seconds), "of_products": share}


def finetune(setting: Setting) -> Findings:
    """One epoch of fine-tuning the encoder of films by the command, from a store that a command made too."""
    start = time.perf_counter()
    model = package.ready_store(setting, "image")
    yield "the store it starts from", {"seconds": rounded(time.perf_counter() - start)}
    done = package.command(
        setting, "refresh", "--finetune", "--model", model, "--epochs", "1", "--label-set", package.LABELS,
        "--dataset", "films", "--device", setting.device, "--workers", str(package.CORES),
    )  # fmt: skip
    record = package.tuned_record(setting, "films")
    flops = package.forward_flops(
        package.bare_film_network(setting),
        torch.zeros(1, *[package.film_side(setting)] * 2, dtype=torch.uint8, device=setting.device),
    )
    yield epoch_of(setting, flops, record["rows"]["train"], record["seconds"])
    yield "embedding again", {"contents": done["encoded"], "seconds": done["seconds"]}
    yield Check("the loss on val is a number", bool(np.isfinite(record["history"][-1]["loss"])))


def align(setting: Setting) -> Findings:
    """Films and reports into one space by the command; it computes on the CPU, whatever else there is."""
    stores = {modality: package.ready_store(setting, modality) for modality in ("image", "text")}
    start = time.perf_counter()
    done = package.command(
        setting, "align", "--label-set", package.LABELS, "--dataset", "films", "--epochs", "5", "--text", "findings",
        "--image-model", stores["image"], "--text-model", stores["text"],
    )  # fmt: skip
    yield "align", {"seconds": rounded(time.perf_counter() - start), "pairs": done["pairs"], "epoch": done["epoch"]}
