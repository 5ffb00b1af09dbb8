"""What a model's output means: its calibration and thresholds, chosen on validation rows; and who is in which part."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cxremb.errors import CxrembError, DataError
from cxremb.evaluation.arrays import MULTICLASS
from cxremb.evaluation.calibrate import Calibration
from cxremb.evaluation.reliability import logit
from cxremb.predictions import Predictions
from cxremb.splits.stored import by_patients_of_now, fold_parts, read_split, rows_of
from cxremb.store.dataset import Dataset
from cxremb.training.data import Place
from cxremb.training.runs import Run

RULE = "youden"  # the default of `Predictions.at_thresholds`


@dataclass(frozen=True)
class Scales:
    """By model: what its logits are multiplied by, and from where on each label is called."""

    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # model -> label -> probability
    chosen_on: Mapping[str, int] = field(default_factory=dict)  # label -> validation rows of all models
    prevalence: Mapping[str, float] = field(default_factory=dict)  # label -> among these rows
    reasons: tuple[str, ...] = ()  # why something is not there


def scales_of(run: Run) -> Scales:
    """The temperatures and Youden thresholds of a run's models, each chosen on its own validation rows.

    A threshold is that of the calibrated probability, where there is a calibration: both rise together.
    """
    val, test, reasons = run.predictions("val"), run.predictions("test"), []
    calibrations: dict[str, Calibration] = {}
    try:
        fitted = test.calibrated(val)[1]
        calibrations = dict(zip((name_of(test, rows[0]) for rows in test.models), fitted, strict=True))
    except DataError as error:
        reasons.append(f"not calibrated: {error}")
    thresholds: dict[str, dict[str, float]] = {}
    chosen_on, prevalence = {}, {}
    for label in test.labels if test.task != MULTICLASS else ():
        one = val.of_label(label)
        try:
            judged = test.of_label(label).at_thresholds(one, RULE)
        except DataError as error:
            reasons.append(f"no threshold for {label}: {error}")
            continue
        own = np.broadcast_to(judged.threshold, len(judged.items))
        for rows in judged.models:
            name = name_of(judged, rows[0])
            value = float(np.clip(own[rows[0]], 0.0, 1.0))
            if name in calibrations:
                value = float(calibrations[name].apply(logit(np.array([[value]])), test.task)[1][0, 0])
            thresholds.setdefault(name, {})[label] = value
        chosen_on[label], prevalence[label] = len(one.items), float(one.y[:, 0].mean())
    return Scales(calibrations, thresholds, chosen_on, prevalence, tuple(reasons))


def name_of(predictions: Predictions, row: int) -> str:
    """The model that predicts a row."""
    return Place(*(int(getattr(predictions, name)[row]) for name in ("repeat", "fold", "seed"))).name


@dataclass(frozen=True)
class Members:
    """In which part of each model an item of the data set is: by its study, its image, or else its patient."""

    of_item: Mapping[str, Mapping[str, str]]  # model -> study id, or image id -> part
    of_patient: Mapping[str, Mapping[str, str]]  # model -> patient -> part
    by_image: bool = False
    reason: str | None = None  # why it is not known

    def parts(self, image: str | None, study: str, patient: str) -> dict[str, str]:
        """Model -> train, val or test; models that have nothing to do with the patient are left out."""
        item = image if self.by_image and image is not None else study
        found = {
            name: self.of_item[name].get(item) or self.of_patient[name].get(patient) or "" for name in self.of_item
        }
        return {name: part for name, part in found.items() if part}


def members_of(run: Run, dataset: Dataset) -> Members:
    """Who is in which part. Of a run whose split is gone, only who was tested or chosen on is known."""
    record = run.record
    try:
        split = by_patients_of_now(dataset, read_split(dataset.paths.splits / f"{record.split}.parquet"))
    except CxrembError as error:
        rows = [run.predictions(part) for part in ("val", "test")]
        known: dict[str, dict[str, str]] = {place.name: {} for place in record.members}
        for one in rows:
            for row, (item, part) in enumerate(zip(one.studies.tolist(), one.part.tolist(), strict=True)):
                known[name_of(one, row)][item] = part
        return Members(known, {name: {} for name in known}, reason=f"who was trained on is not known: {error}")
    items, patients = {}, {}
    for place in record.members:
        items[place.name] = fold_parts(split.table, place.repeat, place.fold)
        rows_here = rows_of(split.table, place.repeat, place.fold)
        patients[place.name] = dict(zip(*(rows_here[name].to_pylist() for name in ("patient_id", "part")), strict=True))
    return Members(items, patients, split.by_image)
