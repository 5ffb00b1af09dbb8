"""Embed jobs on the device: vectors against the CPU's, and rates as shares of the forward pass and of decoding."""

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_steps import forward, package, prepare
from gpu_steps.setting import Check, Findings, Setting, Skip, not_compiled, rounded

FULL, HALF = 0.9999, 0.999  # cosine to the CPU's vectors in float32 that every vector must reach
SHARE = 0.9  # of the bare forward rate that a job from the pixel cache is to reach


def cache(setting: Setting) -> Findings:
    """A job that decodes the films and keeps them in the pixel cache, from which the others take them."""
    filled = package.embed(setting, "films", package.film_encoder(setting, "fp32"), keep_pixels=True)
    yield "filling the cache", describe(filled)
    package.forget(filled.store)


def films(setting: Setting) -> Findings:
    """From the pixel cache in each precision, and compiled."""
    paths = prepare.film_paths(setting, "films")[: setting.sizes.compared]
    pixels = package.decode(setting, paths)
    wanted = package.film_encoder(setting, "fp32", device="cpu").encode(pixels)["avg"]
    known = Known("films", "image", [path.stem for path in paths], pixels, wanted)
    yield from in_all_ways(setting, package.film_encoder, known, forward.film_network(setting))


def texts(setting: Setting) -> Findings:
    """Reports in each precision, and compiled, where lengths may change from batch to batch."""
    read = prepare.reports(setting.sizes.films)[: setting.sizes.compared]
    wanted = package.text_encoder(setting, "fp32", device="cpu").encode(read)["cls"]
    ids = [path.stem for path in prepare.film_paths(setting, "films")[: len(read)]]
    known = Known("texts", "findings", ids, read, wanted)
    yield from in_all_ways(setting, package.text_encoder, known, forward.text_network(setting))


@dataclass(frozen=True)
class Known:
    """Items whose vectors the CPU has computed in float32: what those of the device are compared with."""

    what: str
    section: str
    ids: Sequence[str]
    inputs: Any  # as an encoder takes them
    wanted: Any  # (n, dim)

    def agreement(self, found: Any) -> float:
        """The least cosine to vectors of the same items."""
        return package.least_cosine([found], [self.wanted])


def in_all_ways(setting: Setting, make: Callable[..., Any], known: Known, network: forward.Network) -> Findings:
    """Each precision, then bf16 compiled; last, the rate of each job as a share of the compiled forward pass."""
    yield "largest cosine between two items", rounded(between(known.wanted))  # what agreement has to be told from
    yield "operations each", network.operations
    rates: dict[str, float] = {}
    for precision, compiled in [*((precision, False) for precision in setting.precisions), ("bf16", True)]:
        name = f"{'compiled ' if compiled else ''}{precision}"
        if compiled and (reason := not_compiled(setting)):
            yield name, {"skipped": reason}
            continue
        encoder = make(setting, precision, compiled=compiled)
        start = time.perf_counter()
        vectors = next(iter(encoder.encode(known.inputs).values()))
        first = rounded(time.perf_counter() - start)
        least = FULL if precision == "fp32" else HALF
        yield Check(f"{known.what}, {name}: least cosine to the CPU in fp32", known.agreement(vectors), least)
        bare = forward.bare_rate(setting, encoder, network)
        yield f"{name}, forward pass", {"first batch, with building": first, **bare}
        if not package.collections_there(setting):
            yield f"{name}, job", {"skipped": "there is no data set"}
            continue
        best = bare["a_second"] * network.length
        rates[name] = yield from one_job(setting, encoder, known, f"{known.what}, {name}", best=best, least=least)
        if compiled:
            yield "of the compiled forward pass", {name: rounded(rate / best) for name, rate in rates.items()}


