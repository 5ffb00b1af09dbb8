"""Run folders: written whole or not at all, listed, found by what they answer, read back. Needs no torch."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cxremb.errors import DataError, StoreError, did_you_mean, name_list
from cxremb.evaluation.bootstrap import Interval
from cxremb.predictions import Predictions, Verbatim, read_rows, verbatim_of
from cxremb.store import remote
from cxremb.store.clean import bury, size_of
from cxremb.store.dataset import Dataset, read_dataset
from cxremb.store.expected import refuse_format, refuse_links
from cxremb.store.files import publish_folder, replace_file, replace_table, replace_text, sha256_of, unwritable
from cxremb.store.layout import FORMAT_VERSION, HISTORY, METRICS, NOT_IN_OLD_RUNS, PREDICTIONS
from cxremb.tabular import Tabular
from cxremb.training.again import is_of_before, made_again
from cxremb.training.record import RunRecord, record_from, refuse_unexpected
from cxremb.training.scores import IN_TRAIN, NEW_TEXT, ONE_CLASS

MODEL = "model.safetensors"
SHOWN = 10  # run ids that a message lists
# Figures that not all runs have.
OF_SOME = frozenset({IN_TRAIN, ONE_CLASS, "prevalence", "majority_accuracy", "all_positive_f1", "averaged"})
UNCOUNTED = "text: which rows have one that stands word for word in train was not kept: train the run again"

Weights = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, repr=False)
class Run(Tabular):
    """A finished run. `record` is its run.json; `reused` says that nothing was trained to get it."""

    folder: Path
    record: RunRecord
    reused: bool = False

    def to_arrow(self) -> pa.Table:
        """Its predictions: validation and test rows of every fold, columns `layout.PREDICTIONS`."""
        return self.prediction_rows

    def shown(self) -> pa.Table:
        """In a notebook: its test figures."""
        rows = self.metrics
        return rows.filter(pc.equal(rows["part"], "test")).select(["label", "metric", "value", "low", "high"])

    def heading(self) -> str:
        """Which run, and what must stand beside its figures."""
        return "; ".join([f"run {self.run_id}, {self.arm}", *self.caveats])

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def arm(self) -> str:
        return self.record.arm

    @property
    def caveats(self) -> Sequence[str]:
        """What must stand beside every figure of the run, as it was written when the run was made."""
        return self.record.caveats

    @property
    def verbatim(self) -> str | None:
        """Which share of its test rows has a text that train has, and how it does on the others, in words.

        None where it reads no text, and in runs of before.
        """
        share, others = self.metric(IN_TRAIN)[0], Interval(*self.metric("auroc", NEW_TEXT))
        return None if share is None else Verbatim(share, others).words

    def verbatim_on(self, test: Predictions) -> str | None:
        """As `verbatim`, of some of its test rows and their label; None too where none of them has such a text.

        Of a run that did not keep which rows these are, its own line where all rows are meant, else that it is unknown.
        """
        if (found := verbatim_of(test)) is not None or not self.metric(IN_TRAIN)[0]:
            return found.words if found and found.share else None
        whole = test.labels == self.record.labels and len(test.items) == len(self.predictions().items)
        return self.verbatim if whole else UNCOUNTED

    @property
    def label(self) -> str:
        """The label that the main figures stand under: the one there is, or `macro`."""
        return self.record.label

    @property
    def history(self) -> pa.Table:
        """Columns `layout.HISTORY`."""
        return self.table("history", HISTORY)

    @property
    def prediction_rows(self) -> pa.Table:
        """Columns `layout.PREDICTIONS`: validation and test rows of every fold."""
        return self.table("predictions", PREDICTIONS)

    def predictions(self, part: str = "test") -> Predictions:
        """What its models say of the rows of one part, val or test, in the order of the table.

        Raises `StoreError` if the file is gone or damaged.
        """
        table, record = self.prediction_rows, self.record
        try:
            return read_rows(
                table.filter(pc.equal(table["part"], part)),
                run=self.run_id,
                dataset=record.dataset,
                unit=record.unit,
                task=record.task,
                labels=record.labels,
            )
        except ValueError as error:  # no label, or not as many rows for each
            raise damaged(self.folder / "run.json", error) from error

    @cached_property
    def metrics(self) -> pa.Table:
        """Columns `layout.METRICS`: part `test` is of all its folds, `test.fold0` of one of them.

        Those of a run of before, with other figures of several folds, are made again of its predictions.
        """
        found, own = self.table("metrics", METRICS), (self.folder, self.record)
        return made_again(*own, self.predictions(), old=found) if is_of_before(*own, found) else found

    def metric(
        self, name: str, part: str = "test", label: str | None = None
    ) -> tuple[float | None, float | None, float | None]:
        """(value, low, high) of one metric of a label, the main one if left out; None where undefined or not there.

        Raises `DataError` for a name that no figure has, here or in another run.
        """
        every = self.metrics.to_pylist()
        known = {row["metric"] for row in every}
        if every and name not in known | OF_SOME:
            hint = f"{did_you_mean(name, known)}choose one of {name_list(sorted(known))}"
            raise DataError(f"run {self.run_id} has no metric {name!r}", hint=hint)
        wanted = (name, part, label or self.label)
        rows = [row for row in every if (row["metric"], row["part"], row["label"]) == wanted]
        return (rows[0]["value"], rows[0]["low"], rows[0]["high"]) if rows else (None, None, None)

    def weights(self) -> dict[str, dict[str, NDArray[np.generic]]]:
        """Model, such as `repeat0.fold0.seed0` -> parameter or buffer -> array. Nothing is unpickled.

        Raises `StoreError` if the file is not the one that run.json names: truncated, edited or exchanged.
        """
        path = self.folder / MODEL
        try:
            if not self.record.members or sha256_of(remote.there(path)) != self.record.model_sha256:
                raise StoreError(
                    f"{path}: not the file that run.json names: one of them was truncated or edited", hint=again(path)
                )
            stored = load_file(path)
        except (OSError, SafetensorError) as error:
            raise damaged(path, error) from error
        names = [one.name for one in self.record.members]
        return {
            name: {key.removeprefix(f"{name}."): array for key, array in stored.items() if key.startswith(f"{name}.")}
            for name in names
        }

    def table(self, name: str, schema: pa.Schema) -> pa.Table:
        """One of the run's tables. Raises `StoreError` if it is gone, damaged or has other columns."""
        path = self.folder / f"{name}.parquet"
        try:
            found = pq.ParquetFile(remote.there(path)).read()
            for column in set(NOT_IN_OLD_RUNS.get(name, ())) - set(found.column_names):
                found = found.append_column(column, pa.nulls(len(found), schema.field(column).type))
            return found.cast(schema)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damaged(path, error) from error


