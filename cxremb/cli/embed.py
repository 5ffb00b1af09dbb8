"""`cxremb embed`: encode a data set."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import bar, console, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxremb.embedding.encode import Failure
    from cxremb.embedding.fill import Filled
    from cxremb.embedding.job import Outcome
    from cxremb.embedding.jobfile import Encode
    from cxremb.embedding.start import Preview, Where
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
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode images.", rich_help_panel=WHERE)] = 2,
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
    from cxremb.embedding.jobfile import Encode, Job, read_job
    from cxremb.store.dataset import open_dataset

    if (model is None) == (job is None):
        raise typer.BadParameter("give either --model or --job", param_hint="--model")
    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"{engine!r} is neither local nor ray", param_hint="--engine")
    share = share_of(shard)
    chosen = read_job(job) if job else Job(None, (Encode(model or "", weights, aspect, scaled_jpeg, xxxx=xxxx),))
    data = open_dataset(root, dataset or chosen.dataset)
    check_models(chosen.encodes)
    log.print(f"loading {', '.join(encode.model for encode in chosen.encodes)} ...", style="dim")
    from cxremb.embedding.start import Where

    where = Where(
        devices=tuple(device.split(",")),
        precision=precision,
        runtime=runtime,
        compiled=compiled,
        batch_size=batch_size,
        workers=workers,
        keep_pixels=keep_pixels,
        ray_workers=ray_workers if engine == "ray" else 0,
    )
    told = [encode_one(data, encode, where, (share, dry_run, fmt)) for encode in chosen.encodes]
    if fmt is not Format.table:
        write(told if job else told[0], fmt)


def check_models(encodes: "tuple[Encode, ...]") -> None:
    """Raise for an unknown name before anything heavy is loaded."""
    from cxremb.encoders.table import find_spec

    for encode in encodes:
        find_spec(encode.model)


def share_of(told: str | None) -> tuple[int, int] | None:
    """`3/8` as (3, 8). Raises `BadParameter` for anything else."""
    if told is None:
        return None
    number, _, of = told.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise typer.BadParameter(f"{told!r} is no share: 0/8 is the first of eight", param_hint="--shard")
    return int(number), int(of)


def encode_one(
    data: "Dataset", encode: "Encode", where: "Where", how: tuple[tuple[int, int] | None, bool, Format]
) -> dict[str, Any]:
    """One store: preview it, write a share of it, or bring it up to date; shown here, or left to --format."""
    from functools import partial

    from cxremb.embedding.fill import Shard
    from cxremb.embedding.start import preview, run, run_share

    share, dry_run, fmt = how
    try:
        if dry_run:
            found = preview(data, encode, where)
            told, view = vars(found), partial(show_preview, found)
        elif share:
            filled = run_share(data, encode, where, Shard(*share), bar)
            told = {"share": list(share), "encoded": filled.encoded, "failed": len(filled.failures)}
            view = partial(show_share, filled, share)
        else:
            outcome = run(data, encode, where, bar)
            told, view = told_of(outcome), partial(show, data, outcome)
    except KeyboardInterrupt:
        log.print("stopped: what is finished is kept; run the same command to go on from there")
        raise typer.Exit(130) from None
    if fmt is Format.table:
        view()
    return told


def show_preview(found: "Preview") -> None:
    """What would be done."""
    console.print(f"[bold]{found.store}[/]", soft_wrap=True)
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


def show_share(filled: "Filled", share: tuple[int, int]) -> None:
    """What one share came to."""
    console.print(f"share {share[0]}/{share[1]}: {filled.encoded:,} encoded, {len(filled.failures):,} failed")
    console.print("  not committed: run the same command without --shard when all shares are done")


def told_of(outcome: "Outcome") -> dict[str, Any]:
    """What the job did, for programs."""
    store = outcome.store
    return {
        "store": store.name,
        "xxxx": store.xxxx if store.modality == "text" else None,
        "version": store.version,
        "asked": outcome.asked,
        "reused": outcome.reused,
        "added": outcome.added,
        "failed": len(outcome.failures),
        "encoded": outcome.encoded,
        "truncated": outcome.clock.counts.get("truncated", 0),
        "seconds": round(outcome.seconds, 2),
        "stages": {stage: round(seconds, 2) for stage, seconds in outcome.clock.seconds.items()},
        "notes": list(outcome.notes),
        "folder": str(store.folder),
    }


def show(data: "Dataset", outcome: "Outcome") -> None:
    """Say what the job did, and what to type next."""
    store, counts = outcome.store, outcome.clock.counts
    edited = "" if store.xxxx == "keep" else f", texts with xxxx={store.xxxx}"
    console.print(
        f"[bold]{store.name}[/] version {store.version}, {store.dim} dimensions{edited}, in {store.folder}",
        soft_wrap=True,
    )
    if not outcome.changed:
        console.print(
            f"  nothing to do: all {outcome.asked:,} items are as they were" + (" (re-used)" if outcome.reused else "")
        )
    else:
        same = outcome.added - outcome.encoded
        shared = f" ({same:,} share their content with another)" if same > 0 else ""
        console.print(
            f"  {outcome.asked:,} asked = {outcome.reused:,} re-used + {outcome.added:,} new{shared}"
            f" + {len(outcome.failures):,} failed, {outcome.seconds:.1f} s{stages(outcome)}"
        )
    for note in outcome.notes:
        console.print(f"  {note}", style="yellow", markup=False, soft_wrap=True)
    if truncated := counts.get("truncated", 0):
        console.print(f"  [yellow]{truncated:,} texts are longer than the encoder reads and were cut[/]")
    if fits := counts.get("batch_size_that_fits", 0):
        console.print(f"  [yellow]the device ran out of memory: {fits} images in one pass is what fits[/]")
    show_failures(outcome.failures)
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
    from cxremb.encoders.weights import suggested
    from cxremb.store.choose import embeddable, usual_stores

    other = {"image": "text", "text": "image"}[modality]
    if not embeddable(data, other):
        return f"cxremb train {modality}, cxremb ablate --{modality}-only"
    first = "" if usual_stores(data, other) else f"cxremb embed --model {suggested(other)}, "
    return f"{first}cxremb train fusion, cxremb ablate"


def stages(outcome: "Outcome") -> str:
    """Which stage the others waited for."""
    spent = {stage: seconds for stage, seconds in outcome.clock.seconds.items() if seconds >= 1}
    return f" ({', '.join(f'{stage} {seconds:.0f} s' for stage, seconds in spent.items())})" if spent else ""
