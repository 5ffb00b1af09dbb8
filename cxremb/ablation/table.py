"""The finished comparison, with all that must stand beside its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cxremb.ablation.compare import ArmResult, arms_by_caveat
from cxremb.ablation.controls import ControlResult
from cxremb.ablation.costs import EncoderLine, costs_in_words
from cxremb.ablation.fusing import Fusing
from cxremb.ablation.recipes import what_p_means
from cxremb.ablation.trial import CHOSEN, FIXED
from cxremb.ablation.verdicts import differs, limits, named, unread
from cxremb.caveats import describe_text
from cxremb.errors import count_of, label_title
from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.simultaneous import Contrast
from cxremb.store.layout import LABEL_SOURCE
from cxremb.table import UNDEFINED, bare, short, span
from cxremb.tabular import Tabular

COLUMNS = "sp@.95: specificity at a sensitivity of .95, of the ranking; ECE: mean gap of probability and outcome"


@dataclass(frozen=True, repr=False)
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
    margin: float | None = None  # of the AUROC: how much worse than the reference is still as good
    recipes: bool = True  # whether differences are of recipes; else of these fitted models, as of one fold
    judged_before: int = 0  # other runs that were judged on the test rows of this split and label set
    controls: tuple[ControlResult, ...] = ()
    fusing: tuple[Fusing, ...] = ()
    task: str = "binary"
    verdicts: tuple[str, ...] = ()  # what the controls say of the arms
    encoders: Mapping[str, EncoderLine] = field(default_factory=dict)  # arm of a leaderboard -> what its encoder costs
    better_alone: tuple[str, ...] = ()  # each single modality that beats the reference, which reads it too, in words

    @property
    def caption(self) -> tuple[str, ...]:
        """The lines that must stand below the table wherever it is shown."""
        values = {name: short(value, UNDEFINED) for name, value in self.baselines.items()}
        if any(one.name == "majority" and one.row for one in self.controls):  # whose row has it
            del values["majority accuracy"]
        lines = [
            self.title,
            "Without looking: " + ", ".join(f"{name} {value}" for name, value in values.items()),
            self.brackets,
            self.split_in_words,
            f"Stores {', '.join(self.stores.values())}; {self.text_in_words}",
            self.called,
            *self.compared,
            *self.tuned,
            *costs_in_words(self.encoders, self.folds * self.repeats * self.seeds),
        ]
        lines += self.no_intervals
        if self.judged_before:
            others = f"{self.judged_before:,} other run{'s' * (self.judged_before > 1)}"
            lines.append(f"{others} judged these test rows: the best of many looks better than it is")
        if self.left_out:
            lines.append("Left out for all arms: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items()))
        if self.reference is None:
            lines.append("Nothing to compare with: one arm alone")
        lines += self.caveats
        lines += [self.verbatim] if any(row.in_train is not None for row in self.rows) else []
        return (*lines, *self.better_alone, *self.fusing_in_words, *self.controls_in_words, *self.notes)

    @property
    def verbatim(self) -> str:
        """What the arms may know by heart, in words."""
        read = {row.arm: row for row in self.rows if row.in_train is not None}
        if not any(row.in_train for row in read.values()):
            return "No test row has a text that stands word for word in train"
        shares = (f"{arm} {row.in_train:.1%}{on_others(row.auroc_new_text)}" for arm, row in read.items())
        return f"Test rows with a text that stands word for word in train (AUROC on the others): {', '.join(shares)}"

    @property
    def title(self) -> str:
        """What was compared, in one sentence: the caption of a paper."""
        return (
            f"{self.dataset}: {count_of(self.n, 'row')}, one per {self.unit}, of "
            f"{count_of(self.patients, 'patient')}; label {label_title(self.label, self.label_set)}"
        )

    @property
    def notes_of_paper(self) -> tuple[str, ...]:
        """What the figures and columns mean, and what must be read beside them: the notes below a table in a paper."""
        return (self.brackets, self.split_in_words, self.called, *self.compared, *self.no_intervals, *self.caveats)

    @property
    def split_in_words(self) -> str:
        """Who is in which part, and by which recipe arms were trained."""
        return f"Split {self.split}: {self.split_means}; preset {self.preset}"

    @property
    def text_in_words(self) -> str:
        """Which text is read; that it is a source of the label is said by a caveat."""
        return f"text {self.text}" if self.text_role == LABEL_SOURCE else describe_text(self.text, self.text_role)

    @property
    def brackets(self) -> str:
        """What the intervals are, and over what."""
        within = f"AUROC within {self.folds} folds" if self.folds > 1 else "test rows of one fold"
        return f"Brackets: 95% over patients; {within}{self.averaged}"

    @property
    def no_intervals(self) -> list[str]:
        """Why some figures have no interval."""
        reasons = [row.auroc.reason for row in self.rows if row.auroc.reason]
        remarks = [f"{row.arm}: {row.auroc.remark}" for row in self.rows if row.auroc.remark]
        return [*(f"No interval: {reason}" for reason in dict.fromkeys(reasons)), *remarks]

    @property
    def caveats(self) -> list[str]:
        """What must be read beside the figures of which arms."""
        everyone = [row.arm for row in self.rows]
        found = arms_by_caveat({row.arm: row.caveats for row in self.rows})
        return [f"{named(arms, everyone)}: {caveat}" for caveat, arms in found.items()]

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
        missing = [f"{one.name} ({one.reason})" for one in self.controls if one.row is None and one.is_testable]
        lacking = [f"{one.name} is {one.reason}" for one in self.controls if one.row is None and not one.is_testable]
        lacking += [f"{one.name} does not read {one.lacks}" for one in self.controls if one.lacks]
        silent = ["Controls: none beats an arm, and none that must be at chance is above it"] if self.controls else []
        known = [*(self.verdicts or silent), *unread(self.controls), *limits(self.controls)]
        known += [*lacking, *([self.of_controls] if self.of_controls else [])]
        return (*known, *([f"Controls not made: {', '.join(missing)}"] if missing else []))

    @property
    def of_controls(self) -> str:
        """What the intervals of controls are of, where that is not what those of arms are."""
        drawn = [f"{one.name} {len(one.draws)}" for one in self.controls if len(one.draws) > 1]
        words = [f"intervals of shuffles are over draws too ({', '.join(drawn)})"] if drawn else []
        words += ["differences to controls are of these fitted models"] if any(map(differs, self.verdicts)) else []
        return f"Controls: {'; '.join(words)}" if words else ""

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
        threshold = own if self.threshold == CHOSEN else "at a threshold of .5"
        if self.task == "multiclass":
            return f"Macro means over the classes, accuracy that of the likeliest class; {COLUMNS}"
        if self.task == "multilabel":
            return f"Macro means over the labels, each called from .5 on; {COLUMNS}"
        return f"Accuracy and F1 {threshold}; {COLUMNS}"

    @property
    def compared(self) -> list[str]:
        """What p means, and what follows from the differences."""
        gaps = {row.arm: row.difference for row in self.rows if row.difference and row.difference.p is not None}
        if not gaps:
            return []
        lines = [what_p_means(len(gaps), recipes=self.recipes)]
        found = sorted(gap.detectable for gap in gaps.values() if gap.detectable is not None)
        least = " to ".join(dict.fromkeys(map(bare, (found[0], found[-1]))))
        lines.append(f"{self.best}; a true difference of {least} is found 4 times in 5")
        if self.margin is not None:
            near = ", ".join(arm for arm in gaps if self.within_margin(gaps[arm])) or "no arm"
            lines.append(f"At most {self.margin:g} worse than {self.reference}, by the brackets: {near}")
        return lines

    @property
    def best(self) -> str:
        """Which arms may be the best, in words."""
        arms = [row.arm for row in self.rows if row.may_be_best]
        return f"The best is {'one of ' * (len(arms) > 1)}{named(arms, [row.arm for row in self.rows])} (95%)"

    @property
    def tuned(self) -> list[str]:
        """How many settings were tried for which row, where the rows differ."""
        rows = {row.arm: row.tuned_over for row in self.rows}
        rows |= {one.name: one.row.tuned_over for one in self.controls if one.row}
        found: dict[int, list[str]] = {}
        for name, count in rows.items():
            found.setdefault(count, []).append(name)
        usual = found.pop(1, [])
        words = [f"{', '.join(names)} {count}" for count, names in sorted(found.items(), reverse=True)]
        differ = len(found) + bool(usual) > 1
        return [f"Settings tried on validation rows: {', '.join(words + ['the others 1'] * bool(usual))}"] * differ

    def within_margin(self, gap: Contrast | None) -> bool | None:
        """Whether an arm is as good as the reference; None where nothing is asked or known."""
        return None if self.margin is None or gap is None or gap.low is None else gap.low > -self.margin

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
        for name in ("auroc", "accuracy", "f1", "auroc_new_text", "difference", "fitted", "over_folds"):
            figure = getattr(row, name)
            values = {field: None if figure is None else getattr(figure, field) for field in ("value", "low", "high")}
            flat |= {name if field == "value" else f"{name}_{field}": value for field, value in values.items()}
        for name in ("difference", "fitted", "over_folds"):
            flat[f"{name}_p"] = None if (gap := getattr(row, name)) is None else gap.p
        flat |= {"difference_of": "recipes" if self.recipes else "fitted models", "reference": self.reference}
        flat |= {"detectable": row.difference and row.difference.detectable, "tied_with_best": row.may_be_best}
        flat |= {"within_margin": self.within_margin(row.difference), "judged_before": self.judged_before}
        flat |= {"specificity_at_sensitivity_95": row.specificity, "ece": row.ece, "threshold": self.threshold}
        flat |= {"verbatim_in_train": row.in_train, "tuned_over": row.tuned_over, "mean_rank": row.mean_rank}
        if line := self.encoders.get(row.arm):
            flat |= {name: getattr(line, name) for name in ("dim", "films_per_second", "bytes_per_film", "seen")}
        flat |= {name.replace(" ", "_").replace("-", "_").lower(): value for name, value in self.baselines.items()}
        flat |= {"split": self.split, "leaky": row.leaky, "stores": "; ".join(self.stores.values())}
        flat |= {"text": self.text, "text_role": self.text_role, "repeats": self.repeats, "seeds": self.seeds}
        fuse = next((one for one in self.fusing if one.arm == row.arm), None)
        flat |= {"additive_auroc": fuse and fuse.additive, "interaction_share": fuse and fuse.share}
        gap = fuse and fuse.interaction
        flat |= {"interaction": gap and gap.value, "interaction_low": gap and gap.low}
        flat |= {"interaction_high": gap and gap.high}
        flat |= {"run_id": row.run_id, "seconds": row.seconds, "reused": row.reused, "caveats": "; ".join(row.caveats)}
        return flat | {"words": fuse and (fuse.skipped or fuse.words)}


def on_others(auroc: Interval | None) -> str:
    """(.971 [.966, .976]), or nothing."""
    return "" if auroc is None or auroc.value is None else f" ({span(auroc.value, auroc.low, auroc.high)})"
