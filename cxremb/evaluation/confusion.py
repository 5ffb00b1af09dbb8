"""What one confusion matrix says: every count-based figure, Wilson intervals, and whether it beats not looking."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from cxremb.evaluation.significance import wilson

Form = tuple[int, int, int, int]

# What a figure divides by what, as multiples of the cells (TP, FN, FP, TN).
RATIOS: dict[str, tuple[Form, Form]] = {
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "precision": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "recall": ((1, 0, 0, 0), (1, 1, 0, 0)),
    "f1": ((2, 0, 0, 0), (2, 1, 1, 0)),
    "specificity": ((0, 0, 0, 1), (0, 0, 1, 1)),
}
WITH_INTERVAL = ("accuracy", "recall", "specificity")  # shares of rows whose number the model did not choose


@dataclass(frozen=True, order=True)
class Confusion:
    """Positive rows called positive (tp) and negative (fn), negative rows called positive (fp) and negative (tn)."""

    tp: int
    fn: int
    fp: int
    tn: int

    def __str__(self) -> str:
        return f"TP {self.tp} FN {self.fn} FP {self.fp} TN {self.tn} (n = {self.n:,})"

    @property
    def n(self) -> int:
        """All rows."""
        return self.tp + self.fn + self.fp + self.tn

    @property
    def positives(self) -> int:
        """Rows that are positive, whatever they were called."""
        return self.tp + self.fn

    def parts(self, figure: str) -> tuple[int, int]:
        """Numerator and denominator of a figure of `RATIOS`."""
        above, below = RATIOS[figure]
        cells = (self.tp, self.fn, self.fp, self.tn)
        return sum(a * b for a, b in zip(above, cells, strict=True)), sum(
            a * b for a, b in zip(below, cells, strict=True)
        )

    def figure(self, name: str) -> Fraction | None:
        """A figure of `RATIOS`, exactly; None where it divides by 0."""
        above, below = self.parts(name)
        return Fraction(above, below) if below else None

    @property
    def mcc(self) -> float | None:
        """Matthews' correlation (Matthews 1975), -1 to 1; None if a row or a column of the matrix is empty."""
        called = self.tp + self.fp
        product = called * (self.n - called) * self.positives * (self.n - self.positives)
        return (self.tp * self.tn - self.fp * self.fn) / sqrt(product) if product else None


def figures(matrix: Confusion) -> dict[str, float | None]:
    """Every figure that follows from the counts; None where it divides by 0.

    `majority_accuracy` and `all_positive_f1` are what answering without looking gets.
    """
    found = {name: matrix.figure(name) for name in RATIOS}
    recall, specificity = found["recall"], found["specificity"]
    balanced = (recall + specificity) / 2 if recall is not None and specificity is not None else None
    exact = {
        "prevalence": Fraction(matrix.positives, matrix.n),
        **found,
        "balanced_accuracy": balanced,
        "majority_accuracy": majority_accuracy(matrix),
        "all_positive_f1": all_positive_f1(matrix),
    }
    return {**{name: None if value is None else float(value) for name, value in exact.items()}, "mcc": matrix.mcc}


def majority_accuracy(matrix: Confusion) -> Fraction:
    """Accuracy of always answering the larger class."""
    return Fraction(max(matrix.positives, matrix.n - matrix.positives), matrix.n)


def all_positive_f1(matrix: Confusion) -> Fraction:
    """F1 of always answering "positive"."""
    return Fraction(2 * matrix.positives, matrix.n + matrix.positives)


def intervals(matrix: Confusion) -> dict[str, tuple[float, float]]:
    """Wilson 95% intervals of `WITH_INTERVAL`; a figure that divides by 0 has none.

    They take the rows as independent. Several images of one patient are not: the true interval is then wider.
    """
    found = {name: wilson(*matrix.parts(name)) for name in WITH_INTERVAL}
    return {name: interval for name, interval in found.items() if interval}


def remarks(matrices: Sequence[Confusion]) -> list[str]:
    """In words, where all these matrices do no better than an answer that ignores the input."""
    rivals = (
        ("accuracy", majority_accuracy, "that of always answering the larger class"),
        ("f1", all_positive_f1, 'that of always answering "positive"'),
    )
    lines = []
    for name, rival, meaning in rivals:
        pairs = [(matrix.figure(name) or Fraction(0), rival(matrix)) for matrix in matrices]
        if pairs and all(ours <= theirs for ours, theirs in pairs):
            word = "below" if all(ours < theirs for ours, theirs in pairs) else "no better than"
            ours, theirs = (spread([pair[side] for pair in pairs]) for side in (0, 1))
            lines.append(f"{name} {ours} is {word} {meaning}, {theirs}")
    return lines


def spread(values: Sequence[Fraction | float]) -> str:
    """One value to four decimals, or the smallest and the largest."""
    low, high = f"{float(min(values)):.4f}", f"{float(max(values)):.4f}"
    return low if low == high else f"{low} to {high}"
