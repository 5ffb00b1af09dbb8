"""What prompts say of the same rows as the models: nothing is trained, so it says what training elsewhere was worth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxremb.embedding.choose import no_prompts
from cxremb.errors import DataError, TrainError
from cxremb.evaluation.arrays import MULTILABEL, Reals
from cxremb.labels import Labels
from cxremb.predictions import Predictions
from cxremb.store.prompts import has_two_towers
from cxremb.store.reader import open_store
from cxremb.training.heads import find_head
from cxremb.transfer.figures import AUROC, MACRO, ZERO_SHOT, ExternalFigure, of_interval
from cxremb.transfer.gather import Together
from cxremb.transfer.models import Applied, Team
from cxremb.transfer.plan import TransferPlan
from cxremb.transfer.record import Task
from cxremb.zeroshot.asked import ask
from cxremb.zeroshot.prompts import JOINED, Prompt, prompts_of, read_prompts, with_shipped
from cxremb.zeroshot.score import scores_of


def asked_of(task: Task, together: Together, plan: TransferPlan) -> list[Prompt]:
    """The prompts for the concepts of a pair; none where nobody asks.

    Raises `DataError` as `prompts_of`, and `TrainError` where no film is read or no set of a file is named.
    """
    if not plan.zero_shot:
        if plan.prompts is not None:
            raise TrainError(f"nothing reads the prompts of {plan.prompts}", hint="name the set with --zero-shot")
        return []
    if find_head(plan.head).blocks != ("image",):
        raise TrainError(f"zero-shot reads films, head {plan.head} other things too", hint="choose --head image")
    own = read_prompts(plan.prompts) if plan.prompts is not None else []
    if own and not {row.prompts for row in own} & set(plan.zero_shot.split(JOINED)):
        raise TrainError(f"nothing reads the prompts of {plan.prompts}", hint=f"--zero-shot {own[0].prompts}")
    names = tuple(together.concepts[concept] for concept in task.concepts)
    labels = Labels(plan.vocabulary, MULTILABEL, "", names, (), np.empty((0, len(names))))
    return prompts_of(labels, plan.zero_shot, with_shipped(own))


def scores_of_rows(task: Task, together: Together, prompts: Sequence[Prompt], *, plan: TransferPlan) -> Reals:
    """(rows, concepts) of the tested rows that say anything of the concepts.

    Raises as `ask`, and
    `StoreError` for a store whose encoder reads no prompts, naming those that can be asked.
    """
    b = together.named(task.tested)
    store = open_store(b.dataset, b.features.stores["image"].partition(" ")[0])
    if not has_two_towers(store.manifest.recipe):
        raise no_prompts(b.dataset, f"{store.name}: its encoder reads no prompts")
    vectors = ask(b.dataset, store, prompts, name=plan.zero_shot, label_set=plan.vocabulary).astype(np.float64)
    known = ~np.isnan(together.y[task.rows][:, list(task.concepts)]).all(axis=1)
    rows = task.rows[known] - together.starts[task.tested]
    films, there = b.features.blocks["image"][rows], b.features.present["image"][rows]
    labels = [together.concepts[concept] for concept in task.concepts]
    return scores_of(films, there, labels, prompts=prompts, vectors=vectors)


def ranked_by(rows: Predictions, scores: Reals) -> Predictions:
    """The rows with scores in place of what a model says, for figures of the ranking alone.

    scores: (n, k), differences of cosines, from -2 to 2. They are moved to 0 to 1 along a line, so that the mean of a
    study's films ranks as the mean of their scores does, as in view `zero_shot` and in `ablate`.
    """
    return replace(rows, run=ZERO_SHOT, fold=np.zeros_like(rows.fold), prob=(scores + 2) / 4, logit=scores)


def zero_shot_figures(applied: Applied, team: Team, task: Task, *, scores: Reals) -> list[ExternalFigure]:
    """The AUROC of each concept, and of several the mean, of the very rows that the models of the pair judge."""
    rows = applied.said_by(team, 0, task.rows, concepts=task.concepts, part="test")
    if rows.y.shape != scores.shape:
        raise DataError(f"{scores.shape} scores of {rows.y.shape} rows", hint="report this: it is a fault of cxremb")
    said = applied.counted(ranked_by(rows, scores))
    sides = {label: said.of_label(label) for label in said.labels}
    sides |= {MACRO: said} if len(said.labels) > 1 else {}
    return [of_interval(label, ZERO_SHOT, side.interval((AUROC,))[AUROC]) for label, side in sides.items()]
