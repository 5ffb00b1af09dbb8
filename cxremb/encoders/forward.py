"""Networks as functions of arrays: torch, or OpenVINO where it agrees; and how films go into any of them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb import images
from cxremb.encoders.base import Machine, TextTower, Vectors
from cxremb.encoders.device import Pending, arithmetic, check_compiler, download, half_type, upload
from cxremb.encoders.machine import native_bf16
from cxremb.errors import EncoderError
from cxremb.store.manifest import Recipe

Arrays = Sequence[NDArray[Any]]
AGREEMENT = 0.999  # cosine to torch in float32 that every vector of the first batch must reach
CPU_ROWS = 8  # films in one pass of torch on a CPU; a larger batch falls out of its caches


class Forward(Protocol):
    """Input arrays (n, ...) to the network's vectors, one (n, dim) array for each pooling."""

    def start(self, *inputs: NDArray[Any]) -> Pending:
        """The vectors, on their way."""
        ...

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]: ...


class TorchForward:
    """The module on its device. In half precision its matrices are kept in it, everything else stays float32.

    rows: at most so many in one pass, 0 for no limit. films: all inputs are of one size, so a compiled network is
    compiled for one shape and a smaller batch is filled up to it; texts are of any length.
    """

    def __init__(self, module: torch.nn.Module, machine: Machine, rows: int = 0, *, films: bool = True) -> None:
        self.machine = machine
        self.rows = rows
        module = module.eval().requires_grad_(False)
        if machine.precision != "fp32":
            halve(module, half_type(machine))
        module = module.to(machine.device).to(memory_format=torch.channels_last)
        self.module: Any = module
        if machine.compiled:
            check_compiler(machine.device)
            self.module = torch.compile(module, dynamic=not films)
        self.pads = machine.compiled and films
        self.padded = 0  # rows that a smaller batch is filled up to

    @torch.inference_mode()
    def start(self, *inputs: NDArray[Any]) -> Pending:
        """See `Forward`. Raises what torch does if the device has not the memory."""
        step = self.rows or len(inputs[0])
        parts = [
            self.once([array[start : start + step] for array in inputs]) for start in range(0, len(inputs[0]), step)
        ]
        vectors = parts[0] if len(parts) == 1 else [torch.cat(some) for some in zip(*parts, strict=True)]
        return download(vectors, self.machine.device)

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """See `Forward`."""
        return self.start(*inputs).wait()

    def once(self, inputs: Arrays) -> list[torch.Tensor]:
        """One pass, on the device."""
        n = len(inputs[0])
        if self.pads:
            inputs = [filled_up(array, self.padded) for array in inputs]
        try:
            with arithmetic(self.machine):
                found = self.module(*(upload(array, self.machine.device) for array in inputs))
        except torch.cuda.OutOfMemoryError:
            self.padded = 0  # it is smaller from here on
            raise
        self.padded = len(inputs[0])
        return [vectors[:n] for vectors in found]


