"""The engines of a processor side by side, and eight-bit weights: films and texts, on one that has AVX2 alone.

    python benchmarks/engines.py [--isa avx2|all] [--films 32] [--texts 64] [--rounds 3] [--quick] [--out FILE]

torch in float32 is the plain way, and what the others are compared with: the least cosine of any vector stands beside
each. Networks have their real weights: EfficientNet-Lite1 and MiniLM, both from packages. In eight bits: torch with its
dynamic quantisation of linear layers (so of texts alone), and OpenVINO after NNCF's quantisation of weights and
activations, calibrated on the very films and texts that are then measured, which is the kindest case.

`--isa avx2` asks torch and oneDNN, in which OpenVINO has its products computed, for no wider instructions than AVX2.
`kernels` has what OpenVINO then ran: some small kernels of its own still take AVX-512.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embed_films import SMALL, drawn
from embed_texts import made_texts
from numpy.typing import NDArray
from side_by_side import HERE, take_turns, write

from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.forward import CPU_ROWS, TorchForward, least_cosine
from cxremb.encoders.hf import TextNet, load_body
from cxremb.encoders.openvino_cpu import OpenVinoForward, convert, import_openvino
from cxremb.images.frame import Frame, resize

Batches = Sequence[tuple[NDArray[Any], ...]]
Run = Callable[..., Sequence[NDArray[np.float32]]]
TEXTS_IN_BATCH = 16
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
PLAIN, OURS = "cxremb, torch fp32", "cxremb, openvino fp32"


def film_batches(encoder: Any, count: int) -> Batches:
    """Drawn films as the network gets them."""
    frame: Frame = encoder.frame
    films = np.stack([resize(drawn(number, SMALL), frame) for number in range(count)])
    return [(films[start : start + CPU_ROWS],) for start in range(0, count, CPU_ROWS)]


def text_batches(encoder: Any, count: int) -> Batches:
    """Made texts, in tokens, the shortest first, each batch as long as its longest."""
    texts = sorted(made_texts(count), key=len)
    parts = [texts[start : start + TEXTS_IN_BATCH] for start in range(0, count, TEXTS_IN_BATCH)]
    tokens = [encoder.tokeniser(part, padding=True, truncation=True, return_tensors="np") for part in parts]
    return [(one["input_ids"].astype(np.int64), one["attention_mask"].astype(np.int64)) for one in tokens]


def in_eight_bits(model: Any, batches: Batches) -> Any:
    """NNCF's post-training quantisation, calibrated on these batches."""
    import nncf

    rows = [[array[row : row + 1] for array in batch] for batch in batches for row in range(len(batch[0]))]
    names = [one.get_any_name() for one in model.inputs]
    given = nncf.Dataset(rows, lambda row: dict(zip(names, row, strict=True)))
    kind = nncf.ModelType.TRANSFORMER if len(names) > 1 else None
    return nncf.quantize(model, given, subset_size=len(rows), model_type=kind)


def engines_of(module: torch.nn.Module, batches: Batches, *, films: bool) -> tuple[dict[str, Run], list[str]]:
    """(the ways, torch in float32 first; the kernels that OpenVINO ran in float32)."""
    model = convert(module, batches[0], one_by_one=films)
    openvino = OpenVinoForward(model, "fp32", films)
    found: dict[str, Run] = {
        PLAIN: TorchForward(module, Machine(), CPU_ROWS if films else 0, films=films),
        OURS: openvino,
    }
    if not films:
        dynamic = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)
        found["torch int8, linear layers"] = partial(plainly, dynamic)
    try:
        found["openvino int8"] = OpenVinoForward(in_eight_bits(model, batches), "fp32", films)
    except ImportError as error:
        print(f"no eight bits by OpenVINO: {error}")
    return found, kernels(openvino)


@torch.inference_mode()
def plainly(module: torch.nn.Module, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
    """One pass of torch."""
    return [vectors.numpy() for vectors in module(*(torch.from_numpy(array) for array in inputs))]


def kernels(forward: OpenVinoForward) -> list[str]:
    """What ran the products, with how often."""
    about = [operation.get_rt_info() for operation in forward.compiled.get_runtime_model().get_ops()]
    names = Counter(one["primitiveType"].astype(str) for one in about if "primitiveType" in one)
    return [f"{name} x {count}" for name, count in names.most_common() if not name.startswith("unknown")]


def measured(module: torch.nn.Module, batches: Batches, *, films: bool, rounds: int) -> dict[str, Any]:
    """Rates and least cosines of all ways."""
    engines, ran = engines_of(module, batches, films=films)
    vectors = {name: [run(*batch) for batch in batches] for name, run in engines.items()}
    plain = vectors[PLAIN]
    cosines = {name: round(min(map(least_cosine, own, plain)), 5) for name, own in vectors.items() if name != PLAIN}
    print(cosines)
    n = sum(len(batch[0]) for batch in batches)
    called = {name: f"{name}, cosine {cosines[name]:.3f}" if "int8" in name else name for name in engines}
    ways = {called[name]: (n, partial(all_of, run, batches)) for name, run in engines.items()}
    return {"ways": take_turns(ways, rounds), "least_cosine_to_torch": cosines, "kernels": ran}


def all_of(run: Run, batches: Batches) -> None:
    """All batches, one after the other."""
    for batch in batches:
        run(*batch)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=["avx2", "all"], default="avx2")
    parser.add_argument("--films", type=int, default=32)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of few: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "engines.json")
    options = parser.parse_args()
    if options.isa == "avx2" and not os.environ.items() >= AVX2.items():  # both are read when the libraries are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2})
    films, texts, rounds = (8, 8, 1) if options.quick else (options.films, options.texts, options.rounds)
    import_openvino()  # without its telemetry, which NNCF would load
    film_encoder: Any = load_encoder(What("efficientnet_lite1"))
    text_encoder: Any = load_encoder(What("minilm"))
    parts = {
        "films": (film_encoder.build(), film_batches(film_encoder, films)),
        "texts": (
            TextNet(load_body(text_encoder.weights.path, text_encoder.config, text_encoder.bert)),
            text_batches(text_encoder, texts),
        ),
    }
    found = {
        name: measured(module, batches, films=name == "films", rounds=rounds)
        for name, (module, batches) in parts.items()
    }
    result = {
        "benchmark": "engines",
        "command": f"python benchmarks/engines.py --films {films} --texts {texts} --rounds {rounds}"
        + (" --isa all" if options.isa == "all" else ""),
        "threads": torch.get_num_threads(),
        "torch_computes_with": torch.backends.cpu.get_cpu_capability(),
        "least_cosine_to_torch": {name: one["least_cosine_to_torch"] for name, one in found.items()},
        "kernels": {name: one["kernels"] for name, one in found.items()},
        "ways": {name: one["ways"] for name, one in found.items()},
    }
    write(options.out, result, ("torch", "openvino", "nncf", "timm", "transformers"))


if __name__ == "__main__":
    main()
