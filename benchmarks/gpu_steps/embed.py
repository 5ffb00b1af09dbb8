"""Embed jobs on the device: vectors against the CPU's, and rates as shares of the forward pass and of decoding."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_steps import forward, package
from gpu_steps.setting import Check, Findings, Setting, need, not_compiled, rounded

FULL, HALF = 0.9999, 0.999  # cosine to the CPU's vectors in float32 that every vector must reach
SHARE = 0.9  # of the bare forward rate that a job from the pixel cache is to reach


def films(setting: Setting) -> Findings:
    """From the pixel cache in each precision, and compiled. The first job decodes the films into the cache."""
    need("duckdb")
    filled = package.embed(setting, "films", package.film_encoder(setting, "fp32"), keep_pixels=True)
    yield "filling the cache", describe(filled)
    package.forget(filled.store)
    some = package.items(setting, "films", "image", setting.sizes.compared)
    pixels = package.cached_films(setting, "films", some)
    wanted = package.film_encoder(setting, "fp32", device="cpu").encode(pixels)["avg"]
    batch = forward.film_batch(setting)
    each = forward.operations_each(package.bare_film_network(setting), batch)
    yield from in_all_ways(setting, package.film_encoder, Known("films", some, pixels, wanted, batch, each))


def texts(setting: Setting) -> Findings:
    """Reports in each precision, and compiled, where lengths may change from batch to batch."""
    need("duckdb")
    some = package.items(setting, "films", "text", setting.sizes.compared)
    read = [item.source for item in some]
    wanted = package.text_encoder(setting, "fp32", device="cpu").encode(read)["cls"]
    batch = forward.text_batch(setting)
    each = forward.operations_each(package.bare_text_network(setting), batch)
    yield from in_all_ways(
        setting, package.text_encoder, Known("texts", some, read, wanted, batch, each, forward.LENGTH)
    )


@dataclass(frozen=True)
class Known:
    """What a job's vectors and rate are compared with."""

    what: str
    items: Sequence[Any]
    inputs: Any  # of those items, as an encoder takes them
    wanted: Any  # (n, dim) their vectors by the CPU, in float32
    batch: tuple[Any, ...]  # on the device, for the bare forward pass
    each: int  # operations of one item of the batch
    length: int = 1  # tokens of one item of the batch; rates are in tokens then, as texts differ in length


def in_all_ways(setting: Setting, make: Callable[..., Any], known: Known) -> Findings:
    """A job in each precision, then one in bf16 compiled; last, each rate as a share of the compiled forward pass."""
    yield "largest cosine between two items", rounded(between(known.wanted))  # what agreement has to be told from
    yield "operations each", known.each
    rates: dict[str, float] = {}
    compiled = None
    for precision, through in [*((precision, False) for precision in setting.precisions), ("bf16", True)]:
        if through and (reason := not_compiled(setting)):
            yield "compiled bf16", {"skipped": reason}
            continue
        name = f"{'compiled ' if through else ''}{precision}"
        encoder = make(setting, precision, compiled=through)
        start = time.perf_counter()
        encoder.encode(known.inputs)
        built = time.perf_counter() - start
        bare = forward.bare_rate(setting, encoder, known.batch, known.each)
        package.forget(package.embed(setting, "films", encoder).store)  # shapes that compiling has not met yet
        job = package.embed(setting, "films", encoder)
        done = job.counts.get("tokens_forwarded", job.encoded) / job.seconds
        share = rounded(done / (bare["a_second"] * known.length))
        yield name, {"first batch": rounded(built), **describe(job), "forward pass": bare, "of_forward": share}
        least = FULL if precision == "fp32" else HALF
        found = agreement(job, known.items, known.wanted)
        yield Check(f"{known.what}, {name}: least cosine to the CPU in fp32", found, least)
        yield Check(f"{known.what}, {name}: share of the bare forward pass", share, SHARE, target=True)
        rates[name], compiled = done, bare["a_second"] * known.length if through else None
        package.forget(job.store)
    if compiled:
        yield "of the compiled forward pass", {name: rounded(rate / compiled) for name, rate in rates.items()}


def describe(job: package.Job) -> dict[str, Any]:
    """A job in figures."""
    found = {
        "contents": job.encoded,
        "seconds": rounded(job.seconds),
        "a_second": rounded(job.rate),
        "stages": job.stages,
    }
    if tokens := job.counts.get("tokens"):
        found |= {"tokens": tokens, "padded": rounded(job.counts["tokens_forwarded"] / tokens)}
    return found


