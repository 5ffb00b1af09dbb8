"""The label by counts of words: logistic regression on TF-IDF of words and pairs of words.

A film has the report of its study, and many studies the same stock phrases. Each distinct text is read once and counts
as often as it comes, which is the model of all rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxremb.ablation.guesses import Predict, Reals, shares
from cxremb.evaluation.arrays import MULTICLASS
from cxremb.features import Features
from cxremb.training.parts import Parts

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # C of the logistic regression: an order of magnitude a step
USUAL_STRENGTH = 1.0  # where there is no validation part to choose on
FEWEST_ROWS = 2  # of training that have a term
TERMS = 50_000  # at most: the most frequent

Rows = NDArray[np.int64]


def by_words(features: Features, texts: Sequence[str]) -> Predict:
    """The guess from the text of each row; its penalty is chosen by log loss on val."""
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    counts = counted(distinct.tolist())

    def guess(parts: Parts, rows: Rows) -> Reals:
        train, val = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "val")
        X = weighed(counts, np.bincount(text_of[train], minlength=len(distinct)))
        if X is None:  # no term comes twice: there is nothing to count
            return np.tile(shares(features.y[train]), (len(rows), 1))
        if features.task == MULTICLASS:
            y = features.y.argmax(axis=1).astype(np.float64)
            return said(X, text_of, y, classes=features.y.shape[1], train=train, val=val)[text_of[rows]]
        labels = [said(X, text_of, y, classes=2, train=train, val=val)[:, 1] for y in features.y.T]
        return np.column_stack(labels)[text_of[rows]]

    return guess


def counted(texts: Sequence[str]) -> Any:
    """(texts, terms) how often each text has each term, sparse; None where no text has a word."""
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        return CountVectorizer(ngram_range=(1, 2), dtype=np.float64).fit_transform(texts)
    except ValueError:
        return None


def weighed(counts: Any, times: Rows) -> Any:
    """(texts, terms) TF-IDF by rows of which each text has `times`; None where no term is in `FEWEST_ROWS` of them.

    As scikit-learn's `TfidfVectorizer(sublinear_tf=True)` of these rows has it.
    """
    if counts is None:
        return None
    from sklearn.preprocessing import normalize

    rows_with, often = times @ (counts > 0), times @ counts
    kept = np.flatnonzero(rows_with >= FEWEST_ROWS)
    if not len(kept):
        return None
    kept = np.sort(kept[np.argsort(-often[kept].astype(np.int64))[:TERMS]])
    found = counts[:, kept]
    found.data = 1 + np.log(found.data)
    idf = np.log((times.sum() + 1) / (rows_with[kept] + 1)) + 1
    return normalize(found.multiply(idf).tocsr())


def said(X: Any, text_of: Rows, y: Reals, *, classes: int, train: Rows, val: Rows) -> Reals:
    """(texts, classes) the chances, of the strength with the least log loss on val.

    text_of, y: (n,) the text and the class of each row, NaN where it is not known. A class that no training row has
    gets no chance.
    """
    from sklearn.linear_model import LogisticRegression

    text, kind, times = distinct_pairs(text_of, y, train, classes=classes)
    if len(np.unique(kind)) < 2:
        alone = np.bincount(kind, times, minlength=classes) / max(1, times.sum())
        return np.tile(alone, (X.shape[0], 1))

    def answers(strength: float) -> Reals:
        model = LogisticRegression(C=strength, max_iter=1000).fit(X[text], kind, sample_weight=times)
        prob = np.zeros((X.shape[0], classes))
        prob[:, model.classes_] = model.predict_proba(X)
        return prob

    text_val, kind_val, times_val = distinct_pairs(text_of, y, val, classes=classes)
    if not len(text_val):
        return answers(USUAL_STRENGTH)
    found = [answers(strength) for strength in STRENGTHS]
    losses = [-(times_val * np.log(np.clip(prob[text_val, kind_val], 1e-12, 1))).sum() for prob in found]
    return found[int(np.argmin(losses))]


def distinct_pairs(text_of: Rows, y: Reals, rows: Rows, *, classes: int) -> tuple[Rows, Rows, Rows]:
    """(text, class, how many of the rows have both) of each pair that a row has, where the class is known."""
    known = rows[np.isfinite(y[rows])]
    pairs, times = np.unique(text_of[known] * classes + y[known].astype(np.int64), return_counts=True)
    return pairs // classes, pairs % classes, times
