"""The model card that lies in every run folder as README.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxremb.caveats import describe_text
from cxremb.training.record import RunRecord
from cxremb.training.scores import NEW_TEXT

PER_LABEL = ("auroc", "average_precision", "f1", "prevalence")

CARD = """# RUN_ID

{head} on {dataset}, telling {labels} (label set {label_set}, version {label_version}, {task}).
For research, not for care.

{caveat}## Figures on test rows{leaky}

{figures}

{others}Of the test rows of the folds {folds}{averaged}; one row is one {unit}. Brackets: 95% over patients; AUROC
within folds.
Compare accuracy with `majority_accuracy` and F1 with `all_positive_f1`: what answering without looking reaches.

## How it was made

- {read}
- rows: {rows} of {patients} patients; left out: {left_out}
- split: {split}: {split_means}
- preset {preset}: {options}
- epoch kept per model: {epochs}; repeats: {repeats}; seeds: {seeds}; {parameters:,} trainable parameters; {seconds} s
- made with {versions}
- licence of the collection: {dataset_licence}; of the encoders: {licences}
- cite: {dataset_citation}

`model.safetensors` holds one model per repeat, fold and seed under `repeat0.fold0.seed0.` and so on; its digest is in
`run.json`. {use}
"""
HEAD_USE = """A head takes raw store vectors, whose full keys are in `run.json`, and standardises them itself with its
`mean`, `scale` and `limit`. To predict: `cxremb.training.bundle.load_bundle`."""
CONTROL_USE = "A control keeps no parameters: its predictions are there to be compared with."
PROMPTS_USE = "Nothing is trained, so it is empty: `run.json` has the prompts that were asked."
NETWORK_USE = "A network takes films, which it puts into its frame. To predict: `cxremb predict FILE --run RUN`."


def model_card(record: RunRecord, metrics: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown. `RUN_ID` stands for the name that the run gets when it is published."""
    words: dict[str, Any] = record.to_dict()
    for name in ("dataset_licence", "dataset_citation"):
        words[name] = words[name] or "not said"
    for name in ("options", "left_out", "pooling", "versions", "licences"):
        words[name] = ", ".join(f"{key} {value}" for key, value in words[name].items()) or "none"
    for name in ("stores", "folds", "repeats", "epochs", "seeds"):
        words[name] = ", ".join(map(str, words[name])) or "none"
    words["labels"] = ", ".join(f"`{label}`" for label in record.labels)
    words["averaged"] = ", averaged over repeats and seeds" if len(record.repeats) * len(record.seeds) > 1 else ""
    text = describe_text(record.text, record.text_role)
    words["read"] = (
        "films" if record.from_pixels else f"vectors: {words['stores']}; {text}; pooling: {words['pooling']}"
    )
    words["use"] = use_of(record)
    words["caveat"] = f"**Read these figures as: {record.note}.**\n\n" if record.note else ""
    words["leaky"] = " (LEAKY)" if record.leaky else ""
    words["figures"] = figures_tables([row for row in metrics if row["part"] == "test"], record.label)
    others = [row for row in metrics if row["part"] == NEW_TEXT]
    words["others"] = "".join(
        f"AUROC of the test rows whose text stands nowhere in train: {figure_in_words(row['value'])}.\n"
        for row in others
        if (row["label"], row["metric"]) == (record.label, "auroc")
    )
    return CARD.format(**words)


def use_of(record: RunRecord) -> str:
    """What its file of weights is good for."""
    if record.is_zero_shot:
        return PROMPTS_USE
    return NETWORK_USE if record.from_pixels else CONTROL_USE if record.is_control else HEAD_USE


def figures_tables(rows: Sequence[Mapping[str, Any]], headline: str) -> str:
    """The main figures as a Markdown table, and below them, where there are several labels, one line for each."""
    main = [row for row in rows if row["label"] == headline]
    lines = ["| metric | value | 95% interval |", "| --- | --- | --- |"]
    for row in main:
        span = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"| {row['metric']} | {figure_in_words(row['value'])} | {span} |")
    by_label: dict[str, dict[str, float | None]] = {}
    for row in rows:
        by_label.setdefault(row["label"], {})[row["metric"]] = row["value"]
    if len(by_label) > 1:
        lines += ["", f"| label | {' | '.join(PER_LABEL)} |", f"| --- |{' --- |' * len(PER_LABEL)}"]
        for label, figures in by_label.items():
            lines.append(f"| {label} | {' | '.join(figure_in_words(figures.get(name)) for name in PER_LABEL)} |")
    return "\n".join(lines)


def figure_in_words(value: float | None) -> str:
    """Four decimals, or that there is no such figure."""
    return "undefined" if value is None else f"{value:.4f}"
