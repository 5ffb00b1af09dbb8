"""Copies to a device and from it, the arithmetic in it, and compiling for it. On CUDA nothing waits until it must."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from shutil import which
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb.encoders.base import Machine
from cxremb.errors import EncoderError


class Arrived(Protocol):
    """A moment in the work of a device, as `torch.cuda.Event`."""

    def synchronize(self) -> None:
        """Wait for it."""
        ...


class Pending:
    """Arrays that a device may still be computing: `wait` gives them. Without a moment to wait for they are there."""

    def __init__(self, arrays: Sequence[NDArray[np.float32]], arrived: Arrived | None = None) -> None:
        self.arrays, self.arrived = list(arrays), arrived

    def wait(self) -> list[NDArray[np.float32]]:
        """The arrays, whole."""
        if self.arrived is not None:
            self.arrived.synchronize()
            self.arrived = None
        return self.arrays


def overlaps(device: str) -> bool:
    """Whether a device computes while this process goes on: CUDA does, and others are waited for at once."""
    return device.startswith("cuda")


def upload(array: NDArray[Any], device: str) -> torch.Tensor:
    """The array on a device. To CUDA from pinned pages, which are copied while this process goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if overlaps(device) else tensor.to(device)


def download(tensors: Sequence[torch.Tensor], device: str) -> Pending:
    """Tensors of a device on their way here, in float32. From CUDA they come when it has computed them, and no later.

    The copy is ordered at once: one that is ordered when it is needed would come after all that was started since.
    """
    if not overlaps(device):
        return Pending([tensor.float().cpu().numpy() for tensor in tensors])
    here = [tensor.float().to("cpu", non_blocking=True) for tensor in tensors]  # torch pins these pages
    arrived: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(device))
    return Pending([tensor.numpy() for tensor in here], arrived)


def half_type(machine: Machine) -> torch.dtype:
    """The torch type of a machine's half precision."""
    return torch.float16 if machine.precision == "fp16" else torch.bfloat16


@contextmanager
def arithmetic(machine: Machine) -> Iterator[None]:
    """What is computed inside is computed in the machine's precision; fp32 is all of it, without TF32."""
    half = machine.precision != "fp32"
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(machine.device.split(":")[0], dtype=half_type(machine), enabled=half))
        if overlaps(machine.device):
            stack.enter_context(attention_of_any_length() if half else whole_float32())
        yield


@contextmanager
def attention_of_any_length() -> Iterator[None]:
    """Attention without cuDNN, which torch prefers on Hopper: it plans anew for every shape, and each batch of texts
    has a length of its own. On an H200 that made half precision 17 times slower than its forward pass.
    """
    cuda: Any = torch.backends.cuda
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


@contextmanager
def whole_float32() -> Iterator[None]:
    """No product or convolution of float32 is shortened to TF32, which torch allows itself in convolutions."""
    cudnn: Any = torch.backends.cudnn
    places, name, off = [torch.backends.cuda.matmul, cudnn], "allow_tf32", cast(Any, False)
    try:
        before = [getattr(place, name) for place in places]
    except RuntimeError:  # somebody used the names of torch 2.9, beside which the older ones are an error
        places, name, off = [torch.backends.cuda.matmul, cudnn.conv], "fp32_precision", "ieee"
        before = [getattr(place, name) for place in places]
    set_all(places, name, [off] * len(places))
    try:
        yield
    finally:
        set_all(places, name, before)


def set_all(places: Sequence[Any], name: str, values: Sequence[Any]) -> None:
    """Give each place its value, in silence: some versions of torch warn of the older names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, value in zip(places, values, strict=True):
            setattr(place, name, value)


def check_compiler(device: str) -> None:
    """Raises `EncoderError` if torch has nothing to compile with for `device`."""
    hint = "install it, or leave --compile out"
    if device.startswith("cuda") and find_spec("triton") is None:
        raise EncoderError(
            "--compile needs Triton for a GPU, and it is not installed", hint=f"pip install triton; {hint}"
        )
    # for a CPU torch writes C++; for a GPU Triton builds a launcher in C
    names = ("gcc", "clang", "cc") if device.startswith("cuda") else ("g++", "clang++")
    named = os.environ.get("CC" if device.startswith("cuda") else "CXX")
    if not any(which(name) for name in ((named,) if named else names)):
        raise EncoderError(
            f"--compile needs a compiler, and there is no {' or '.join((named,) if named else names)}", hint=hint
        )
