"""Printed figures back into confusion matrices: against brute force, round trips, and the published rows."""

import json
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score

from cxremb.errors import DataError
from cxremb.evaluation.confusion import RATIOS, Confusion, figures, intervals, remarks
from cxremb.evaluation.published import Published, printed, published, read_table
from cxremb.evaluation.reproduce import MOST, contradictory, recover, reproduce

FOUR = ("accuracy", "precision", "recall", "f1")
CNN = dict(zip(FOUR, ("0.6827", "0.7349", "0.7944", "0.7635"), strict=True))
FUSION = dict(zip(FOUR, ("0.9578", "0.9630", "0.9701", "0.9665"), strict=True))
TWO_STAGE = dict(zip(FOUR, ("0.9420", "0.9518", "0.9696", "0.9606"), strict=True))
SHORTENED = {
    "half up": lambda value: floor(value + Fraction(1, 2)),
    "half even": round,
    "cut off": floor,
}


def only(n: int) -> range:
    return range(n, n + 1)


def all_matrices(n: int) -> Iterator[Confusion]:
    for tp in range(n + 1):
        for fn in range(n + 1 - tp):
            for fp in range(n + 1 - tp - fn):
                yield Confusion(tp, fn, fp, n - tp - fn - fp)


def exact(matrix: Confusion) -> dict[str, Fraction]:
    """The figures from their definitions; 0 / 0 is 0, as in scikit-learn."""
    tp, fn, fp, tn = matrix.tp, matrix.fn, matrix.fp, matrix.tn
    parts = {
        "accuracy": (tp + tn, tp + fn + fp + tn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "specificity": (tn, tn + fp),
    }
    return {name: Fraction(above, below) if below else Fraction(0) for name, (above, below) in parts.items()}


def row_of(matrix: Confusion, decimals: int, rule: str = "half even", names: tuple[str, ...] = FOUR) -> Published:
    """The row that a paper prints of a matrix."""
    digits = {name: SHORTENED[rule](exact(matrix)[name] * 10**decimals) for name in names}
    return published({name: f"{value / 10**decimals:.{decimals}f}" for name, value in digits.items()})


def brute(row: Published, sizes: range, cut_off: bool) -> set[Confusion]:
    """All matrices of these sizes whose figures are as printed, by trying every one."""
    found = set()
    for n in sizes:
        for matrix in all_matrices(n):
            value = exact(matrix)
            off = {name: value[name] * 10**p.decimals - p.digits for name, p in row.figures.items()}
            near = all(0 <= d < 1 if cut_off else abs(d) <= Fraction(1, 2) for d in off.values())
            if near:
                found.add(matrix)
    return found


@pytest.mark.parametrize("cut_off", [False, True], ids=["rounded", "cut off"])
@pytest.mark.parametrize("seed", range(12))
def test_the_search_equals_brute_force(seed: int, cut_off: bool) -> None:
    rng = np.random.default_rng(seed)
    names = tuple(rng.permutation(list(RATIOS))[: rng.integers(1, 6)].tolist())
    sizes = only(int(rng.integers(1, 22))) if seed % 2 else range(3, 13)
    matrix = Confusion(*rng.multinomial(sizes[-1], rng.dirichlet([0.6] * 4)).tolist())
    row = row_of(matrix, int(rng.integers(1, 4)), "cut off" if cut_off else "half up", names)
    expected = brute(row, sizes, cut_off)
    assert matrix in expected
    found = recover(row, sizes, cut_off=cut_off)
    assert set(found) == expected
    assert len(found) == len(expected)
    of_positives = {other for other in expected if other.positives == matrix.positives}
    assert set(recover(row, sizes, matrix.positives, cut_off=cut_off)) == of_positives


@pytest.mark.parametrize("seed", range(15))
def test_figures_at_random_fit_what_brute_force_says_or_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = published({name: f"{rng.uniform(0.4, 0.9):.1f}" for name in ("accuracy", "precision", "recall")})
    for n in range(1, 15):
        expected = brute(row, only(n), cut_off=False)
        if expected:
            assert set(recover(row, only(n), cut_off=False)) == expected
        else:
            with pytest.raises(DataError, match="no matrix gives"):
                recover(row, only(n), cut_off=False)


@settings(deadline=None, max_examples=60)
@given(
    cells=st.tuples(*[st.integers(0, 120)] * 4),
    decimals=st.integers(3, 5),
    rule=st.sampled_from(list(SHORTENED)),
    names=st.sets(st.sampled_from(list(RATIOS)), min_size=3),
)
def test_a_matrix_is_among_those_recovered_from_its_row(
    cells: tuple[int, int, int, int], decimals: int, rule: str, names: set[str]
) -> None:
    matrix = Confusion(*cells)
    assume(matrix.tp and matrix.tn)  # else most figures are 0 whatever the matrix
    row = row_of(matrix, decimals, rule, tuple(names))
    found = recover(row, only(matrix.n), cut_off=rule == "cut off")
    assert matrix in found
    assert rule in row.roundings(matrix)
    assert all(row.fits(other, rule == "cut off") and other.n == matrix.n for other in found)


@pytest.mark.parametrize(
    ("texts", "cells"),
    [(CNN, (765, 198, 276, 255)), (FUSION, (910, 28, 35, 521)), (TWO_STAGE, (415, 13, 21, 137))],
    ids=["cnn", "cnn-llm", "two-stage"],
)
def test_the_published_rows(texts: dict[str, str], cells: tuple[int, int, int, int]) -> None:
    matrix, row = Confusion(*cells), published(texts)
    assert recover(row, only(matrix.n)) == [matrix]
    assert row.roundings(matrix) == ["half up", "half even"]
    anywhere = recover(row)
    assert matrix in anywhere
    assert [m.n for m in anywhere] == sorted(m.n for m in anywhere)
    assert Confusion(*(2 * cell for cell in cells)) in anywhere  # a multiple has the same figures
    specificity = [float(m.figure("specificity") or 0) for m in anywhere]
    assert max(specificity) - min(specificity) < 0.002  # so it is known although n is not


@pytest.mark.parametrize("cells", [(765, 198, 276, 255), (3, 1, 2, 4), (0, 5, 0, 7), (9, 0, 1, 0)])
def test_figures_are_those_of_scikit_learn(cells: tuple[int, int, int, int]) -> None:
    matrix = Confusion(*cells)
    y = np.repeat([1, 1, 0, 0], cells)
    called = np.repeat([1, 0, 1, 0], cells)
    got = {name: value or 0.0 for name, value in figures(matrix).items()}
    assert got["precision"] == pytest.approx(precision_score(y, called, zero_division=0))
    assert got["f1"] == pytest.approx(f1_score(y, called, zero_division=0))
    assert got["specificity"] == pytest.approx(recall_score(y, called, pos_label=0, zero_division=0))
    assert got["mcc"] == pytest.approx(matthews_corrcoef(y, called), abs=1e-12)
    if set(y) == {0, 1}:
        assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, called))
    assert got["majority_accuracy"] == pytest.approx(max(y.mean(), 1 - y.mean()))
    assert got["all_positive_f1"] == pytest.approx(f1_score(y, np.ones_like(y)))
    for name, (low, high) in intervals(matrix).items():
        above, n = matrix.parts(name)
        for end in (low, high):  # the score test is just significant there (Wilson 1927)
            if 0 < end < 1:
                assert abs(above / n - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, rel=1e-5)
        assert low <= above / n <= high


