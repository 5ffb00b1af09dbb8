"""How well the label is guessed by look-ups that see no film and read no report, fitted on train, scored on test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxremb.audit.facts import Fact, Header, facts_of
from cxremb.audit.subject import FAIL, LOOK_UPS, NOTE, OK, TRAIN, AuditSubject, Finding, Items, skipped
from cxremb.evaluation.bootstrap import FEWEST
from cxremb.predictions import LabelAuroc, Predictions, auroc_by_label
from cxremb.types import EXAMPLES

LABELS_JUDGED = 20  # of a set with more: the most frequent; each costs a fit's share and an interval
GIVES_AWAY = 0.6  # AUROC from which a look-up is worth a look: between chance and what a weak model reaches
CHANCE = 0.5
EPSILON = 1e-6  # of a label that has one value in train
NAMES_FITTED = 20_000  # names that the model of names learns from
LEAVES, LEAST_LEAF = 16, 20  # of the tree: it can follow a curve, it cannot learn rows by heart

WHY = {
    "patient": "The label of a patient's other rows gives this one away: recognising the patient is enough.",
    "file name": "The name holds the label: whoever reads names, paths or ids as input gets it for free.",
    "report length": "How much was written tells the label: a text model can count instead of reading.",
    "masked words": "XXXX and ___ marks tell the label: a text model can count them instead of reading.",
    "empty sections": "Which sections were filled in tells the label, whatever they say.",
    "image size": "Width, height or aspect tell the label: a model can tell the machine, not the disease.",
    "view": "The projection tells the label: the sickest patients are filmed lying down.",
    "DICOM metadata": "The machine and its settings tell the label: a model can recognise the ward.",
}
REMEDY = {
    "patient": "use a split that keeps patients whole: leave --split out",
    "file name": "never feed names or ids to a model; check that no folder or id reaches it",
    "report length": "compare with text arms of one length, or train on --text pre-read",
    "masked words": "`cxremb embed --model minilm --xxxx drop`, and report `cxremb ablate --arms text,text[xxxx=drop]`",
    "empty sections": "train on studies that have the same sections, or report per stratum",
    "image size": "squash every film to one size (the default), and report per size",
    "view": "report per view, or train on one view",
    "DICOM metadata": "report per machine; leave metadata out of the input",
}


WHY_COLUMN = "A column of the collection's table tells the label: the groups differ in more than the disease."
REMEDY_COLUMN = "report per group: `cxremb evaluate RUN --by FACT`; never feed it as text from before the reading"


@dataclass(frozen=True)
class Guess:
    """What a look-up says of m rows, each once, of the judged parts of one repeat."""

    rows: NDArray[np.int64]  # (m,)
    chance: NDArray[np.float64]  # (m, k) of each label
    prior: NDArray[np.float64]  # (m, k) its mean in train: all that is known without a look
    fold: NDArray[np.int64]  # (m,) which one judges the row


def check_lookups(subject: AuditSubject, headers: Mapping[str, Header] | str) -> list[Finding]:
    """One finding for each fact about a row that is no content. headers: or the reason why there are none."""
    chosen = most_frequent(subject.rows.y)
    guess = by_patient(subject.rows, chosen)
    findings = [finding_of("patient", "patient id", subject.rows, guess=guess, subject=subject, columns=chosen)]
    for name, fact in facts_of(subject, headers).items():
        if isinstance(fact, str):
            findings.append(skipped(LOOK_UPS, name, fact))
        else:
            guess = joined(fitted(fact, chosen))
            findings.append(
                finding_of(name, fact.description, fact.items, guess=guess, subject=subject, columns=chosen)
            )
    return findings


def most_frequent(y: NDArray[np.float64]) -> NDArray[np.int64]:
    """The columns to judge: those of which both values are there, at most `LABELS_JUDGED`, in their order."""
    ones, zeros = ((np.nan_to_num(y, nan=-1.0) == value).sum(axis=0) for value in (1, 0))
    usable = np.flatnonzero((ones > 0) & (zeros > 0))
    return np.sort(usable[np.argsort(-ones[usable], kind="stable")][:LABELS_JUDGED])


def judged_folds(items: Items, columns: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(train rows, judged rows) with a label, for each fold of the first repeat."""
    known = np.asarray(np.isfinite(items.y[:, columns]).any(axis=1))
    for fold in items.folds:
        train, judged = fold.of(TRAIN), fold.of(fold.judged)
        train, judged = train[known[train]], judged[known[judged]]
        if fold.repeat == items.folds[0].repeat and len(train) and len(judged):
            yield train, judged


