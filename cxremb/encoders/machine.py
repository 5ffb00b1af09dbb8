"""Which device, arithmetic and engine to use: asked of the hardware, never guessed."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import torch

from cxremb.encoders.base import Machine
from cxremb.encoders.device import check_compiler
from cxremb.errors import EncoderError, reason
from cxremb.processes import usable_cores

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "full", "half")  # as `What` has them
ENGINES = ("auto", "torch", "openvino")
SIDE = 768  # of the matrices that are multiplied: large enough to tell, some milliseconds each
WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}  # oneDNN's names
# Device -> films and tokens of one batch. On a CPU the activations of more fall out of its caches; a large GPU needs
# that many to be busy, and a job on a small one halves the films until they fit.
BATCHES = {"cpu": (32, 1024), "cuda": (256, 65_536), "": (128, 16_384)}
FASTER = 1.2  # times that bfloat16 must be faster than float32 to be worth its rounding


def choose_machine(
    devices: Sequence[str] = ("auto",),
    *,
    engine: str = "auto",
    compiled: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    keep_pixels: bool = False,
    ray_workers: int = 0,
) -> Machine:
    """The machine for what the user asked; what is left out follows from the device. It computes in float32.

    `auto` engine is openvino on a CPU where it is installed; its vectors are compared with torch's when the encoder is
    first used. Raises `EncoderError` for a device or engine that is not here.
    """
    refuse_unknown("runtime", engine, ENGINES)
    first = best_device() if devices[0] == "auto" else devices[0]
    check_device(first)
    if engine == "auto":
        engine, _ = installed_engine(first, compiled)
    if engine == "openvino":
        refuse_openvino(first, compiled)
    if compiled:
        check_compiler(first)
    films, tokens = next(sizes for kind, sizes in BATCHES.items() if first.startswith(kind))
    return Machine(
        devices=(first, *devices[1:]),
        engine=engine,
        compiled=compiled,
        batch_size=batch_size or films,
        token_budget=tokens,
        workers=workers or usable_cores(),
        keep_pixels=keep_pixels,
        ray_workers=ray_workers,
    )


def with_precision(machine: Machine, precision: str) -> Machine:
    """The machine, computing in this: fp32 or full; half as its device has it; bf16; fp16; or auto, which is measured.

    `auto` is bf16 where the hardware has it and a small product is measurably faster in it. Raises `EncoderError` for
    a precision that the machine cannot do.
    """
    refuse_unknown("precision", precision, PRECISIONS)
    if precision == "auto":
        precision, _ = measured_precision(machine.device)
    elif precision in {"full", "half"}:
        precision = "fp32" if precision == "full" else half_precision(machine.device)
    if precision == "fp16" and machine.device == "cpu":
        raise EncoderError("fp16 is not for CPUs", hint="use --precision bf16 or fp32")
    return replace(machine, precision=precision)


def half_precision(device: str) -> str:
    """The half precision of a device: bf16, or fp16 on a GPU that multiplies in no other."""
    return "fp16" if device.startswith("cuda") and not native_bf16(device) else "bf16"


def refuse_unknown(what: str, given: str, known: tuple[str, ...]) -> None:
    """Raises `EncoderError` for a word that is not in the list."""
    if given not in known:
        raise EncoderError(f"unknown {what} {given!r}", hint=f"choose one of {', '.join(known)}")


def refuse_openvino(device: str, compiled: bool) -> None:
    """Raises `EncoderError` if OpenVINO cannot be used."""
    if device != "cpu":
        raise EncoderError(f"openvino runs on the CPU, not on {device}", hint="use --device cpu or --runtime torch")
    if compiled:
        raise EncoderError("--compile is torch's own", hint="leave it out, or use --runtime torch")
    if not openvino_version():
        raise EncoderError("openvino is not installed", hint='pip install "cxremb[openvino]", or use --runtime torch')


def best_device() -> str:
    """The fastest device torch sees."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(device: str) -> None:
    """Raises `EncoderError` if torch cannot put a number on `device`."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(
            f"device {device!r} cannot be used: {reason(error)}",
            hint="use --device auto, or see `cxremb doctor`",
        ) from error


def measured_precision(device: str) -> tuple[str, str]:
    """(fp32 or bf16, what speaks for it) on `device`, by a product of two small matrices in either."""
    if not native_bf16(device):
        return "fp32", "no bfloat16 products in hardware"
    ratio = product_seconds(device, torch.float32) / product_seconds(device, torch.bfloat16)
    if ratio < FASTER:
        return "fp32", f"bfloat16 products in hardware, but only {ratio:.1f} times as fast as float32"
    return "bf16", f"products {ratio:.1f} times as fast as in float32"


def native_bf16(device: str) -> bool:
    """Whether bfloat16 products run in hardware: tensor cores, AMX or AVX-512 BF16; elsewhere they are emulated.

    Where oneDNN, which computes them on a CPU, is kept from such instructions by ONEDNN_MAX_CPU_ISA, there are none.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BF16:
        return False
    if device != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return has.get("architecture") != "x86_64" or bool(has["avx512_bf16"] or has["amx_bf16"])


def product_seconds(device: str, dtype: torch.dtype, repeats: int = 7) -> float:
    """The fastest of some products of two square matrices: what else the machine does can only slow them."""
    matrix = torch.randn(SIDE, SIDE, device=device).to(dtype)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - start)
    return best


def installed_engine(device: str, compiled: bool) -> tuple[str, str]:
    """(auto or torch, the choice in words with what speaks for it)."""
    if device != "cpu" or compiled:
        return "torch", f"torch: {'--compile is its own' if compiled else f'the engine for {device}'}"
    if found := openvino_version():
        return "auto", f"openvino {found}, if it agrees with torch on a job's first batch"
    return "torch", 'torch: openvino, the faster one on a CPU, is not installed (pip install "cxremb[openvino]")'


def openvino_version() -> str:
    """The version of the installed OpenVINO, or nothing; does not import it."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""