def test_what_is_no_better_than_not_looking_is_said() -> None:
    below = remarks([Confusion(765, 198, 276, 255)])
    assert below == ['f1 0.7635 is below that of always answering "positive", 0.7839']
    assert remarks([Confusion(910, 28, 35, 521)]) == []
    assert "no better than that of always answering the larger class, 0.6000" in remarks([Confusion(6, 0, 4, 0)])[0]
    assert remarks([Confusion(1, 9, 5, 25)])[0].startswith("accuracy 0.6500 is below")
    assert remarks([Confusion(1, 9, 5, 25), Confusion(25, 5, 1, 9)]) == []  # not true of both


def epochs(count: int, n: int, positives: int, seed: int = 0) -> list[Confusion]:
    """Matrices of a classifier that gets better."""
    rng = np.random.default_rng(seed)
    steps = np.linspace(0.55, 0.95, count) + rng.normal(0, 0.01, count)
    cells = [(round(step * positives), round((1 - step) * (n - positives))) for step in steps.clip(0, 1).tolist()]
    return [Confusion(tp, positives - tp, fp, n - positives - fp) for tp, fp in cells]


def write(path: Path, matrices: list[Confusion], decimals: int = 4) -> Path:
    """A table of epochs as a paper prints it."""
    rows = [row_of(matrix, decimals).figures for matrix in matrices]
    lines = [",".join([str(epoch), "0.5", *(str(row[name]) for name in FOUR)]) for epoch, row in enumerate(rows, 1)]
    path.write_text("\n".join(["Epoch,loss,Accuracy,Precision,Recall,F1", *lines]) + "\n")
    return path


