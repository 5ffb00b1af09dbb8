"""What a model may know by heart of the rows that it is judged on, and how it does on the others."""

from dataclasses import dataclass

from cxremb.evaluation.bootstrap import Interval
from cxremb.predictions.judged import Predictions
from cxremb.table import span


@dataclass(frozen=True)
class Verbatim:
    """Of some test rows: the share whose text stands word for word in train, and the AUROC of the other rows."""

    share: float
    others: Interval | None = None  # None where there are no such rows, or no others

    @property
    def words(self) -> str:
        """Both in one line."""
        return f"text: {self.share:.1%} of the test rows have one that stands word for word in train{self.of_others}"

    @property
    def of_others(self) -> str:
        """The second part of it."""
        if self.others is None or self.others.value is None:
            return ""
        return f"; AUROC on the others {span(self.others.value, self.others.low, self.others.high)}"


def verbatim_of(test: Predictions) -> Verbatim | None:
    """That of exactly these rows and their headline label; None where no text is read, and in runs of before."""
    seen = test.text_in_train
    if seen is None or not len(seen):
        return None
    if not seen.any() or seen.all():
        return Verbatim(float(seen.mean()))
    return Verbatim(float(seen.mean()), test.take(~seen).interval(("auroc",))["auroc"])
