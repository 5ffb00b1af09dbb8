"""Films on disk to vectors: an embed job against loops over timm, and against its two stages alone.

    python benchmarks/embed_films.py [--films 24] [--long 1000] [--rounds 3] [--quick] [--out FILE]

Films are drawn, with the grain of a detector, at full size (2,048 x 2,496), in each format; the network is
EfficientNet-Lite1 with its real weights. Ways, on all cores each:

- a plain loop: Pillow (pydicom for DICOM), resized, batches of 32 through timm in float32;
- a DataLoader with a worker for each core, as clip-retrieval and thingsvision do it, the same network;
- decoding alone, and the network alone on squares that are decoded already: the two limits. On a CPU both want the same
  cores, so a job cannot take less than the two added up;
- `cxremb embed`, from nothing, and again with its pixels kept in cache/ from an earlier encoder.

Vectors are compared with those of the plain loop. Of DICOM the least cosine is lower: without a window cxremb stretches
the grey values of a film (docs/pixels.md), and the plain loop takes them as stored.

Then one long job of smaller films (512 x 624), where what a job does once no longer counts: against its stages one
after the other, and from the cache against the network alone.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from side_by_side import HERE, take_turns, write
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from cxremb.catalog import add_collection
from cxremb.embedding.encode import Log, films_of
from cxremb.embedding.job import embed
from cxremb.embedding.plan import group_by_content, wanted_items
from cxremb.encoders.base import ImageEncoder, Machine, What, load_encoder
from cxremb.encoders.forward import least_cosine
from cxremb.encoders.machine import choose_machine
from cxremb.store.clean import remove
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, Image, Study

FULL, SMALL = (2496, 2048), (624, 512)
BATCH = 32
Call = tuple[int, Callable[[], object]]


def drawn(number: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A film of smooth shapes and grain."""
    random = np.random.default_rng(number)
    coarse = random.integers(20, 230, (26, 21)).astype(np.float32)
    smooth = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + random.normal(0, 2, shape), 0, 255).astype(np.uint8)


def save(film: NDArray[np.uint8], path: Path, form: str) -> Path:
    """The film as a file."""
    if form == "DICOM":
        return save_dicom(film, path.with_suffix(".dcm"))
    image = PilImage.fromarray(film)
    if form == "JPEG":
        image.save(found := path.with_suffix(".jpg"), quality=92)
        return found
    (image.convert("RGB") if form == "PNG, coded RGB" else image).save(found := path.with_suffix(".png"))
    return found


def save_dicom(film: NDArray[np.uint8], path: Path) -> Path:
    """Eight bits, not compressed."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    found.Rows, found.Columns = film.shape
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PixelRepresentation = 1, "MONOCHROME2", 0
    found.BitsAllocated, found.BitsStored, found.HighBit = 8, 8, 7
    found.PixelData = film.tobytes()
    found.save_as(path, enforce_file_format=True)
    return path


def made(folder: Path, films: int, shape: tuple[int, int], form: str) -> Dataset:
    """A data set of drawn films of one format."""
    (folder / "films").mkdir(parents=True)
    names = [str(number) for number in range(films)]
    paths = [save(drawn(number, shape), folder / "films" / str(number), form) for number in range(films)]
    images = [Image(name, name, name, None, path) for name, path in zip(names, paths, strict=True)]
    studies = [Study(name, name) for name in names]
    return add_collection(Collection("films", studies, images, "none", "drawn", {}), folder / "root").dataset


class Films(TorchDataset[torch.Tensor]):
    """Files as a network wants them, as a notebook reads them."""

    def __init__(self, paths: Sequence[str], side: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.paths, self.side = paths, side
        self.mean, self.std = (torch.tensor(one).view(-1, 1, 1) for one in (mean, std))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        path = self.paths[index]
        if path.endswith(".dcm"):
            import pydicom

            image = PilImage.fromarray(pydicom.dcmread(path).pixel_array)
        else:
            image = PilImage.open(path).convert("L")
        small = image.resize((self.side, self.side), PilImage.Resampling.BICUBIC).convert("RGB")
        values = torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div(255)
        return (values - self.mean) / self.std


def over_timm(network: torch.nn.Module, films: Films, workers: int) -> NDArray[np.float32]:
    """The plain loop, and with workers that of a DataLoader."""
    with torch.inference_mode():
        found = [network(batch).numpy() for batch in DataLoader(films, BATCH, num_workers=workers)]
    return np.concatenate(found)


def squares(dataset: Dataset, encoder: ImageEncoder, machine: Machine) -> NDArray[np.uint8]:
    """Every film in its frame, as a job decodes it."""
    groups = group_by_content(wanted_items(dataset, "image"))
    nowhere = dataset.paths.folder / "no cache"
    with closing(films_of(groups, encoder.frame, machine, log=Log(), cache=nowhere)) as films:
        return np.stack([film.pixels for _, film in films])


def forward(encoder: ImageEncoder, films: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The network alone."""
    blocks = [encoder.encode(films[start : start + BATCH])["avg"] for start in range(0, len(films), BATCH)]
    return np.concatenate(blocks)


