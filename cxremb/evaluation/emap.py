"""Does a fusion fuse? The best additive stand-in for a model of image and text, and what is lost with it.

EMAP, the empirical multimodally-additive function projection (Hessel & Lee 2020): a model f(image, text) is evaluated
on every pairing of n images with n texts, and replaced by g(image) + h(text), the sum of its means over the other one.
Where the projection scores as well as the model, no interaction of image and text was needed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, Rows

MOST = 1000  # rows, of one fold: a million pairings, half a second for a head of 256 units; 10,000 would be 100 million
BLOCK = 8  # images at a time: with 1,000 texts and 256 units, 8 MB, which a processor has near

PairLogits = Callable[[Rows, Rows], Reals]  # (a,) image rows, (b,) text rows -> (a, b, k) logits of all pairings
# (m,) rows -> (m, k) each: their own logits; the mean of each image over the texts of all, and of each text over images
Means = Callable[[Rows], tuple[Reals, Reals, Reals]]


@dataclass(frozen=True)
class EmapResult:
    """The logits of m rows, each with its own image and text, as they are and at their additive best.

    `note` says if rows were drawn because there were too many.
    """

    rows: Rows  # (m,) which rows, in order
    actual: Reals  # (m, k)
    additive: Reals  # (m, k)
    note: str = ""


def emap(
    logits_of: PairLogits, n: int, *, means: Means | None = None, block: int = BLOCK, most: int = MOST, seed: int = 0
) -> EmapResult:
    """The model's logits of n rows and those of its best additive approximation over all pairings.

    logits_of: (a,) image rows and (b,) text rows -> (a, b, k) logits of every image with every text; called with
    `block` images at a time. means: what follows from all pairings, of a model that needs not be asked for each; then
    `logits_of` is not called. Beyond `most` rows, that many are drawn with the seed. Raises `DataError` for fewer than
    two rows or logits of another shape.
    """
    if n < 2 or block < 1 or most < 2:
        raise DataError(f"{n} rows in blocks of {block}, at most {most}", hint="give two rows or more")
    rows = np.arange(n, dtype=np.intp)
    if n > most:
        rows = np.sort(np.random.default_rng(seed).choice(n, most, replace=False)).astype(np.intp)
    m = len(rows)
    actual, of_image, of_text = means(rows) if means else means_of_pairs(logits_of, rows, block)
    additive = of_image + of_text - of_image.mean(axis=0)
    note = f"{m:,} of {n:,} rows, drawn with seed {seed}: all pairings of more would take too long" if m < n else ""
    return EmapResult(rows, actual, additive, note)


def means_of_pairs(logits_of: PairLogits, rows: Rows, block: int) -> tuple[Reals, Reals, Reals]:
    """As `Means`, by asking for every pairing."""
    m = len(rows)
    by_image, by_text, actual = [], 0.0, []
    for start in range(0, m, block):
        images = rows[start : start + block]
        logits = checked_logits(logits_of(images, rows), (len(images), m))
        by_image.append(logits.mean(axis=1))
        by_text = by_text + logits.sum(axis=0)
        actual.append(logits[np.arange(len(images)), start + np.arange(len(images))])
    return np.concatenate(actual), np.concatenate(by_image), np.asarray(by_text) / m


def interaction_share(full: float, additive: float, best_single: float) -> float | None:
    """The share of a fusion's gain over its best single modality that needs an interaction; None without a gain.

    full, additive, best_single: one figure, greater is better, on the same rows. 0: additive does as well; 1: it is all
    interaction. It may lie outside, as figures of finite samples do.
    """
    gain = full - best_single
    return (full - additive) / gain if gain > 0 else None


def checked_logits(logits: Reals, shape: tuple[int, int]) -> Reals:
    """(a, b, k) as float64. Raises `DataError` for another shape or what is not finite."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 3 or values.shape[:2] != shape:
        given = f"{shape[0]} images with {shape[1]} texts gave logits of shape {values.shape}"
        raise DataError(given, hint="return (images, texts, outputs)")
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{bad} of {values.size} logits are not finite", hint="train with a lower learning rate")
    return values
