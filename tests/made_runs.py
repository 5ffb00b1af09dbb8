"""Runs whose predictions are given: no training, so a test knows every figure beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxremb.evaluation.reliability import logit
from cxremb.features import Features, Inputs, load_features
from cxremb.splits import StoredSplit, choose_split
from cxremb.store.dataset import Dataset
from cxremb.training.finish import Made, finish_run
from cxremb.training.parts import parts_of_plan
from cxremb.training.plan import Plan
from cxremb.training.runs import Run
from cxremb.training.tables import Fitted


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
    parts = parts_of_plan(at.features, at.split, plan, ())
    prob = np.asarray(prob, dtype=np.float64).reshape(len(at.features.y), -1)
    fitted = []
    for one in plan.places:
        own = parts[one.repeat, one.fold]
        rows = np.flatnonzero((own == "val") | (own == "test"))
        said = prob[rows]
        logits = np.log(np.clip(said, 1e-12, None)) if at.features.task == "multiclass" else logit(said)
        fitted.append(Fitted(one, 0, {}, (), rows, own[rows], said, logits))
    return finish_run(at.dataset, at.features, at.split, Made(plan, ("text",), fitted, parts, 0, 0.0, {"made": name}))


def noisy(y: np.ndarray, distance: float, seed: int) -> np.ndarray:
    """Probabilities whose logits have the classes `distance` standard deviations apart."""
    logits = distance * (y - 0.5) + np.random.default_rng(seed).standard_normal(y.shape)
    return 1 / (1 + np.exp(-distance * logits))
