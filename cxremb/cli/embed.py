"""`cxremb embed`: encode a data set."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.next_steps import next_steps
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed
from cxremb.cli.progress import bar
from cxremb.cli.screen import remark, say, say_commands
from cxremb.errors import CxrembError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cxremb.embedding.asked import Preview
    from cxremb.embedding.encode import Failure, Log
    from cxremb.embedding.job import Update
    from cxremb.encoders.base import What
    from cxremb.store.dataset import Dataset

WHAT, WHERE, HOW = "What (enters the store's key)", "Where (changes no vector)", "How to go about it"


def embed(
    model: Annotated[
        str | None,
        typer.Option(
            help="The encoder, e.g. efficientnet_b1 or biobert.",
            rich_help_panel=WHAT,
            autocompletion=completion.encoders,
        ),
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
    With --format json one object, or with --job a list of them. A store of a job that fails keeps no other back.

    Example: cxremb embed --model efficientnet_b1
    """
    from cxremb.embedding.jobfile import read_job
    from cxremb.encoders.base import What, refuse_unknown_ways
    from cxremb.encoders.table import find_spec
    from cxremb.encoders.weights import check_weights
    from cxremb.store.dataset import open_dataset

    if (model is None) == (job is None):
        raise typer.BadParameter("give either --model or --job; `cxremb models` lists encoders", param_hint="--model")
    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"{engine!r} is neither local nor ray", param_hint="--engine")
    share = parse_share(shard)
    named, chosen = read_job(job) if job else (None, [What(model or "", weights, aspect, scaled_jpeg, xxxx=xxxx)])
    if precision:
        chosen = [replace(what, precision=precision) for what in chosen]
    data = open_dataset(root, dataset or named)
    for what in chosen:
        find_spec(what.model)  # an unknown name, or weights that are nowhere, is an error before anything is loaded
        refuse_unknown_ways(what)
        check_weights(what.model, what.weights)
    remark(f"loading {', '.join(what.model for what in chosen)} ...", "dim")
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
    encode = partial(encode_one, data, place=place, share=share, dry_run=dry_run, fmt=fmt)
    done = [unless_it_fails(encode, what) for what in chosen] if job else [encode(chosen[0])]
    if fmt is not Format.table:
        write(done if job else done[0], fmt)
    elif not (dry_run or share):
        say_next(data)
    exit_if_failed(done)


def exit_if_failed(done: "Sequence[Mapping[str, Any]]") -> None:
    """Name the stores that could not be made, if there are any, and stop with code 1."""
    failed = [one for one in done if "error" in one]
    for one in failed:
        remark(f"{one['model']}, no store: {one['error']}\n  {completed(one['hint'])}", "bold red")
    if failed:
        raise typer.Exit(1)


def unless_it_fails(encode: "Callable[[What], dict[str, Any]]", what: "What") -> dict[str, Any]:
    """What became of one of several stores; of one that cannot be made, why: it keeps no other back."""
    try:
        return encode(what)
    except CxrembError as error:
        return {"model": what.model, "error": str(error), "hint": error.hint}


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
    *,
    place: "Mapping[str, Any]",
    share: tuple[int, int] | None,
    dry_run: bool,
    fmt: Format,
) -> dict[str, Any]:
    """One store: preview it, write a share of it, or bring it up to date; shown here, or left to --format."""
    from cxremb.api.data import embed as encode
    from cxremb.api.data import machine_for
    from cxremb.embedding.asked import finished_preview

    try:
        if dry_run:
            found = finished_preview(data, what) or measured(data, what, place)
            record, view = vars(found), partial(show_preview, found)
        elif share:
            from cxremb.embedding.start import run_share

            done = run_share(data, what, machine_for(**place), share=share, progress=bar)
            record = {"share": list(share), "encoded": done.encoded, "failed": len(done.failures)}
            view = partial(show_share, done, share)
        else:
            update = encode(what, **place, dataset=data.name, root=data.paths.root, progress=bar)
            record, view = describe_update(update), partial(show, update)
    except KeyboardInterrupt:
        remark("stopped: what is finished is kept; run the same command to go on from there")
        raise typer.Exit(130) from None
    if fmt is Format.table:
        view()
    return record


def measured(data: "Dataset", what: "What", place: "Mapping[str, Any]") -> "Preview":
    """What would be done, at the rate of a few."""
    from cxremb.api.data import machine_for
    from cxremb.embedding.start import preview

    return preview(data, what, machine_for(**place))


def show_preview(found: "Preview") -> None:
    """What would be done."""
    say(found.store, "bold")
    if found.older:
        say(f"  older decoder: {found.older} stays, and is read until this one is made")
    say(f"  {found.asked:,} asked = {found.reused:,} there already + {found.todo:,} to do")
    if found.seconds is not None:
        cache = f", and {found.cache_bytes / 1e6:,.1f} MB of pixels" if found.cache_bytes else ""
        say(f"  {found.contents:,} contents to encode, at most {found.store_bytes / 1e6:,.1f} MB{cache}")
        say(f"  about {duration(found.seconds)}, at the rate of a few of them; nothing was written")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show_share(done: "Log", share: tuple[int, int]) -> None:
    """What one share came to."""
    say(f"share {share[0]}/{share[1]}: {done.encoded:,} encoded, {len(done.failures):,} failed")
    say("  not committed: run the same command without --shard when all shares are done")


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


def show(update: "Update") -> None:
    """Say what the job did."""
    store, counts = update.store, update.counts
    edited = "" if store.xxxx == "keep" else f", texts with xxxx={store.xxxx}"
    say(f"{store.name} version {store.version}, {store.dim} dimensions{edited}, in {store.folder}", "bold")
    if not update.changed:
        say(f"  nothing to do: all {update.asked:,} items are as they were" + (" (re-used)" if update.reused else ""))
    else:
        same = update.added - update.encoded
        shared = f" ({same:,} with vectors of equal content)" if same > 0 else ""
        say(
            f"  {update.asked:,} asked = {update.reused:,} re-used + {update.added:,} new{shared}"
            f" + {len(update.failures):,} failed, {update.seconds:.1f} s{stages(update)}"
        )
    for note in update.notes:
        say(f"  {note}", "yellow")
    if truncated := counts.get("truncated", 0):
        say(f"  {truncated:,} texts are longer than the encoder reads and were cut", "yellow")
    if fits := counts.get("batch_size_that_fits", 0):
        say(f"  the device ran out of memory: {fits} images in one pass is what fits", "yellow")
    show_failures(update.failures)


def say_next(data: "Dataset") -> None:
    """What to type next."""
    say_commands(next_steps(data), "next: ", "dim")


def show_failures(failures: "Sequence[Failure]") -> None:
    """The most frequent reasons, where all of them are, and what mends a film that was replaced or moved."""
    for message, n in Counter(failure.message for failure in failures).most_common(3):
        say(f"  failed: {message}" + (f" ({n:,} of them)" if n > 1 else ""), "yellow")
    if failures:
        say(completed('  every failure with its reason: `cxremb sql "from failures"`'))
    if any(failure.stage == "read" for failure in failures):
        mend = completed("Run their `cxremb data add` again, then `cxremb refresh`")
        say(f"  were files mended, moved or removed? {mend}")


def stages(update: "Update") -> str:
    """Which stage the others waited for."""
    spent = {stage: seconds for stage, seconds in update.stages.items() if seconds >= 1}
    return f" ({', '.join(f'{stage} {seconds:.0f} s' for stage, seconds in spent.items())})" if spent else ""
