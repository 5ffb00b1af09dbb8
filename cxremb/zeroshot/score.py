"""Films scored by their cosines to prompts: an arm as any other, with the same rows, folds and predictions.

Of yes or no, the mean cosine to the prompts of who has the label, less that to those of who has it not (as CheXzero
compares a pair, Tiu et al. 2022); of classes that exclude each other, the mean cosine to those of each.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.calibrate import probabilities
from cxremb.features import Flags
from cxremb.predictions import joined
from cxremb.store.reader import open_store
from cxremb.store.stored_rows import READ_TOGETHER, Block
from cxremb.training.data import Trained
from cxremb.training.finish import FitResult, finish_run, key_of, predictions_of_model
from cxremb.training.parts import judged_rows, parts_of_plan
from cxremb.training.plan import FitJob
from cxremb.training.record import ZERO_SHOT
from cxremb.training.runs import Run, find_run
from cxremb.zeroshot.asked import ask
from cxremb.zeroshot.prompts import Prompt

RANKING = (
    "zero-shot scores rank films and are no probabilities: thresholds come from validation rows, by "
    "`cxremb ablate --threshold val` or `cxremb evaluate RUN`"
)


def zero_shot_job(job: FitJob, prompts: Sequence[Prompt], name: str) -> FitJob:
    """The job, to be answered by prompts. What is asked enters the key, sentence by sentence."""
    asked = [[one.label, int(one.positive), one.text, one.template] for one in prompts]
    other = {ZERO_SHOT: name, "score": "mean cosine, class 1 less class 0", "asked": asked}
    return replace(job, other=other, reads=("image",), caveats=(RANKING,))


def zero_shot_run(job: FitJob) -> Run:
    """The run of such a job: the finished one if there is one, else made now; its prompts are rows of SQL either way.

    Raises as `ask`, and `DataError` where a row has no film.
    """
    features, spec = job.features, job.spec
    started = time.perf_counter()
    prompts = [Prompt(label, bool(positive), template, text) for label, positive, text, template in spec["asked"]]
    store = open_store(job.dataset, features.stores["image"].partition(" ")[0])
    vectors = ask(job.dataset, store, prompts, name=str(spec[ZERO_SHOT]), label_set=features.label_set)
    if done := find_run(job.dataset, key_of(job)):
        return replace(done, reused=True)
    films, there = features.blocks["image"], features.present["image"]
    scores = scores_of(films, there, features.labels, prompts=prompts, vectors=vectors.astype(np.float64))
    prob = probabilities(scores, features.task)
    parts = parts_of_plan(features, job.split, job.plan, blocks=job.blocks)
    found = []
    for place in job.plan.places:
        own = parts[place.repeat, place.fold]
        rows = judged_rows(own)
        found.append(predictions_of_model(job, place, own, prob=prob[rows], logit=scores[rows]))
    seconds = time.perf_counter() - started
    nothing = {place: Trained({}, 0, ()) for place in job.plan.places}
    return finish_run(job, FitResult(nothing, joined(found), parts, parameters=0, seconds=seconds))


def scores_of(films: Block, there: Flags, labels: Sequence[str], *, prompts: Sequence[Prompt], vectors: Reals) -> Reals:
    """(n, k) the score of each row for each label. Of a study, the mean over its films.

    films: (n, dim), or (n, views, dim) with `there` (n, views). vectors: (prompts, dim). Raises `DataError` where a row
    has no film.
    """
    there = there.reshape(len(there), -1)
    if not there.any(axis=1).all():
        raise DataError("zero-shot reads films, and a row has none", hint="leave rows without a film out")
    cosines, directions = np.empty((len(films), len(vectors))), unit(vectors).T
    for start in range(0, len(films), READ_TOGETHER):
        part = slice(start, start + READ_TOGETHER)
        own = np.asarray(films[part], dtype=np.float64).reshape(*there[part].shape, -1)
        own = unit(own) @ directions  # (rows, views, prompts); 0 where there is no film
        cosines[part] = own.sum(axis=1) / there[part].sum(axis=1)[:, None]
    return np.column_stack([score_of(label, prompts, cosines) for label in labels])


def score_of(label: str, prompts: Sequence[Prompt], cosines: Reals) -> Reals:
    """(n,) of one label. cosines: (n, prompts)."""
    has, has_not = (
        [at for at, one in enumerate(prompts) if one.label == label and one.positive is side] for side in (True, False)
    )
    return np.asarray(cosines[:, has].mean(axis=1) - (cosines[:, has_not].mean(axis=1) if has_not else 0.0))


def unit(vectors: Reals) -> Reals:
    """Each divided by its length; one of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))
