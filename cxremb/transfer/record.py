"""A pair as a run below the data set that is tested: predictions, metrics and a record that says whom it was trained
on. It keeps no weights: there is nothing to predict with.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.caveats import caveats, imported_vectors
from cxremb.concepts import CONCEPTS
from cxremb.predictions import Predictions, rows_of
from cxremb.splits import LEAKY
from cxremb.store.layout import BEFORE_READING, FORMAT_VERSION, HISTORY, LABEL_SOURCE, METRICS
from cxremb.training.card import model_card
from cxremb.training.data import Place
from cxremb.training.finish import encoder_licences
from cxremb.training.heads import HeadSpec
from cxremb.training.presets import Preset
from cxremb.training.record import RunRecord
from cxremb.training.runs import Run, write_run
from cxremb.training.scores import metrics_table
from cxremb.transfer.figures import ExternalFigure
from cxremb.transfer.gather import BETWEEN, Collected, Together
from cxremb.transfer.models import Team
from cxremb.transfer.plan import TransferPlan
from cxremb.version import VERSION
from cxremb.zeroshot.prompts import Prompt

EXTERNAL = "external"  # the part of the metrics that compares with the training collection


@dataclass(frozen=True)
class Task:
    """One pair that is wanted, all of it known before anything is trained."""

    group: tuple[str, ...]  # trained on
    tested: str
    concepts: tuple[int, ...]  # that are judged
    rows: np.ndarray[Any, np.dtype[np.int64]]  # of the tested collection, that are judged
    cases: np.ndarray[Any, np.dtype[np.int64]]  # that probabilities are fitted on again; none where nobody asks
    left_out: dict[str, int]
    twice: np.ndarray[Any, np.dtype[np.int64]]  # rows trained on nowhere: another training collection has the patient
    caveats: tuple[str, ...]
    not_judged: dict[str, str]
    seen: bool = False
    reason: str | None = None  # why there is nothing to judge

    @property
    def title(self) -> str:
        return "+".join(self.group)


def key_of_task(
    task: Task,
    together: Together,
    head: HeadSpec,
    *,
    preset: Preset,
    plan: TransferPlan,
    asked: Sequence[Prompt],
) -> str:
    """SHA-256 of all that decides the figures of a pair."""
    trained = [together.named(name) for name in task.group]
    decides = {
        "format": FORMAT_VERSION,
        "cxremb": VERSION,
        "what": EXTERNAL,
        "trained": [[one.name, one.features.digest, one.split.key, one.split.digest] for one in trained],
        "tested": [task.tested, together.named(task.tested).features.digest],
        "rows": [hashlib.sha256(rows.tobytes()).hexdigest() for rows in (task.rows - together.starts[task.tested],
                                                                         task.cases - together.starts[task.tested])],
        "concepts": [together.concepts, task.concepts],
        "head": asdict(head),
        "options": asdict(preset.options),
        "plan": [plan.unit, plan.sensitivity, plan.recalibrate, plan.site, plan.seed],
        "caveats": task.caveats,
    }  # fmt: skip
    if asked:
        decides["prompts"] = [plan.zero_shot, "mean score", *([one.label, one.positive, one.text] for one in asked)]
    if len(task.twice):
        decides["twice"] = hashlib.sha256(together.ids["items"][task.twice].tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def write_pair(
    task: Task,
    together: Together,
    team: Team,
    *,
    key: str,
    test: Predictions,
    figures: Sequence[ExternalFigure],
    how: tuple[HeadSpec, Preset, TransferPlan],
) -> Run:
    """The run. test: what every model says of the tested rows, a model being a pool. how: head, preset and plan."""
    b = together.named(task.tested)
    items, studies, patients = (without_name(ids) for ids in (test.items, test.studies, test.patients))
    own = replace(test, items=items, studies=studies, patients=patients)
    record = record_of(task, together, team, key=key, test=own, figures=figures, how=how)
    metrics = pa.concat_tables([metrics_table(own), figure_rows(figures, len(team.folds))])
    return write_run(
        b.dataset,
        record,
        history=HISTORY.empty_table(),
        predictions=rows_of(own),
        metrics=metrics,
        weights={},
        card=model_card(record, metrics.to_pylist()),
    )


def without_name(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The ids as their own data set has them."""
    return np.array([one.partition(BETWEEN)[2] for one in ids.tolist()], dtype=np.str_)


def figure_rows(figures: Sequence[ExternalFigure], models: int) -> pa.Table:
    """Rows of the part `external`."""
    rows = [
        {"part": EXTERNAL, "label": one.concept, "metric": one.metric, "value": one.value, "low": one.low,
         "high": one.high, "folds": models}
        for one in figures
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=METRICS)


