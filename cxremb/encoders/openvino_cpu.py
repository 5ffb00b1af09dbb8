"""OpenVINO as the fast runtime of a CPU."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb.encoders.device import Pending
from cxremb.errors import EncoderError

CONVERTING = Lock()  # `warnings.catch_warnings` is not for several threads at once


def import_openvino() -> Any:
    """The package, without its telemetry: importing it would otherwise report that to a server.

    OpenVINO uses a stub of its own where the package `openvino_telemetry` cannot be imported, and it cannot be, here.
    Raises `EncoderError` if OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise EncoderError(
            "--runtime openvino needs OpenVINO", hint='pip install "cxremb[openvino]", or use --runtime torch'
        ) from error
    return openvino


class OpenVinoForward:
    """A converted model compiled for this CPU, in memory only.

    precision: fp32 or bf16. one_by_one: each row is a request of its own, several at a time; otherwise a whole batch is
    one request.
    """

    def __init__(self, model: Any, precision: str, one_by_one: bool) -> None:
        openvino = import_openvino()
        self.one_by_one = one_by_one
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT" if one_by_one else "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # two jobs on one machine would pin themselves to the same cores
        }
        self.compiled = openvino.Core().compile_model(model, "CPU", settings)
        self.queue = openvino.AsyncInferQueue(self.compiled)

    def start(self, *inputs: NDArray[Any]) -> Pending:
        """See `Forward`: it waits here."""
        return Pending(self(*inputs))

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """See `Forward`."""
        n = len(inputs[0])
        outputs = [np.empty((n, output.partial_shape[1].get_length()), np.float32) for output in self.compiled.outputs]

        def store(request: Any, rows: slice) -> None:
            for index, output in enumerate(outputs):
                output[rows] = request.get_output_tensor(index).data

        self.queue.set_callback(store)
        step = 1 if self.one_by_one else n
        for start in range(0, n, step):
            rows = slice(start, start + step)
            self.queue.start_async([np.ascontiguousarray(array[rows]) for array in inputs], rows)
        self.queue.wait_all()
        return outputs


@contextmanager
def level_kept() -> Iterator[None]:
    """The level of the root logger is as before: the converter silences everybody's warnings where it fails."""
    root = logging.getLogger()
    before = root.level
    try:
        yield
    finally:
        root.setLevel(before)


def convert(module: torch.nn.Module, example: Sequence[NDArray[Any]], one_by_one: bool) -> Any:
    """The module as an OpenVINO model, traced on two rows like those of `example`. Raises what the converter does.

    one_by_one: for one row of this very shape (films: the same bits at any batch size, and on two cores almost twice as
    fast as batches); otherwise for any shape (texts).
    """
    openvino = import_openvino()
    tensors = tuple(torch.from_numpy(np.resize(array, (2, *array.shape[1:]))) for array in example)
    with CONVERTING, warnings.catch_warnings(), level_kept(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit.trace, which the converter uses, is deprecated
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        # weights are copied: torch may lay its own out anew while OpenVINO still reads them. torch's check of a trace
        # traces it once more, which takes as long again: our own, against torch on real films and texts, is stricter
        traced = TorchScriptPythonDecoder(
            module.eval().requires_grad_(False),
            example_input=tensors,
            shared_memory=False,
            trace_kwargs={"check_trace": False},
        )
        model = openvino.convert_model(traced, example_input=tensors)
    shapes = [([1, *array.shape[1:]] if one_by_one else [-1] * array.ndim) for array in example]
    model.reshape(dict(zip(model.inputs, map(openvino.PartialShape, shapes), strict=True)))
    return model
