"""`cxremb refresh`: encode again what the data set has changed since; fine-tune the image branch first if asked."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.embed import describe_update, say_next, show
from cxremb.cli.next_steps import labels_named
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import command, completed
from cxremb.cli.progress import bar, console, log
from cxremb.cli.screen import remark, say_commands
from cxremb.errors import CxrembError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from cxremb.encoders.base import Machine
    from cxremb.store.dataset import Dataset
    from cxremb.store.reader import Store
    from cxremb.training.tuned import FineTune, Tuned

TUNING = "With --finetune"


def refresh(
    model: Annotated[
        str | None,
        typer.Option(
            help="One encoder or store; every encoder's newest if left out.", autocompletion=completion.stores
        ),
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Fine-tune the image encoder first, on the train part of one fold.")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="As for `cxremb train`.",
            show_default="patient-5fold",
            rich_help_panel=TUNING,
            autocompletion=completion.splits,
        ),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Which fold's train part.", show_default="0", rich_help_panel=TUNING)
    ] = None,
    label_set: Annotated[
        str | None,
        typer.Option(
            help="What to learn.", show_default=OWN_LABELS, rich_help_panel=TUNING, autocompletion=completion.label_sets
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, show_default="5", rich_help_panel=TUNING)] = None,
    learning_rate: Annotated[float | None, typer.Option(show_default="0.0001", rich_help_panel=TUNING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Films in one step.", show_default="32", rich_help_panel=TUNING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Order and augmentation.", show_default="0", rich_help_panel=TUNING)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:n] or mps; several: cuda:0,cuda:1.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode images.", show_default="usable cores")
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Bring stores up to date with their data set, each asked for as it was made: what is new or changed is encoded.

    If the hub's weights have changed since, or this cxremb decodes in another way, a new store is made, the old stays.
    Weights that --weights named are read again if they are safetensors and as they were. Others, and a function of your
    own, are not on the word of a store: name them with `cxremb embed`.
    So it is with --finetune: the new store names the patients it was trained on, and no run may be tested on them.
    With --format json a list of what was done, or with --model one object.

    Example: cxremb refresh --model efficientnet_b1
    """
    from cxremb.store.dataset import open_dataset

    changes: dict[str, Any] = {"label_set": label_set, "fold": fold, "seed": seed}
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    given = [name for name, value in {"split": split, **changes, **options}.items() if value is not None]
    if given and not finetune:
        raise typer.BadParameter("needs --finetune", param_hint=f"--{given[0].replace('_', '-')}")
    if finetune and model is None:
        raise typer.BadParameter("name the image encoder, such as efficientnet_b1", param_hint="--model")
    data = open_dataset(root, dataset)
    machine = lazily(device, workers)
    try:
        if finetune:
            from cxremb.labels import label_set_of
            from cxremb.training.tuned import RECIPE, FineTune

            set_options = {name: value for name, value in options.items() if value is not None}
            changes["label_set"] = label_set_of(data, label_set)  # it is part of the key of the weights
            set_changes = {name: value for name, value in changes.items() if value is not None}
            plan = FineTune(**set_changes, options=replace(RECIPE, **set_options))
            tune(data, model or "", plan, split=split or "patient-5fold", machine=machine(), fmt=fmt)
        else:
            renew(data, model, machine, fmt=fmt)
    except KeyboardInterrupt:
        remark("stopped: what is finished is kept; run the same command to go on from there")
        raise typer.Exit(130) from None


def lazily(device: str, workers: int | None) -> "Callable[[], Machine]":
    """What gives the machine, which takes a library of networks; asked at once if a device is named: it may be none."""
    from functools import cache

    @cache
    def machine() -> "Machine":
        from cxremb.encoders.machine import choose_machine

        return choose_machine(device.split(","), workers=workers)

    if device != "auto":
        machine()
    return machine


def renew(data: "Dataset", model: str | None, machine: "Callable[[], Machine]", *, fmt: Format) -> None:
    """Bring one store, or the newest of each encoder, up to date. One of several that cannot be keeps no other back.

    Oldest first, so that the newest, which is read by default, stays the newest; a list of JSON is newest first.
    """
    from cxremb.embedding.asked import newest_of_each
    from cxremb.embedding.choose import embeddable
    from cxremb.encoders.weights import suggested
    from cxremb.store.reader import list_stores, open_store

    if model:
        done = renew_one(data, open_store(data, model), machine, fmt=fmt)
        if fmt is Format.table:
            say_next(data)
        else:
            write(done, fmt)
        return
    stores = newest_of_each(list_stores(data))
    if not stores and (imported := [store.name for store in list_stores(data) if store.imported]):
        remark(f"{data.name}: nothing to encode again, its vectors are imported: {', '.join(imported)}")
        say_others(data)
        return
    if not stores:
        modality = next((one for one in ("image", "text") if embeddable(data, one)), "image")
        made = completed(f"`cxremb embed --model {suggested(modality)}`")
        remark(f"{data.name}: no store yet; make one with {made}")
        raise typer.Exit(1)
    found = [renew_or_say(data, store, machine, fmt=fmt) for store in reversed(stores)][::-1]
    say_others(data)
    if fmt is Format.table:
        say_next(data)
    else:
        write(found, fmt)
    if any("error" in one for one in found):
        raise typer.Exit(1)