def priors(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) the mean of each column over what is not missing; 0.5 where all is."""
    n = np.isfinite(y).sum(axis=0)
    means: NDArray[np.float64] = np.where(n > 0, np.nansum(y, axis=0) / np.maximum(n, 1), CHANCE)
    return means


def by_patient(items: Items, columns: NDArray[np.int64]) -> Guess | None:
    """The mean label of the patient's rows in train; the prior where there are none."""
    parts = []
    for fold, (train, judged) in enumerate(judged_folds(items, columns)):
        y = items.y[train][:, columns]
        prior = priors(y)
        size = (int(items.patients.max()) + 1, len(columns))
        total, n = np.zeros(size), np.zeros(size)
        np.add.at(total, items.patients[train], np.nan_to_num(y))
        np.add.at(n, items.patients[train], np.isfinite(y))
        mean = np.where(n > 0, total / np.maximum(n, 1), prior)
        parts.append(
            Guess(judged, mean[items.patients[judged]], np.tile(prior, (len(judged), 1)), np.full(len(judged), fold))
        )
    return joined(parts)


def fitted(fact: Fact, columns: NDArray[np.int64]) -> Iterator[Guess]:
    """What a small model makes of one fact, fold by fold."""
    for fold, (train, judged) in enumerate(judged_folds(fact.items, columns)):
        y = fact.items.y[train][:, columns]
        prior = priors(y)
        filled = np.where(np.isfinite(y), y, prior)
        scale = np.sqrt(np.maximum(prior * (1 - prior), EPSILON))  # or a tree would split by the frequent labels alone
        chance = scale * predict(fact, train, filled / scale, judged=judged)
        yield Guess(judged, np.clip(chance, 0, 1), np.tile(prior, (len(judged), 1)), np.full(len(judged), fold))


def predict(fact: Fact, train: NDArray[np.int64], y: NDArray[np.float64], *, judged: NDArray[np.int64]) -> Any:
    """(m, k) chances: of names by ridge regression on their letters, of the rest by one small tree for all labels."""
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeRegressor

    if fact.words and len(train) > NAMES_FITTED:
        chosen = np.sort(np.random.default_rng(0).choice(len(train), NAMES_FITTED, replace=False))
        train, y = train[chosen], y[chosen]
    known, wanted = fact.matrices(train, judged)
    model: Any = Ridge(solver="lsqr") if fact.words else small_tree(DecisionTreeRegressor, len(train))
    return model.fit(known, y).predict(wanted).reshape(len(judged), -1)