def test_each_row_of_a_table_narrows_n(tmp_path: Path) -> None:
    matrices = epochs(12, 586, 428)
    rows = read_table(write(tmp_path / "epochs.csv", matrices, decimals=3))
    assert [row.name for row in rows] == [f"epoch {epoch}" for epoch in range(1, 13)]
    sizes = [reproduce(rows[:count], range(1, 1200)).sizes for count in (1, 3, 12)]
    assert len(sizes[0]) > len(sizes[1]) >= len(sizes[2])
    whole = reproduce(rows, range(1, 1200))
    assert whole.pairs == [(586, 428), (1172, 856)]  # a multiple can never be told apart
    assert [found[0] for found in whole.matrices] == matrices
    assert reproduce(rows, range(1, 1200), positives=428).matrices == [[matrix] for matrix in matrices]
    alone = {pair for row in rows[:1] for m in recover(row, range(1, 1200)) for pair in [(m.n, m.positives)]}
    for row in rows[1:]:
        alone &= {(m.n, m.positives) for m in recover(row, range(1, 1200))}
    assert alone == set(whole.pairs)  # narrowing step by step forgets nothing


def test_cut_off_figures_are_found_out_and_ties_told() -> None:
    matrix = Confusion(765, 198, 276, 255)
    row = row_of(matrix, 4, "cut off")
    assert not row.fits(matrix)
    result = reproduce([row], only(1494))
    assert result.cut_off
    assert result.matrices == [[matrix]]
    assert row.roundings(matrix) == ["cut off"]
    tie = Confusion(1, 7, 0, 0)  # recall 1/8
    assert published({"recall": "0.13"}).roundings(tie) == ["half up"]
    assert published({"recall": "0.12"}).roundings(tie) == ["half even", "cut off"]
    assert {tie} <= set(recover(published({"recall": "0.13"}), only(8)))


def test_the_closest_matrix_is_the_closest() -> None:
    rng = np.random.default_rng(3)
    for _ in range(6):
        row = row_of(Confusion(*rng.integers(100, 900, 4).tolist()), 4)  # of another n
        with pytest.raises(DataError) as caught:
            recover(row, only(17))
        best = min(row.misfit(matrix) for matrix in all_matrices(17))
        cells = re.search(r"closest is TP (\d+) FN (\d+) FP (\d+) TN (\d+)", str(caught.value))
        assert cells
        got = row.misfit(Confusion(*map(int, cells.groups())))
        assert ceil(got) == ceil(best)  # of those equally near, to a unit of the last decimal, the smaller sum


def test_a_row_that_nothing_gives_says_by_how_much() -> None:
    with pytest.raises(DataError) as caught:
        recover(published({**CNN, "accuracy": "0.6831"}), only(1494))
    assert "TP 765 FN 198 FP 276 TN 255 (n = 1,494): accuracy 0.6827 (off by 0.0004)" in str(caught.value)
    assert "without accuracy" in caught.value.hint


@pytest.mark.parametrize("n", [None, only(1494)], ids=["n unknown", "n known"])
@pytest.mark.parametrize("names", [FOUR, FOUR[1:]], ids=["four", "without accuracy"])
def test_figures_that_contradict_each_other_are_told_at_once(n: range | None, names: tuple[str, ...]) -> None:
    mistyped = {name: FUSION[name] for name in names} | {"recall": "0.7701"}
    started = time.perf_counter()
    with pytest.raises(DataError, match="whatever n is: the figures contradict each other") as caught:
        recover(published(mistyped), n)
    assert time.perf_counter() - started < 20  # once a search of minutes
    assert "without recall (0.9701 would do)" in caught.value.hint
    without_recall = 2 * 0.9630 * 0.7701 / (0.9630 + 0.7701)
    if n is None:
        assert f"without f1 ({without_recall:.4f} would do)" in caught.value.hint
    assert "without precision" not in caught.value.hint