def filled_up(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array with its first row again, below, until there are so many."""
    lacking = rows - len(array)
    return np.concatenate([array, np.repeat(array[:1], lacking, axis=0)]) if lacking > 0 else array


def halve(module: torch.nn.Module, half: torch.dtype) -> None:
    """Cast the weights that autocast would cast again for every batch, and no others: the numbers are the same."""
    for layer in module.modules():
        if type(layer) in {torch.nn.Linear, torch.nn.Conv2d}:  # subclasses may do arithmetic on their weights
            layer.to(half)


def choose_forward(
    module: torch.nn.Module,
    machine: Machine,
    probes: Sequence[Arrays],
    *,
    notes: list[str],
    rows: int = 0,
    films: bool = True,
) -> Forward:
    """`module` through the machine's engine. rows, films: as of `TorchForward`.

    probes: inputs to compare OpenVINO with torch on, the first of them real. Where they differ, `auto` takes torch and
    adds a note that says so. Raises `EncoderError` if OpenVINO was asked for by name and cannot be used.
    """
    if machine.engine == "torch":
        return TorchForward(module, machine, rows, films=films)
    forward, reason = agreeing_openvino(module, machine, probes, rows)
    if forward is None and machine.engine == "openvino":
        raise EncoderError(f"openvino cannot run this encoder ({reason})", hint="use --runtime torch")
    if reason:
        notes.append(f"{'openvino in float32' if forward else 'torch, not openvino,'} is used: {reason}")
    return forward or TorchForward(module, machine, rows, films=films)


def agreeing_openvino(
    module: torch.nn.Module, machine: Machine, probes: Sequence[Arrays], rows: int
) -> tuple[Forward | None, str]:
    """OpenVINO if its vectors agree with torch's in float32, and what spoke against it or its half precision.

    Some networks lose more than the tolerance to bfloat16 (so does torch's own). OpenVINO in float32 is then exact and,
    for convolutions on a CPU, still faster than torch in bfloat16.
    """
    from cxremb.encoders.openvino_cpu import OpenVinoForward, convert

    reason = ""
    try:
        model = convert(module, probes[0], one_by_one=bool(rows))
        full = TorchForward(module, Machine((machine.device,)), rows)
        wanted = [full(*probe) for probe in probes]
        first = machine.precision if native_bf16("cpu") else "fp32"  # openvino computes in what the hardware has
        for precision in dict.fromkeys((first, "fp32")):
            forward = OpenVinoForward(model, precision, one_by_one=bool(rows))
            agreement = min(
                least_cosine(forward(*probe), vectors) for probe, vectors in zip(probes, wanted, strict=True)
            )
            if agreement >= AGREEMENT:
                return forward, reason
            reason = f"in {precision} its cosine to torch is {agreement:.5f}, and {AGREEMENT} is wanted"
    except EncoderError:
        raise
    except Exception as error:  # tracing and converting fail in as many ways as there are networks; torch is right here
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[-1][:160]
    return None, reason


def least_cosine(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> float:
    """The smallest cosine between corresponding rows of corresponding arrays; 0.0 if any is not a number."""
    cosines = []
    for one, other in zip(a, b, strict=True):
        x, y = one.astype(np.float64), other.astype(np.float64)
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosines.append(np.divide((x * y).sum(1), norms, out=np.zeros_like(norms), where=norms > 0).min())
    return float(np.nan_to_num(min(cosines)))


Pool = Callable[[torch.nn.Module, torch.Tensor], tuple[torch.Tensor, ...]]


class FilmNet(torch.nn.Module):
    """uint8 films (n, side, side) to vectors, a (n, dim) tensor for each pooling.

    A film's grey goes into every channel, normalised by the channel's own mean and std (of pixels in 0 to 1).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, pool: Pool, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.pool = pool
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Films to vectors."""
        return self.vectors(films.unsqueeze(1).float() / 255)

    def vectors(self, grey: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 1, side, side) from 0 to 1 to vectors."""
        batch = ((grey - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.pool(self.network, batch)


class FilmEncoder:
    """A frozen image network; `build` makes it on the first call of `encode`."""

    def __init__(
        self, recipe: Recipe, frame: images.Frame, licence: str, machine: Machine, build: Callable[[], FilmNet]
    ) -> None:
        self.recipe = recipe
        self.frame = frame
        self.licence = licence
        self.machine = machine
        self.build = build
        self.texts: TextTower | None = None  # the other tower of an encoder that has two
        self.notes: list[str] = []
        self.forward: Forward | None = None

    def start(self, films: NDArray[np.uint8]) -> Callable[[], Vectors]:
        """What waits for the vectors by pooling, (n, dim) each, for films of shape (n, side, side)."""
        if self.forward is None:
            rows = CPU_ROWS if self.machine.device == "cpu" else 0
            probes = [(films[:CPU_ROWS],)]
            self.forward = choose_forward(self.build(), self.machine, probes, notes=self.notes, rows=rows)
        pending = self.forward.start(films)
        return lambda: dict(zip(self.recipe.poolings, pending.wait(), strict=True))

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """The vectors by pooling, (n, dim) each, for films of shape (n, side, side)."""
        return self.start(films)()


def film_input(frame: images.Frame, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """What of a film's way into the network enters the key."""
    return {**frame.recipe, "mean": list(mean), "std": list(std), "decoder": images.RECIPE}


def pool_average(network: torch.nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the network itself pools, without its classifier."""
    return (network(batch),)
