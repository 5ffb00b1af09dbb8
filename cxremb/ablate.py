"""What each modality adds: arms on the same rows and folds, compared with the fusion by paired differences."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.evaluate.bootstrap import Difference, Interval, paired_difference
from cxremb.features import Features, Inputs, load_features, text_told
from cxremb.splits import DEFAULT, StoredSplit, choose_split
from cxremb.store.choose import has_store
from cxremb.store.dataset import Dataset
from cxremb.train.fit import INTERVALS, Plan, fit_runs
from cxremb.train.heads import find_head
from cxremb.train.presets import find_preset
from cxremb.train.runs import Run
from cxremb.types import Progress, unwatched

ARMS = ("image", "text", "fusion")
REFERENCE = "fusion"


@dataclass(frozen=True)
class Trial:
    """How to train the arms; `alone` leaves the reference out, so that one arm uses every row it can."""

    preset: str = "default"
    split: str = DEFAULT.name
    allow_leaky: bool = False
    repeat: int = 0
    folds: tuple[int, ...] | None = None  # None: all that the split has
    seed: int = 0
    alone: bool = False


@dataclass(frozen=True)
class ArmResult:
    """One row of the table: out-of-fold test predictions, pooled over the folds."""

    arm: str
    n: int
    patients: int
    auroc: Interval
    accuracy: Interval
    f1: Interval
    difference: Difference | None  # AUROC of this arm minus that of the reference, on the same rows
    seconds: float  # spent training it, now or when the run was made
    run_id: str
    reused: bool
    leaky: bool
    caveats: tuple[str, ...]

    @property
    def title(self) -> str:
        """The arm as tables name it: a leaky figure never stands without the word."""
        return f"{self.arm} LEAKY" if self.leaky else self.arm


@dataclass(frozen=True)
class Ablation:
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

    @property
    def caption(self) -> tuple[str, ...]:
        """The lines that must stand below the table wherever it is shown."""
        shown = {name: "undefined" if value is None else f"{value:.3f}" for name, value in self.baselines.items()}
        lines = [
            f"{self.dataset}: {self.n:,} rows, one per {self.unit}, of {self.patients:,} patients; "
            f"label {self.label} ({self.label_set})",
            "Without looking: " + ", ".join(f"{name} {value}" for name, value in shown.items()),
            "Brackets: 95% patient-cluster bootstrap; test rows "
            + (f"pooled over {self.folds} folds" if self.folds > 1 else "of one fold"),
            f"Split {self.split}: {self.split_means}; preset {self.preset}",
            "Stores " + ", ".join(self.stores.values()) + "; " + text_told(self.text, self.text_role),
        ]
        if any(row.auroc.value is None or row.auroc.low is None for row in self.rows):
            lines.append("No interval: fewer than ten positives, negatives or patients")
        if self.left_out:
            lines.append("Left out for all arms: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items()))
        if self.reference is None:
            lines.append("Nothing to compare with: one arm alone")
        said: dict[str, list[str]] = {}
        for row in self.rows:
            for caveat in row.caveats:
                said.setdefault(caveat, []).append(row.arm)
        lines += [f"{', '.join(arms)}: {caveat}" for caveat, arms in said.items()]
        return (*lines, *self.notes)

    @property
    def baselines(self) -> dict[str, float | None]:
        """What needs no model: the share of positives, always the larger class, always positive."""
        return {
            "prevalence": self.prevalence,
            "majority accuracy": self.majority_accuracy,
            "all-positive F1": self.all_positive_f1,
        }


def ablate(
    dataset: Dataset,
    arms: Sequence[str] = ARMS,
    inputs: Inputs | None = None,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> Ablation:
    """The arms, and the fusion beside them where both modalities have a store, on identical rows and folds.

    A finished run that answers the same is re-used. Raises what `load_features`, `choose_split` and `fit_run` raise,
    and `TrainError` for an unknown arm or preset.
    """
    started = time.perf_counter()
    inputs, trial = inputs or Inputs(), trial or Trial()
    options = find_preset(trial.preset).options
    chosen, reference = with_reference(dataset, arms, trial.alone)
    modalities = sorted({block for arm in chosen for block in find_head(arm).blocks})
    features = load_features(dataset, modalities, inputs)
    if features.task != "binary":
        raise TrainError(
            f"arms are compared on one label a study, and {inputs.label_set} is {features.task}",
            hint="train them one by one: `cxremb train fusion --label-set " + inputs.label_set + "`",
        )
    split = choose_split(dataset, inputs.label_set, trial.split, allow_leaky=trial.allow_leaky)
    folds = trial.folds or split.folds
    plans = [Plan(arm, trial.preset, options, folds, (trial.repeat,), (trial.seed,)) for arm in chosen]
    runs = dict(zip(chosen, fit_runs(dataset, features, split, plans, progress), strict=True))
    rows = compare(runs, reference)
    return summary(dataset, features, split, runs, rows, time.perf_counter() - started)


def with_reference(dataset: Dataset, arms: Sequence[str], alone: bool) -> tuple[list[str], str | None]:
    """(arms to train, the reference among them or None). Raises `TrainError` when no arm is named."""
    chosen = list(dict.fromkeys(arms))  # once each, in order
    if not chosen:
        raise TrainError("no arm to train", hint=f"name some of {', '.join(ARMS)}")
    blocks = find_head(REFERENCE).blocks
    if REFERENCE not in chosen and not alone and all(has_store(dataset, block) for block in blocks):
        chosen.append(REFERENCE)
    return chosen, REFERENCE if REFERENCE in chosen and len(chosen) > 1 else None


def compare(runs: Mapping[str, Run], reference: str | None) -> list[ArmResult]:
    """One row per arm, in the order given, from the runs' stored predictions and intervals."""
    tests = {arm: judged_rows(run) for arm, run in runs.items()}
    base = tests[reference] if reference else None
    results = []
    for arm, run in runs.items():
        test = tests[arm]
        difference = None
        if base is not None and arm != reference:
            if test["item_id"].tolist() != base["item_id"].tolist():  # paired means the same rows: never compare others
                raise TrainError(f"arms {arm} and {reference} predict other rows", hint="this is a bug in cxremb")
            probs = test["y_prob"], base["y_prob"]
            difference = paired_difference(test["y_true"], *probs, test["patient_id"], metrics=("auroc",))["auroc"]
        auroc, accuracy, f1 = (Interval(*run.metric(name)) for name in INTERVALS)
        results.append(
            ArmResult(
                arm=arm,
                n=len(test["y_true"]),
                patients=len(np.unique(test["patient_id"])),
                auroc=auroc,
                accuracy=accuracy,
                f1=f1,
                difference=difference,
                seconds=run.seconds,
                run_id=run.run_id,
                reused=run.reused,
                leaky=bool(run.record.get("leaky")),
                caveats=run.caveats,
            )
        )
    return results


