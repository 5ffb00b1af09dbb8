"""EfficientNet-B1 over decoded films: this package against the plain timm loop, side by side.

    python benchmarks/embed_images.py [--rounds 5] [--films 64] [--quick] [--out benchmarks/results/embed_images.json]

Random weights (speed does not depend on them); films of smooth noise, 240 x 240, decoded already. The plain loop is
timm in float32, channels first, batches of 32. Every way starts from uint8 films and ends with vectors.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image as PilImage
from side_by_side import HERE, take_turns, write

from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.forward import least_cosine
from cxremb.encoders.machine import choose_machine, openvino_version, with_precision

MODEL, SIDE, BATCH = "efficientnet_b1", 240, 32


def smooth_films(n: int) -> np.ndarray:
    """(n, SIDE, SIDE) uint8."""
    random = np.random.default_rng(0)
    coarse = [PilImage.fromarray(random.integers(0, 256, (12, 12), dtype=np.uint8)) for _ in range(n)]
    return np.stack([np.asarray(film.resize((SIDE, SIDE), PilImage.Resampling.BICUBIC)) for film in coarse])


def plain_loop(network: torch.nn.Module, films: np.ndarray) -> np.ndarray:
    """What a notebook does."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(films), BATCH):
            batch = torch.from_numpy(films[start : start + BATCH]).float().div(255).unsqueeze(1).repeat(1, 3, 1, 1)
            found.append(network((batch - 0.5) / 0.5).numpy())
    return np.concatenate(found)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--films", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="one round of eight films: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "embed_images.json")
    options = parser.parse_args()
    rounds, n = (1, 8) if options.quick else (options.rounds, options.films)
    films = smooth_films(n)
    torch.manual_seed(0)
    network = timm.create_model(MODEL, pretrained=False).eval()
    auto = with_precision(choose_machine(["cpu"]), "auto")
    machines = {"auto": auto}
    if not options.quick:
        machines |= {"torch bf16": Machine(precision="bf16"), "torch fp32": Machine()}
    if openvino_version() and not options.quick:
        machines |= {f"openvino {kind}": Machine(precision=kind, engine="openvino") for kind in ("bf16", "fp32")}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), weights)
        encoders = {name: load_encoder(What(MODEL, weights), machine) for name, machine in machines.items()}
        network.reset_classifier(0)
        expected = plain_loop(network, films)
        agreement = {name: least_cosine([one.encode(films)["avg"]], [expected]) for name, one in encoders.items()}
    ways = {"timm fp32, plain loop": (n, lambda: plain_loop(network, films))}
    ways |= {f"cxremb, {name}": (n, lambda one=one: one.encode(films)) for name, one in encoders.items()}
    found = {
        "benchmark": "embed_images",
        "command": f"python benchmarks/embed_images.py --rounds {rounds} --films {n}",
        "model": f"{MODEL}, random weights, {SIDE} px",
        "ways": take_turns(ways, rounds),
        "least_cosine_to_plain": {name: round(value, 6) for name, value in agreement.items()},
        "auto": [auto.precision, auto.engine, *encoders["auto"].notes],
    }
    write(options.out, found, ("torch", "timm", "openvino"))


if __name__ == "__main__":
    main()
