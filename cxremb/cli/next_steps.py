"""What to type next on a data set, by what it has: stores, labels, films, texts. Each step works when it is pasted."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxremb.cli.pasted import command

if TYPE_CHECKING:
    from cxremb.store.dataset import Dataset
    from cxremb.store.reader import Store

MODALITIES = ("image", "text")
HEADS = {MODALITIES: "fusion", ("image",): "image", ("text",): "text"}
ALONE = {MODALITIES: "", ("image",): " --image-only", ("text",): " --text-only"}


def next_steps(data: "Dataset", *, label_set: str | None = None, more: str = "") -> list[str]:
    """Whole commands, in order: encode what can be and is not yet, train, compare arms; without labels, look.

    label_set: one that is to be used; None for the usual one. more: options of training, such as ` --split own`.
    """
    from cxremb.embedding.choose import embeddable, usual_stores
    from cxremb.encoders.weights import suggested

    stored = [one for one in MODALITIES if usual_stores(data, one)]
    lacking = [one for one in MODALITIES if one not in stored and embeddable(data, one)]
    steps = [f"embed --model {suggested(one)}" for one in lacking]
    reads = tuple(one for one in MODALITIES if one in (*stored, *lacking))
    labels = labels_named(data, label_set)
    if not reads:
        steps.append("data show")
    elif labels is None:
        steps.append(look(usual_stores(data, stored[0])[0]) if stored else "data show")
    else:
        how = f"{labels}{text_named(data) if 'text' in reads else ''}{more}"
        steps += [f"train {HEADS[reads]}{how}", f"ablate{ALONE[reads]}{how}"]
    return [command(words, data.paths.root, data.name) for words in steps]


def what_next(data: "Dataset", *, stale: "Sequence[Store]", runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The whole command that comes next: mend what is behind, then what `next_steps` says; then two that show it.

    stale: stores that are behind. runs: what run.json says of each run that is no control.
    """
    stale = [store for store in stale if not store.imported]  # which nothing here mends
    behind = "refresh" if any(not store.projected for store in stale) else "align"
    done = {"train": bool(runs), "ablate": any(len(run.get("members", ())) > 1 for run in runs)}
    steps = [step for step in next_steps(data) if not done.get(step.split()[1])]
    if stale or not steps:
        return [command(words, data.paths.root, data.name) for words in ([behind] if stale else ["report", "explore"])]
    return steps[:1]


def text_named(data: "Dataset") -> str:
    """The option that names the text, empty where reports have findings or an impression, which are the usual one."""
    from cxremb.store.layout import JOINED
    from cxremb.store.texts import place

    sections = sorted(data.reports["section"].unique().to_pylist(), key=place)
    return "" if not sections or set(sections) & set(JOINED) else f" --text {shlex.quote(sections[0])}"


def labels_named(data: "Dataset", label_set: str | None) -> str | None:
    """The option that names the label set, empty if it need not be named; None if there is nothing to train on."""
    from cxremb.errors import DataError
    from cxremb.labels import label_set_of

    sets = data.descriptor.get("label_sets", {})
    trainable = [name for name in sets if sets[name]["task"] != "terms"]
    if not trainable or label_set not in (None, *trainable):
        return None
    try:
        usual = label_set_of(data)
    except DataError:  # several and no default: one is to be named
        usual = ""
    wanted = label_set or usual or trainable[0]
    return "" if wanted == usual else f" --label-set {shlex.quote(wanted)}"


def look(store: "Store") -> str:
    """SQL for what lies near the first item of a store, which needs no labels."""
    section, item = min(zip(*(store.table([name])[name].to_pylist() for name in ("section", "item_id")), strict=True))
    of = "" if section == "image" else f", of := {literal(section)}"
    return f"sql {quoted(f'from nearest({literal(store.name)}, {literal(item)}{of})')}"


def literal(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(statement: str) -> str:
    """SQL as one word of a shell, in double quotes where they do."""
    return shlex.quote(statement) if set(statement) & set('"$`\\!') else f'"{statement}"'
