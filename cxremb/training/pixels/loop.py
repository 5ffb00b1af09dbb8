"""The loop of a network from pixels: films in, a trained network and its history out, from where it was stopped."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cxremb.encoders.device import overlaps, upload
from cxremb.errors import TrainError
from cxremb.training.data import Epoch, Member
from cxremb.training.inputs import RowTensors
from cxremb.training.losses import balanced_weights, cell_losses, figures, labelled, part_sums
from cxremb.training.pixels.films import Films, augmented, scaled
from cxremb.training.pixels.networks import freeze, new_network
from cxremb.training.pixels.predict import NetworkJob, computing, counted, logits_of, mixed
from cxremb.training.schedule import Step, next_step, stages_of
from cxremb.training.stopped import Checkpoint, read_checkpoint, write_checkpoint
from cxremb.types import Progress, unwatched

GLANCE = 2048  # training rows that are measured after each epoch: drawn once, so that the curve is one curve


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights of the epoch that was kept, and every epoch's figures on both parts."""

    network: nn.Module  # in evaluation mode
    epoch: int  # 0: the start
    history: list[Epoch]  # from epoch 0 on where the start is measured
    seconds: float  # spent on it, also before it was stopped and gone on with
    diverged: int | None = None  # the epoch whose loss was no number, and which was its last


