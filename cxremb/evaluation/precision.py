"""The interval of an average precision, without resampling.

Resampled patients give too short ones: with few positives the figure is too high, and in a resample of them once more.
The logit interval of Boyd, Eng & Page (2013), "Area under the precision-recall curve: point estimates and confidence
intervals", counts the positives alone, and holds (docs/evaluation.md).
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from cxremb.evaluation.bootstrap import UNDEFINED, Interval


def precision_interval(values: Sequence[float | None], positives: Sequence[int], level: float = 0.95) -> Interval:
    """Of the mean of average precisions, of labels or of repeats and seeds; None where one is undefined.

    positives: of each value, how many patients have positive rows: the rows of one patient are one. Values are taken to
    err together, so a mean of several is not taken to be surer than one of them.
    """
    known = np.array([value for value in values if value is not None])
    if not len(known) or len(known) < len(values):
        return Interval(None, None, None, reason=UNDEFINED)
    value, few = float(known.mean()), 0.5 / float(np.mean(positives))  # half a positive: 0 and 1 have no logit
    inside = np.clip(known, few, 1 - few)
    middle = float(inside.mean())
    error = float(np.mean(np.sqrt(inside * (1 - inside) / np.asarray(positives)))) / (middle * (1 - middle))
    reach, logit = float(norm.ppf((1 + level) / 2)) * error, float(np.log(middle / (1 - middle)))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (logit - reach, logit + reach))
    return Interval(value, min(low, value), max(high, value))