def small_tree(build: Any, n: int) -> Any:
    """A regression tree; on 0 and 1 it grows as a Gini tree does, and its leaves hold shares."""
    return build(max_leaf_nodes=LEAVES, min_samples_leaf=max(1, min(LEAST_LEAF, n // 10)), random_state=0)


def joined(parts: Any) -> Guess | None:
    """All folds as one; None without any."""
    parts = list(parts)
    if not parts:
        return None
    return Guess(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "chance", "prior", "fold"))
    )


def finding_of(
    name: str, what: str, items: Items, *, guess: Guess | None, subject: AuditSubject, columns: NDArray[np.int64]
) -> Finding:
    """The finding: AUROC with its interval, and accuracy beside that of always answering the larger class.

    Of several labels those of the worst: one that is given away among nineteen that are not must not drown in a mean.
    """
    if guess is None or not len(columns):
        return skipped(LOOK_UPS, name, "no fold has labelled rows in train and in test")
    names = [subject.labels.names[column] for column in columns]
    y = items.y[guess.rows][:, columns]
    found = auroc_by_label(scores_of(subject.dataset.name, guess, y, patients=items.patients[guess.rows], labels=names))
    if not found:
        return skipped(LOOK_UPS, name, f"no label has {FEWEST} positives, negatives and patients in test")
    worst, told = worst_of(name, found)
    column = names.index(worst.label)
    right, majority = accuracies(y[:, column], guess.chance[:, column], guess.prior[:, column])
    status = status_of(name, worst)
    return Finding(
        LOOK_UPS,
        name,
        f"{what} -> {whose(worst, len(names))}: accuracy {right:.3f}, majority {majority:.3f}; AUROC{worst.words}",
        worst.auroc.value,
        "-" if worst.auroc.value is None else f"{worst.auroc.value:.3f}",
        status,
        "" if status == OK else WHY.get(name, WHY_COLUMN),
        "" if status == OK else REMEDY.get(name, REMEDY_COLUMN),
        told,
    )


def worst_of(name: str, found: Sequence[LabelAuroc]) -> tuple[LabelAuroc, list[str]]:
    """(of the labels that a look-up gives away the one it tells best, else the surest; those given away, in words)."""
    told = [one for one in found if status_of(name, one) != OK]
    told.sort(key=lambda one: -(one.auroc.value or 0.0))
    several = [f"{one.label} {one.auroc.value:.3f}" for one in told[:EXAMPLES] if len(found) > 1]
    return (told or list(found))[0], several


def whose(worst: LabelAuroc, labels: int) -> str:
    """Which label a finding is of, in words."""
    if labels == 1:
        return "label"
    rare = f", {labels - worst.looked_at} too rare to judge" if worst.looked_at < labels else ""
    return f"{worst.label} (worst of {worst.looked_at} labels{rare})"


def status_of(name: str, one: LabelAuroc) -> str:
    """A patient look-up must not beat chance at all; another is noted where it does so by far and beyond doubt."""
    value, low = one.auroc.value, one.auroc.low
    if value is None:
        return OK
    if name == "patient":
        return FAIL if (value if low is None else low) > CHANCE else OK
    return NOTE if value >= GIVES_AWAY and (low is None or low > CHANCE) else OK


def scores_of(
    dataset: str, guess: Guess, y: NDArray[np.float64], *, patients: NDArray[np.int64], labels: Sequence[str]
) -> Predictions:
    """How far a guess is from the prior of its fold, on a scale of 0 to 1, as predictions of test rows.

    Priors differ between folds, and against the label (the fold with more positives in test has fewer in train), so raw
    chances, pooled, would score below one half.
    """
    n = len(y)
    score = np.clip((guess.chance - guess.prior + 1) / 2, 0, 1)
    zero = np.zeros(n, dtype=np.int64)
    return Predictions(
        run="look-up",
        dataset=dataset,
        unit="row",
        task="multilabel",
        labels=tuple(labels),
        part=np.full(n, "test"),
        items=guess.rows,
        studies=guess.rows,
        patients=patients,
        repeat=zero,
        fold=guess.fold,
        seed=zero,
        y=y,
        prob=score,
        logit=score,
    )


def accuracies(y: NDArray[np.float64], chance: NDArray[np.float64], prior: NDArray[np.float64]) -> tuple[float, float]:
    """(accuracy of the guess, of always answering what is most frequent in train), where the label is known."""
    known = np.isfinite(y)
    right = [((given >= CHANCE) == (y == 1))[known] for given in (chance, prior)]
    return float(right[0].mean()), float(right[1].mean())