def say_others(data: "Dataset") -> None:
    """Which stores are behind and cannot be encoded again: those of `cxremb align` are learned, others imported."""
    from cxremb.embedding.choose import IMPORT_AGAIN
    from cxremb.store.outdated import stale_stores

    behind: dict[str, str] = {}
    for store in stale_stores(data):
        if store.imported:
            remark(f"{store.name}: stale, and imported: {completed(IMPORT_AGAIN, data.name)}", style="yellow")
        elif store.projected:
            behind.setdefault(store.encoder, store.name)  # newest first
    if behind:
        names, learn = ", ".join(behind.values()), completed("`cxremb align`", data.name)
        remark(f"{names}: stale, and not made again here; learn the projections again with {learn}", style="yellow")


def renew_or_say(data: "Dataset", store: "Store", machine: "Callable[[], Machine]", *, fmt: Format) -> dict[str, Any]:
    """As `renew_one`; for a store that stays as it is, why, which is an error unless there is nothing to encode."""
    from cxremb.embedding.choose import WORDS, embeddable

    if not embeddable(data, store.modality):
        why = f"{data.name} has no {WORDS[store.modality]} any more"
        remark(f"{store.name} stays as it is: {why}", style="yellow")
        return {"store": store.name, "asked": 0, "notes": [why]}
    try:
        return renew_one(data, store, machine, fmt=fmt)
    except CxrembError as error:
        remark(f"{store.name} stays as it is: {error}\n  {completed(error.hint)}", style="yellow")
        return {"store": store.name, "error": str(error), "hint": error.hint}


def renew_one(data: "Dataset", store: "Store", machine: "Callable[[], Machine]", *, fmt: Format) -> dict[str, Any]:
    """What became of a store; shown here, or left to --format."""
    from cxremb.embedding.asked import finished, what_of

    update = finished(data, what_of(store))
    if update is None:
        from cxremb.embedding.start import run

        update = run(data, what_of(store), machine(), progress=bar)
    if fmt is Format.table:
        show(update)
    return describe_update(update)


def tune(data: "Dataset", model: str, plan: "FineTune", *, split: str, machine: "Machine", fmt: Format) -> None:
    """Fine-tune, embed with the new weights, and say what became of either."""
    from cxremb.splits import choose_split
    from cxremb.training.finetune import refresh_finetuned

    folds = choose_split(data, plan.label_set, split)
    done = refresh_finetuned(data, model, folds, plan=plan, machine=machine, progress=bar)
    show_tuned(done.tuned, log if fmt is not Format.table else console)
    if done.note:
        remark(done.note, "yellow")
    if fmt is not Format.table:
        write(describe_update(done.update), fmt)
    else:
        show(done.update)
        labels = labels_named(data, plan.label_set) or ""
        part, root = f"--split {folds.title} --fold {plan.fold}", data.paths.root
        words = f"train image{labels} --image-model {done.update.store.name} {part}"
        say_commands([command(words, root, data.name)], "next: ", "dim")


def show_tuned(tuned: "Tuned", out: "Console") -> None:
    """The weights, whom they have seen, and how their loss went: that of the start first."""
    record = tuned.record
    if tuned.path is not None:
        out.print(f"[bold]{tuned.path.name}[/] in {tuned.path.parent}", soft_wrap=True)
    if tuned.reused:
        out.print("  nothing to do: fine-tuned on the same films, labels, fold and recipe before")
    val = {epoch["epoch"]: epoch["loss"] for epoch in record["history"] if epoch["phase"] == "val"}
    patients = record["patients"]
    out.print(
        f"  fine-tuned on {patients['train']:,} patients of train, fold {record['plan']['fold']} of {record['split']}; "
        f"epoch {record['epoch']} of {max(val)} chosen on {patients['val']:,} of val",
        soft_wrap=True,
    )
    start = "" if 0 not in val else f"{val.pop(0):.4f} at the start (the solved head on the frozen encoder), then "
    out.print(f"  val loss by epoch: {start}{', '.join(f'{loss:.4f}' for loss in val.values())}", soft_wrap=True)
    if tuned.path is None:
        out.print(
            "  no epoch was better on val than the start: the encoder stays as it was, and no store is made",
            style="yellow",
            soft_wrap=True,
        )
    for note in record["notes"]:
        out.print(f"  {note}", style="yellow", markup=False, soft_wrap=True)
