"""What the machine is, and what it can do at most: each rate of a later step is a share of one of these."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import torch
from side_by_side import installed, processor

from gpu_steps.setting import Findings, Setting, not_compiled, rounded

PACKAGES = ("torch", "triton", "timm", "transformers", "torchvision", "pyarrow", "duckdb", "numpy", "scikit-learn",
            "opencv-python-headless", "simplejpeg", "pydicom", "pywuffs")  # fmt: skip


def run(setting: Setting) -> Findings:
    """The device by name, and the rates of copies and products."""
    yield "device", device_name(setting.device)
    yield "driver", driver()
    yield "processor", processor()
    yield "cores", os.cpu_count()
    yield "python", platform.python_version()
    yield "packages", {name: installed(name) for name in PACKAGES}
    yield "cuda", str(torch.version.cuda)
    yield "compiler", not_compiled(setting) or "there"
    yield "limits", dict(limits(setting))


def device_name(device: str) -> str:
    """As the driver or the system calls it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return processor() if device == "cpu" else platform.machine()


def driver() -> str:
    """The version of the GPU's driver."""
    if not shutil.which("nvidia-smi"):
        return "none"
    command = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def limits(setting: Setting) -> Iterator[tuple[str, float]]:
    """Bytes a second of a copy to the device and within it; operations a second of products of square matrices."""
    device, size = setting.device, 1 << (20 if setting.quick else 28)
    host = torch.zeros(size, dtype=torch.uint8)
    if device.startswith("cuda"):
        host = host.pin_memory()
        there = torch.empty(size, dtype=torch.uint8, device=device)
        seconds = setting.seconds(lambda: there.copy_(host, non_blocking=True))
        yield "copy_to_device_bytes", rounded(size / seconds)
    one, other = (torch.ones(4 * size, dtype=torch.uint8, device=device) for _ in range(2))
    yield "memory_bytes", rounded(8 * size / setting.seconds(lambda: other.copy_(one)))  # each is read and written
    side = 256 if setting.quick else 8192
    for name in setting.precisions:
        yield f"{name}_operations", rounded(product_rate(setting, side, name))


def product_rate(setting: Setting, side: int, precision: str) -> float:
    """Multiplications and additions a second, of random matrices: zeros would be faster than what is real."""
    kinds: dict[str, Any] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    a, b = (torch.randn(side, side, device=setting.device).to(kinds[precision]) for _ in range(2))
    return 2 * side**3 / setting.seconds(lambda: a @ b)
