"""Runs whose predictions are given: no training, so a test knows every figure beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxremb.evaluation.reliability import logit
from cxremb.features import Features, Inputs, load_features
from cxremb.predictions import joined
from cxremb.splits import StoredSplit, choose_split
from cxremb.store.dataset import Dataset
from cxremb.training.data import Trained
from cxremb.training.finish import FitResult, finish_run, predictions_of_model
from cxremb.training.parts import judged_rows, parts_of_plan
from cxremb.training.plan import FitJob, Plan
from cxremb.training.runs import Run


@dataclass(frozen=True)
class Desk:
    """What runs are made for."""

    dataset: Dataset
    features: Features
    split: StoredSplit


def desk(dataset: Dataset, label_set: str = "normal_abnormal", modalities: Sequence[str] = ("text",)) -> Desk:
    """One row per study, or per image where images are among the modalities."""
    features = load_features(dataset, modalities, Inputs(label_set))
    return Desk(dataset, features, choose_split(dataset, label_set))


def made_run(at: Desk, prob: np.ndarray, name: str, **place: tuple[int, ...]) -> Run:
    """A run that says `prob` (n, k) of the rows, the same in every fold. place: folds, repeats, seeds."""
    plan = Plan("text", **place)
    job = FitJob(at.dataset, at.features, at.split, plan, other={"made": name}, reads=("text",))
    parts = parts_of_plan(at.features, at.split, plan, blocks=())
    prob = np.asarray(prob, dtype=np.float64).reshape(len(at.features.y), -1)
    found = []
    for one in plan.places:
        own = parts[one.repeat, one.fold]
        said = prob[judged_rows(own)]
        logits = np.log(np.clip(said, 1e-12, None)) if at.features.task == "multiclass" else logit(said)
        found.append(predictions_of_model(job, one, own, prob=said, logit=logits))
    nothing = {one: Trained({}, 0, ()) for one in plan.places}
    return finish_run(job, FitResult(nothing, joined(found), parts, parameters=0, seconds=0.0))


def noisy(y: np.ndarray, distance: float, seed: int) -> np.ndarray:
    """Probabilities whose logits have the classes `distance` standard deviations apart."""
    logits = distance * (y - 0.5) + np.random.default_rng(seed).standard_normal(y.shape)
    return 1 / (1 + np.exp(-distance * logits))