def write_run(
    dataset: Dataset,
    record: RunRecord,
    *,
    history: pa.Table,
    predictions: pa.Table,
    metrics: pa.Table,
    weights: Weights,
    card: str,
) -> Run:
    """The run, whole: it is written to a draft folder that takes its name in one step.

    record: its `key` names the run; the id and the date are given here. weights: "repeat0.fold0.seed0.<parameter>" ->
    array. card: Markdown, in which `RUN_ID` stands for the id. Raises `StoreError` if it cannot be written; nothing
    remains then.
    """
    now = datetime.now(UTC)
    run_id, created = f"{now:%Y%m%dT%H%M%S}-{record.key[:8]}", now.isoformat(timespec="seconds")
    record = replace(record, run_id=run_id, created=created, dataset=dataset.name)
    draft, folder = dataset.paths.runs / f".draft-{uuid4().hex}", dataset.paths.runs / run_id
    try:
        for name, table in {"history": history, "predictions": predictions, "metrics": metrics}.items():
            replace_table(draft / f"{name}.parquet", table)
        replace_file(draft / "history.csv", partial(csv.write_csv, history))
        digest = sha256_of(replace_file(draft / MODEL, partial(write_weights, weights)))
        replace_text(draft / "README.md", card.replace("RUN_ID", run_id))
        found = replace(record, model_sha256=digest).to_dict()
        replace_text(draft / "run.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        publish_folder(draft, folder, last="run.json")
    except OSError as error:
        if not (folder / "run.json").is_file():  # else the same run finished elsewhere in the same second
            raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return read_run(folder)


def write_weights(weights: Weights, path: Path) -> None:
    """`path`, a safetensors file. Written by Python, whose error for a full disk is an `OSError`."""
    path.write_bytes(save(dict(weights)))


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises `StoreError` if its run.json is missing, damaged, or not as cxremb writes it."""
    path = folder / "run.json"
    refuse_links(folder, folder.parents[1].resolve())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        refuse_format(found.get("format", 1), FORMAT_VERSION, path)
        refuse_unexpected(found, folder.name)
        return Run(folder, record_from(found))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from error


def list_runs(*datasets: Dataset) -> list[Run]:
    """Every finished run of these data sets, newest first. Drafts are not runs."""
    return [*runs_in(path.parent for dataset in datasets for path in dataset.paths.runs.glob("[!.]*/run.json"))]


def find_run(dataset: Dataset, key: str) -> Run | None:
    """The newest finished run that answers exactly what `key` stands for."""
    return next((run for run in runs_in(dataset.paths.runs.glob(f"[!.]*-{key[:8]}")) if run.record.key == key), None)


def runs_in(folders: Iterable[Path]) -> Iterator[Run]:
    """The run in each folder, newest first; where somebody has removed it meanwhile there is none."""
    for folder in sorted(folders, key=lambda folder: folder.name, reverse=True):
        try:
            yield read_run(folder)
        except StoreError:
            if folder.is_dir():
                raise


def open_run(name: str, *datasets: Dataset) -> Run:
    """The run of these data sets whose id is `name`, else begins with it, else has it in it.

    Raises `StoreError`, listing runs, those of controls last, if that is not exactly one.
    """
    runs = list_runs(*datasets)
    ways: Sequence[Callable[[str], bool]] = (name.__eq__, lambda one: one.startswith(name), lambda one: name in one)
    found = next((fits for way in ways if (fits := [run for run in runs if way(run.run_id)])), [])
    if len(found) == 1:
        return found[0]
    where = name_list((dataset.name for dataset in datasets), SHOWN)
    if not runs:
        raise StoreError(f"{where}: no run {name!r}, and no other", hint="make one: `cxremb train`")
    likely = sorted(found or runs, key=lambda run: run.record.is_control or run.record.is_external)  # last; else newest
    known = name_list((f"{run.run_id} ({run.arm})" for run in likely), SHOWN)
    what = f"several runs are called {name!r}" if found else f"no run {name!r}"
    raise StoreError(f"{where}: {what}; there is {known}", hint="give more of its id: `cxremb runs ls` lists them all")


def dataset_of(run: Run) -> Dataset:
    """The data set that the run lies in. Raises `StoreError` if it cannot be read."""
    return read_dataset(run.folder.parent.parent / "dataset.json")


def remove_run(run: Run) -> int:
    """Remove a run with all it holds; how many bytes that freed. Raises `StoreError` if it cannot be removed."""
    freed = size_of(run.folder)
    bury(run.folder, ".gone-")  # a hidden name first, so that no reader ever finds half of it
    return freed


def damaged(path: Path, error: Exception) -> StoreError:
    """The error to raise when part of a run cannot be read."""
    return StoreError(f"{path}: missing or damaged ({str(error).splitlines()[0]})", hint=again(path))


def again(path: Path) -> str:
    """What to do about a run that is not whole."""
    return f"delete the folder {path.parent} and train again"
