"""A run -> one ONNX file, put in place only after onnxruntime has given on real rows what the run itself gives."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np

from cxremb.errors import TrainError
from cxremb.export.subject import Graph, open_graph
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_file
from cxremb.training.runs import Run
from cxremb.types import Progress, stages, unwatched

TOLERANCE = 1e-4  # of a probability: float32 sums in another order differ by less, a wrong graph by far more
OUTPUT = "probability"


@dataclass(frozen=True)
class Exported:
    """A file that was checked: how far its probabilities were from the run's own at most, on so many rows."""

    path: Path
    difference: float
    rows: int
    models: Sequence[str]
    inputs: Mapping[str, Sequence[int | str]]  # name -> shape; a name stands for any number
    notes: Sequence[str] = ()


def export_run(
    dataset: Dataset,
    run: Run,
    path: Path,
    *,
    fold: int | None = None,
    with_encoder: bool = False,
    progress: Progress = unwatched,
) -> Exported:
    """The run's models in the ONNX file `path`: the mean of their probabilities, (n, k), labels in their order.

    fold: its models alone; those of all folds if left out.
    Inputs: raw store vectors by block, `image` and `text`; with the encoder `films`, uint8 (n, side, side) as it takes
    them, in place of `image`; and `present_<block>` where rows may lack a block. Raises `TrainError` if the run cannot
    be exported or the file says something else than the run, `StoreError` or `EncoderError` if stores or weights
    are gone or have changed; nothing is written then.
    """
    require_onnx()
    graph = open_graph(dataset, run, fold=fold, with_encoder=with_encoder, progress=progress)
    found: list[float] = []

    def write(draft: Path) -> None:
        with stages(progress, "exporting", ("building the graph", "comparing it with the run on real rows")) as begin:
            begin()
            save_onnx(graph, draft)
            begin()
            found.append(largest_difference(graph, draft))

    replace_file(path, write)
    shapes = {name: ("n", *array.shape[1:]) for name, array in graph.inputs.items()}
    models = json.loads(graph.metadata["models"])
    return Exported(path, found[0], len(graph.expected), models, shapes, graph.notes)


def require_onnx() -> None:
    """Raises `TrainError` with what to install."""
    for package in ("onnx", "onnxruntime", "onnxscript"):  # torch's exporter is built on the last
        if find_spec(package) is None:
            raise TrainError(f"export needs {package}", hint='pip install "cxremb[export]"')


def save_onnx(graph: Graph, path: Path) -> None:
    """The graph as `path`; the first axis of every input and output is any number of rows."""
    import torch

    arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in graph.inputs.items()}
    free = {name: {0: torch.export.Dim("n")} for name in arrays}
    for name, array in arrays.items():
        bag = array.dim() == 3 and array.is_floating_point()
        if bag or (name.startswith("present_") and array.dim() == 2):
            free[name][1] = torch.export.Dim("views")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of what torch will drop; the result is checked below
        program = torch.onnx.export(
            graph.module,
            kwargs={"inputs": arrays},  # as a positional one it would be taken for keywords
            input_names=list(arrays),
            output_names=[OUTPUT],
            dynamic_shapes={"inputs": free},
            dynamo=True,
            verbose=False,
        )
    program = cast(Any, program)
    program.model.metadata_props.update(graph.metadata)
    program.model.producer_name = "cxremb"
    program.save(str(path), external_data=False)


def largest_difference(graph: Graph, path: Path) -> float:
    """How far onnxruntime's probabilities are from the expected ones. Raises `TrainError` if it is too much."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = session.run([OUTPUT], dict(graph.inputs))[0]
    off = float(np.abs(found - graph.expected).max()) if found.shape == graph.expected.shape else float("nan")
    if not off <= TOLERANCE:
        raise TrainError(
            f"the ONNX file differs from the run by {off:.2g} in a probability, {TOLERANCE:g} is allowed; "
            "it was not written",
            hint="please report this with the run's run.json",
        )
    return off
