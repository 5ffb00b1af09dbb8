"""Few training rows: k of each class, of k patients, nested, and drawn anew for each model."""

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.evaluation.arrays import MULTICLASS, MULTILABEL


def few_rows(
    y: NDArray[np.float64], task: str, patients: NDArray[np.str_], *, shots: int, seed: tuple[int, ...], where: str
) -> NDArray[np.int64]:
    """The numbers of the rows kept, ascending: of each class one row of each of `shots` patients.

    y, patients: (n, k) and (n,) of the training rows. The patients of a class are in an order that the seed draws, and
    the first ones are taken: of one seed, fewer shots are part of more. Raises `TrainError` for a task of several
    labels, and where a class has fewer patients.
    """
    if task == MULTILABEL:
        raise TrainError(
            "shots are of one label: of several, rows of one are rows of all", hint="use a binary label set"
        )
    classes = y.argmax(axis=1) if task == MULTICLASS else y[:, 0].astype(np.int64)
    rng, kept = np.random.default_rng([*seed, 7]), []  # 7: another draw than that of a share of the patients
    for number in range(y.shape[1] if task == MULTICLASS else 2):
        order = rng.permutation(len(y))
        own = order[classes[order] == number]
        first = own[np.sort(np.unique(patients[own], return_index=True)[1])]
        if len(first) < shots:
            raise TrainError(
                f"{where} has {len(first)} training patients of class {number}, fewer than shots={shots}",
                hint="ask for fewer shots",
            )
        kept.append(first[:shots])
    return np.sort(np.concatenate(kept))
