"""How far a film lies from what a model was trained on, and from where on that is unusual.

The distance is one minus the cosine to the 10th nearest training vector (k-th nearest neighbour on vectors of length 1:
Sun et al. 2022, Out-of-distribution detection with deep nearest neighbors). It supposes no shape of the training
vectors, where the Mahalanobis distance of Lee et al. 2018 supposes one normal distribution a class. Vectors of the
patient whose film it is do not count: a new patient has none there.

The limit flags 5% of the ordinary films of other patients at most, on average, however few it is chosen on (split
conformal: Vovk et al. 2005; Bates et al. 2023, Testing for outliers with conformal p-values). Beyond the 95th
percentile of few validation films lie more. It is chosen on the validation films of all folds, since distances in one
space are on one scale; what a model tested is judged by a limit to which its own patients add nothing.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import CxrembError
from cxremb.features import is_frontal
from cxremb.inference.choice import Model
from cxremb.inference.scales import Members, name_of
from cxremb.labels import read_labels
from cxremb.predictions import Predictions
from cxremb.similarity.cosines import cosines_to, nearest_rows
from cxremb.store.dataset import Dataset
from cxremb.store.matrices import Matrix

NEIGHBOUR = 10  # the one whose distance counts
ALARMS = 0.05  # share of ordinary films that may be called unusual
TRAIN_ROWS = 10_000  # training vectors that are compared with at most, drawn once: the paper's results hold with 1%
JUDGED_ROWS = 500  # validation and test rows of a model that the limit and its false alarms are measured on, at most
ROUNDING = 1e-9

Halves = NDArray[np.float16]
Places = NDArray[np.int64]
Reals = NDArray[np.float64]
Ids = NDArray[np.str_]


@dataclass(frozen=True)
class Near:
    """How near q vectors lie to rows of a matrix: all that is asked of them is read off these cosines."""

    rows: Places  # (m,) ascending
    cosine: NDArray[np.float32]  # (q, m)


@dataclass(frozen=True)
class Space:
    """The vectors of one modality, and of which training row each model is."""

    matrix: Matrix
    patients: Ids  # (n,) of each row of the matrix
    trained: Mapping[str, Places]  # model -> rows of the matrix that it was trained on
    sample: Mapping[str, Places]  # of them, those that distances are measured to
    limits: Mapping[str, float]
    expected: float  # the share of ordinary films beyond a limit, on average
    alarms: Mapping[str, tuple[int, int]]  # model -> (test rows beyond its limit, test rows looked at)

    def near(self, vectors: Halves, models: Set[str], *, trained: bool) -> Near:
        """How near vectors lie to what distances of these models are measured to; trained: to all they learned from."""
        of = self.trained if trained else self.sample
        rows = [of[name] for name in models if name in of]
        wanted = np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)
        return Near(wanted, cosines_to(self.matrix.vectors, vectors, wanted))

    def distance(self, near: Near, model: str, patient: str | None = None) -> Reals:
        """(q,) as `distances`: how far each vector lies from what a model was trained on. patient: whose they are."""
        rows = self.sample[model]
        others = rows[self.patients[rows] != (patient or "")]
        own = near.cosine[:, np.searchsorted(near.rows, others if len(others) else rows)]
        tenth = max(own.shape[1] - NEIGHBOUR, 0)  # from the largest
        return np.asarray(1.0 - np.partition(own, tenth, axis=1)[:, tenth], np.float64)

    def false_alarms(self, models: Set[str]) -> float:
        """The share of the test rows of these models that lie beyond the limit of their own."""
        beyond, looked_at = (sum(self.alarms[name][place] for name in models) for place in (0, 1))
        return beyond / looked_at if looked_at else float("nan")


def distances(matrix: Matrix, vectors: Halves, rows: Places, *, own: Ids, patients: Ids) -> Reals:
    """(n,) one minus the cosine to the 10th nearest of some rows, or to the last where there are fewer.

    own: (n,) whose vectors they are; rows of the same patient are left out. patients: whose each row of the matrix is.
    """
    names, counts = np.unique(patients[rows], return_counts=True)
    most = int(counts[np.isin(names, own)].max(initial=0))
    cosine, places = nearest_rows(matrix.vectors, vectors, rows, count=NEIGHBOUR + most)
    others = patients[places] != own[:, None]
    wanted = np.minimum(NEIGHBOUR, others.sum(axis=1))[:, None]
    column = np.argmax((np.cumsum(others, axis=1) == wanted) & others, axis=1)
    return np.asarray(1.0 - cosine[np.arange(len(cosine)), column], np.float64)


def limit_of(found: Reals, own: Ids) -> tuple[float, float]:
    """(the distance beyond which a film of another patient is unusual, how often that is a mistake, on average).

    found: (n,) distances of ordinary films; own: (n,) whose they are. Each of k patients counts once, however many
    films, and so does the next one, who may lie anywhere (Dunn et al. 2022, Distribution-free prediction sets for
    two-layer hierarchical models). With fewer than 19 patients it is the greatest distance, and one in k + 1 is beyond.
    """
    _, which, counts = np.unique(own, return_inverse=True, return_counts=True)
    mistakes = max(ALARMS, 1 / (len(counts) + 1))
    order = np.argsort(found, kind="stable")
    reached = np.cumsum(1 / counts[which[order]]) / (len(counts) + 1)
    place = int(np.searchsorted(reached, 1 - mistakes - ROUNDING))
    return float(found[order[min(place, len(order) - 1)]]), mistakes


def space_of(model: Model, block: str, members: Members) -> Space:
    """The space of one modality of a run. Models without ten known training rows are left out."""
    record = model.run.record
    store = model.stores[block]
    matrix = store.load("image" if block == "image" else str(record.text))
    patients = patients_of(model.dataset, studies_of(model.dataset, block, matrix))
    trained = training_rows(model, block, matrix, members=members)
    sample = {name: drawn(rows, TRAIN_ROWS) for name, rows in trained.items() if len(rows) >= NEIGHBOUR}
    sides = {}
    for part in ("val", "test"):
        judged = model.run.predictions(part)
        rows = {name: judged_rows(model, block, judged, matrix=matrix, name=name) for name in sample}
        sides[part] = {
            name: (
                distances(matrix, matrix.vectors[own], sample[name], own=patients[own], patients=patients),
                patients[own],
            )
            for name, own in rows.items()
        }
    at, whose = (
        np.concatenate([np.empty(0, kind), *(one[place] for one in sides["val"].values())])
        for place, kind in enumerate((np.float64, np.str_))
    )
    limits, alarms, mistakes = {}, {}, [ALARMS]
    for name, (beside, tested) in sides["test"].items():
        others = ~np.isin(whose, tested)
        if others.any():
            limits[name], expected = limit_of(at[others], whose[others])
            alarms[name] = int((beside > limits[name]).sum()), len(beside)
            mistakes.append(expected)
    return Space(matrix, patients, trained, {name: sample[name] for name in limits}, limits, max(mistakes), alarms)


def patients_of(dataset: Dataset, studies: Sequence[str]) -> Ids:
    """(n,) the patient of each study; its own id where the collection has it no more."""
    known = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    return np.array([known.get(study, study) for study in studies], np.str_)


def studies_of(dataset: Dataset, block: str, matrix: Matrix) -> list[str]:
    """The study of each row of a store."""
    ids: list[str] = matrix.ids.to_pylist()
    if block != "image":
        return ids
    films = dataset.images
    study_of = dict(zip(films["image_id"].to_pylist(), films["study_id"].to_pylist(), strict=True))
    return [study_of.get(item, "") for item in ids]


def training_rows(model: Model, block: str, matrix: Matrix, *, members: Members) -> dict[str, Places]:
    """Model -> the rows of the store that are of its training part, have a label, and are of the views it reads."""
    dataset, record = model.dataset, model.run.record
    films = dataset.images
    ids, studies = matrix.ids.to_pylist(), studies_of(dataset, block, matrix)
    items = ids if members.by_image and block == "image" else studies
    try:
        labels = read_labels(dataset, record.label_set)
        known = {study for study, row in zip(labels.study_ids, labels.values, strict=True) if not np.isnan(row).all()}
    except CxrembError:  # the label set is gone: all that the split lists had a label
        known = set(studies)
    usable = np.array([study in known for study in studies], np.bool_)
    if block == "image" and record.views == "frontal":
        frontal = {image for image, one in zip(films["image_id"].to_pylist(), is_frontal(films), strict=True) if one}
        usable &= np.array([item in frontal for item in ids], np.bool_)
    return {
        name: np.flatnonzero(usable & np.array([parts.get(item) == "train" for item in items], np.bool_))
        for name, parts in members.of_item.items()
    }


def judged_rows(model: Model, block: str, judged: Predictions, *, matrix: Matrix, name: str) -> Places:
    """Rows of the store of what one model has judged, a sample of them."""
    mine = [row for rows in judged.models if name_of(judged, rows[0]) == name for row in rows.tolist()]
    studies = list(dict.fromkeys(judged.studies[mine].tolist()))
    if block == "text":
        items = studies
    elif judged.unit == "image":
        items = judged.items[mine].tolist()
    else:
        films = model.dataset.images
        wanted = set(studies)
        pairs = zip(films["image_id"].to_pylist(), films["study_id"].to_pylist(), strict=True)
        items = [image for image, study in pairs if study in wanted]
    rows = matrix.rows(items)
    return drawn(rows[rows >= 0], JUDGED_ROWS)


def drawn(rows: Places, most: int) -> Places:
    """All rows, or so many of them drawn at random, the same each time, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
