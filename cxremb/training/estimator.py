"""The heads as a scikit-learn classifier, for whoever has a matrix and wants cross_val_score."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cxremb.errors import TrainError
from cxremb.training import loop
from cxremb.training.data import BINARY, MULTICLASS, Member, Rows
from cxremb.training.heads import HeadSpec, find_head
from cxremb.training.options import Options

INNER = 7  # one part in seven chooses the epoch, as 10 of 80 do in `patient-5fold`


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A head on vectors side by side: `fit(X, y, groups=patients)`, `predict`, `predict_proba`.

    head: a name of `cxremb.training.heads.HEADS` that reads one vector per block. blocks: modality -> how many columns
    of X it has, in that order; may be left out where the head reads a single block. The other arguments are those of
    `Options`. One part in seven of the rows, whole groups of them, chooses the epoch (or the penalty of a linear
    head); rows too few for that all train, for all epochs: `validation_rows_` says how many there were.

    After fit: `classes_`, `n_features_in_`, `weights_`, `epoch_`, `history_`, `validation_rows_`.
    """

    def __init__(  # noqa: PLR0913 (scikit-learn reads the parameters off this signature)
        self,
        head: str = "image",
        *,
        blocks: Mapping[str, int] | None = None,
        learning_rate: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 40,
        patience: int | None = 8,
        weight_decay: float = 0.0,
        class_weights: bool = False,
        random_state: Any = 0,
        device: str = "cpu",
    ) -> None:
        self.head = head
        self.blocks = blocks
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.weight_decay = weight_decay
        self.class_weights = class_weights
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train on X (n, columns) and y (n,) of two classes or more; groups: (n,) rows of one are kept together.

        Raises `ValueError` for what scikit-learn refuses, `TrainError` for what the head cannot read.
        """
        vectors, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class, {self.classes_[0]!r}: there is nothing to tell apart")
        spec, rows = self._spec(), self._rows(vectors, codes)
        if groups is not None:
            rows = replace(rows, groups=np.asarray(groups).astype(np.str_))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, watched = inner_split(codes, groups, seed)
        self.validation_rows_ = len(watched)
        chosen = len(watched) > 0
        options = Options(
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=self.epochs,
            select="best" if chosen else "last",
            patience=self.patience if chosen else None,
            weight_decay=self.weight_decay,
            class_weights=self.class_weights,
            scale_blocks=True,
        )
        member = Member(train, watched if chosen else train, seed, "val" if chosen else "test")
        [trained] = loop.fit_members(rows, [member], spec, options=options, device=self.device)
        if not trained.epoch:
            raise TrainError("the loss is no number after the first epoch", hint="lower learning_rate")
        if trained.diverged:
            reason = f"diverged in epoch {trained.diverged}, epoch {trained.epoch} was kept: lower learning_rate"
            warnings.warn(reason, ConvergenceWarning, stacklevel=2)
        self.weights_, self.epoch_, self.history_ = trained.weights, trained.epoch, trained.history
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """(m, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self)
        vectors = validate_data(self, X, dtype=np.float32, reset=False)
        rows = self._rows(vectors, np.zeros(len(vectors), dtype=np.int64))
        prob = loop.predict(rows, self._spec(), self.weights_, index=np.arange(len(vectors))).prob
        return np.hstack([1 - prob, prob]) if rows.task == BINARY else prob

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """(m,) the likeliest class."""
        prob = self.predict_proba(X)
        two = prob.shape[1] == 2  # of two, a tie is called the second, as everywhere here
        best = (prob[:, 1] >= prob[:, 0]).astype(np.int64) if two else prob.argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _spec(self) -> HeadSpec:
        """The head that is asked for."""
        spec = find_head(self.head)
        if spec.kind == "attention":
            raise TrainError(f"head {self.head} reads bags of views, and X is one matrix", hint="use head fusion")
        return spec

    def _rows(self, X: NDArray[np.float32], codes: NDArray[np.int64]) -> Rows:
        """X cut into blocks. Raises `TrainError` if the blocks do not add up to its columns."""
        names = self._spec().blocks
        widths = dict(self.blocks) if self.blocks else {names[0]: X.shape[1]}
        if sum(widths.values()) != X.shape[1] or not set(names) <= set(widths):
            raise TrainError(
                f"X has {X.shape[1]} columns, and head {self.head} reads {' and '.join(names)}",
                hint='say which columns are whose, such as blocks={"image": 1280, "text": 768}',
            )
        ends = np.cumsum(list(widths.values()))[:-1]
        blocks = dict(zip(widths, np.split(X, ends, axis=1), strict=True))
        several = len(self.classes_) > 2
        y = np.eye(len(self.classes_))[codes] if several else codes[:, None].astype(np.float64)
        there = {name: np.ones(len(X), dtype=np.bool_) for name in blocks}
        return Rows(blocks, there, y, MULTICLASS if several else BINARY, np.arange(len(X)).astype(np.str_))


def inner_split(
    codes: NDArray[np.int64], groups: ArrayLike | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows that train, rows that choose): stratified, whole groups; if a class is too small for that, none chooses."""
    every = np.arange(len(codes))
    sizes = np.bincount(codes)
    if groups is None:
        folds = StratifiedKFold(INNER, shuffle=True, random_state=seed)
    else:
        groups = np.asarray(groups)
        sizes = np.array([len(np.unique(groups[codes == code])) for code in range(len(sizes))])
        folds = StratifiedGroupKFold(INNER, shuffle=True, random_state=seed)
    if sizes.min() < INNER:
        return every, every[:0]
    train, watched = next(folds.split(every, codes, groups))
    return train, watched
