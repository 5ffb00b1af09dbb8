"""What was trained -> a finished run: tables, figures, record and card, written as one folder. Whatever trained it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from cxremb.features import Features, caveats
from cxremb.splits import LEAKY, StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FORMAT_VERSION
from cxremb.training.card import model_card
from cxremb.training.heads import HEADS
from cxremb.training.parts import Parts
from cxremb.training.plan import Plan
from cxremb.training.runs import Outcome, Run, write_run
from cxremb.training.scores import headline, metrics_table
from cxremb.training.tables import Fitted, history_table, prediction_table
from cxremb.version import VERSION


@dataclass(frozen=True)
class Made:
    """The models of one plan, and what the record must say of them."""

    plan: Plan
    blocks: Sequence[str]  # what they read: image, text
    fitted: Sequence[Fitted]
    parts: Mapping[tuple[int, int], Parts]  # (repeat, fold) -> the part of each row
    parameters: int  # trainable ones of one model
    seconds: float  # spent training them
    spec: Mapping[str, Any] = field(default_factory=dict)  # what the models are, enough to build them again
    precision: str = "fp32"  # of the products while they were trained
    reads_stores: bool = True  # False: what it reads of `blocks` is not their vectors, such as the words of a text


def run_key(dataset: Dataset, features: Features, split: StoredSplit, plan: Plan, spec: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides the result: rows, labels, stores and versions, split, model, recipe, seeds."""
    told = {
        "format": FORMAT_VERSION,
        "cxremb": VERSION,
        "simulated": dataset.simulated,
        "features": features.digest,
        "split": split.key,
        "plan": asdict(plan),
        "head": dict(spec),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def finish_run(dataset: Dataset, features: Features, split: StoredSplit, made: Made) -> Run:
    """The run, written whole. Rows that the split does not list in any repeat are counted under `left_out`."""
    metrics = metrics_table(features, made.fitted)
    record = run_record(dataset, features, split, made)
    outcome = Outcome(
        record=record,
        history=history_table(made.fitted),
        predictions=prediction_table(features, made.fitted),
        metrics=metrics,
        weights={f"{one.place.name}.{name}": array for one in made.fitted for name, array in one.weights.items()},
        card=model_card(record | {"dataset": dataset.name}, metrics.to_pylist()),
    )
    return write_run(dataset, run_key(dataset, features, split, made.plan, made.spec), outcome)


def run_record(dataset: Dataset, features: Features, split: StoredSplit, made: Made) -> dict[str, Any]:
    """What run.json says, less the id, the dates and the digest of the weights."""
    plan, blocks = made.plan, [block for block in made.blocks if made.reads_stores and block in features.stores]
    notes = [
        *caveats(made.blocks, features.text_role, dataset.simulated),
        *([LEAKY] if split.leaky else []),
        *diverged(made),
    ]
    reads_text = "text" in made.blocks
    return {
        "head": head_name(made),
        "arm": plan.arm,
        "spec": dict(made.spec),
        "preset": plan.preset,
        "options": asdict(plan.options),
        "precision": made.precision,
        "label_set": features.label_set,
        "label_version": features.label_version,
        "task": features.task,
        "labels": list(features.labels),
        "label": headline(features.labels),
        "split": split.title,
        "split_key": split.key,
        "split_means": split.means,
        "leaky": split.leaky,
        "stores": [features.stores[block] for block in blocks],
        "keys": {block: features.keys.get(block) for block in blocks},
        "dims": {block: features.blocks[block].shape[-1] for block in blocks},
        "rows_from": dict(features.stores),  # the stores that decide which rows there are: the same for all arms
        "text": features.text if reads_text else None,
        "text_role": features.text_role if reads_text else None,
        "xxxx": features.xxxx if reads_text else None,
        "pooling": {block: features.pooling.get(block) for block in blocks},
        "views": features.views,
        "missing": features.missing,
        "folds": list(plan.folds),
        "repeats": list(plan.repeats),
        "seeds": list(plan.seeds),
        "members": [asdict(one.place) | {"name": one.place.name, "epoch": one.epoch} for one in made.fitted],
        "epochs": [one.epoch for one in made.fitted],  # the one kept, per model
        "parameters": made.parameters,
        "unit": features.unit,
        **rows_told(features, split, made),
        "simulated": dataset.simulated,
        "note": "; ".join(notes),
        "notes": list(features.notes),  # choices made for the user, such as which of several stores
        "seconds": round(made.seconds, 2),
        "versions": {"cxremb": VERSION, "torch": version("torch")},
    }


def diverged(made: Made) -> list[str]:
    """Which models stopped because their loss was no number any more, in words."""
    return [
        f"{one.place.name} diverged in epoch {one.diverged}: its epoch {one.epoch} was kept, and a lower learning rate "
        "would have gone further"
        for one in made.fitted
        if one.diverged
    ]


def head_name(made: Made) -> str:
    """The head of the table that an arm, whose name may say more, is made of; else the arm's own name."""
    return next((name for name, head in HEADS.items() if asdict(head) == dict(made.spec)), made.plan.arm)


def rows_told(features: Features, split: StoredSplit, made: Made) -> dict[str, Any]:
    """How many rows of how many patients the split lists, and what was left out and why."""
    there = sum((parts != "").astype(int) for parts in made.parts.values()) > 0
    left_out = dict(features.left_out)
    if unlisted := int((~there).sum()):
        left_out[f"not in split {split.name}"] = unlisted
    return {"rows": int(there.sum()), "patients": len(set(features.patient_ids[there].tolist())), "left_out": left_out}
