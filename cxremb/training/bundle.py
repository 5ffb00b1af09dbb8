"""A run folder as a model that predicts: its weights checked against their digest, its encoders against the stores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import StoreError, TrainError
from cxremb.features import Features
from cxremb.store.stored_rows import Block, StoredRows
from cxremb.training.data import Rows
from cxremb.training.heads import HeadSpec
from cxremb.training.runs import Run, again, read_run

if TYPE_CHECKING:
    from cxremb.training.loop import Predicted

Vectors = Mapping[str, Block]
Present = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Bundle:
    """The models of one run. They take raw store vectors and standardise them themselves."""

    run: Run
    head: HeadSpec = field(repr=False)
    task: str  # binary, multiclass or multilabel
    labels: tuple[str, ...]  # (k,)
    keys: Mapping[str, str | None] = field(repr=False)  # modality -> full key of the store whose vectors it takes
    weights: Mapping[str, Mapping[str, NDArray[Any]]] = field(
        repr=False
    )  # model, such as `repeat0.fold0.seed0` -> name -> array

    @property
    def reads(self) -> tuple[str, ...]:
        """The modalities that they take."""
        return tuple(self.head.blocks)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.weights)

    def predict(self, vectors: Vectors, present: Present | None = None, model: str | None = None) -> "Predicted":
        """(prob, logit), each (n, k), of n rows.

        vectors: modality -> (n, dim), or (n, views, dim) for a head that pools views. present: modality -> (n,), or
        (n, views), False where nothing is there; all there if left out. model: one of `weights`; the mean of all
        their probabilities and logits if left out. Raises `TrainError` for another width or an unknown model.
        """
        from cxremb.training import loop

        rows = self.rows(vectors, present or {})
        if model is not None and model not in self.weights:
            raise TrainError(f"{self.run.folder}: no model {model!r}", hint=f"it has {', '.join(self.weights)}")
        index = np.arange(len(rows.y))
        found = [
            loop.predict(rows, self.head, self.weights[name], index=index)
            for name in ([model] if model else self.weights)
        ]
        if len(found) == 1:
            return found[0]
        return loop.Predicted(
            *(np.mean(both, axis=0) for both in zip(*((f.prob, f.logit) for f in found), strict=True))
        )

    def predict_features(self, features: Features, model: str | None = None) -> "Predicted":
        """As `predict`. Raises `TrainError` if the vectors come from another encoder, pooling or text."""
        self.check_encoders(features.keys)
        record = self.run.record
        for name, ours, theirs in (
            ("text", record.text, features.text),
            ("pooling", record.pooling, {block: features.pooling.get(block) for block in self.head.blocks}),
        ):
            if ours != theirs and (name != "text" or "text" in self.head.blocks):
                raise TrainError(
                    f"run {self.run.run_id} was trained on {name} {ours}, and these rows have {theirs}",
                    hint="load the rows with what the run was trained on",
                )
        blocks = {block: features.blocks[block] for block in self.head.blocks}
        return self.predict(blocks, {block: features.present[block] for block in self.head.blocks}, model)

    def check_encoders(self, keys: Mapping[str, str]) -> None:
        """Raises `TrainError` unless vectors of stores with these keys are what the models were trained on."""
        for block, key in self.keys.items():
            if keys.get(block) != key:
                raise TrainError(
                    f"run {self.run.run_id} was trained on {block} vectors of store key {key}; these are of "
                    f"{keys.get(block)}: another encoder, other weights or another preprocessing",
                    hint=f"name the store that it was trained on with --{block}-model, or train again on this one",
                )

    def rows(self, vectors: Vectors, present: Present) -> Rows:
        """The vectors as the trainer reads them; nobody knows their labels. Raises `TrainError` if they do not fit."""
        dims, blocks = self.run.record.dims, {}
        for block in self.head.blocks:
            if block not in vectors:
                raise TrainError(f"run {self.run.run_id} reads {block} vectors too", hint=f"give it {', '.join(dims)}")
            given = vectors[block]
            blocks[block] = given if isinstance(given, StoredRows) else np.asarray(given, dtype=np.float32)
            if (width := blocks[block].shape[-1]) != dims[block]:
                raise TrainError(
                    f"run {self.run.run_id} takes {block} vectors of width {dims[block]}, not {width}",
                    hint="give it vectors of the store it was trained on: see `keys` in its run.json",
                )
        n = len(next(iter(blocks.values())))
        there = {name: present.get(name, np.ones(block.shape[:-1], dtype=np.bool_)) for name, block in blocks.items()}
        refuse_uneven(blocks, there)
        unknown = np.full((n, len(self.labels)), np.nan)
        return Rows(blocks, there, unknown, self.task, np.arange(n).astype(np.str_))


def refuse_uneven(blocks: Vectors, there: Present) -> None:
    """Raises `TrainError` unless each block has as many rows, and says of each vector whether it is there."""
    rows = {name: len(block) for name, block in blocks.items()}
    if len(set(rows.values())) > 1:
        raise TrainError(
            f"rows do not match: {', '.join(f'{n} of {name}' for name, n in rows.items())}",
            hint="give each row a vector of each, zeros where there is none, and say so with `present`",
        )
    for name, block in blocks.items():
        if there[name].shape != block.shape[:-1]:
            raise TrainError(
                f"`present` of {name} has shape {there[name].shape}, its vectors {block.shape}",
                hint=f"give it shape {block.shape[:-1]}: whether each vector is there",
            )


def load_bundle(folder: Path) -> Bundle:
    """The models of the run in `folder`. Only safetensors and JSON are read: nothing is unpickled.

    Raises `StoreError`, naming the file, if run.json or the weights are missing, truncated or edited; `TrainError`
    for a run of a network from pixels, which takes films and no vectors, for a control, which keeps no weights, and
    for an arm with prior films.
    """
    run = read_run(folder)
    if run.record.from_pixels:
        raise TrainError(
            f"run {run.run_id} is a network from pixels, not a head on vectors",
            hint="name a run of a head, or train one: `cxremb train image`. Films are judged by this one with `cxremb "
            f"predict FILE --run {run.run_id}`, in Python with `cxremb.load`",
        )
    if run.record.is_external:
        raise TrainError(
            f"run {run.run_id} was trained on {run.record.trained_on}: it keeps its predictions and no model",
            hint=f"train there, and load that run: `cxremb train {run.record.head}`",
        )
    if run.record.is_control:
        raise TrainError(
            f"run {run.run_id} is {run.arm}: a control keeps its predictions and no model to predict with",
            hint="load the run of an arm: `cxremb runs ls` lists them; or train one: `cxremb train fusion`",
        )
    if run.record.is_zero_shot:
        raise TrainError(
            f"run {run.run_id} is {run.arm}: nothing is trained, so it keeps no model to predict with",
            hint="load the run of a trained arm: `cxremb runs ls` lists them; or train one: `cxremb train image`",
        )
    if run.record.prior:
        raise TrainError(
            f"run {run.run_id} is {run.arm}: it reads what has changed since an earlier film, which is not given here",
            hint="name a run of another arm: `cxremb runs ls` lists them; or train one: `cxremb train image`",
        )
    weights = run.weights()
    try:
        spec = dict(run.record.spec)
        head = HeadSpec(**spec | {"blocks": tuple(spec["blocks"])})
        return Bundle(run, head, run.record.task, tuple(run.record.labels), run.record.keys, weights)
    except (KeyError, TypeError, TrainError) as error:
        path = folder / "run.json"
        raise StoreError(f"{path}: does not describe a head ({error})", hint=again(path)) from error
