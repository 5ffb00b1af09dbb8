"""What texts give away: the label's own name in them, their most telling words, and words that only a reading has."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import ndtri

from cxremb.audit.lookups import (
    CHANCE,
    GIVES_AWAY,
    Guess,
    judged_folds,
    most_frequent,
    scores_of,
    status_of,
    whose,
    worst_of,
)
from cxremb.audit.subject import COLLECTION, LOOK_UPS, NOTE, OK, AuditSubject, Finding, Numbers, skipped
from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import FEWEST
from cxremb.predictions import auroc_by_label
from cxremb.store.layout import BEFORE_READING
from cxremb.store.texts import PLACES
from cxremb.types import EXAMPLES

SHIPPED = Path(__file__).parent / "synonyms.txt"
TELLING = 3  # words that are named
DOUBT = 0.05  # that a word of a text passes by chance
FEWEST_TEXTS = 20  # of fewer, no word is telling
VOCABULARY = 2_000  # the most frequent words
READING_SHARE = 0.02  # of a section's texts: `stable angina` is in some
READING_WORDS = re.compile(
    r"\b(?:effusions?|no acute|no evidence of|no focal|unchanged|stable|unremarkable|(?:is|are) clear|"
    r"within normal limits)\b",
    re.IGNORECASE,
)

Synonyms = Mapping[str, Sequence[str]]  # label in lower case -> other words for it


@dataclass(frozen=True)
class SectionTexts:
    """One text of every row of an audit: "" where a row has none."""

    section: str
    role: str
    texts: Sequence[str]  # (n,)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n,) the rows that have it."""
        return np.array([bool(text) for text in self.texts], dtype=np.bool_)


def read_synonyms(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Label -> other words for it: the list that is shipped, with that of `path` added to it.

    Raises `DataError`, naming the line, for one that is not `label: word, word`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for file in (SHIPPED, *([path] if path else [])):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise DataError(f"{file}: cannot be read ({error})", hint="check the path given to --synonyms") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            label, colon, words = line.lower().partition(":")
            given = tuple(word.strip() for word in words.split(",") if word.strip())
            if not colon or not label.strip() or not given:
                raise DataError(f"{file}: line {number} is no `label: word, word`", hint=f"as in {SHIPPED.name}")
            found[label.strip()] = (*found.get(label.strip(), ()), *given)
    return found


def names_of(label: str, synonyms: Synonyms) -> re.Pattern[str]:
    """What finds a label in a text: its name, or one of its synonyms, each from the beginning of a word on."""
    name = " ".join(re.split(r"[\W_]+", label.lower())).strip()
    words = {name, label.lower(), *synonyms.get(label.lower(), ()), *synonyms.get(name, ())}
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}" for word in sorted(words) if word), re.IGNORECASE)


def check_words(subject: AuditSubject, synonyms: Synonyms) -> list[Finding]:
    """A finding for each text: how well the label is known of whoever looks for its name; and its telling words."""
    columns = most_frequent(subject.rows.y)
    if not len(columns):
        return []
    found = [label_in_text(subject, text, columns, synonyms=synonyms) for text in texts_of(subject)]
    return [*found, reading_before(subject)]


def texts_of(subject: AuditSubject) -> Iterator[SectionTexts]:
    """Each section of the reports that enough rows have, in the order of a report."""
    reports, rows = subject.dataset.reports, subject.rows.study_ids.to_pylist()
    sections = reports["section"].unique().to_pylist()
    for section in sorted(sections, key=lambda name: (PLACES.index(name) if name in PLACES else len(PLACES), name)):
        table = reports.filter(pc.equal(reports["section"], section))
        known = dict(zip(table["study_id"].to_pylist(), table["text"].to_pylist(), strict=True))
        text = SectionTexts(section, table["role"][0].as_py(), [known.get(study) or "" for study in rows])
        if text.present.sum() >= FEWEST_TEXTS:
            yield text


def label_in_text(subject: AuditSubject, text: SectionTexts, columns: Numbers, *, synonyms: Synonyms) -> Finding:
    """The finding of one text: of the label whose name gives it away best, and of the one whose words do."""
    name = f"label in {text.section}"
    items, present = subject.rows, text.present
    folds = [(train[present[train]], judged[present[judged]]) for train, judged in judged_folds(items, columns)]
    folds = [(train, judged) for train, judged in folds if len(train) and len(judged)]
    if not folds:
        return skipped(LOOK_UPS, name, "no fold has labelled rows with this text in train and in test")
    labels = [subject.labels.names[column] for column in columns]
    rows = np.concatenate([judged for _, judged in folds])
    patterns = [names_of(label, synonyms) for label in labels]
    said = np.array([[bool(it.search(text.texts[row])) for it in patterns] for row in rows.tolist()], dtype=np.float64)
    y = items.y[rows][:, columns]
    number = np.repeat(np.arange(len(folds)), [len(judged) for _, judged in folds])
    guess = Guess(rows, said, np.full_like(said, CHANCE), number)
    scores = scores_of(subject.dataset.name, guess, y, patients=items.patients[rows], labels=labels)
    if not (found := auroc_by_label(scores)):
        return skipped(LOOK_UPS, name, f"no label has {FEWEST} positives, negatives and patients in test")
    worst, named = worst_of(name, found)
    place = labels.index(worst.label)
    words = telling_words(text, folds[0], items.y[:, columns], labels=labels)
    telling = ", ".join(f"{word.word} {word.auroc:.2f}" for word in words) or "none"
    which = f" of {words[0].label}" if len(labels) > 1 and words else ""
    told = status_of(name, worst) != OK or any(word.sure and word.auroc >= GIVES_AWAY for word in words)
    why = "Who sent the patient knew it." if text.role == BEFORE_READING else "Labels are read from this text."
    whose_name = "the label's name" if len(labels) == 1 else f"the name of {whose(worst, len(labels))}"
    here = said[:, place]
    return Finding(
        LOOK_UPS,
        name,
        f"{whose_name} or a synonym in the {text.section}: {share(here[y[:, place] == 1])} of positives, "
        f"{share(here[y[:, place] == 0])} of the others; most telling words{which}, each alone: {telling}",
        worst.auroc.value,
        "-" if worst.auroc.value is None else f"{worst.auroc.value:.3f}",
        NOTE if told else OK,
        why if told else "",
        "train on texts that do not name it, or report results beside this look-up" if told else "",
        named,
    )


