"""The finished external validation: pairs of collections with their figures, and what must be read beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from cxremb.table import Table, bare, span
from cxremb.tabular import Tabular
from cxremb.transfer.figures import AGAIN, AUROC, DROP, INSIDE, MACRO, OF_ALL, ZERO_SHOT, ExternalFigure
from cxremb.transfer.site import SITE

FIGURES = pa.schema(
    [
        *((name, pa.string()) for name in ("trained_on", "tested_on", "concept", "metric")),
        *((name, pa.float64()) for name in ("value", "low", "high")),
        *((name, pa.string()) for name in ("reason", "run_id", "caveats")),
    ]
)
SHOWN = {  # heading -> metric
    "AUROC": AUROC,
    "inside": INSIDE,
    "drop": DROP,
    "sens": "sensitivity",
    "spec": "specificity",
    "slope": "slope",
    "in large": "in_the_large",
    "zero-shot": ZERO_SHOT,
    "site": SITE,
}
MAYBE = (ZERO_SHOT, SITE)  # columns that are there only where they were asked for


@dataclass(frozen=True)
class ExternalPair:
    """Trained on one collection, or on several together, and tested on another."""

    trained_on: str  # names with + between
    tested_on: str
    concepts: tuple[str, ...]  # that are judged
    figures: tuple[ExternalFigure, ...]
    left_out: Mapping[str, int]  # why -> how many films or rows of the tested collection
    caveats: tuple[str, ...] = ()
    reason: str | None = None  # why there are no figures
    run_id: str = ""
    reused: bool = False
    not_judged: Mapping[str, str] = field(default_factory=dict)  # concept -> why there is no figure of it
    seen: bool = False  # the encoder was trained on the tested collection

    @property
    def headline(self) -> str:
        """The concept under which its main figures stand."""
        return MACRO if len(self.concepts) > 1 else next(iter(self.concepts), MACRO)

    def figure(self, metric: str, concept: str | None = None) -> ExternalFigure | None:
        """One figure, of the headline if no concept is named; None if it was not made."""
        wanted = (concept or self.headline, metric)
        return next((one for one in self.figures if (one.concept, one.metric) == wanted), None)


@dataclass(frozen=True, repr=False)
class External(Tabular):
    """All pairs, with what a reader needs beside the figures."""

    pairs: tuple[ExternalPair, ...]
    concepts: tuple[str, ...]
    vocabulary: str
    collections: Mapping[str, Mapping[str, int]]  # name -> rows, patients and positives of each concept
    stores: Mapping[str, str]
    head: str
    preset: str
    unit: str
    splits: Mapping[str, str]
    threshold: str  # how thresholds were chosen, in words
    recalibrated_on: int
    seconds: float
    zero_shot: str = ""  # the prompts that were asked
    notes: tuple[str, ...] = ()

    def to_arrow(self) -> pa.Table:
        """A row for each pair, concept and metric; a pair without figures has one, with the reason."""
        rows = []
        for pair in self.pairs:
            names = {"trained_on": pair.trained_on, "tested_on": pair.tested_on, "run_id": pair.run_id}
            names["caveats"] = "; ".join(pair.caveats)
            rows += [names | vars(one) for one in pair.figures] or [names | {"reason": pair.reason}]
        return pa.Table.from_pylist(rows, schema=FIGURES)

    def heading(self) -> str:
        """What was validated, in one line."""
        return f"{len(self.pairs)} pairs of {', '.join(self.collections)}: {', '.join(self.concepts)}"

    def matrix(self) -> Table:
        """AUROC of each collection (columns) by models of each (rows), and on the test rows of their own."""
        columns = list(dict.fromkeys(pair.tested_on for pair in self.pairs))
        rows = []
        for trained in dict.fromkeys(pair.trained_on for pair in self.pairs):
            own = {pair.tested_on: pair for pair in self.pairs if pair.trained_on == trained}
            inside = next((one for pair in own.values() if (one := pair.figure(OF_ALL))), None)
            rows.append([trained, figure_cell(inside, AUROC), *(cell(own.get(name)) for name in columns)])
        return Table(
            ["trained on", "inside", *(f"on {name}" for name in columns)], rows, title="AUROC, mean of concepts"
        )

    def table(self, *, each: bool = False) -> Table:
        """A line for each pair: the mean over its concepts; each: and a line for each concept."""
        again = {"in large, again": f"{AGAIN}in_the_large"} if self.recalibrated_on else {}
        metrics = SHOWN | {"sens, again": f"{AGAIN}sensitivity"} | again if self.recalibrated_on else SHOWN
        metrics = {name: metric for name, metric in metrics.items() if metric not in MAYBE or self.has(metric)}
        rows = []
        for pair in self.pairs:
            names = [pair.headline, *(pair.concepts if each and len(pair.concepts) > 1 else ())]
            for concept in names if pair.figures else ():
                what = f"mean of {len(pair.concepts)}" if concept == MACRO else concept
                found = [pair.figure(metric, concept) for metric in metrics.values()]
                rows.append([f"{pair.trained_on} → {pair.tested_on}", what, *map(figure_cell, found, metrics.values())])
        return Table(["pair", "concept", *metrics], rows, prose=[1])

    @property
    def caption(self) -> tuple[str, ...]:
        """The lines that must stand below the table."""
        return (
            self.of_rows,
            f"Brackets: 95% over patients; of these models, one a fold of {self.splits_in_words}; AUROC there is the "
            "mean over them, inside that of test rows within folds; drop: inside minus there, patients of both drawn",
            f"sens, spec: at thresholds {self.threshold}; slope (1) and in large (0): calibration there"
            + (f"; again: fitted on those of {self.recalibrated_on} patients there who have the label; none is tested"
               if self.recalibrated_on else ""),
            *(["site: AUROC of telling the two collections apart by a vector, by logistic regression; .5 is not at all"]
              if self.has(SITE) else []),
            *([f"zero-shot: AUROC of the same rows there by prompts {self.zero_shot}; nothing was trained for it"]
              if self.has(ZERO_SHOT) else []),
            *self.why_not,
            *self.left_out,
            *self.caveats,
            *self.notes,
        )  # fmt: skip

    def has(self, metric: str) -> bool:
        """Whether any pair has it."""
        return any(pair.figure(metric) for pair in self.pairs)

    @property
    def of_rows(self) -> str:
        """Which rows, vectors and head."""
        sizes = ", ".join(
            f"{name} {about['rows']:,} of {about['patients']:,} patients" for name, about in self.collections.items()
        )
        stores = ", ".join(dict.fromkeys(self.stores.values()))
        return f"One row per {self.unit}: {sizes}; {stores}; head {self.head}, preset {self.preset}"

    @property
    def splits_in_words(self) -> str:
        """The splits of the training collections, once each."""
        return ", ".join(dict.fromkeys(title.partition("@")[0] for title in self.splits.values()))

    @property
    def why_not(self) -> list[str]:
        """Which pairs and concepts have no figure, and why; and which figures no interval."""
        lines = [
            f"{pair.trained_on} → {pair.tested_on}: no figures: {pair.reason}" for pair in self.pairs if pair.reason
        ]
        for pair in self.pairs:
            by_reason: dict[str, list[str]] = {}
            for concept, why in pair.not_judged.items():
                by_reason.setdefault(why, []).append(concept)
            lines += [
                f"{pair.trained_on} → {pair.tested_on}: {why}: {', '.join(own)}" for why, own in by_reason.items()
            ]
            known = [one for one in pair.figures if one.metric == AUROC and one.low is None and one.reason]
            lines += [f"{pair.trained_on} → {pair.tested_on}: no interval: {one.reason}" for one in known[:1]]
        return lines

    @property
    def left_out(self) -> list[str]:
        """Whom a tested collection shares with the training one, and how many are therefore not tested."""
        return [
            f"{pair.trained_on} → {pair.tested_on}: not tested: "
            + ", ".join(f"{n:,} {why}" for why, n in pair.left_out.items())
            for pair in self.pairs
            if pair.left_out
        ]

    @property
    def caveats(self) -> list[str]:
        """What must be read beside the figures of which pairs."""
        found: dict[str, list[str]] = {}
        for pair in self.pairs:
            for caveat in pair.caveats:
                found.setdefault(caveat, []).append(f"{pair.trained_on} → {pair.tested_on}")
        every = [pair for pair in self.pairs if pair.figures]
        return [
            caveat if len(pairs) == len(every) > 1 else f"{', '.join(pairs)}: {caveat}"
            for caveat, pairs in found.items()
        ]


def cell(pair: ExternalPair | None) -> str:
    """A cell of the matrix; with a star where the encoder has seen the collection."""
    found = None if pair is None else pair.figure(AUROC)
    return figure_cell(found, AUROC) + "*" * (pair is not None and pair.seen and found is not None)


def figure_cell(found: ExternalFigure | None, metric: str) -> str:
    """A cell of the table; only the AUROC and the drop have their interval there, all have it in CSV and JSON."""
    if found is None or found.value is None:
        return "-"
    sign = "+" if metric in (DROP, "in_the_large", f"{AGAIN}in_the_large") else ""
    if metric in (AUROC, DROP):
        return span(found.value, found.low, found.high, sign=sign)
    return bare(found.value, sign)
