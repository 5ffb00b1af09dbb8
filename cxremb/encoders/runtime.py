"""Which device and arithmetic to use: asked of the hardware, never guessed."""

import torch

from cxremb.encoders.base import Runtime
from cxremb.errors import EncoderError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_runtime(device: str = "auto", precision: str = "fp32") -> Runtime:
    """The runtime for what the user asked. `auto` precision is half where the hardware multiplies in it natively.

    Raises `EncoderError` for a device that is not here or a precision it cannot do.
    """
    if precision not in PRECISIONS:
        raise EncoderError(f"unknown precision {precision!r}", hint=f"choose one of {', '.join(PRECISIONS)}")
    found = best_device() if device == "auto" else device
    check_device(found)
    if precision == "auto":
        precision = "bf16" if native_bf16(found) else "fp32"
    if precision == "fp16" and found == "cpu":
        raise EncoderError("fp16 is not for CPUs", hint="use --precision bf16 or fp32")
    return Runtime(found, precision)


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
            f"device {device!r} cannot be used: {str(error).splitlines()[0][:120]}",
            hint="use --device auto, or see `cxremb doctor`",
        ) from error


def native_bf16(device: str) -> bool:
    """Whether bfloat16 products run in hardware: tensor cores, AMX or AVX-512 BF16; elsewhere they are emulated."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if device == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False
