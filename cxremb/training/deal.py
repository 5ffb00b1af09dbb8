"""What one batch of K members is made of, order and chance included: dealt out before anything is computed from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cxremb.training.learner import Learner, Work
from cxremb.training.modules import Drop, unchanged


@dataclass(frozen=True)
class Deal:
    """B rows of each of K members. A member with fewer is filled up with row 0, which weighs nothing."""

    rows: Tensor  # (K, B)
    weights: Tensor  # (K, B, cells) of each label in the loss of its member: they add up to 1
    lost: Mapping[str, Tensor]  # modality -> (K, B), 1.0 where modality dropout takes it away; {}: nowhere
    kept: Sequence[Tensor]  # (K, units, B) for each time the head drops out: 0, or what a unit that is kept is times

    def drop(self) -> Drop:
        """What silences units: to be called as often as the head drops out."""
        kept = iter(self.kept)
        return (lambda hidden: hidden * next(kept).transpose(1, 2)) if self.kept else unchanged


def shuffled(learner: Learner) -> Tensor:
    """Its rows in a new order."""
    return learner.train[torch.randperm(len(learner.train), generator=learner.order).to(learner.train.device)]


def deal(work: Work, learners: Sequence[Learner], rows: Sequence[Tensor]) -> Deal:
    """A batch of these rows (b,) of each learner. All chance is drawn by each learner's own generator, for its own."""
    padded = pad_sequence(list(rows), batch_first=True)
    weights = torch.stack([learner.weights[some] for learner, some in zip(learners, padded, strict=True)])
    counts = [len(some) for some in rows]
    if min(counts) < max(counts):
        within = torch.arange(padded.shape[1]) < torch.tensor(counts).unsqueeze(1)
        weights = weights * within.to(weights.device).unsqueeze(-1)
    weights = weights / weights.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    lost = lost_blocks(work, learners, rows) if work.head.modality_dropout else {}
    return Deal(padded, weights, lost, [kept_units(work, learners, counts) for _ in range(work.head.drops)])


def kept_units(work: Work, learners: Sequence[Learner], counts: Sequence[int]) -> Tensor:
    """(K, units, B): dropout (Srivastava et al. 2014); what is kept is scaled up by what is not.

    Chance is drawn 64 bits at a time, 16 for a unit of a row: a fraction of the time of `uniform_`.
    """
    dropped, units = min(max(round(work.head.dropout * 2**16), 1), 2**16 - 1), work.head.hidden  # of 2**16
    below = dropped - 2**15  # of -32,768 to 32,767
    kept = torch.zeros(len(learners), units, max(counts), dtype=work.dtype, device=work.device)
    for one, learner, count in zip(kept, learners, counts, strict=True):
        bits = torch.empty(-(-units * count // 4), dtype=torch.int64, device=work.device)
        bits.random_(torch.iinfo(torch.int64).min, None, generator=learner.draws)
        drawn = bits.view(torch.int16)[: units * count].view(units, count)
        one[:, :count] = drawn.clamp_(below - 1, below).sub_(below - 1)  # 1 from `below` on; >= takes far longer
    return kept.div_(1 - dropped / 2**16)


def lost_blocks(work: Work, learners: Sequence[Learner], rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Modality -> (K, B), 1.0 where chance takes it from a row; a row never loses the only block it has."""
    names, share = work.head.blocks, work.head.modality_dropout
    lost: dict[str, list[Tensor]] = {name: [] for name in names}
    for learner, some in zip(learners, rows, strict=True):
        chance, which = torch.rand(2, len(some), generator=learner.draws, device=some.device)
        there = torch.stack([work.table.present[name][some].view(len(some), -1).amax(dim=1) for name in names])
        spare = (there.sum(dim=0) > 1) & (chance < share)
        for number, name in enumerate(names):
            lost[name].append((spare & ((which * len(names)).long() == number)).float())
    return {name: pad_sequence(masks, batch_first=True) for name, masks in lost.items()}
