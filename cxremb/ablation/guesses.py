"""Answers that need no vectors: by the patient, the length of the text, or what is known of a film."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.facts import Fact, image_sizes, report_facts, views
from cxremb.audit.lookups import Guess, by_patient, fitted
from cxremb.audit.subject import PART_CODES, AuditSubject, Fold, Items, encoded, positions
from cxremb.evaluation.arrays import MULTICLASS
from cxremb.evaluation.reliability import logit, sigmoid
from cxremb.features import Features
from cxremb.labels import read_labels
from cxremb.predictions import Predictions, joined
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.store.texts import edited, report_texts
from cxremb.training.data import Trained
from cxremb.training.finish import FitResult, predictions_of_model
from cxremb.training.parts import Parts, judged_rows, parts_of_plan
from cxremb.training.plan import FitJob

MOST_NAMED = 5  # columns of the collection

Reals = NDArray[np.float64]
Predict = Callable[[Parts, NDArray[np.int64]], Reals]  # parts of a fold, m rows of val and test -> (m, k)


@dataclass(frozen=True)
class GuessInput:
    """What a guess may read of n rows: their texts, or facts; and a digest of it, which enters the run's key."""

    texts: tuple[str, ...] = ()
    fact: Fact | None = None

    @property
    def digest(self) -> str:
        """SHA-256."""
        found = hashlib.sha256("\0".join(self.texts).encode())
        if self.fact is not None and self.fact.numbers is not None:
            found.update(self.fact.numbers.tobytes())
        return found.hexdigest()


def texts_of(dataset: Dataset, features: Features) -> tuple[str, ...]:
    """(n,) the text that the text arm reads, or that it would by default; empty where a study has none."""
    wanted = features.text or "findings+impression"
    found = (one for one in report_texts(dataset.reports) if one[1] == wanted)
    texts = {study: edited(text, features.xxxx) for study, _, text in found}
    return tuple(texts.get(study, "") for study in features.study_ids.tolist())


def length_of(dataset: Dataset, split: StoredSplit, features: Features) -> GuessInput:
    """How many words that text has."""
    words = np.array([len(text.split()) for text in texts_of(dataset, features)], dtype=np.float64)
    return GuessInput(fact=Fact("words in the text", items_of(features, {}), words[:, None]))


def metadata_of(dataset: Dataset, split: StoredSplit, features: Features) -> GuessInput:
    """View, width, height and aspect of the film (of a study: its first), and which sections are empty."""
    subject = subject_of(dataset, split, features)
    facts = [views(subject), image_sizes(subject), report_facts(subject)["empty sections"]]
    there = [fact.numbers for fact in facts if isinstance(fact, Fact) and fact.numbers is not None]
    numbers = np.column_stack(there) if there else np.zeros((len(features.y), 1))
    return GuessInput(fact=Fact("view, size, empty sections", subject.rows, numbers))


def facts_left_out(dataset: Dataset, judged: Predictions) -> str:
    """What a tree over `metadata_of` does not read: what is unknown of the rows that it judges, and the collection's
    own columns. In words; "" where it reads all that is there.
    """
    films = dataset.images
    films = films.filter(pc.is_in(films["study_id"], pa.array(np.unique(judged.studies).tolist(), pa.string())))
    facts = {"the view": "view", "the size": "width"}
    words = [f"{what} (not known)" for what, name in facts.items() if films[name].null_count == len(films)]
    columns = pc.unique(dataset.facts["name"]).to_pylist()
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    named = f"the column{'s' * (len(columns) > 1)} {', '.join(columns[:MOST_NAMED])}{more}"
    words += [f"{named} (`cxremb audit` does)"] if columns else []
    return ", nor ".join(words)


def subject_of(dataset: Dataset, split: StoredSplit, features: Features) -> AuditSubject:
    """The rows as an audit sees them. Both its rows and its films are the rows of the features, in their order."""
    table = dataset.images
    key = "image_id" if features.unit == "image" else "study_id"
    place = positions(pa.array(features.item_ids.tolist(), pa.string()), table[key].combine_chunks())
    films = table.take(pa.array([row if row >= 0 else None for row in place.tolist()], pa.int64()))
    items = items_of(features, {})
    return AuditSubject(dataset, split, read_labels(dataset, features.label_set), items, items, films)


def items_of(features: Features, parts_of_folds: Mapping[tuple[int, int], Parts]) -> Items:
    """The rows of the features with their parts, as the look-ups of an audit read them."""
    ids, studies = (pa.array(names.tolist(), pa.string()) for names in (features.item_ids, features.study_ids))
    patients = encoded(pa.array(features.patient_ids.tolist(), pa.string()))[1]
    folds = [
        Fold(repeat, fold, positions(pa.array(parts.tolist(), pa.string()), pa.array(PART_CODES)).astype(np.int8))
        for (repeat, fold), parts in parts_of_folds.items()
    ]
    return Items("rows", ids, studies, patients, features.y, folds)


def guess_all(job: FitJob, guess: Predict) -> FitResult:
    """One "model" per fold and repeat, by any rule; the rule sees the labels of training and validation rows."""
    started = time.perf_counter()
    parts = parts_of_plan(job.features, job.split, job.plan, blocks=())
    found = []
    for place in job.plan.places:
        own = parts[place.repeat, place.fold]
        prob = guess(own, judged_rows(own))
        if job.features.task == MULTICLASS:
            prob = np.clip(prob, 1e-12, None)
            prob = prob / prob.sum(axis=1, keepdims=True)
        logits = np.log(prob) if job.features.task == MULTICLASS else logit(prob)
        found.append(predictions_of_model(job, place, own, prob=prob, logit=logits))
    seconds = time.perf_counter() - started
    nothing = {place: Trained({}, 0, ()) for place in job.plan.places}
    return FitResult(nothing, joined(found), parts, parameters=0, seconds=seconds)


def by_look_up(features: Features, fact: Fact | None) -> Predict:
    """By the patient's other labels, or by a small tree over a fact: the look-ups of `cxremb audit`."""
    columns = np.arange(features.y.shape[1])
    overall = shares(features.y)

    def guess(parts: Parts, rows: NDArray[np.int64]) -> Reals:
        whole = np.where(parts == "val", "test", parts)  # val rows are judged too, and nothing is chosen on them
        items = items_of(features, {(0, 0): whole})
        if fact is None:
            found = by_patient(items, columns)
        else:
            found = next(fitted(Fact(fact.description, items, fact.numbers, fact.words), columns), None)
        return overall[None].repeat(len(rows), 0) if found is None else levelled(found, overall)[rank(found.rows, rows)]

    return guess


def rank(given: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted row stands among the given ones."""
    order = np.argsort(given)
    return np.asarray(order[np.searchsorted(given, wanted, sorter=order)])


def levelled(guess: Guess, overall: Reals) -> Reals:
    """(m, k) the guess, moved in log odds from the prior of its fold to one prior for all folds.

    The fold with more positives in test has fewer in train, so a guess that knows nothing but its own prior would,
    pooled over folds, score below one half.
    """
    moved = sigmoid(logit(guess.chance) - logit(guess.prior) + logit(overall))
    return np.where(guess.chance == guess.prior, overall, moved)


def shares(y: Reals) -> Reals:
    """(k,) the share of positives among known labels."""
    n = np.isfinite(y).sum(axis=0)
    return np.asarray(np.nansum(y, axis=0) / np.maximum(n, 1))


def majority(features: Features) -> Predict:
    """The same answer for every row: how often each label is positive."""
    overall = shares(features.y)
    return lambda parts, rows: np.tile(overall, (len(rows), 1))
