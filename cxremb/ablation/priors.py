"""Films beside those of the examination before: what a film says, and what has changed since."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import DataError
from cxremb.features import Features, is_frontal
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store
from cxremb.store.scans import quoted
from cxremb.store.sql import query

NO_PRIOR = "no film of such a view on an earlier day"


def prior_studies(dataset: Dataset) -> dict[str, str]:
    """Study -> the last one of the same patient on an earlier day: the view `prior` of SQL."""
    found = query(
        dataset.paths.root, f"select study_id, prior_study_id from prior where dataset = {quoted(dataset.name)}"
    )
    return dict(zip(found["study_id"].to_pylist(), found["prior_study_id"].to_pylist(), strict=True))


def with_prior(dataset: Dataset, features: Features, store: Store, *, pooling: str | None) -> Features:
    """The rows that have an earlier film, their block `image` as (n, 2 dim): [now, now - prior].

    Rows are films. Prior is the mean of the films of the study before that are frontal if this one is, and not frontal
    if it is not: a lateral film minus a frontal one says nothing of time. Raises `DataError` if no row has one, or a
    row is a study.
    """
    if features.unit != "image":
        raise DataError("an arm with prior films has films for rows", hint="leave --unit and head=attention out")
    before = prior_studies(dataset)
    matrix, films = store.load("image", pooling), dataset.images
    places = matrix.rows(films["image_id"].to_pylist())
    frontal, studies = is_frontal(films), films["study_id"].to_pylist()
    of_study: dict[tuple[str, bool], list[int]] = {}
    kind = dict(zip(films["image_id"].to_pylist(), frontal.tolist(), strict=True))
    for place, study, flag in zip(places.tolist(), studies, frontal.tolist(), strict=True):
        if place >= 0:
            of_study.setdefault((study, flag), []).append(place)
    wanted = [
        of_study.get((before.get(study, ""), kind[film]), [])
        for study, film in zip(features.study_ids.tolist(), features.item_ids.tolist(), strict=True)
    ]
    kept = np.array([row for row, own in enumerate(wanted) if own], dtype=np.int64)
    if not len(kept):
        raise DataError(
            f"{dataset.name}: no row has an earlier film",
            hint='days of studies are facts called day: `cxremb sql "select * from prior"`',
        )
    prior = np.stack([mean_of_films(matrix.vectors, wanted[row]) for row in kept.tolist()])
    found = features.take(kept)
    now = np.asarray(found.blocks["image"])
    lost = {NO_PRIOR: len(wanted) - len(kept)} if len(kept) < len(wanted) else {}
    return replace(
        found,
        blocks={**found.blocks, "image": np.concatenate([now, now - prior], axis=1)},
        left_out={**found.left_out, **lost},
    )


def mean_of_films(vectors: NDArray[np.generic], places: list[int]) -> NDArray[np.float32]:
    """(dim,) the mean of some vectors."""
    return np.asarray(np.mean(np.asarray(vectors[places], dtype=np.float32), axis=0), dtype=np.float32)