def read_figures(run: Run) -> list[ExternalFigure]:
    """The figures of a pair that was judged before."""
    rows = run.metrics.filter(pc.equal(run.metrics["part"], EXTERNAL)).to_pylist()
    why = {(concept, metric): reason for concept, metric, reason in run.record.spec.get("reasons", ())}
    return [
        ExternalFigure(row["label"], row["metric"], row["value"], row["low"], row["high"],
                       why.get((row["label"], row["metric"])))
        for row in rows
    ]  # fmt: skip


def record_of(
    task: Task,
    together: Together,
    team: Team,
    *,
    key: str,
    test: Predictions,
    figures: Sequence[ExternalFigure],
    how: tuple[HeadSpec, Preset, TransferPlan],
) -> RunRecord:
    """What run.json says."""
    b, (head, preset, plan), models = together.named(task.tested), how, range(len(team.trained))
    features, trained = b.features, [together.named(name) for name in task.group]
    titles = "; ".join(f"{one.split.title} of {one.name}" for one in trained)
    blocks = [block for block in head.blocks if block in features.stores]
    return RunRecord(
        run_id="",
        key=key,
        dataset=b.name,
        head=plan.head,
        arm=arm_of(task, plan),
        spec={
            EXTERNAL: task.title,
            "head": asdict(head),
            "sensitivity": plan.sensitivity,
            "recalibrate": plan.recalibrate,
            "reasons": [[one.concept, one.metric, one.reason] for one in figures if one.reason],
        },
        preset=preset.name,
        options=asdict(preset.options),
        label_set=CONCEPTS,
        label_version=features.label_version,
        task=test.task,
        labels=test.labels,
        label=test.headline,
        split=EXTERNAL,
        split_key=hashlib.sha256("".join(one.split.key for one in trained).encode()).hexdigest()[:8],
        split_means=f"all rows of {b.name}, by the models of the {len(models)} folds of {titles}",
        leaky=any(one.split.leaky for one in trained),
        stores=tuple(features.stores[block] for block in blocks),
        keys={block: features.keys.get(block) for block in blocks},
        dims={block: features.blocks[block].shape[-1] for block in blocks},
        rows_from=dict(features.stores),
        text=features.text if "text" in head.blocks else None,
        text_role=features.text_role if "text" in head.blocks else None,
        pooling={block: features.pooling.get(block) for block in blocks},
        views=features.views,
        folds=(0,),
        repeats=tuple(models),
        seeds=(plan.seed,),
        members=tuple(Place(number, 0, plan.seed) for number in models),
        epochs=tuple(one.epoch for one in team.trained),
        scales=tuple(one.scales for one in team.trained),
        parameters=head.parameters(
            {block: features.blocks[block].shape[-1] for block in blocks}, test.task, len(together.concepts)
        ),
        unit=test.unit,
        rows=len(np.unique(test.items)),
        patients=len(np.unique(test.patients)),
        left_out={**features.left_out, **task.left_out},
        simulated=any(one.dataset.simulated for one in (b, *trained)),
        caveats=caveats_of(task, together, head),
        versions={"cxremb": VERSION, "torch": version("torch")},
        licences=encoder_licences(b.dataset, [features.stores[block] for block in blocks]),
        dataset_licence=str(b.dataset.descriptor.get("licence") or ""),
        dataset_citation=str(b.dataset.descriptor.get("citation") or ""),
        trained_on=task.title,
    )


def arm_of(task: Task, plan: TransferPlan) -> str:
    """Who judges, and how where that is not the usual way: figures of two such names are of two questions."""
    ways = [
        *(["a study counts once"] if plan.unit == "study" else []),
        *([f"aimed at a sensitivity of {plan.sensitivity:g}"] if plan.sensitivity is not None else []),
        *([f"less {plan.recalibrate} patients to recalibrate on"] if plan.recalibrate else []),
    ]
    return ", ".join([f"{plan.head} trained on {task.title}", *ways])


def caveats_of(task: Task, together: Together, head: HeadSpec) -> tuple[str, ...]:
    """What must stand beside every figure of a pair."""
    sides: list[Collected] = [together.named(name) for name in (task.tested, *task.group)]
    roles = {one.features.text_role for one in sides}
    role = BEFORE_READING if roles == {BEFORE_READING} else LABEL_SOURCE
    usual = caveats(head.blocks, role, any(one.dataset.simulated for one in sides))
    imported = {note: None for one in sides for note in imported_vectors(one.features, head.blocks)}
    return (*usual, *imported, *([LEAKY] if any(one.split.leaky for one in sides[1:]) else []), *task.caveats)
