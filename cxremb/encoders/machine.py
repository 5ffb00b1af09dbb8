"""Which device, arithmetic and engine to use: asked of the hardware, never guessed."""

import os
import time
from importlib.metadata import PackageNotFoundError, version

import torch

from cxremb.encoders.base import Runtime
from cxremb.errors import EncoderError, reason

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ENGINES = ("auto", "torch", "openvino")
SIDE = 768  # of the matrices that are multiplied: large enough to tell, some milliseconds each
WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}  # oneDNN's names
FASTER = 1.2  # times that bfloat16 must be faster than float32 to be worth its rounding


def choose_runtime(
    device: str = "auto", precision: str = "fp32", engine: str = "auto", compiled: bool = False
) -> Runtime:
    """The runtime for what the user asked; its `why` says what `auto` came to and what speaks for it.

    `auto` precision is bf16 where the hardware has it and a small product is measurably faster in it. `auto` engine is
    openvino on a CPU where it is installed; its vectors are compared with torch's when the encoder is first used.
    Raises `EncoderError` for a device or engine that is not here, or a precision it cannot do.
    """
    refuse_unknown("precision", precision, PRECISIONS)
    refuse_unknown("runtime", engine, ENGINES)
    found = best_device() if device == "auto" else device
    check_device(found)
    why = [f"device {found}: the fastest that torch sees"] if device == "auto" else []
    if precision == "auto":
        precision, reason = measured_precision(found)
        why.append(f"precision {precision}: {reason}")
    if engine == "auto":
        engine, reason = installed_engine(found, compiled)
        why.append(f"runtime {reason}")
    refuse_mixtures(found, precision, engine, compiled)
    return Runtime(found, precision, engine, compiled, tuple(why))


def half_precision(device: str) -> str:
    """The half precision of a device: bf16, or fp16 on a GPU that multiplies in no other."""
    found = best_device() if device == "auto" else device
    return "fp16" if found.startswith("cuda") and not native_bf16(found) else "bf16"


def refuse_unknown(what: str, given: str, known: tuple[str, ...]) -> None:
    """Raises `EncoderError` for a word that is not in the list."""
    if given not in known:
        raise EncoderError(f"unknown {what} {given!r}", hint=f"choose one of {', '.join(known)}")


def refuse_mixtures(device: str, precision: str, engine: str, compiled: bool) -> None:
    """Raises `EncoderError` for choices that exclude each other."""
    if precision == "fp16" and device == "cpu":
        raise EncoderError("fp16 is not for CPUs", hint="use --precision bf16 or fp32")
    if engine == "openvino":
        if device != "cpu":
            raise EncoderError(f"openvino runs on the CPU, not on {device}", hint="use --device cpu or --runtime torch")
        if compiled:
            raise EncoderError("--compile is torch's own", hint="leave it out, or use --runtime torch")
        if not openvino_version():
            raise EncoderError(
                "openvino is not installed", hint='pip install "cxremb[openvino]", or use --runtime torch'
            )


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
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return told.get("architecture") != "x86_64" or bool(told["avx512_bf16"] or told["amx_bf16"])


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