def job(dataset: Dataset, encoder: ImageEncoder, machine: Machine) -> NDArray[np.float32]:
    """A store that is made from nothing, and removed."""
    update = embed(dataset, encoder, machine)
    names = [item.item_id for item in wanted_items(dataset, "image")]
    vectors = update.store.matrix(names)
    remove(update.store.folder)
    return vectors


def cached(dataset: Dataset, encoder: ImageEncoder, machine: Machine) -> NDArray[np.float32]:
    """The same where an earlier encoder has left its pixels: made by the first call, which nobody times."""
    keeping = replace(machine, keep_pixels=True)
    return job(dataset, encoder, keeping)


def job_without_cache(dataset: Dataset, encoder: ImageEncoder, machine: Machine) -> NDArray[np.float32]:
    """A job on films whose pixels are kept nowhere: the cache is put aside meanwhile."""
    cache, aside = dataset.paths.cache / "pixels", dataset.paths.folder / ".aside"
    if cache.is_dir():
        cache.rename(aside)
    try:
        return job(dataset, encoder, machine)
    finally:
        if aside.is_dir():
            shutil.rmtree(cache, ignore_errors=True)
            aside.rename(cache)


def ways_of(dataset: Dataset, encoder: Any, machine: Machine) -> dict[str, Callable[[], Any]]:
    """All ways over the films of a data set, the plain loop first. Those that give vectors give them in one order."""
    paths = [item.source for item in wanted_items(dataset, "image")]
    net = encoder.build().eval()
    reads = encoder.recipe.input
    films = Films(paths, encoder.frame.side, reads["mean"], reads["std"])
    decoded = squares(dataset, encoder, machine)
    return {
        "timm, plain loop": lambda: over_timm(net.network, films, 0),
        f"timm, DataLoader, {machine.workers} workers": lambda: over_timm(net.network, films, machine.workers),
        "limit: decoding alone": lambda: squares(dataset, encoder, machine),
        "limit: the network alone": lambda: forward(encoder, decoded),
        "cxremb embed": lambda: job_without_cache(dataset, encoder, machine),
        "cxremb embed, pixels kept": lambda: cached(dataset, encoder, machine),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--long", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of small films: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "embed_films.json")
    options = parser.parse_args()
    rounds, n, long = (1, 4, 8) if options.quick else (options.rounds, options.films, options.long)
    shape = SMALL if options.quick else FULL
    machine = replace(choose_machine(["cpu"]), engine="auto")
    encoder: Any = load_encoder(What("efficientnet_lite1"), machine)
    found: dict[str, dict[str, Any]] = {}
    agreement: dict[str, float] = {}
    for form in ("PNG, grey", "PNG, coded RGB", "JPEG", "DICOM"):
        with tempfile.TemporaryDirectory() as folder:
            ways = ways_of(made(Path(folder), n, shape, form), encoder, machine)
            vectors = {name: run() for name, run in ways.items() if "decoding" not in name}
            plain = vectors["timm, plain loop"]
            agreement[form] = round(min(float(least_cosine([one], [plain])) for one in vectors.values()), 5)
            print(form, agreement[form])
            found[form] = take_turns({name: (n, run) for name, run in ways.items()}, rounds)
    with tempfile.TemporaryDirectory() as folder:
        print("a long job")
        dataset = made(Path(folder), long, SMALL, "PNG, grey")
        ways = ways_of(dataset, encoder, machine)
        ways["cxremb embed, pixels kept"]()
        decode, network = ways["limit: decoding alone"], ways["limit: the network alone"]

        calls: dict[str, Call] = {"limit: decoding, then the network": (long, lambda: (decode(), network()))}
        calls |= {name: (long, run) for name, run in ways.items() if not name.startswith("timm")}
        found["a long job of small films"] = take_turns(calls, 1 if options.quick else 2)
    result = {
        "benchmark": "embed_films",
        "command": f"python benchmarks/embed_films.py --films {n} --long {long} --rounds {rounds}",
        "films": f"{n} of {shape[1]} x {shape[0]} in each format; {long} of {SMALL[1]} x {SMALL[0]}",
        "engine": [machine.precision, *encoder.notes],
        "least_cosine_to_plain": agreement,
        "ways": found,
    }
    write(options.out, result, ("torch", "timm", "openvino", "pillow", "opencv-python-headless", "pydicom"))


if __name__ == "__main__":
    main()
