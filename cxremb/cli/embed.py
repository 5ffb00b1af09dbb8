"""`cxremb embed`: encode a data set."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import bar, console, log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxremb.embedding.encode import Failure, Log
    from cxremb.embedding.job import Update
    from cxremb.embedding.start import Preview
    from cxremb.encoders.base import What
    from cxremb.store.dataset import Dataset

WHAT, WHERE, HOW = "What (enters the store's key)", "Where (changes no vector)", "How to go about it"


def embed(
    model: Annotated[
        str | None, typer.Option(help="The encoder, e.g. efficientnet_b1 or biobert.", rich_help_panel=WHAT)
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(
            help="A job file that says what, in place of --model, or a shipped one: demo.", rich_help_panel=WHAT
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Local weights: a file for images, a folder for texts.", rich_help_panel=WHAT)
    ] = None,
    aspect: Annotated[
        str, typer.Option(help="squash keeps the whole film, pad its proportions too, crop cuts.", rich_help_panel=WHAT)
    ] = "squash",
    scaled_jpeg: Annotated[
        bool, typer.Option("--scaled-jpeg", help="Shrink large JPEGs while decoding: faster.", rich_help_panel=WHAT)
    ] = False,
    xxxx: Annotated[
        str,
        typer.Option(help="XXXX and ___ in texts: keep, drop, or mask by the model's token.", rich_help_panel=WHAT),
    ] = "keep",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, bf16, fp16, or auto: half where it is faster.", show_default="fp32", rich_help_panel=WHAT
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda[:n], mps; several: cuda:0,cuda:1.", rich_help_panel=WHERE)
    ] = "auto",
    runtime: Annotated[
        str, typer.Option(help="torch, openvino, or auto: openvino on a CPU if it agrees.", rich_help_panel=WHERE)
    ] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Through torch.compile.", rich_help_panel=WHERE)] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in one pass.", show_default="by device", rich_help_panel=WHERE)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode images.", show_default="usable cores", rich_help_panel=WHERE),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: a Ray cluster.", rich_help_panel=WHERE)] = "local",
    ray_workers: Annotated[int, typer.Option(min=1, help="Workers on the cluster.", rich_help_panel=WHERE)] = 2,
    keep_pixels: Annotated[
        bool, typer.Option("--keep-pixels", help="Keep decoded films for the next encoder.", rich_help_panel=HOW)
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Write share I/N and commit nothing: the run without it does.", rich_help_panel=HOW),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and how long it takes.", rich_help_panel=HOW)
    ] = False,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Encode every image or report text once, into a versioned Parquet store.

    Run it again after adding images: only what is new or changed is encoded. Stopped, it goes on where it was.
    With --format json one object, or with --job a list of them.

    Example: cxremb embed --model efficientnet_b1
    """
    from cxremb.embedding.jobfile import read_job
    from cxremb.encoders.base import What
    from cxremb.encoders.table import find_spec
    from cxremb.store.dataset import open_dataset

    if (model is None) == (job is None):
        raise typer.BadParameter("give either --model or --job", param_hint="--model")
    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"{engine!r} is neither local nor ray", param_hint="--engine")
    share = parse_share(shard)
    named, chosen = read_job(job) if job else (None, [What(model or "", weights, aspect, scaled_jpeg, xxxx=xxxx)])
    if precision:
        chosen = [replace(what, precision=precision) for what in chosen]
    data = open_dataset(root, dataset or named)
    for what in chosen:
        find_spec(what.model)  # an unknown name is an error before anything heavy is loaded
    log.print(f"loading {', '.join(what.model for what in chosen)} ...", style="dim")
    place: dict[str, Any] = {
        "device": device,
        "runtime": runtime,
        "compiled": compiled,
        "batch_size": batch_size,
        "workers": workers,
        "engine": engine,
        "ray_workers": ray_workers,
        "keep_pixels": keep_pixels,
    }
    done = [encode_one(data, what, place, share=share, dry_run=dry_run, fmt=fmt) for what in chosen]
    if fmt is not Format.table:
        write(done if job else done[0], fmt)


def parse_share(text: str | None) -> tuple[int, int] | None:
    """`3/8` as (3, 8). Raises `BadParameter` for anything else."""
    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise typer.BadParameter(f"{text!r} is no share: 0/8 is the first of eight", param_hint="--shard")
    return int(number), int(of)


def encode_one(
    data: "Dataset",
    what: "What",
    place: "Mapping[str, Any]",
    *,
    share: tuple[int, int] | None,
    dry_run: bool,
    fmt: Format,
) -> dict[str, Any]:
    """One store: preview it, write a share of it, or bring it up to date; shown here, or left to --format."""
    from cxremb.api.data import embed as encode
    from cxremb.api.data import machine_for
    from cxremb.embedding.start import preview, run_share

    try:
        if dry_run:
            found = preview(data, what, machine_for(**place))
            record, view = vars(found), partial(show_preview, found)
        elif share:
            done = run_share(data, what, machine_for(**place), share=share, progress=bar)
            record = {"share": list(share), "encoded": done.encoded, "failed": len(done.failures)}
            view = partial(show_share, done, share)
        else:
            update = encode(what, **place, dataset=data.name, root=data.paths.root, progress=bar)
            record, view = describe_update(update), partial(show, data, update)
    except KeyboardInterrupt:
        log.print("stopped: what is finished is kept; run the same command to go on from there")
        raise typer.Exit(130) from None
    if fmt is Format.table:
        view()
    return record