def test_what_contradicts_itself_is_that_for_every_n() -> None:
    rng = np.random.default_rng(5)
    alone = 0
    for _ in range(60):
        names = rng.permutation(list(RATIOS))[:3].tolist()
        row = published({name: f"{rng.choice([0.0, 0.3, 0.6, 0.9, 1.0]):.1f}" for name in names})
        if contradictory(row, cut_off=False):
            alone += 1
            assert not any(row.fits(matrix) for n in range(1, 13) for matrix in all_matrices(n))
    assert alone > 10


def test_a_table_names_the_row_that_does_not_belong(tmp_path: Path) -> None:
    matrices = epochs(6, 586, 428)
    other = epochs(6, 577, 400)[3]
    rows = read_table(write(tmp_path / "mixed.csv", [*matrices[:4], other, *matrices[4:]]))
    with pytest.raises(DataError, match=r"^epoch 5: no matrix gives .* n and the positives of the 4 rows before it"):
        reproduce(rows, range(1, 1000))


@pytest.mark.parametrize(
    ("text", "digits", "decimals"),
    [("0.6827", 6827, 4), (".70", 70, 2), ("68.27%", 6827, 4), ("70 %", 70, 2), ("1", 1, 0), (" 1.000", 1000, 3)],
)
def test_a_printed_figure_keeps_its_decimals(text: str, digits: int, decimals: int) -> None:
    assert (printed(text).digits, printed(text).decimals) == (digits, decimals)