def share(said: NDArray[np.float64]) -> str:
    """How many, as a reader sees it."""
    return f"{said.mean():.1%}" if said.size else "none"


@dataclass(frozen=True)
class TellingWord:
    """A word, and the AUROC of its being there, or of its not being there if that tells. sure: beyond doubt."""

    label: str
    word: str
    auroc: float
    sure: bool


def telling_words(
    text: SectionTexts, fold: tuple[Numbers, Numbers], y: NDArray[np.float64], *, labels: Sequence[str]
) -> list[TellingWord]:
    """The words of the highest weight of a linear model of train, each judged on test by itself. y: (n, k).

    Of several labels those of the one whose word tells most, sure ones first; the doubt is corrected for all words of
    all labels (Bonferroni), so that one text in twenty has a word that passes by chance.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    train, judged = fold
    counter = CountVectorizer(binary=True, max_features=VOCABULARY, token_pattern=r"[^\W\d_]{2,}")
    try:
        known = counter.fit_transform([text.texts[row] for row in train.tolist()])
    except ValueError:  # not one word
        return []
    seen = counter.transform([text.texts[row] for row in judged.tolist()])
    names = counter.get_feature_names_out()
    errors = float(ndtri(1 - DOUBT / 2 / (TELLING * len(labels))))
    found = [
        [
            TellingWord(label, str(names[column]), auroc, sure)
            for column, auroc, sure in words_of(known, y[train, place], seen, y_judged=y[judged, place], errors=errors)
        ]
        for place, label in enumerate(labels)
    ]
    return max(found, key=lambda words: max([(word.sure, word.auroc) for word in words], default=(False, 0.0)))


def words_of(
    known: Any, y: NDArray[np.float64], seen: Any, *, y_judged: NDArray[np.float64], errors: float
) -> list[tuple[int, float, bool]]:
    """(column, AUROC, whether it is sure) of the words of one label. known, seen: (rows, words) of train and test.

    errors: how many standard errors the shares of the two classes must differ by.
    """
    from sklearn.linear_model import Ridge

    here, there = np.isfinite(y), np.isfinite(y_judged)
    if min(len(np.unique(y[here])), len(np.unique(y_judged[there]))) < 2:
        return []
    weights = np.abs(Ridge(solver="lsqr").fit(known[here], y[here]).coef_)
    found = []
    for column in np.argsort(-weights, kind="stable")[:TELLING].tolist():
        has = seen[:, [column]].toarray()[:, 0] > 0
        with_it, without = (has[y_judged == value] for value in (1, 0))
        difference = abs(with_it.mean() - without.mean())
        among = has[there].mean()  # in one pool: three positives that agree have no variance of their own
        error = np.sqrt(among * (1 - among) * (1 / len(with_it) + 1 / len(without)))
        found.append((column, float(1 + difference) / 2, bool(difference > errors * error)))
    return found


def reading_before(subject: AuditSubject) -> Finding:
    """Words that only a reading has, in sections that count as written before it."""
    name = "reading before reading"
    reports = subject.dataset.reports
    before = reports.filter(pc.equal(reports["role"], BEFORE_READING))
    if not before.num_rows:
        return skipped(COLLECTION, name, "no section counts as written before the reading")
    texts: dict[str, list[tuple[str, str]]] = {}
    for study, section, text in zip(*(before[it].to_pylist() for it in ("study_id", "section", "text")), strict=True):
        texts.setdefault(section, []).append((study, text or ""))
    hits = {section: [study for study, text in its if READING_WORDS.search(text)] for section, its in texts.items()}
    shares = {section: len(hits[section]) / len(its) for section, its in texts.items()}
    counts = ", ".join(f"{section} {len(hits[section]):,} of {len(its):,}" for section, its in texts.items())
    worst = max(shares, key=lambda section: shares[section])
    status = NOTE if shares[worst] >= READING_SHARE else OK
    return Finding(
        COLLECTION,
        name,
        f"texts with effusion, no acute, unchanged, stable or the like: {counts}",
        float(sum(map(len, hits.values()))),
        f"{shares[worst]:.1%}",
        status,
        "" if status == OK else "`--text pre-read` may read the answer, if a reading stands under the wrong heading.",
        "" if status == OK else "read the examples; leave the section out, or add it as a plain --text",
        [f"{study} ({worst})" for study in hits[worst][:EXAMPLES]],
    )