def judged_rows(run: Run) -> dict[str, NDArray[np.generic]]:
    """Column -> values of the run's test predictions, ordered by item."""
    table = run.predictions
    table = table.filter(pc.equal(table["part"], "test")).sort_by("item_id")
    columns = ("item_id", "patient_id", "y_true", "y_prob")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in columns}


def summary(
    dataset: Dataset,
    features: Features,
    split: StoredSplit,
    runs: Mapping[str, Run],
    rows: Sequence[ArmResult],
    seconds: float,
) -> Ablation:
    """The rows with what the caption needs. Baselines are those of the test rows, the same for every arm."""
    first = next(iter(runs.values()))
    reference = REFERENCE if any(row.difference is not None for row in rows) else None
    baselines = {name: first.metric(name)[0] for name in ("prevalence", "majority_accuracy", "all_positive_f1")}
    return Ablation(
        rows=tuple(rows),
        reference=reference,
        dataset=dataset.name,
        unit=features.unit,
        label_set=features.label_set,
        label=features.label,
        n=rows[0].n,
        patients=rows[0].patients,
        prevalence=baselines["prevalence"],
        majority_accuracy=baselines["majority_accuracy"],
        all_positive_f1=baselines["all_positive_f1"],
        split=split.title,
        split_means=split.means,
        leaky=split.leaky,
        folds=len(first.record["folds"]),
        stores=features.stores,
        text=features.text,
        text_role=features.text_role,
        left_out=first.record["left_out"],
        preset=str(first.record["preset"]),
        simulated=dataset.simulated,
        notes=(*features.notes, *(f"{note.what}: {note.count:,}" for note in split.notes)),
        seconds=seconds,
    )