def test_a_float_in_full_is_taken_without_its_noise() -> None:
    row = published({"accuracy": repr(1020 / 1494), "recall": repr(765 / 963), "precision": repr(765 / 1041)})
    assert recover(row, range(1, 2000))[0] == Confusion(255, 66, 92, 85)  # the smallest with these figures
    assert Confusion(765, 198, 276, 255) in recover(row, range(1, 2000))


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("68.27", "more than 1", "68.27%"),
        ("-0.5", "no number", "0.6827"),
        ("nan", "no number", "0.6827"),
        ("0,68", "no number", "0.6827"),
        ("101%", "more than 1", ""),
    ],
)
def test_bad_figures(text: str, words: str, hint: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        published({"recall": text})
    assert str(caught.value).startswith("recall: ")
    assert hint in caught.value.hint


def test_bad_questions() -> None:
    row = published(CNN)
    for arguments in ((range(0),), (range(5),), (only(1494), 1495), (only(1494), -1)):
        with pytest.raises(DataError):
            recover(row, *arguments)
    with pytest.raises(DataError, match="no figure"):
        published({"recall": " "})
    with pytest.raises(DataError, match="no figure called 'auc'"):
        published({"auc": "0.9"})
    with pytest.raises(DataError, match=f"more than {MOST:,} matrices") as caught:
        recover(published({"accuracy": "0.9"}), only(500))
    assert "--n" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no columns"),
        ("epoch,accuracy\n", "0 rows"),
        ("epoch,auc\n1,0.5\n", "has epoch, auc"),
        ("epoch,accuracy\n1,0.9\n2,ninety\n", r"epoch 2: accuracy: 'ninety' is no number"),
        ("accuracy,f1\n0.9,0.8\n,\n", r"line 3: .*no figure"),
        (None, "cannot be read"),
    ],
)
def test_bad_tables(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def options(texts: dict[str, str]) -> list[str]:
    return [word for name, text in texts.items() for word in (f"--{name}", text)]


def test_the_command_prints_the_matrix(cxremb: object) -> None:
    out = cxremb("reproduce", *options(CNN), "--n", 1494).out  # type: ignore[operator]
    for words in ("One matrix fits", "TP 765", "FN 198", "FP 276", "TN 255", "963", "1,494"):
        assert words in out
    lines = {line.split("  ")[0].strip(): line.split() for line in out.splitlines()}
    assert lines["specificity"][-3:] == ["0.4802", "0.4380", "0.5227"]
    assert lines["balanced accuracy"][-1] == "0.6373"
    assert 'f1 0.7635 is below that of always answering "positive", 0.7839' in out


def test_the_command_without_n_says_what_is_known_anyhow(cxremb: object) -> None:
    out = cxremb("reproduce", *options(CNN), "--max-n", 2000).out  # type: ignore[operator]
    assert "6 matrices fit, rounded. n is 498 or 996 or 1,494 or 1,667 or 1,954 or 1,992" in out
    assert re.search(r"specificity +0\.479\d +0\.480\d", out)
    assert "in all 6: f1 0.7635 is below" in out
    data = json.loads(cxremb("reproduce", *options(CNN), "--max-n", 2000, "--format", "json").out)  # type: ignore[operator]
    assert data["n"] == [498, 996, 1494, 1667, 1954, 1992]
    assert [m["tp"] for m in data["rows"][0]["matrices"]][:3] == [255, 510, 765]
    assert data["rows"][0]["matrices"][2]["intervals"]["specificity"] == pytest.approx([0.4380, 0.5227], abs=1e-4)


def test_the_command_on_a_table(tmp_path: Path, cxremb: object) -> None:
    matrices = epochs(8, 586, 428)
    path = write(tmp_path / "epochs.csv", matrices)
    out = cxremb("reproduce", "--table", path, "--max-n", 1000).out  # type: ignore[operator]
    assert "n is 586; the number of positives is 428." in out
    for epoch, m in enumerate(matrices, 1):
        assert re.search(rf"epoch {epoch} +1 +586 +{m.tp} +{m.fn} +{m.fp} +{m.tn} ", out)
    assert "epoch 1: accuracy" in out  # below the majority
    assert "epoch 8" not in out.split("epoch 8", 1)[1]


def test_the_command_says_what_is_wrong(cxremb: object) -> None:
    result = cxremb("reproduce", *options({**CNN, "accuracy": "0.6831"}), "--n", 1494)  # type: ignore[operator]
    assert (result.code, result.out) == (1, "")
    assert "closest is TP" in result.err
    assert "hint:" in result.err
    assert cxremb("reproduce", "--n", 5).code == 2  # type: ignore[operator]
    assert cxremb("reproduce", "--table", "x.csv", "--f1", "0.5").code == 2  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "texts", "n"), [("cnn", CNN, 1494), ("cnn-llm", FUSION, 1494), ("two-stage", TWO_STAGE, 586)]
)
def test_the_documented_table_is_what_is_recovered(name: str, texts: dict[str, str], n: int) -> None:
    [matrix] = recover(published(texts), only(n))
    value, ends = figures(matrix), intervals(matrix)
    cells = [
        f"`{name}`",
        f"{n:,}",
        f"{matrix.tp} / {matrix.fn} / {matrix.fp} / {matrix.tn}",
        f"{value['prevalence']:.3f}",
    ]
    cells += [f"{value[key]:.3f} [{low:.3f}, {high:.3f}]" for key, (low, high) in ends.items()]
    cells += [f"{value[key]:.3f}" for key in ("balanced_accuracy", "mcc", "majority_accuracy", "f1", "all_positive_f1")]
    document = Path(__file__).parent.parent / "docs" / "reference_systems.md"
    assert f"| {' | '.join(cells)} |" in document.read_text(encoding="utf-8")


def test_other_counts_that_the_document_states() -> None:
    two_decimals = [recover(published({"f1": f1}), only(116)) for f1 in ("0.87", "0.93")]
    assert [len(found) for found in two_decimals] == [2077, 1330]
    blind = [[m for m in found if 'always answering "positive"' in "".join(remarks([m]))] for found in two_decimals]
    assert [len(found) for found in blind] == [662, 257]
    assert recover(published(FUSION), only(1494), cut_off=True) == [Confusion(911, 28, 35, 520)]
    for texts, n in ((CNN, 1494), (TWO_STAGE, 586)):
        with pytest.raises(DataError, match="cut off"):
            recover(published(texts), only(n), cut_off=True)
    anywhere = recover(published(CNN))
    assert (len(anywhere), len({m.n for m in anywhere})) == (191, 187)
    assert remarks(anywhere)[0].startswith("f1 0.7635 is below")
    assert {f"{float(m.figure('specificity') or 0):.3f}" for m in anywhere} == {"0.480"}
