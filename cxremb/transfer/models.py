"""One head for each training collection and fold, all trained as one stack; and what they say of which rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.evaluation.arrays import BINARY, MULTILABEL, numbered
from cxremb.predictions import Predictions, joined
from cxremb.training.data import Member, Place, Rows, Trained
from cxremb.training.fit import refuse_diverged
from cxremb.training.heads import HeadSpec
from cxremb.training.options import Options
from cxremb.transfer.gather import BETWEEN, Together
from cxremb.types import Progress

RowNumbers = NDArray[np.int64]


@dataclass(frozen=True)
class Team:
    """The models that were trained on one collection, or on several together: one for each fold."""

    names: tuple[str, ...]  # of the collections
    folds: tuple[int, ...]
    trained: tuple[Trained, ...]  # of each fold
    parts: tuple[NDArray[np.str_], ...]  # of each fold, (n,) of all rows: "" for those of no part
    seed: int

    @property
    def title(self) -> str:
        return "+".join(self.names)


def train_teams(
    applied: "Applied",
    groups: Mapping[tuple[str, ...], RowNumbers],
    options: Options,
    *,
    seed: int,
    progress: Progress,
) -> list[Team]:
    """The models of each group of collections, all of them trained as one stack. groups: names -> rows left out.

    Raises `TrainError` as `fit_members`.
    """
    from cxremb.training.loop import fit_members

    together, head = applied.together, applied.head
    members: list[Member] = []
    parts: dict[tuple[str, ...], dict[int, NDArray[np.str_]]] = {}
    for group, twice in groups.items():
        parts[group] = parts_of_group(together, group, twice)
        for fold, own in parts[group].items():
            watched = "val" if (own == "val").any() else "test"
            members.append(
                Member(np.flatnonzero(own == "train"), np.flatnonzero(own == watched), seed, watched, f"fold{fold}")
            )
    trained = iter(fit_members(applied.rows, members, head, options=options, progress=progress))
    teams = []
    for group, folds in parts.items():
        models = tuple(next(trained) for _ in folds)
        refuse_diverged(("+".join(group), Place(0, fold, seed), one) for fold, one in zip(folds, models, strict=True))
        teams.append(Team(group, tuple(folds), models, tuple(folds.values()), seed))
    return teams


def parts_of_group(together: Together, group: Sequence[str], twice: RowNumbers) -> dict[int, NDArray[np.str_]]:
    """Fold -> (n,) the part of each row of all collections; of several, the folds that all have.

    twice: rows of patients whom another collection of the group has too. They are in no part: collections are split on
    their own, so such a patient would be trained on in one and tested in the other.
    """
    folds = set.intersection(*(set(together.named(name).parts) for name in group))
    found = {}
    for fold in sorted(folds):
        parts = np.full(len(together.y), "", dtype="<U5")
        for name in group:
            parts[together.rows_of(name)] = together.named(name).parts[fold]
        parts[twice] = ""
        found[fold] = parts
    return found


@dataclass(frozen=True)
class Applied:
    """Models that are asked about rows, of some concepts."""

    together: Together
    rows: Rows
    head: HeadSpec
    unit: str

    def own(self, team: Team, part: str, concepts: Sequence[int]) -> Predictions:
        """What each model says of its own val or test rows: one pool, in which a model is a fold."""
        found = [
            self.said_by(team, number, np.flatnonzero(parts == part), concepts=concepts, part=part)
            for number, parts in enumerate(team.parts)
        ]
        return self.counted(joined(found))

    def of(self, team: Team, rows: RowNumbers, concepts: Sequence[int], *, part: str = "test") -> Predictions:
        """What every model says of the same rows: each is a pool, which `repeat` numbers, so that a figure is the mean
        over models, and more models are not more patients.
        """
        numbers = range(len(team.trained))
        return as_pools(
            self.counted(joined([self.said_by(team, one, rows, concepts=concepts, part=part) for one in numbers]))
        )

    def said_by(self, team: Team, number: int, index: RowNumbers, *, concepts: Sequence[int], part: str) -> Predictions:
        """What one model says of the rows that say anything of the concepts."""
        from cxremb.training.loop import predict

        chosen = list(concepts)
        y = self.together.y[index][:, chosen]
        own, y = index[~np.isnan(y).all(axis=1)], y[~np.isnan(y).all(axis=1)]
        predicted = predict(taken(self.rows, own), self.head, team.trained[number].weights, index=np.arange(len(own)))
        columns = [0] if predicted.prob.shape[1] == 1 else chosen
        ids = self.together.ids
        return Predictions(
            run=team.title,
            dataset="",
            unit="image" if "image" in self.head.blocks else "study",
            task=MULTILABEL if len(chosen) > 1 else BINARY,
            labels=tuple(self.together.concepts[concept] for concept in chosen),
            part=np.full(len(own), part),
            items=ids["items"][own],
            studies=ids["studies"][own],
            patients=ids["patients"][own],
            repeat=np.zeros(len(own), dtype=np.int64),
            fold=np.full(len(own), number),
            seed=np.full(len(own), team.seed),
            y=y,
            prob=predicted.prob[:, columns],
            logit=predicted.logit[:, columns],
        )

    def counted(self, said: Predictions) -> Predictions:
        """A row for each film, or for each study."""
        return said.by_study() if self.unit == "study" and said.unit == "image" else said


def taken(rows: Rows, index: RowNumbers) -> Rows:
    """Some of the rows."""
    blocks = {name: block[index] for name, block in rows.blocks.items()}
    present = {name: there[index] for name, there in rows.present.items()}
    return Rows(blocks, present, rows.y[index], rows.task, rows.groups[index])


def as_pools(said: Predictions) -> Predictions:
    """The same with each model as a pool of its own."""
    return replace(said, repeat=said.fold, fold=np.zeros_like(said.fold))


def by_collection(said: Predictions) -> Predictions:
    """The same, but rows are ranked among those of their own collection: that one has more of a finding than another
    is no skill of a model that can tell them apart.
    """
    names = np.char.partition(said.items.astype(np.str_), BETWEEN)[:, 0]
    return replace(said, fold=numbered(names, said.fold).astype(np.int64))
