"""Does a fusion use an interaction of image and text: the difference from its additive projection, and the share.

A data set is some patients whose image and text are five numbers each. The label follows a sum of one of each, or also
their product. A ridge regression on all numbers and all products of an image's with a text's is fitted in five folds,
and so is one on the image and one on the text. An interval, made as `ablate` makes it, covers if it holds
what such models lose without their products: the mean over all data sets, measured on 5,000 new rows. Beside that, the
share of the gain over the better single model.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_steps.simulated import Reals, predictions, sigmoid
from cxremb.ablation.recipes import difference_alone
from cxremb.evaluation.emap import PairLogits, emap, interaction_share
from cxremb.evaluation.ranking import auroc
from cxremb.evaluation.simultaneous import Contrast, patient_factor

SIDE, FOLDS, MANY, RIDGE = 5, 5, 5_000, 3.0
PLANTED = {"none": 0.0, "some": 1.0, "strong": 2.0}  # weight of the product
SIZES = (100, 300, 600)


def run(quick: bool) -> dict[str, Any]:
    """What is written under "interaction"; minutes. quick: a fifth of the data sets."""
    data_sets = 20 if quick else 100
    found: dict[str, Any] = {"data_sets": data_sets, "rows": []}
    for name, weight in PLANTED.items():
        for n in SIZES:
            judged = [measured(np.random.default_rng(seed), n, weight) for seed in range(data_sets)]
            gaps, truths, gains, shares = zip(*judged, strict=True)
            truth = float(np.mean(truths))
            sure = [gain.low is not None and gain.low > 0 for gain in gains]
            before = [share for share, gain in zip(shares, gains, strict=True) if (gain.value or 0) > 0]
            after = [share for share, one in zip(shares, sure, strict=True) if one]
            found["rows"].append(
                {"interaction": name, "n": n, "truth": round(truth, 4)}
                | {"covers": float(np.mean([gap.low <= truth <= gap.high for gap in gaps]))}
                | {"shown": float(np.mean([gap.low > 0 for gap in gaps]))}
                | {
                    "shares_of_any_gain": spread(before),
                    "shares_of_sure_gain": spread(after),
                    "sure": float(np.mean(sure)),
                }
            )
    return found


def spread(shares: list[float]) -> list[float] | None:
    """The 2.5th and the 97.5th percentile."""
    return [round(float(end), 2) for end in np.quantile(shares, [0.025, 0.975])] if shares else None


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md."""
    lines = ["| planted | n | full minus additive | covers | shown | share of any gain | share of a sure gain |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for one in result["rows"]:
        any_gain, sure = (
            "-" if ends is None else f"{ends[0]:.0%} to {ends[1]:.0%}"
            for ends in (one["shares_of_any_gain"], one["shares_of_sure_gain"])
        )
        figures = f"{one['truth']:+.3f} | {one['covers']:.1%} | {one['shown']:.1%}"
        lines += [f"| {one['interaction']} | {one['n']} | {figures} | {any_gain} | {sure} |"]
    return lines


def measured(rng: np.random.Generator, n: int, weight: float) -> tuple[Contrast, float, Contrast, float]:
    """(full minus additive, its truth for these models, the gain over the better single, the share)."""
    image, text, y = drawn(rng, n, weight)
    fresh = drawn(rng, MANY, weight)
    fold = rng.permutation(n) % FOLDS
    full, additive, alone, lost = np.zeros(n), np.zeros(n), np.zeros((n, 2)), []
    for number in range(FOLDS):
        train, rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        main = ridge(np.column_stack([image, text, products(image, text)])[train], y[train])
        a, b, c = main[:SIDE], main[SIDE : 2 * SIDE], main[2 * SIDE : -1].reshape(SIDE, SIDE)
        result = emap(bilinear(image[rows], text[rows], (a, b, c)), len(rows))
        full[rows], additive[rows] = result.actual[:, 0], result.additive[:, 0]
        for side, block in enumerate((image, text)):
            own = ridge(block[train], y[train])
            alone[rows, side] = block[rows] @ own[:-1]
        sums = fresh[0] @ a + fresh[1] @ b  # the projection of a product of centred numbers is nothing
        whole = sums + np.einsum("ni,ij,nj->n", fresh[0], c, fresh[1])
        lost.append(auroc(fresh[2], whole) - auroc(fresh[2], sums))
    patients = np.arange(n)
    tests = [predictions(y, sigmoid(score), patients, fold) for score in (full, additive, *alone.T)]
    areas = [test.area().area for test in tests]
    best = 2 + int(areas[3] > areas[2])
    share = interaction_share(areas[0], areas[1], areas[best])
    factor = patient_factor(1.0, 1 - 1 / FOLDS, FOLDS)
    gap, gain = (difference_alone(tests[0], tests[other], factor=factor) for other in (1, best))
    return gap, float(np.mean(lost)), gain, share or 0.0


def bilinear(image: Reals, text: Reals, weights: tuple[Reals, Reals, Reals]) -> PairLogits:
    """The logits of any image with any text: a sum of both, and of their products."""
    a, b, c = weights

    def logits_of(i: NDArray[np.intp], j: NDArray[np.intp]) -> Reals:
        both = (image[i] @ a)[:, None] + (text[j] @ b)[None] + image[i] @ c @ text[j].T
        return np.asarray(both[:, :, None])

    return logits_of


def drawn(rng: np.random.Generator, n: int, weight: float) -> tuple[Reals, Reals, Reals]:
    """(image, text, label) of n rows."""
    image, text = rng.standard_normal((2, n, SIDE))
    score = 1.2 * image[:, 0] + 0.6 * text[:, 0] + weight * image[:, 0] * text[:, 0]
    return image, text, (rng.random(n) < sigmoid(score)).astype(np.float64)


def products(image: Reals, text: Reals) -> Reals:
    """(n, SIDE * SIDE) each number of the image times each of the text."""
    return np.asarray((image[:, :, None] * text[:, None, :]).reshape(len(image), -1))


def ridge(X: Reals, y: Reals) -> Reals:
    """The weights, and last the constant, of a regression of -1 and 1."""
    X = np.column_stack([X, np.ones(len(X))])
    return np.asarray(np.linalg.solve(X.T @ X + RIDGE * np.eye(X.shape[1]), X.T @ (2 * y - 1)))