class Training:
    """A training under way. What it is after an epoch follows from job, member, epoch and the weights before."""

    def __init__(self, job: NetworkJob, films: Films, targets: RowTensors, *, member: Member) -> None:
        self.job, self.films, self.targets, self.member = job, films, targets, member
        self.train = labelled(targets, member, "train")
        self.watched = labelled(targets, member, member.watched_name)
        drawn = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(member.seed))
        self.glance = self.train[drawn[:GLANCE]]
        # where losses are computed: CUDA has the labels too, for what is computed here it would wait at every step
        self.place = job.device if overlaps(job.device) else "cpu"
        self.there = replace(targets, classes=targets.classes.to(self.place), known=targets.known.to(self.place))
        self.weights = balanced_weights(targets, self.train).to(self.place) if job.options.class_weights else None
        outputs = job.spec.outputs(targets.task, targets.labels)
        build = job.build or (
            lambda outputs, seed: new_network(job.spec, job.recipe.side, outputs, seed=seed, start=job.start)
        )
        network = build(outputs, member.seed)
        self.network = network.to(job.device).to(memory_format=torch.channels_last)
        self.frozen: list[nn.Module] = []
        self.history: list[Epoch] = []
        self.kept: Mapping[str, Tensor] = snapshot(self.network)
        self.lowest = float("inf")
        self.chosen: int | None = None
        self.diverged: int | None = None
        self.before, self.started = 0.0, time.perf_counter()
        self.optimiser = self.new_optimiser(job.options.learning_rate)
        self.resume()
        if job.starts_trained and not self.history:
            self.close_epoch(0)

    @property
    def losses(self) -> list[float]:
        """The watched loss of each epoch so far; not that of the start, which is no epoch of the schedule."""
        return [row.loss for row in self.history[1::2] if row.epoch]

    @property
    def seconds(self) -> float:
        """Spent so far, as far as the checkpoint knows."""
        return self.before + time.perf_counter() - self.started

    @property
    def steps_left(self) -> int:
        """Batches still to come, if no stage stops early."""
        epochs = sum(stage.epochs for stage in stages_of(self.job.options, self.job.recipe))
        return max(0, epochs - len(self.losses)) * ceil(len(self.train) / self.job.options.batch_size)

    def describe(self) -> str:
        """How it stands, in words."""
        loss = f", {self.member.watched_name} loss {self.losses[-1]:.4f}" if self.losses else ""
        return f"epoch {len(self.losses)} done{loss}"

    def steps(self) -> Iterator[None]:
        """Train to the end, or until the loss is no number, one batch a time."""
        while (step := next_step(self.losses, self.job.options, self.job.recipe)) is not None and not self.diverged:
            self.enter(step)
            yield from self.run_epoch(len(self.losses) + 1)
            self.close_epoch(len(self.losses) + 1)

    def enter(self, step: Step) -> None:
        """Make ready for an epoch: the layers that may learn, the optimiser, its rate."""
        if step.first:
            if step.stage and self.job.options.select == "best":
                self.network.load_state_dict(self.kept)
            self.thaw(step.frozen)
            self.optimiser = self.new_optimiser(step.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = step.learning_rate

    def thaw(self, frozen: float) -> None:
        """Let all layers but the first share of the base learn."""
        self.frozen = freeze(self.network, frozen) if self.job.recipe.stages else []

    def new_optimiser(self, rate: float) -> torch.optim.Optimizer:
        """An optimiser of what may learn."""
        options = self.job.options
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if options.optimiser == "sgd":
            return torch.optim.SGD(learning, rate, options.momentum, weight_decay=options.weight_decay)
        kind = torch.optim.AdamW if options.optimiser == "adamw" else torch.optim.Adam
        return kind(learning, rate, weight_decay=options.weight_decay)

    def run_epoch(self, epoch: int) -> Iterator[None]:
        """One pass over the training rows in a new order."""
        chance = torch.Generator().manual_seed(epoch_seed(self.member.seed, epoch))
        order = self.train[torch.randperm(len(self.train), generator=chance)]
        size = self.job.options.batch_size
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            if len(rows) > 1 or size == 1:  # a row left over has no spread for a batch norm; it comes again next epoch
                self.learn(rows, chance)
            yield

    def learn(self, rows: Tensor, chance: torch.Generator) -> None:
        """One step of the optimiser."""
        device = self.job.device
        X = scaled(upload(self.films.take(rows.numpy()), device))
        X = augmented(X, self.job.recipe.augment, chance)
        self.network.train()
        for layer in self.frozen:
            layer.eval()
        self.optimiser.zero_grad()
        with seeded(int(torch.randint(2**31, (), generator=chance)), device), mixed(self.job):
            logits = self.network(X.contiguous(memory_format=torch.channels_last))
        here = upload(rows.numpy(), self.place)
        loss = mean_loss(logits.float().to(self.place), self.there, here, weights=self.weights)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def close_epoch(self, epoch: int) -> None:
        """Measure, keep the best, write the checkpoint. Raises `TrainError` if there is nothing to keep."""
        found = []
        for phase, rows in (("train", self.glance), (self.member.watched_name, self.watched)):
            logits = logits_of(self.network, self.films, rows.numpy(), job=self.job)
            sums = part_sums(counted(logits, self.targets.task), self.targets, rows)
            found.append(figures(sums.numpy(), epoch=epoch, phase=phase))
        loss = found[-1].loss
        if not all(np.isfinite(one.loss) for one in found):
            if self.chosen is None:
                raise TrainError(f"the loss is no number after epoch {epoch}", hint="lower --learning-rate")
            self.diverged = epoch
            return
        self.history += found
        if self.job.options.select == "last" or loss < self.lowest:
            self.kept, self.lowest, self.chosen = snapshot(self.network), loss, epoch
        if self.job.checkpoint:
            self.save(self.job.checkpoint)

    def save(self, path: Path) -> None:
        """The checkpoint of this moment."""
        memory = {
            number: {name: value for name, value in one.items() if isinstance(value, Tensor)}
            for number, one in self.optimiser.state_dict()["state"].items()
        }
        record = {
            "lowest": self.lowest,
            "chosen": self.chosen,
            "seconds": self.seconds,
            "history": [asdict(row) for row in self.history],
        }
        write_checkpoint(path, Checkpoint(self.network.state_dict(), self.kept, memory, record))

    def resume(self) -> None:
        """Take up where the checkpoint left off, if there is one. Raises `StoreError` if it is damaged."""
        found = read_checkpoint(self.job.checkpoint) if self.job.checkpoint else None
        if found is None:
            return
        self.network.load_state_dict(found.network)
        self.kept, self.lowest, self.chosen = found.kept, found.record["lowest"], found.record["chosen"]
        self.history, self.before = [Epoch(**row) for row in found.record["history"]], found.record["seconds"]
        step = next_step(self.losses, self.job.options, self.job.recipe)
        if step is not None and not step.first:
            self.thaw(step.frozen)
            self.optimiser = self.new_optimiser(step.learning_rate)
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": found.optimiser, "param_groups": groups})


def fit(
    job: NetworkJob, films: Films, targets: RowTensors, *, member: Member, progress: Progress = unwatched
) -> TrainedNetwork:
    """The trained network: on the member's training rows, its epoch chosen on the watched ones.

    Rows of `films` and `targets` are the same. Figures of both phases are those of the end of the epoch in evaluation
    mode, on the films as they are; those of `train` on at most 2,048 rows. With a checkpoint it goes on after the last
    whole epoch, to the same weights on one kind of device. Raises `TrainError` if no epoch has a loss that is a number,
    training rows are of one class, or an epoch would be chosen on test rows.
    """
    if member.watched_name == "test" and job.options.chooses_epoch:
        raise TrainError("an epoch must not be chosen on test rows", hint="use a preset that keeps the last epoch")
    with computing(job):
        training = Training(job, films, targets, member=member)
        for _ in progress(training.steps(), training.steps_left, training.describe):
            pass
    training.network.load_state_dict(training.kept)
    return TrainedNetwork(
        training.network.eval(), training.chosen or 0, training.history, training.seconds, training.diverged
    )


def mean_loss(logits: Tensor, targets: RowTensors, rows: Tensor, *, weights: Tensor | None) -> Tensor:
    """The mean over what is known of `rows`, weighted by class. weights: (cells, levels)."""
    counted = targets.known[rows].float()
    if weights is not None:
        counted = counted * weights[torch.arange(len(weights), device=weights.device), targets.classes[rows]]
    return (cell_losses(logits, targets.classes[rows], targets.task) * counted).sum() / counted.sum().clamp(
        min=torch.finfo(torch.float32).tiny
    )


def epoch_seed(seed: int, epoch: int) -> int:
    """What chance starts from in one epoch, so that it needs no record of the epochs before."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Dropout of the block inside follows from `seed`; torch's own random state is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield
