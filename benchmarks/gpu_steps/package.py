"""Every call into the package: if it changes its shape, this file follows it and the steps stay as they are."""

import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.forward import least_cosine
from cxremb.training.data import Member, Rows, Trained
from cxremb.training.heads import HEADS
from cxremb.training.loop import fit_members
from cxremb.training.options import Options as HeadOptions
from gpu_steps.setting import Setting
from gpu_steps.weights import film_model, film_weights, text_weights

TEXT_MODEL = "biobert"
LABELS = "bright"
CORES = os.cpu_count() or 1

__all__ = ["CORES", "HEADS", "LABELS", "TEXT_MODEL", "Job", "Member", "Rows", "Trained", "least_cosine"]


# Encoders


def film_encoder(setting: Setting, precision: str, *, compiled: bool = False, device: str = "") -> Any:
    """The encoder of films with the random weights, on the device."""
    what = What(film_model(setting), film_weights(setting))
    return load_encoder(what, machine_of(setting, precision, compiled=compiled, device=device))


def text_encoder(setting: Setting, precision: str, *, compiled: bool = False, device: str = "") -> Any:
    """The encoder of texts with the random weights, on the device."""
    what = What(TEXT_MODEL, text_weights(setting))
    return load_encoder(what, machine_of(setting, precision, compiled=compiled, device=device))


def machine_of(setting: Setting, precision: str, *, compiled: bool = False, device: str = "") -> Machine:
    """Where an encoder runs."""
    sizes = setting.sizes
    return Machine(
        (device or setting.device,), precision, "torch", compiled, sizes.film_batch, sizes.token_budget,
        CORES, sizes.part_items,
    )  # fmt: skip


def bare_film_network(setting: Setting) -> torch.nn.Module:
    """The network from films (n, side, side), uint8, to vectors: the forward pass and nothing else."""
    module: torch.nn.Module = film_encoder(setting, "fp32").build()
    return module.eval().requires_grad_(False).to(setting.device).to(memory_format=torch.channels_last)


def bare_text_network(setting: Setting) -> torch.nn.Module:
    """The network from ids and mask (n, length) to vectors."""
    from cxremb.encoders.hf import TextNet, load_body, read_config

    folder = text_weights(setting)
    return TextNet(load_body(folder, read_config(folder))).eval().requires_grad_(False).to(setting.device)


def network_of(encoder: Any) -> Any:
    """The network on its device, compiled if it is, of an encoder that has encoded."""
    return encoder.forward.module


def arithmetic(encoder: Any) -> contextlib.AbstractContextManager[None]:
    """The arithmetic that an encoder computes in."""
    from cxremb.encoders.device import arithmetic as computed

    return computed(encoder.machine)


def film_side(setting: Setting) -> int:
    """Pixels a side of what the network reads."""
    side: int = film_encoder(setting, "fp32", device="cpu").frame.side
    return side


# Data sets and stores


def add_films(
    setting: Setting, name: str, paths: Sequence[Path], texts: Sequence[str] = (), labels: Sequence[int] = ()
) -> None:
    """A data set of one film a patient; with a report and a label each if they are given."""
    from cxremb.catalog import add_collection
    from cxremb.types import Collection, Image, LabelSet, Study

    def study(number: int) -> Study:
        sections = {"findings": texts[number]} if texts else {}
        told = {LABELS: {"right": float(labels[number])}} if labels else {}
        return Study(f"{number:05d}", f"{number:05d}", sections, labels=told)

    sets = [LabelSet(LABELS, "binary", "1 = the right half is brighter", ("right",))] if labels else []
    images = [Image(path.stem, path.stem, path.stem, "PA", path) for path in paths]
    studies = [study(number) for number in range(len(paths))]
    add_collection(
        Collection(name, studies, images, "none", "drawn", {}, simulated=True, label_sets=sets), root(setting)
    )


def root(setting: Setting) -> Path:
    """Where the stores lie."""
    return setting.folder / "root"


def data_set(setting: Setting, name: str) -> Any:
    """A data set that `add_films` made."""
    from cxremb.store.dataset import open_dataset

    return open_dataset(root(setting), name)


@dataclass(frozen=True)
class Job:
    """What an embed job did."""

    asked: int
    reused: int
    encoded: int
    failed: int
    seconds: float
    stages: dict[str, float]
    counts: dict[str, int]
    store: Any

    @property
    def rate(self) -> float:
        """Contents a second."""
        return self.encoded / self.seconds


def embed(setting: Setting, name: str, encoder: Any, *, batch: int | None = None, keep_pixels: bool = False) -> Job:
    """Bring the store of an encoder that is built already up to date, decoding on all cores."""
    from cxremb.embedding.job import embed as run

    machine = replace(encoder.machine, batch_size=batch or setting.sizes.film_batch, keep_pixels=keep_pixels)
    done = run(data_set(setting, name), encoder, machine)
    stages = {stage: round(seconds, 3) for stage, seconds in done.stages.items()}
    counts, failed = dict(done.counts), len(done.failures)
    return Job(done.asked, done.reused, done.encoded, failed, done.seconds, stages, counts, done.store)