def agreement(job: package.Job, some: Sequence[Any], wanted: Any) -> float:
    """The least cosine between stored vectors and those wanted, item by item."""
    sections = {item.section for item in some}
    found = {section: [n for n, item in enumerate(some) if item.section == section] for section in sections}
    return min(
        package.least_cosine([job.store.matrix([some[n].item_id for n in rows], section)], [wanted[rows]])
        for section, rows in found.items()
    )


def between(vectors: Any) -> float:
    """The largest cosine between vectors of two different items."""
    length = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = length @ length.T
    return float(cosines[~np.eye(len(cosines), dtype=bool)].max())


def files(setting: Setting) -> Findings:
    """From PNG and JPEG files in bf16 on all cores: the slower of decoding and the forward pass is the limit."""
    need("duckdb")
    encoder, batch = package.film_encoder(setting, "bf16"), forward.film_batch(setting)
    for kind in ("png", "jpeg"):
        n = len(package.items(setting, kind, "image"))
        start = time.perf_counter()
        for _ in package.decode_all(setting, kind):
            pass
        decode = n / (time.perf_counter() - start)
        encoder.encode(np.zeros((setting.sizes.film_batch, *[package.film_side(setting)] * 2), np.uint8))
        job = package.embed(setting, kind, encoder)
        bare = forward.bare_rate(setting, encoder, batch, 0)["a_second"]
        limit = min(decode, bare)
        limits = {"decoding alone, a second": rounded(decode), "forward alone, a second": bare}
        yield kind, {**limits, **describe(job), "of_limit": rounded(job.rate / limit)}
        yield Check(f"{kind}: every film has a vector", job.encoded == n and not job.failed)
        yield Check(f"{kind}: share of the slower of decoding and forward", job.rate / limit, SHARE, target=True)
        package.forget(job.store)


def memory(setting: Setting) -> Findings:
    """A batch that does not fit is halved until it does; the vectors are the same. A cap stands for a small card."""
    import torch

    from gpu_steps.setting import Skip

    if not setting.device.startswith("cuda"):
        raise Skip(f"{setting.device} has no cap on its memory")
    need("duckdb")
    some = package.items(setting, "films", "image", setting.sizes.compared)
    encoder = package.film_encoder(setting, "fp32")
    wanted = encoder.encode(package.cached_films(setting, "films", some))["avg"]
    torch.cuda.empty_cache()
    cap = torch.cuda.memory_reserved() + (1 << 30)  # the weights and 1 GiB: much less than the batch below takes
    torch.cuda.set_per_process_memory_fraction(cap / torch.cuda.get_device_properties(setting.device).total_memory)
    batch = 2048
    job = package.embed(setting, "films", encoder, batch=batch)
    torch.cuda.set_per_process_memory_fraction(1.0)
    fits = job.counts.get("batch_size_that_fits")
    yield "job", {**describe(job), "cap_bytes": cap, "batch": batch, "batch_that_fits": fits}
    yield Check("the batch was halved", bool(fits and fits < batch))
    yield Check("every film has a vector", job.encoded == job.asked - job.reused and not job.failed)
    yield Check("least cosine to vectors without the cap", agreement(job, some, wanted), FULL)
    package.forget(job.store)


def killed(setting: Setting) -> Findings:
    """A job that kills its own process group, with SIGKILL, once two of its parts are on disk. It never returns."""
    import os
    import signal
    import threading

    need("duckdb")
    before = set(package.parts_on_disk(setting, "films"))

    def watch() -> None:
        while len(new := set(package.parts_on_disk(setting, "films")) - before) < 2:
            time.sleep(0.002)
        (setting.folder / "killed.json").write_text(json.dumps(sorted(map(str, new))), encoding="utf-8")
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    job = package.embed(setting, "films", package.film_encoder(setting, "bf16"))
    package.forget(job.store)
    yield Check("the job was killed before it ended", False)


def resumed(setting: Setting) -> Findings:
    """The same job again, in another process: it takes up what the killed one left, and its vectors are the same."""
    need("duckdb")
    left = json.loads((setting.folder / "killed.json").read_text(encoding="utf-8"))
    encoder = package.film_encoder(setting, "bf16")
    job = package.embed(setting, "films", encoder)
    listed = {str(job.store.folder / part.file) for part in job.store.manifest.parts}
    yield "job", {**describe(job), "asked": job.asked, "taken up": job.reused, "parts left": len(left)}
    yield Check("every part that was left is in the version", set(left) <= listed)
    yield Check(
        "something was taken up, and something was left to do", 0 < job.encoded < job.asked == job.reused + job.encoded
    )
    some = package.items(setting, "films", "image")
    some = some[:: max(1, len(some) // setting.sizes.compared)]  # of both halves
    wanted = encoder.encode(package.cached_films(setting, "films", some))["avg"]
    yield Check("least cosine to vectors computed at once", agreement(job, some, wanted), FULL)
