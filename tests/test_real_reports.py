"""What the docs say of the real reports is what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxremb.table import bare, span

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
ARMS, SPLITS = (
    json.loads((ROOT / "benchmarks" / "results" / f"iu_{name}.json").read_text(encoding="utf-8"))
    for name in ("text_arms", "splits")
)
NAMES = {  # arm or control -> how its row of the docs begins
    "text": "findings + impression",
    "text[xxxx=drop]": "the same without its `XXXX` (`xxxx=drop`)",
    "text[xxxx=mask]": "the same with `[MASK]` for `XXXX` (`xxxx=mask`)",
    "pre-read": "pre-read: indication and comparison",
    "tf-idf": "TF-IDF + logistic regression on findings + impression",
    "length": "how many words the report has",
    "label-shuffle": "labels shuffled",
}
WAYS = ("identical texts together", "copies together", "patient alone")


def auroc(row: dict[str, Any], name: str = "auroc") -> str:
    return span(*(row[name][end] for end in ("value", "low", "high")))


def gap(row: dict[str, Any], name: str = "difference") -> str:
    return span(*(row[name][end] for end in ("value", "low", "high")), sign="+")


def control(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one["row"] for one in found["controls"] if one["name"] == name)


def test_every_text_arm_stands_in_the_table():
    rows = {row["arm"]: row for row in ARMS["rows"]}
    rows |= {name: control(ARMS, name) for name in ("tf-idf", "length", "label-shuffle")}
    for arm, row in rows.items():
        beside = f", difference {gap(row)}" if "xxxx=" in arm else ""
        assert f"| {NAMES.get(arm, arm)} | {auroc(row)}{beside} |" in DOCS, arm
    assert f"{ARMS['n']:,} studies that have all four texts" in DOCS
    assert f"{ARMS['wall_seconds']:.0f} s on two busy cores" in DOCS


def test_what_the_marks_do_to_a_text_that_says_little():
    said, found = " ".join(DOCS.split()), ARMS["pre_read"]
    kept, dropped, masked = found["rows"]
    for text in (
        f"on the {found['n']:,} studies whose pre-read text is more than marks, it has {auroc(kept)} as written",
        f"{auroc(dropped)} without them (difference {gap(dropped)})",
        f"{auroc(masked)} with `[MASK]` in their place ({gap(masked)})",
        f"without marks are worse ({gap(dropped, 'fitted')}, other test patients alone)",
        f"a difference of {bare(dropped['difference']['detectable'])} is found 4 times in 5",
        f"TF-IDF reach {auroc(control(found, 'tf-idf'))} there",
    ):
        assert text in said, text
    assert dropped["difference"]["low"] < 0 < dropped["difference"]["high"]  # so that it is open
    assert dropped["fitted"]["high"] < 0


@pytest.mark.parametrize("arm", ["findings", "impression", "pre-read", "findings+impression"])
def test_every_split_stands_in_the_table(arm):
    rows = [next(row for row in SPLITS["texts"][way]["rows"] if row["arm"] == arm) for way in WAYS]
    others = [auroc(row, "auroc_new_text") if row["auroc_new_text"] else "the same" for row in rows]
    name, shares = arm.replace("+", " + "), " | ".join(f"{row['in_train']:.0%}" for row in rows)
    lines = (
        f"| {name} | {' | '.join(map(auroc, rows))} |",
        f"| - share of rows with a text that train has | {shares} |",
        f"| - AUROC on the other rows | {' | '.join(others)} |",
    )
    assert "\n".join(lines) in DOCS
    shares = " | ".join(f"{SPLITS['texts'][way]['whole_reports_in_train']:.0%}" for way in WAYS)
    assert f"| whole reports that train has | {shares} |" in DOCS


def test_what_the_split_does_to_the_fusion_of_the_demo():
    said = " ".join(DOCS.split())
    before, now = (next(row for row in SPLITS["demo"][way]["rows"] if row["arm"] == "fusion") for way in WAYS[:2])
    assert (
        f"({now['n']:,} films) has {auroc(before)} with identical texts together and {auroc(now)} with copies together "
        f"({now['in_train']:.0%} of its test rows have a report that train has; {auroc(now, 'auroc_new_text')} on the "
        "others)"
    ) in said
