"""The model card that lies in every run folder as README.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxremb.features import text_told

CARD = """# RUN_ID

{head} head on {dataset}, telling `{label}` (label set {label_set}) from frozen embeddings. For research, not for care.

{caveat}## Figures on test rows{leaky}

{figures}

Test rows pool the folds {folds}; one row is one {unit}. Brackets: 95% patient-cluster bootstrap. Compare accuracy with
`majority_accuracy` and F1 with `all_positive_f1`: they are what answering without looking reaches.

## How it was made

- vectors: {stores}; {text}; pooling: {pooling}
- rows: {rows} of {patients} patients; left out: {left_out}
- split: {split}: {split_means}
- preset {preset}: {options}
- epoch kept per fold: {epochs}; seeds: {seeds}; {parameters:,} trainable parameters; {seconds} s
- made with {versions}

`model.safetensors` holds one model per fold under `repeat0.fold0.` and so on. It takes raw store vectors, image before
text, and standardises them itself with its `mean`, `scale` and `limit`.
"""


def model_card(record: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown. `RUN_ID` stands for the name that the run gets when it is published."""
    told = dict(record)
    for name in ("options", "left_out", "pooling", "versions"):
        told[name] = ", ".join(f"{key} {value}" for key, value in record[name].items()) or "none"
    for name in ("stores", "folds", "epochs", "seeds"):
        told[name] = ", ".join(map(str, record[name]))
    told["text"] = text_told(record["text"], record["text_role"])
    told["caveat"] = f"**Read these figures as: {record['note']}.**\n\n" if record["note"] else ""
    told["leaky"] = " (LEAKY)" if record["leaky"] else ""
    told["figures"] = figures_table([row for row in metrics if row["part"] == "test"])
    return CARD.format(**told)


def figures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of metrics."""
    lines = ["| metric | value | 95% interval |", "| --- | --- | --- |"]
    for row in rows:
        value = "undefined" if row["value"] is None else f"{row['value']:.4f}"
        span = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"| {row['metric']} | {value} | {span} |")
    return "\n".join(lines)