def forget(store: Any) -> None:
    """Remove a store, so that the next job starts from nothing."""
    from cxremb.store.clean import remove

    remove(store.folder)


def parts_on_disk(setting: Setting, name: str) -> list[Path]:
    """The parts of all stores of a data set, whether a version lists them or not."""
    return sorted(data_set(setting, name).paths.embeddings.glob("*/part-*.parquet"))


def collections_there(setting: Setting) -> bool:
    """Whether the data sets could be made."""
    return (root(setting) / "films").is_dir()


def decode(setting: Setting, paths: Sequence[Path]) -> NDArray[np.uint8]:
    """(n, side, side) the films in some files, in the frame of the encoder."""
    from cxremb.embedding.decode import decode as decode_one
    from cxremb.images import FilmFile

    frame = film_encoder(setting, "fp32", device="cpu").frame
    digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    films: Any = (decode_one([FilmFile(str(path), digest)], frame) for path, digest in zip(paths, digests, strict=True))
    return np.stack([film.pixels for film in films])


def decode_all(setting: Setting, name: str) -> Iterable[Any]:
    """Every film of a data set, decoded by all cores as a job does it, and nothing else."""
    from cxremb.embedding.decode import Decoders, all_failed
    from cxremb.embedding.decode import decode as decode_one
    from cxremb.embedding.plan import wanted_items
    from cxremb.images import FilmFile

    work = partial(decode_one, frame=film_encoder(setting, "fp32", device="cpu").frame)
    decoders = Decoders(work, all_failed, CORES, processes=not setting.quick)
    try:
        films = ([FilmFile(item.source, item.content)] for item in wanted_items(data_set(setting, name), "image"))
        yield from decoders.run(films, 4 * setting.sizes.film_batch)
    finally:
        decoders.close()


# Training


def head_options(epochs: int, precision: str, *, whole: bool) -> HeadOptions:
    """The package's own recipe. whole: all epochs, and the last one is kept; else as by default, which stops early."""
    options = HeadOptions(epochs=epochs, precision=precision)
    return replace(options, select="last", patience=None) if whole else options


def fit_heads(
    rows: Rows, members: Sequence[Member], head: str, options: HeadOptions, device: str, *, by_chance: bool = True
) -> list[Trained]:
    """Heads trained together. by_chance off: without dropout, whose chance is drawn on the device and differs there."""
    spec = HEADS[head] if by_chance else replace(HEADS[head], dropout=0.0, modality_dropout=0.0)
    return fit_members(rows, members, spec, options=options, device=device)


def train_rows(setting: Setting) -> int:
    """Rows of the train part of the first fold of the data set `films`, by the split that commands use."""
    from cxremb.splits import choose_split, fold_parts

    split = choose_split(data_set(setting, "films"), LABELS)
    return list(fold_parts(split.table, 0, 0).values()).count("train")


def network_flops(name: str, side: int) -> int:
    """Multiplications and additions of one film's forward pass through a network that is trained from pixels."""
    from cxremb.training.heads import find_network
    from cxremb.training.pixels.networks import new_network

    return forward_flops(new_network(find_network(name), side, 1, seed=0).eval(), torch.zeros(1, 1, side, side))


def forward_flops(module: torch.nn.Module, *inputs: torch.Tensor) -> int:
    """Multiplications and additions of one pass, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


# The command line, for what it does in one call


def command(setting: Setting, *words: str) -> Any:
    """What a command prints as JSON, in this process. Raises `RuntimeError` with its messages if it fails."""
    from cxremb.cli.main import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["cxremb", *words, "--root", str(root(setting)), "--format", "json"]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    if code:
        raise RuntimeError(f"cxremb {' '.join(words)} ended with {code}:\n{err.getvalue()[-2000:]}")
    return json.loads(out.getvalue())


def ready_store(setting: Setting, modality: str) -> str:
    """The name of a store in float32 that the command `embed` made, now or in an earlier step."""
    model, weights = {
        "image": (film_model(setting), film_weights(setting)),
        "text": (TEXT_MODEL, text_weights(setting)),
    }[modality]
    done = command(
        setting, "embed", "--model", model, "--weights", str(weights), "--device", setting.device,
        "--runtime", "torch", "--dataset", "films", "--workers", str(CORES),
    )  # fmt: skip
    name: str = done["store"]
    return name


def tuned_record(setting: Setting, name: str) -> dict[str, Any]:
    """What the last fine-tuning on a data set left beside its weights."""
    records = sorted(data_set(setting, name).paths.weights.glob("*.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, Any] = json.loads(records[-1].read_text(encoding="utf-8"))
    return found
