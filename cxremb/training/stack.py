"""Members that are trained as one batched model: an epoch of them all, and of each what is kept and when it stops."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite

from torch import Tensor

from cxremb.training.data import Epoch, Member
from cxremb.training.deal import Deal, deal, shuffled
from cxremb.training.inputs import Inputs
from cxremb.training.learner import Learner, Work, initial, logits_of, new_learner
from cxremb.training.losses import figures, summed_loss
from cxremb.training.modules import forward
from cxremb.training.options import Options
from cxremb.training.schedule import next_step
from cxremb.training.update import Moving


class Stack:
    """Some members, and where each stands. Those that have not stopped are `running`, the one with most rows first."""

    def __init__(self, work: Work, members: Sequence[Member]) -> None:
        self.work = work
        self.learners = [new_learner(work, member, number) for number, member in enumerate(members)]
        self.running = sorted(self.learners, key=lambda learner: -len(learner.train))
        self.moving = Moving([initial(work, learner.member.seed) for learner in self.running], work.dtype)
        self.inputs = Inputs(work.table, [learner.scaling for learner in self.learners], work.dtype)

    def run_epoch(self, epoch: int) -> None:
        """One pass of every running member over its rows in a new order, then its figures."""
        if not self.running:
            return
        orders = [shuffled(learner) for learner in self.running]
        size = self.work.options.batch_size
        for start in range(0, len(orders[0]), size):  # some run out of rows before others: the first ones go on
            self.step([rows for order in orders if len(rows := order[start : start + size])])
        for number, learner in enumerate(self.running):
            self.watch(learner, self.moving.of(number), epoch)
        going = [number for number, learner in enumerate(self.running) if not learner.stopped]
        if len(going) < len(self.running):
            self.running = [self.running[number] for number in going]
            self.moving.narrow(going)

    def step(self, rows: Sequence[Tensor]) -> None:
        """One batch of each of the first learners, all in one product, and one step of each one's optimiser."""
        active, options = self.running[: len(rows)], self.work.options
        dealt, numbers = deal(self.work, active, rows), [learner.number for learner in active]
        self.moving.turn(len(rows), lambda weights: self.loss(numbers, dealt, weights))
        self.moving.step(len(rows), options.learning_rate, options.weight_decay)

    def loss(self, numbers: Sequence[int], dealt: Deal, weights: Mapping[str, Tensor]) -> Tensor:
        """The losses of these members, summed: the gradient of each is its own."""
        batch = self.inputs.gather(numbers, dealt.rows)
        if dealt.lost:
            batch = batch.without(dealt.lost)
        logits = forward(self.work.head, weights, batch, dealt.drop())
        return summed_loss(logits.float(), self.work.targets, dealt.rows, dealt.weights)

    def watch(self, learner: Learner, weights: Mapping[str, Tensor], epoch: int) -> None:
        """Figures of both parts with the weights of the end of the epoch, and what becomes of the member."""
        work, rounded = self.work, {name: value.to(self.work.dtype) for name, value in weights.items()}
        told = []
        for phase, rows in (("train", learner.seen), (learner.member.watched_name, learner.watched)):
            logits = logits_of(work.head, rounded, rows, partial(self.inputs.gather, [learner.number]))
            told.append(figures(logits, work.targets, rows, epoch, phase))
        judge(work.options, learner, told, weights)


def judge(options: Options, learner: Learner, told: Sequence[Epoch], weights: Mapping[str, Tensor]) -> None:
    """What to keep and when to stop, by the figures of an epoch: of training rows, then of watched ones."""
    epoch, loss = told[-1].epoch, told[-1].loss
    if not all(isfinite(one.loss) for one in told):
        learner.diverged, learner.stopped = epoch, True
        return
    learner.history += told
    if loss < learner.lowest or options.select == "last":
        learner.keep(weights, epoch)
    learner.lowest = min(loss, learner.lowest)
    learner.stopped = next_step([one.loss for one in learner.history[1::2]], options) is None