def show_preview(found: "Preview") -> None:
    """What would be done."""
    console.print(f"[bold]{found.store}[/]", soft_wrap=True)
    if found.older:
        console.print(f"  older decoder: {found.older} stays, and is read until this one is made", soft_wrap=True)
    console.print(f"  {found.asked:,} asked = {found.reused:,} there already + {found.todo:,} to do")
    if found.seconds is not None:
        cache = f", and {found.cache_bytes / 1e6:,.1f} MB of pixels" if found.cache_bytes else ""
        console.print(f"  {found.contents:,} contents to encode, at most {found.store_bytes / 1e6:,.1f} MB{cache}")
        console.print(f"  about {duration(found.seconds)}, at the rate of a few of them; nothing was written")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show_share(done: "Log", share: tuple[int, int]) -> None:
    """What one share came to."""
    console.print(f"share {share[0]}/{share[1]}: {done.encoded:,} encoded, {len(done.failures):,} failed")
    console.print("  not committed: run the same command without --shard when all shares are done")


def describe_update(update: "Update") -> dict[str, Any]:
    """What the job did, for programs."""
    store = update.store
    return {
        "store": store.name,
        "xxxx": store.xxxx if store.modality == "text" else None,
        "version": store.version,
        "asked": update.asked,
        "reused": update.reused,
        "added": update.added,
        "failed": len(update.failures),
        "encoded": update.encoded,
        "truncated": update.counts.get("truncated", 0),
        "seconds": round(update.seconds, 2),
        "stages": {stage: round(seconds, 2) for stage, seconds in update.stages.items()},
        "notes": list(update.notes),
        "folder": str(store.folder),
    }


def show(data: "Dataset", update: "Update") -> None:
    """Say what the job did, and what to type next."""
    store, counts = update.store, update.counts
    edited = "" if store.xxxx == "keep" else f", texts with xxxx={store.xxxx}"
    console.print(
        f"[bold]{store.name}[/] version {store.version}, {store.dim} dimensions{edited}, in {store.folder}",
        soft_wrap=True,
    )
    if not update.changed:
        console.print(
            f"  nothing to do: all {update.asked:,} items are as they were" + (" (re-used)" if update.reused else "")
        )
    else:
        same = update.added - update.encoded
        shared = f" ({same:,} share their content with another)" if same > 0 else ""
        console.print(
            f"  {update.asked:,} asked = {update.reused:,} re-used + {update.added:,} new{shared}"
            f" + {len(update.failures):,} failed, {update.seconds:.1f} s{stages(update)}"
        )
    for note in update.notes:
        console.print(f"  {note}", style="yellow", markup=False, soft_wrap=True)
    if truncated := counts.get("truncated", 0):
        console.print(f"  [yellow]{truncated:,} texts are longer than the encoder reads and were cut[/]")
    if fits := counts.get("batch_size_that_fits", 0):
        console.print(f"  [yellow]the device ran out of memory: {fits} images in one pass is what fits[/]")
    show_failures(update.failures)
    console.print(f"next: {next_step(data, store.modality)}", style="dim", markup=False, highlight=False)


def show_failures(failures: "Sequence[Failure]") -> None:
    """The most frequent reasons, where all of them are, and what mends a film that was replaced or moved."""
    for message, n in Counter(failure.message for failure in failures).most_common(3):
        console.print("  [yellow]failed:[/]", end=" ")
        console.print(message + (f" ({n:,} of them)" if n > 1 else ""), markup=False, soft_wrap=True)
    if failures:
        console.print('  every failure with its reason: cxremb sql "from failures"')
    if any(failure.stage == "read" for failure in failures):
        console.print("  were files mended, moved or removed? Run their `cxremb data add` again, then `cxremb refresh`")


def next_step(data: "Dataset", modality: str) -> str:
    """What to type after a store of `modality`: the other one, if it can be made, and what reads both."""
    from cxremb.embedding.choose import embeddable, usual_stores
    from cxremb.encoders.weights import suggested

    other = {"image": "text", "text": "image"}[modality]
    if not embeddable(data, other):
        return f"cxremb train {modality}, cxremb ablate --{modality}-only"
    first = "" if usual_stores(data, other) else f"cxremb embed --model {suggested(other)}, "
    return f"{first}cxremb train fusion, cxremb ablate"


def stages(update: "Update") -> str:
    """Which stage the others waited for."""
    spent = {stage: seconds for stage, seconds in update.stages.items() if seconds >= 1}
    return f" ({', '.join(f'{stage} {seconds:.0f} s' for stage, seconds in spent.items())})" if spent else ""
