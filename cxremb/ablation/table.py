"""The finished comparison, with all that must stand beside its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cxremb.ablation.compare import ArmResult, arms_by_caveat
from cxremb.ablation.controls import ControlResult
from cxremb.ablation.fusing import Fusing
from cxremb.ablation.trial import CHOSEN, FIXED
from cxremb.ablation.verdicts import named, unread
from cxremb.evaluation.bootstrap import Resampling
from cxremb.features import describe_text
from cxremb.tabular import Tabular

COLUMNS = (
    "sp@.95: specificity at a sensitivity of 0.95, of the ranking; ECE: mean gap of probability and outcome; "
    "s: seconds of training"
)


@dataclass(frozen=True)
class Ablation(Tabular):
    """Arms compared on one set of rows, with all that a reader needs beside the figures."""

    rows: tuple[ArmResult, ...]
    reference: str | None  # None: there was nothing to compare with
    dataset: str
    unit: str
    label_set: str
    label: str
    n: int
    patients: int
    prevalence: float | None
    majority_accuracy: float | None
    all_positive_f1: float | None
    split: str  # name@key
    split_means: str
    leaky: bool
    folds: int
    stores: Mapping[str, str]
    text: str | None
    text_role: str | None
    left_out: Mapping[str, int]
    preset: str
    simulated: bool
    notes: tuple[str, ...]
    seconds: float  # wall time of this call
    repeats: int = 1
    seeds: int = 1
    threshold: str = FIXED
    controls: tuple[ControlResult, ...] = ()
    fusing: tuple[Fusing, ...] = ()
    task: str = "binary"
    verdicts: tuple[str, ...] = ()  # what the controls say of the arms

    @property
    def caption(self) -> tuple[str, ...]:
        """The lines that must stand below the table wherever it is shown."""
        values = {name: "undefined" if value is None else f"{value:.3f}" for name, value in self.baselines.items()}
        lines = [
            f"{self.dataset}: {self.n:,} rows, one per {self.unit}, of {self.patients:,} patients; "
            f"label {self.label} ({self.label_set})",
            "Without looking: " + ", ".join(f"{name} {value}" for name, value in values.items()),
            "Brackets: 95% patient-cluster bootstrap; test rows "
            + (f"pooled over {self.folds} folds" if self.folds > 1 else "of one fold")
            + self.averaged,
            f"Split {self.split}: {self.split_means}; preset {self.preset}",
            "Stores " + ", ".join(self.stores.values()) + "; " + describe_text(self.text, self.text_role),
            self.called,
            *([self.corrected] if any(row.holm is not None for row in self.rows) else []),
        ]
        reasons = [row.auroc.reason for row in self.rows if row.auroc.reason]
        lines += [f"No interval: {reason}" for reason in dict.fromkeys(reasons)]
        if self.left_out:
            lines.append("Left out for all arms: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items()))
        if self.reference is None:
            lines.append("Nothing to compare with: one arm alone")
        everyone = [row.arm for row in self.rows]
        caveats = arms_by_caveat({row.arm: row.caveats for row in self.rows})
        lines += [f"{named(arms, everyone)}: {caveat}" for caveat, arms in caveats.items()]
        lines += [self.over_folds_in_words(row) for row in self.rows if row.over_folds is not None]
        return (*lines, *self.fusing_in_words, *self.controls_in_words, *self.notes)

    @property
    def fusing_in_words(self) -> tuple[str, ...]:
        """Whether the fusions fuse, in words; those that were not measured for one reason on one line."""
        skipped: dict[str, list[str]] = {}
        for one in self.fusing:
            if one.skipped:
                skipped.setdefault(one.skipped, []).append(one.arm)
        measured = [one.words for one in self.fusing if not one.skipped]
        return (*measured, *(f"Whether {', '.join(arms)} fuses: not measured, {why}" for why, arms in skipped.items()))

    @property
    def controls_in_words(self) -> tuple[str, ...]:
        """What the controls say, in words."""
        missing = [f"{one.name} ({one.reason})" for one in self.controls if one.row is None]
        silent = ["Controls: none beats an arm, and none is above chance that must not be"] if self.controls else []
        known = unread(self.controls)
        return (*(self.verdicts or silent), *known, *([f"Controls not made: {', '.join(missing)}"] if missing else []))

    @property
    def averaged(self) -> str:
        """Over what figures are means, in words."""
        many = {"repeats": self.repeats, "seeds": self.seeds}
        means = " and ".join(f"{count} {what}" for what, count in many.items() if count > 1)
        return f", figures averaged over {means}" if means else ""

    @property
    def called(self) -> str:
        """How a row comes to be called positive, in words."""
        own = "at each fold's own threshold, of the best sensitivity + specificity on its validation rows"
        threshold = own if self.threshold == CHOSEN else "at a threshold of 0.5"
        if self.task != "binary":
            many = (
                "accuracy that of the likeliest class" if self.task == "multiclass" else "cells at a threshold of 0.5"
            )
            return f"Macro means over the labels, {many}; {COLUMNS}"
        return f"Accuracy and F1 {threshold}; {COLUMNS}"

    @property
    def corrected(self) -> str:
        """What the p values are, in words."""
        count = sum(row.holm is not None for row in self.rows)
        resampling = Resampling()
        least = f"{2 / (resampling.resamples + 1):.3f}".removeprefix("0")
        holm = f"after Holm over {count} comparisons" if count > 1 else "of one comparison"
        return (
            f"p: paired bootstrap over patients against {self.reference}, {holm}; "
            f"{resampling.resamples:,} resamples, so none is below {least}" + " before Holm" * (count > 1)
        )

    def over_folds_in_words(self, row: ArmResult) -> str:
        """The corrected test over repeated folds, in words."""
        gap = row.over_folds
        if gap is None or gap.value is None or gap.low is None or gap.high is None or gap.p is None:
            return f"{row.arm}: no test over folds ({gap.reason if gap else 'one class in a fold'})"
        return (
            f"{row.arm} - {self.reference}, the luck of training included (corrected repeated folds, Nadeau & Bengio "
            f"2003): {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], p {gap.p:.3f} uncorrected"
        )

    @property
    def baselines(self) -> dict[str, float | None]:
        """What needs no model: the share of positives, always the larger class, always positive."""
        return {
            "prevalence": self.prevalence,
            "majority accuracy": self.majority_accuracy,
            "all-positive F1": self.all_positive_f1,
        }

    def to_arrow(self) -> pa.Table:
        """A row for each arm and control, with every figure in full and its caveats in a column."""
        rows = [self.arm_row(row) for row in self.rows]
        rows += [
            (self.arm_row(control.row) if control.row else {})
            | {"dataset": self.dataset, "kind": "control", "arm": control.name, "words": control.reason}
            for control in self.controls
        ]
        return pa.Table.from_pylist(rows)

    def heading(self) -> str:
        """What was compared, in one line."""
        return f"{self.dataset}: {self.n:,} rows of {self.patients:,} patients; label {self.label}"

    def arm_row(self, row: ArmResult) -> dict[str, Any]:
        """Column -> value of one arm."""
        flat: dict[str, Any] = {"dataset": self.dataset, "kind": "arm", "arm": row.arm, "unit": self.unit}
        flat |= {"n": row.n, "patients": row.patients}
        for name in ("auroc", "accuracy", "f1", "difference", "over_folds"):
            figure = getattr(row, name)
            values = {field: None if figure is None else getattr(figure, field) for field in ("value", "low", "high")}
            flat |= {name if field == "value" else f"{name}_{field}": value for field, value in values.items()}
        for name in ("difference", "over_folds"):
            flat[f"{name}_p"] = None if (gap := getattr(row, name)) is None else gap.p
        flat |= {"difference_p_holm": row.holm, "reference": self.reference}
        flat |= {"specificity_at_sensitivity_95": row.specificity, "ece": row.ece, "threshold": self.threshold}
        flat |= {name.replace(" ", "_").replace("-", "_").lower(): value for name, value in self.baselines.items()}
        flat |= {"split": self.split, "leaky": row.leaky, "stores": "; ".join(self.stores.values())}
        flat |= {"text": self.text, "text_role": self.text_role, "repeats": self.repeats, "seeds": self.seeds}
        fuse = next((one for one in self.fusing if one.arm == row.arm), None)
        flat |= {"additive_auroc": fuse and fuse.additive, "interaction_share": fuse and fuse.share}
        flat |= {"run_id": row.run_id, "seconds": row.seconds, "reused": row.reused, "caveats": "; ".join(row.caveats)}
        return flat | {"words": fuse and (fuse.skipped or fuse.words)}
