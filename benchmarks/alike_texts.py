"""Which reports may link patients: a simulation with a planted truth. The real reports: `iu_splits.py`.

    python benchmarks/alike_texts.py [--seeds N] [--out FILE]

A made-up hospital writes stock reports and one-line reports, and files some examinations twice. What a model trained on
the train part of a fold is worth is known: it is tried on thousands of new examinations of the same hospital. The error
of a rule for the folds is the pooled AUROC over its test parts minus that.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from side_by_side import write
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from cxremb.splits.folds import balanced_bins, indicators, part_names
from cxremb.splits.group import copied_texts, group_numbers

FRESH = 2000  # new examinations on which the truth is measured
FOLDS = 5
WORDS = 300  # of the vocabulary
PHRASES = ("no acute cardiopulmonary abnormality", "no acute disease", "stable chest", "clear lungs")
EVERYTHING = 10**9


@dataclass(frozen=True)
class Hospital:
    """How reports come about. Shares are of all examinations."""

    studies: int = 3000
    per_patient: float = 1.5
    stock: float = 0.0  # written with one of `templates` long texts, of which few are much used; nearly all normal
    templates: int = 150
    one_line: float = 0.0  # of a few words, one of `lines` texts; normal or not
    lines: int = 80
    copies: float = 0.0  # filed again under another patient, a quarter of them twice


HOSPITALS = {
    "stock reports": Hospital(stock=0.25),
    "one-line reports": Hospital(one_line=0.4),
    "copies": Hospital(copies=0.05),
    "all three": Hospital(stock=0.2, one_line=0.2, copies=0.05),
    "all three, 500 studies": Hospital(studies=500, stock=0.2, one_line=0.2, copies=0.05),
}
RULES: dict[str, dict[str, int] | None] = {
    "patient alone": None,
    "any identical text": {"together": EVERYTHING, "letters": 1},
    **{f"{many} patients, 80 letters": {"together": many, "letters": 80} for many in (2, 3, 5)},
}


@dataclass(frozen=True)
class Exams:
    """n examinations."""

    y: NDArray[np.int64]  # (n,)
    findings: Sequence[str]
    impressions: Sequence[str]
    films: NDArray[np.float64]  # (n, 8)

    @property
    def reports(self) -> list[str]:
        return [f"{a} {b}".strip() for a, b in zip(self.findings, self.impressions, strict=True)]

    def take(self, rows: NDArray[np.int64]) -> "Exams":
        texts = ([column[row] for row in rows.tolist()] for column in (self.findings, self.impressions))
        return Exams(self.y[rows], *texts, self.films[rows])


class Writer:
    """Writes the examinations of one hospital: its templates and its style are drawn once."""

    def __init__(self, hospital: Hospital, rng: np.random.Generator) -> None:
        self.hospital, self.rng = hospital, rng
        common = rng.dirichlet(np.full(WORDS, 0.3))
        tilt = np.exp(rng.normal(scale=0.35, size=WORDS))
        self.words = np.array([common, common * tilt / (common * tilt).sum()])  # of normal and of abnormal
        self.templates = [(self.text(0, 25), self.phrase(0)) for _ in range(hospital.templates)]
        self.lines = [self.text(int(rng.random() < 0.4), int(rng.integers(2, 7))) for _ in range(hospital.lines)]
        self.line_share = zipf(hospital.lines)
        self.direction = rng.normal(size=8) / 3

    def text(self, label: int, length: int) -> str:
        return " ".join(f"word{number}" for number in self.rng.choice(WORDS, length, p=self.words[label]))

    def phrase(self, label: int, share: float = 0.7) -> str:
        return PHRASES[0] if self.rng.random() < share else str(self.rng.choice(PHRASES[1:]))

    def exam(self, label: int) -> tuple[str, str]:
        """(findings, impression). Of those who use the first phrase beside a text of their own, most are abnormal."""
        kind, hospital = self.rng.random(), self.hospital
        if kind < hospital.one_line:
            ranks = self.line_share if label == 0 else self.line_share[::-1]
            return "", self.lines[int(self.rng.choice(hospital.lines, p=(ranks + 2 * self.line_share) / 3))]
        normal = hospital.stock / 0.6  # six in ten are normal
        if kind < hospital.one_line + (normal if label == 0 else 0.03 * hospital.stock):
            return self.templates[int(self.rng.choice(hospital.templates, p=zipf(hospital.templates)))]
        own = self.text(label, int(self.rng.integers(15, 40)))
        return own, PHRASES[0] if self.rng.random() < (0.12, 0.06)[label == 0] else self.text(label, 4)

    def exams(self, n: int) -> Exams:
        y = (self.rng.random(n) < 0.4).astype(np.int64)
        pairs = [self.exam(label) for label in y.tolist()]
        films = self.rng.normal(size=(n, 8)) + y[:, None] * self.direction
        return Exams(y, [pair[0] for pair in pairs], [pair[1] for pair in pairs], films)

    def collection(self) -> tuple[Exams, list[str]]:
        """(examinations, some of them filed again; the patient of each)."""
        hospital, rng = self.hospital, self.rng
        own = round(hospital.studies / (1 + 1.25 * hospital.copies))
        again = rng.choice(own, round(own * hospital.copies), replace=False)
        rows = np.concatenate([np.arange(own), again, again[: len(again) // 4]])
        patients = rng.integers(round(own / hospital.per_patient), size=own)
        patients = np.concatenate([patients, np.arange(len(rows) - own) + own])  # each copy has an id of its own
        return self.exams(own).take(rows), [f"p{number}" for number in patients.tolist()]


def zipf(n: int) -> NDArray[np.float64]:
    """(n,) shares that fall as 1 / rank: a few templates are in daily use, most are rare."""
    shares: NDArray[np.float64] = 1 / np.arange(1, n + 1)
    return shares / shares.sum()


def words_read(texts: Sequence[str]) -> csr_array:
    """(n, words) which words of the vocabulary and of the phrases are in each text."""
    known = [f"word{number}" for number in range(WORDS)] + sorted(
        {word for phrase in PHRASES for word in phrase.split()}
    )
    return csr_array(CountVectorizer(binary=True, vocabulary=known).transform(texts))


def words_of(train: csr_array, y: NDArray[np.int64]) -> Callable[[csr_array], NDArray[np.float64]]:
    """Logistic regression on words."""
    model = LogisticRegression(C=0.3, max_iter=300).fit(train, y)
    return lambda rows: np.asarray(model.decision_function(rows))


def recall_of(train: NDArray[np.object_], y: NDArray[np.int64]) -> Callable[[Any], NDArray[np.float64]]:
    """Looks a text up among those of train: the mean label there, one half for a text that is not."""
    found: dict[str, list[int]] = {}
    for text, label in zip(train.tolist(), y.tolist(), strict=True):
        found.setdefault(text, []).append(label)
    means = {text: (sum(labels) + 0.5) / (len(labels) + 1) for text, labels in found.items()}
    return lambda texts: np.array([means.get(text, 0.5) for text in texts.tolist()])


def neighbours_of(train: NDArray[np.float64], y: NDArray[np.int64]) -> Callable[[Any], NDArray[np.float64]]:
    """The labels of the nearest films, near ones first: a copy is recognised."""
    model = KNeighborsClassifier(15, weights=lambda distance: 1 / (distance + 0.05)).fit(train, y)
    return lambda films: np.asarray(model.predict_proba(films)[:, 1])


ARMS: dict[str, tuple[Callable[[Exams], Any], Callable[[Any, Any], Callable[[Any], Any]]]] = {
    "report, words": (lambda exams: words_read(exams.reports), words_of),
    "impression, words": (lambda exams: words_read(exams.impressions), words_of),
    "report, looked up": (lambda exams: np.array(exams.reports, dtype=object), recall_of),
    "film, neighbours": (lambda exams: exams.films, neighbours_of),
}


def parts_under(rule: Mapping[str, int] | None, exams: Exams, patients: list[str], seed: int) -> list[NDArray[Any]]:
    """The parts of each fold."""
    most = EVERYTHING if rule and rule["together"] == EVERYTHING else len(patients) // FOLDS
    links = [] if rule is None else [copied_texts(patients, exams.reports, most=most, **rule)]
    groups = group_numbers([patients, *links], len(patients))
    bins = balanced_bins(groups, indicators(exams.y[:, None].astype(float), "binary"), 2 * FOLDS, seed=seed)
    return [part_names(bins, fold, 2 * FOLDS) for fold in range(FOLDS)]


def errors(hospital: Hospital, seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Rule -> arm -> (AUROC over the test parts, on new examinations)."""
    writer = Writer(hospital, np.random.default_rng(seed))
    (exams, patients), fresh = writer.collection(), writer.exams(FRESH)
    read = {arm: (reads(exams), reads(fresh)) for arm, (reads, _) in ARMS.items()}
    found: dict[str, dict[str, tuple[float, float]]] = {}
    done: dict[bytes, str] = {}  # folds -> the rule that made them
    for rule, options in RULES.items():
        folds = parts_under(options, exams, patients, seed)
        same = done.setdefault(np.array(folds).tobytes(), rule)
        found[rule] = (
            found[same]
            if same in found
            else {
                arm: judged(folds, *read[arm], y=exams.y, fresh=fresh.y, learn=learn)
                for arm, (_, learn) in ARMS.items()
            }
        )
    return found