def one_job(
    setting: Setting, encoder: Any, known: Known, title: str, *, best: float, least: float
) -> Generator[Any, None, float]:
    """A job with a network that is warm; in the end its rate, in films or tokens. best: that of the forward pass."""
    if encoder.machine.compiled:  # shapes that compiling has not met yet
        package.forget(package.embed(setting, "films", encoder).store)
    job = package.embed(setting, "films", encoder)
    if job.reused:  # a step before left a store of this recipe
        package.forget(job.store)
        job = package.embed(setting, "films", encoder)
    rate = job.counts.get("tokens_forwarded", job.encoded) / job.seconds
    share = rounded(rate / best)
    yield f"{title.split(', ')[1]}, job", {**describe(job), "of_forward": share}
    yield Check(
        f"{title}: least cosine of what is stored", known.agreement(job.store.matrix(known.ids, known.section)), least
    )
    yield Check(f"{title}: every item was computed now", job.encoded > 0 and not job.reused and not job.failed)
    yield Check(f"{title}: share of the bare forward pass", share, SHARE, target=True)
    package.forget(job.store)
    return rate


def describe(job: package.Job) -> dict[str, Any]:
    """A job in figures."""
    rate = {"contents": job.encoded, "seconds": rounded(job.seconds), "a_second": rounded(job.rate)}
    if tokens := job.counts.get("tokens"):
        rate |= {"tokens": tokens, "padded": rounded(job.counts["tokens_forwarded"] / tokens)}
    return {**rate, "stages": job.stages}


def between(vectors: Any) -> float:
    """The largest cosine between vectors of two different items."""
    length = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = length @ length.T
    return float(cosines[~np.eye(len(cosines), dtype=bool)].max())


def files(setting: Setting) -> Findings:
    """From PNG and JPEG files in bf16 on all cores: the slower of decoding and the forward pass is the limit."""
    encoder, network = package.film_encoder(setting, "bf16"), forward.film_network(setting)
    for kind in ("png", "jpeg"):
        n = len(prepare.film_paths(setting, kind))
        start = time.perf_counter()
        for _ in package.decode_all(setting, kind):
            pass
        decode = n / (time.perf_counter() - start)
        encoder.encode(np.zeros((setting.sizes.film_batch, *[package.film_side(setting)] * 2), np.uint8))
        job = package.embed(setting, kind, encoder)
        bare = forward.bare_rate(setting, encoder, network)["a_second"]
        limit = min(decode, bare)
        limits = {"decoding alone, a second": rounded(decode), "forward alone, a second": bare}
        yield kind, {**limits, **describe(job), "of_limit": rounded(job.rate / limit)}
        yield Check(f"{kind}: every film has a vector", job.encoded == n and not job.failed)
        yield Check(f"{kind}: share of the slower of decoding and forward", job.rate / limit, SHARE, target=True)
        package.forget(job.store)


def memory(setting: Setting) -> Findings:
    """A batch that does not fit is halved until it does; the vectors are the same. A cap stands for a small card."""
    import torch

    if not setting.device.startswith("cuda"):
        raise Skip(f"{setting.device} has no cap on its memory")
    paths = prepare.film_paths(setting, "films")[: setting.sizes.compared]
    encoder, pixels = package.film_encoder(setting, "fp32"), package.decode(setting, paths)
    known = Known("films", "image", [path.stem for path in paths], pixels, encoder.encode(pixels)["avg"])
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
    stored = job.store.matrix(known.ids)
    yield Check("least cosine to vectors without the cap", known.agreement(stored), FULL)
    package.forget(job.store)


def killed(setting: Setting) -> Findings:
    """A job that kills its own process group, with SIGKILL, once two of its parts are on disk. It never returns."""
    import os
    import signal
    import threading

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
    left = json.loads((setting.folder / "killed.json").read_text(encoding="utf-8"))
    encoder = package.film_encoder(setting, "bf16")
    job = package.embed(setting, "films", encoder)
    listed = {str(job.store.folder / part.file) for part in job.store.manifest.parts}
    yield "job", {**describe(job), "asked": job.asked, "taken up": job.reused, "parts left": len(left)}
    yield Check("every part that was left is in the version", set(left) <= listed)
    yield Check(
        "something was taken up, and something was left to do", 0 < job.encoded < job.asked == job.reused + job.encoded
    )
    paths = prepare.film_paths(setting, "films")
    paths = paths[:: max(1, len(paths) // setting.sizes.compared)]  # of both halves
    stored = job.store.matrix([path.stem for path in paths])
    wanted = encoder.encode(package.decode(setting, paths))["avg"]
    yield Check("least cosine to vectors computed at once", package.least_cosine([stored], [wanted]), FULL)
