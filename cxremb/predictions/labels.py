"""Which of several labels an answer tells best: a mean over twenty would hide the one that is given away."""

from dataclasses import dataclass

from cxremb.evaluation.bootstrap import Interval
from cxremb.predictions.judged import Predictions

LEVEL = 0.95  # of all intervals of one answer together
CHANCE = 0.5


@dataclass(frozen=True)
class LabelAuroc:
    """The AUROC of one label; its interval holds for all of the labels that were looked at (Bonferroni)."""

    label: str
    auroc: Interval
    looked_at: int = 1

    @property
    def above_chance(self) -> bool:
        """Whether all of the interval is."""
        return self.auroc.low is not None and self.auroc.low > CHANCE

    @property
    def words(self) -> str:
        """` [0.51, 0.63]`, and for how many labels that is corrected; or why there is no interval."""
        if self.auroc.low is None or self.auroc.high is None:
            return f" ({self.auroc.reason})" if self.auroc.reason else ""
        corrected = f", corrected for {self.looked_at} labels" if self.looked_at > 1 else ""
        return f" [{self.auroc.low:.2f}, {self.auroc.high:.2f}]{corrected}"


def auroc_by_label(test: Predictions) -> list[LabelAuroc]:
    """The AUROC of each label, the one most surely above chance first; at level 1 - .05 / k where k labels are judged.

    The intervals are those of DeLong with patients as clusters, on the logit scale, so that they stay below 1. Of
    several labels those with too few positives, negatives or patients for one are left out: the highest of many such
    figures would be chance. A label alone is given without an interval.
    """
    alone = [test.of_label(label) for label in test.labels]
    judged = [own for own in alone if own.no_interval() is None] if len(alone) > 1 else alone
    level = 1 - (1 - LEVEL) / max(1, len(judged))
    found = [LabelAuroc(own.labels[0], interval_at(own, level), len(judged)) for own in judged]
    return sorted(found, key=lambda one: -1.0 if one.auroc.low is None else one.auroc.low, reverse=True)


def interval_at(test: Predictions, level: float) -> Interval:
    """The AUROC of one label with its interval, as everywhere else; or the reason why it has none."""
    placed, reason = test.area(), test.no_interval()
    return Interval(placed.area, None, None, reason=reason) if reason else placed.interval(level)
