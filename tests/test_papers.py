"""Tables for a paper: LaTeX with caption, label and minus signs, Markdown with the same cells, from one writer."""

import csv
import io
import re

import pytest
from made_runs import desk, made_run, noisy
from planted import Planted, plant

from cxremb.cli.screen import drawn
from cxremb.table import Table, as_latex, as_markdown, bare, latex
from cxremb.training.runs import Run


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("-.012 [-.034, +.010]", "$-$.012 [$-$.034, $+$.010]"),
        ("-0.2 and +3", "$-$0.2 and $+$3"),
        ("- fusion", "$-$ fusion"),
        ("A - B", "A $-$ B"),
        ("2026-11-27, patient-5fold, 20261127T063459-2205bb93", "2026-11-27, patient-5fold, 20261127T063459-2205bb93"),
        ("text[head=gated]-3", "text[head=gated]-3"),
        ("a_b & 5% of $3 #1 {x}", r"a\_b \& 5\% of \$3 \#1 \{x\}"),
        (r"~^\ < >", r"\textasciitilde{}\textasciicircum{}\textbackslash{} $<$ $>$"),
        ("sensitivity >= 0.95, x <= 2", r"sensitivity $\geq$ 0.95, x $\leq$ 2"),
        ("0.42–0.56, 5×5, …", r"0.42--0.56, 5$\times$5, \ldots{}"),
        ("", ""),
    ],
)
def test_text_for_latex(text: str, typed: str) -> None:
    assert latex(text) == typed


def test_a_table_in_both() -> None:
    table = Table(
        ["arm", "AUROC", "words"],
        [["a_b", "-.5", "x|y"], ["[c]", "-", "z"]],
        title="What & why",
        label="what",
        notes=["n = 3.", "Brackets: 95%"],
        prose=[2],
        lines=[1],
    )
    assert as_latex(table).splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        r"\caption{What \& why}",
        r"\label{tab:what}",
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"arm & AUROC & words \\",
        r"\midrule",
        r"a\_b & $-$.5 & x|y \\",
        r"\midrule",
        r"{[c]} & -- & z \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\raggedright\footnotesize",
        r"n = 3.\\",
        r"Brackets: 95\%.\\",
        r"\end{table}",
    ]
    assert as_markdown(table).splitlines() == [
        "**What & why**",
        "",
        "| arm | AUROC | words |",
        "| --- | ---: | --- |",
        r"| a_b | -.5 | x\|y |",
        "| [c] | - | z |",
        "",
        "- n = 3.",
        "- Brackets: 95%",
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    at = desk(plant(tmp_path_factory.mktemp("papers"), Planted(studies=300)), modalities=("image", "text"))
    y = at.features.y[:, 0]
    return made_run(at, noisy(y, 0.5, 2), "bad"), made_run(at, noisy(y, 2.0, 1), "good")


def tables(latex_text: str) -> list[list[list[str]]]:
    """The cells of every tabular."""
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", latex_text, flags=re.DOTALL)
    return [
        [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line != r"\midrule"] for body in bodies
    ]


def listed(markdown: str) -> list[list[list[str]]]:
    """The cells of every table of Markdown."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", markdown, flags=re.MULTILINE)
    rows = [[line for line in block.splitlines() if "---" not in line] for block in blocks]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block] for block in rows]


@pytest.mark.parametrize(
    ("words", "count"), [(("evaluate", "A"), 3), (("evaluate", "A", "--by", "view"), 2), (("compare", "A", "B"), 1)]
)
def test_evaluate_and_compare_print_every_format(cxremb, runs, words, count) -> None:
    names = {"A": runs[0].run_id, "B": runs[1].run_id}
    given = [names.get(word, word) for word in words]
    root = ("--root", runs[0].folder.parents[2])
    said = {style: cxremb(*given, "--format", style, *root).out for style in ("latex", "markdown", "csv", "json")}
    found = tables(said["latex"])
    assert len(found) == said["latex"].count(r"\caption{") == said["latex"].count(r"\label{tab:") == count
    shown = [
        [[{"-": "--"}.get(cell, latex(cell)) for cell in row] for row in table] for table in listed(said["markdown"])
    ]
    assert [[[cell.strip("{}") for cell in row] for row in table] for table in found] == shown
    for caveat in runs[0].caveats:
        assert said["latex"].count(latex(caveat)) == said["markdown"].count(caveat) == count
    bare = said["latex"].replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    rows = list(csv.DictReader(io.StringIO(said["csv"])))
    value = next(float(row.get("value") or row["a"]) for row in rows if row["metric"] == "auroc")
    assert any(f"{value:.4f}" in cell or f"{value:.3f}"[1:] in cell for row in found[0] for cell in row)


def test_a_loss_has_a_minus_sign(cxremb, runs) -> None:
    first, second = runs
    said = cxremb("compare", first.run_id, second.run_id, "--format", "latex", "--root", first.folder.parents[2]).out
    first_cell = "auroc, recipes & "
    row = next(line for line in said.splitlines() if line.startswith(first_cell))
    assert re.fullmatch(
        r"\.\d{3} & \.\d{3} & \$-\$\.\d{3} \[\$-\$\.\d{3}, \$-\$\.\d{3}\] & (\.\d{3}|\$<\$\.001) \\\\",
        row.removeprefix(first_cell),
    )


@pytest.mark.parametrize(
    ("value", "sign", "shown"),
    [
        (0.9123, "", ".912"),
        (0.9996, "", "1.000"),
        (10.5, "", "10.500"),
        (-0.0123, "+", "-.012"),
        (-0.0001, "+", "+.000"),
    ],
)
def test_no_number_has_a_zero_before_the_point_or_is_less_than_nothing(value, sign, shown) -> None:
    assert bare(value, sign) == shown


def test_a_figure_without_an_interval_stands_below_those_that_have_one() -> None:
    table = Table(["arm", "AUROC", "n"], [["text", ".912 [.901, .922]", "1,200"], ["majority", ".500", "90"]])
    assert table.from_left == [True, True, False]
    lines = [line for line, _ in drawn(table, 80)]
    assert lines[2].index(".912") == lines[3].index(".500")
    assert lines[3].endswith("   90")
    assert "| --- | --- | ---: |" in as_markdown(table)
    assert r"\begin{tabular}{llr}" in as_latex(table)
