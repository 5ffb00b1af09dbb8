"""What was trained -> a finished run: tables, figures, record and card, written as one folder. Whatever trained it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import numpy as np
import pyarrow as pa

from cxremb.caveats import caveats, imported_vectors, outdated_vectors, pretrained_on
from cxremb.errors import TrainError
from cxremb.evaluation.arrays import Reals
from cxremb.predictions import Predictions, rows_of
from cxremb.splits import LEAKY
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FORMAT_VERSION, HISTORY
from cxremb.store.manifest import latest_manifest
from cxremb.training.card import model_card
from cxremb.training.data import Place, Trained
from cxremb.training.heads import head_called
from cxremb.training.parts import Parts, judged_rows
from cxremb.training.plan import FitJob
from cxremb.training.presets import find_preset
from cxremb.training.record import RunRecord
from cxremb.training.runs import Run, write_run
from cxremb.training.scores import metrics_table
from cxremb.training.verbatim import in_train
from cxremb.version import VERSION


@dataclass(frozen=True)
class FitResult:
    """What came of a job, whatever trained it."""

    trained: Mapping[Place, Trained]  # in the order of the plan's places; epoch 0 and no weights: a rule, not trained
    predictions: Predictions  # the val and test rows of every model, models in the same order
    parts: Mapping[tuple[int, int], Parts]  # (repeat, fold) -> the part of each row
    parameters: int  # trainable ones of one model
    seconds: float  # spent training them
    precision: str = "fp32"  # of the products while they were trained


def key_of(job: FitJob) -> str:
    """SHA-256 of all that decides the result: contents of rows, labels and split, model, recipe, seeds.

    Raises `TrainError` for an unknown head, or a preset that is not for the task of the labels.
    """
    features, spec = job.features, job.spec
    if job.other is None:
        preset = find_preset(job.plan.preset)
        preset.check_head(job.plan.arm)
        if features.task not in preset.tasks:
            raise TrainError(
                f"preset {preset.name} is for {' and '.join(preset.tasks)} labels; "
                f"{features.label_set} is {features.task}",
                hint="name another label set with --label-set, or use --preset default",
            )
    decides = {
        "format": FORMAT_VERSION,
        "cxremb": VERSION,
        "simulated": job.dataset.simulated,
        "features": features.digest,
        "split": [job.split.key, job.split.digest, job.split.leaky],  # the last stands beside every figure
        "plan": asdict(job.plan),
        "head": spec,
        **({"train_fraction": job.train_fraction} if job.train_fraction != 1 else {}),
        **({"shots": job.shots} if job.shots else {}),
        **({"missing": job.missing} if job.missing else {}),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def predictions_of_model(job: FitJob, place: Place, parts: Parts, *, prob: Reals, logit: Reals) -> Predictions:
    """What one model says of its val and test rows. parts: (n,) of its fold; prob, logit: (m, k) of those rows."""
    features, rows = job.features, judged_rows(parts)
    return Predictions(
        run=job.plan.arm,
        dataset=job.dataset.name,
        unit=features.unit,
        task=features.task,
        labels=tuple(features.labels),
        part=parts[rows],
        items=features.item_ids[rows],
        studies=features.study_ids[rows],
        patients=features.patient_ids[rows],
        **{name: np.full(len(rows), number) for name, number in asdict(place).items()},
        y=features.y[rows],
        prob=prob,
        logit=logit,
    )


def finish_run(job: FitJob, result: FitResult) -> Run:
    """The run, written whole. Rows that the split does not list in any repeat are counted under `left_out`."""
    predictions = replace(result.predictions, text_in_train=in_train(job, result.predictions, result.parts))
    metrics, record = metrics_table(predictions.of_part("test"), shuffles=job.shuffles), run_record(job, result)
    history = [asdict(place) | asdict(epoch) for place, one in result.trained.items() for epoch in one.history]
    return write_run(
        job.dataset,
        record,
        history=pa.Table.from_pylist(history, schema=HISTORY),
        predictions=rows_of(predictions),
        metrics=metrics,
        weights={
            f"{place.name}.{name}": array
            for place, one in result.trained.items()
            for name, array in one.weights.items()
        },
        card=model_card(record, metrics.to_pylist()),
    )


def encoder_licences(dataset: Dataset, stores: Sequence[str]) -> dict[str, str]:
    """Store -> licence of its encoder. stores: their titles, such as `tiny@0a1b v3`."""
    names = [title.partition(" ")[0] for title in stores]
    manifests = {name: latest_manifest(dataset.paths.embeddings / name) for name in names}
    return {name: manifest.licence for name, manifest in manifests.items() if manifest}


def run_record(job: FitJob, result: FitResult) -> RunRecord:
    """What run.json says, less the id, the dates and the digest of the weights."""
    features, split, plan, simulated = job.features, job.split, job.plan, job.dataset.simulated
    blocks = [block for block in job.blocks if job.reads_stores and block in features.stores]
    reads_text = "text" in job.blocks
    rows, patients, left_out = row_counts(job, result)
    return RunRecord(
        run_id="",
        key=key_of(job),
        dataset=job.dataset.name,
        head=head_called(job.spec) or plan.arm,  # the arm's name may say more
        arm=plan.arm,
        spec=job.spec,
        preset=plan.preset,
        options=asdict(plan.options),
        precision=result.precision,
        train_fraction=job.train_fraction,
        shots=job.shots,
        prior=job.prior,
        label_policy=job.label_policy,
        label_set=features.label_set,
        label_version=features.label_version,
        task=features.task,
        labels=tuple(features.labels),
        label=result.predictions.headline,
        split=split.title,
        split_key=split.key,
        split_means=split.means,
        leaky=split.leaky,
        stores=tuple(features.stores[block] for block in blocks),
        keys={block: features.keys.get(block) for block in blocks},
        dims={block: features.blocks[block].shape[-1] for block in blocks},
        rows_from=dict(features.stores),  # the same for all arms
        text=features.text if reads_text else None,
        text_role=features.text_role if reads_text else None,
        xxxx=features.xxxx if reads_text else None,
        pooling={block: features.pooling.get(block) for block in blocks},
        views=features.views,
        missing=features.missing,
        folds=plan.folds,
        repeats=plan.repeats,
        seeds=plan.seeds,
        members=tuple(result.trained),
        epochs=tuple(one.epoch for one in result.trained.values()),
        scales=tuple(one.scales for one in result.trained.values()),
        parameters=result.parameters,
        unit=features.unit,
        rows=rows,
        patients=patients,
        left_out=left_out,
        simulated=simulated,
        caveats=(
            *caveats(job.blocks, features.text_role, simulated),
            *job.caveats,
            *pretrained_on(job.dataset, features, blocks),
            *([LEAKY] if split.leaky else []),
            *imported_vectors(features, blocks),
            *outdated_vectors(features, blocks),
            *diverged(result),
        ),
        notes=tuple(features.notes),
        seconds=round(result.seconds, 2),
        versions={"cxremb": VERSION, "torch": version("torch")},
        licences=encoder_licences(job.dataset, [features.stores[block] for block in blocks]),
        dataset_licence=str(job.dataset.descriptor.get("licence") or ""),
        dataset_citation=str(job.dataset.descriptor.get("citation") or ""),
    )


def diverged(result: FitResult) -> list[str]:
    """Which models stopped because their loss was no number any more, in words."""
    return [
        f"{place.name} diverged in epoch {one.diverged}: its epoch {one.epoch} was kept, and a lower learning rate "
        "would have gone further"
        for place, one in result.trained.items()
        if one.diverged
    ]


def row_counts(job: FitJob, result: FitResult) -> tuple[int, int, dict[str, int]]:
    """(how many rows the split lists, of how many patients, how many were left out by reason)."""
    there = sum((parts != "").astype(int) for parts in result.parts.values()) > 0
    left_out = dict(job.features.left_out)
    if unlisted := int((~there).sum()):
        left_out[f"not in split {job.split.name}"] = unlisted
    return int(there.sum()), len(set(job.features.patient_ids[there].tolist())), left_out