def judged(
    folds: Sequence[NDArray[Any]], rows: Any, new: Any, *, y: NDArray[np.int64], fresh: NDArray[np.int64], learn: Any
) -> tuple[float, float]:
    """(pooled AUROC of the test parts, mean AUROC of the same models on new examinations)."""
    scores, truth = np.zeros(len(y)), []
    for parts in folds:
        train, test = (np.flatnonzero(parts == part) for part in ("train", "test"))
        model = learn(rows[train], y[train])
        scores[test] = model(rows[test])
        truth.append(roc_auc_score(fresh, model(new)))
    return float(roc_auc_score(y, scores)), float(np.mean(truth))


def summary(hospital: Hospital, seeds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Rule -> arm -> mean error, its standard error, and the truth."""
    runs = [errors(hospital, seed) for seed in range(seeds)]
    table: dict[str, dict[str, dict[str, float]]] = {}
    for rule in RULES:
        table[rule] = {}
        for arm in ARMS:
            pairs = np.array([run[rule][arm] for run in runs])
            error = pairs[:, 0] - pairs[:, 1]
            table[rule][arm] = {
                "error": round(float(error.mean()), 4),
                "standard_error": round(float(error.std(ddof=1) / np.sqrt(seeds)), 4),
                "truth": round(float(pairs[:, 1].mean()), 4),
            }
    return table


def main() -> None:
    """Simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "alike_texts.json")
    options = parser.parse_args()
    simulated = {}
    for name, hospital in HOSPITALS.items():
        simulated[name] = summary(hospital, options.seeds)
        print(name)
        for rule, arms in simulated[name].items():
            shown = ", ".join(f"{arm} {its['error']:+.3f} of {its['truth']:.3f}" for arm, its in arms.items())
            print(f"  {rule:28} {shown}", flush=True)
    write(options.out, {"simulated": simulated, "seeds": options.seeds}, ("scikit-learn", "numpy"))


if __name__ == "__main__":
    main()
