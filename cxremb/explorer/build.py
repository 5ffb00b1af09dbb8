"""The table `cases`: a row for each film, or each study, with its label, what every arm says, and its place."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from cxremb.explorer.arms import BoardRuns
from cxremb.store.dataset import Dataset
from cxremb.store.scans import identifier, quoted

THRESHOLD = 0.5  # at which accuracy and F1 of the stored tables are
VALUES = 12  # of a fact, at most, for it to be a filter to click on
FACTS = 6  # such filters
ITEMS = {
    "image": """SELECT image_id AS item_id, image_id, study_id, patient_id, view, width, height, sha256, path,
        path IS NOT NULL AS here, unreadable, 1 AS films FROM images LEFT JOIN unreadable USING (image_id)
        WHERE dataset = {dataset}""",
    "study": """SELECT study_id AS item_id, image_id, study_id, patient_id, view, width, height, sha256, path, here,
        unreadable, films FROM studies LEFT JOIN (
            SELECT study_id, arg_min(image_id, rank) AS image_id, string_agg(DISTINCT view, '+' ORDER BY view) AS view,
                arg_min(width, rank) AS width, arg_min(height, rank) AS height, arg_min(sha256, rank) AS sha256,
                arg_min(path, rank) AS path, arg_min({{unreadable: unreadable}}, rank).unreadable AS unreadable,
                bool_or(path IS NOT NULL) AS here, count(*) AS films
            FROM (SELECT *, (path IS NULL, unreadable IS NOT NULL, coalesce(view, '') IN ('Lateral', 'Oblique'),
                image_id) AS rank FROM images LEFT JOIN unreadable USING (image_id) WHERE dataset = {dataset})
            GROUP BY study_id) USING (study_id)
        WHERE dataset = {dataset}""",
}
# Films that some store could not read, as the bytes are now, and why.
UNREADABLE = """
CREATE TABLE unreadable AS
SELECT image_id, any_value(replace(message, images.path || ': ', '')) AS unreadable
FROM failures JOIN images ON failures.item_id = image_id AND failures.dataset = images.dataset
WHERE failures.dataset = {dataset} AND section = 'image' AND stage IN ('read', 'decode', 'content')
    AND (content IS NULL OR content = coalesce(sha256, sha256('id ' || image_id)))
GROUP BY image_id
"""
SAID = """(SELECT item_id, avg(y_prob) FILTER (part = 'test') AS p, max(y_true) AS y, bool_or(part = 'test') AS tested
    FROM predictions WHERE run_id = {run} AND label = {label} GROUP BY item_id)"""
FACT = """(SELECT id, max(text) AS text FROM facts
    WHERE dataset = {dataset} AND name = {name} AND level = '{level}' GROUP BY id)"""
# As `store.facts.FACT_OF` has it for a filter in SQL: what all films of a study say that say anything.
FACT_OF_FILMS = """(SELECT study_id AS id, if(count(DISTINCT text) = 1, max(text), NULL) AS text
    FROM facts JOIN images ON image_id = id AND images.dataset = facts.dataset
    WHERE facts.dataset = {dataset} AND name = {name} AND level = 'image' GROUP BY study_id)"""
FEW = f"""
SELECT name, list(DISTINCT level) FROM facts WHERE dataset = $dataset AND text <> ''
GROUP BY name HAVING count(DISTINCT text) BETWEEN 2 AND {VALUES} ORDER BY name LIMIT {FACTS}
"""
PLACED = """
SELECT maps.store, any_value(method) FROM maps JOIN meta.stores USING (dataset, store)
WHERE maps.dataset = $dataset AND modality = $modality GROUP BY maps.store, created ORDER BY created DESC LIMIT 1
"""


# To the training rows of the model that tested it, the mean over repeats.
FAR = """(SELECT item_id, avg(distance) AS distance FROM distances
    WHERE dataset = {dataset} AND split = {split} AND section = {section} GROUP BY item_id)"""


# Labels of which a study may have several: a bit for each, so that they are counted as fast as anything.
BITS = 60  # labels, the most frequent ones
SEVERAL = f"""
SELECT label_set || ':' || label AS name FROM labels
WHERE dataset = $dataset AND label_set IN (SELECT unnest($sets)) AND value = 1
GROUP BY name ORDER BY count(*) DESC, name LIMIT {BITS}
"""
BITS_OF_A_STUDY = """(SELECT study_id, bit_or(1::BIGINT << bit) AS found
    FROM labels JOIN (VALUES {bits}) AS bits(label_set, label, bit) USING (label_set, label)
    WHERE dataset = {dataset} AND value = 1 GROUP BY study_id)"""


@dataclass(frozen=True)
class Facet:
    """A column whose values can be clicked on."""

    key: str  # in the address
    title: str
    column: str  # of `cases`, as SQL


@dataclass(frozen=True)
class Made:
    """What there is beside the table."""

    facets: tuple[Facet, ...]
    findings: tuple[str, ...]  # `label_set:label`, in the order of their bits in the column `found`
    rows: int
    mapped: str
    far: bool


def create_cases(con: duckdb.DuckDBPyConnection, dataset: Dataset, runs: BoardRuns, *, label: str | None) -> Made:
    """Make the table `cases`, in the order of ids: `n` counts from 0."""
    unit = runs.unit or ("image" if dataset.descriptor["tables"]["images"]["rows"] else "study")
    name = quoted(dataset.name)
    facts = con.execute(FEW, {"dataset": dataset.name}).fetchall()
    findings = findings_of(con, dataset)
    modality = "image" if unit == "image" else "text"
    placed = con.execute(PLACED, {"dataset": dataset.name, "modality": modality}).fetchall()
    joins = [
        *arm_joins(runs, label),
        *label_join(runs, label, name),
        *fact_joins(facts, name, unit),
        *map_join(placed, name),
    ]
    joins += finding_join(findings, name)
    joins += far_join(runs, name, section="image" if unit == "image" else "findings+impression")
    columns = ["items.*", *(column for _, added in joins for column in added)]
    source = " ".join([f"FROM ({ITEMS[unit].format(dataset=name)}) AS items", *(join for join, _ in joins)])
    con.execute(UNREADABLE.format(dataset=name))
    con.execute(f"CREATE TABLE cases AS SELECT {', '.join(columns)} {source} ORDER BY items.item_id")
    con.execute("ALTER TABLE cases ADD COLUMN n BIGINT")
    con.execute("UPDATE cases SET n = rowid")
    ((rows, far),) = con.execute("SELECT count(*), count(distance) FROM cases").fetchall()
    facets = [Facet("part", "Part", "part"), Facet("truth", label or "Label", "truth::INT")] if runs.arms else []
    facets += [Facet("view", "View", "view")]
    facets += [Facet(f"fact.{fact}", fact, identifier(f"fact_{fact}")) for fact, _ in facts]
    return Made(tuple(facets), findings, rows, placed[0][1] if placed else "", far > 0)


def arm_joins(runs: BoardRuns, label: str | None) -> Iterator[tuple[str, list[str]]]:
    """(JOIN, columns) of each arm; and what follows from all of them."""
    for arm in runs.arms:
        said = SAID.format(run=quoted(arm.run.run_id), label=quoted(str(label)))
        at = f"said{arm.place}"
        yes = f"({at}.p >= {THRESHOLD})"
        right = f"({yes} = ({at}.y = 1))"
        sure = f"if({at}.y = 1, {at}.p, 1 - {at}.p)"
        loss = f"if({at}.y + {at}.p IS NULL, NULL, -ln(greatest({sure}, 1e-12)))"  # `greatest` looks past nulls
        columns = [f"{at}.p AS p_{arm.name}", f"{right} AS right_{arm.name}", f"{loss} AS loss_{arm.name}"]
        yield f"LEFT JOIN {said} AS {at} ON {at}.item_id = items.item_id", columns
    if runs.arms:
        tested = " OR ".join(f"said{arm.place}.tested" for arm in runs.arms)
        judged = " OR ".join(f"said{arm.place}.tested IS NOT NULL" for arm in runs.arms)
        yield "", [f"CASE WHEN {tested} THEN 'test' WHEN {judged} THEN 'val' ELSE 'not judged' END AS part"]


def label_join(runs: BoardRuns, label: str | None, dataset: str) -> Iterator[tuple[str, list[str]]]:
    """(JOIN, column) of the label: as it is stored now, else as the runs knew it."""
    if runs.main is None:
        return
    own = f"dataset = {dataset} AND label_set = {quoted(runs.main.label_set)} AND label = {quoted(str(label))}"
    known = ", ".join(f"said{arm.place}.y" for arm in runs.arms)
    yield (
        f"LEFT JOIN (SELECT study_id, max(value) AS value FROM labels WHERE {own} GROUP BY study_id) AS labelled "
        "ON labelled.study_id = items.study_id",
        [f"coalesce(labelled.value, {known}) AS truth"],
    )


def fact_joins(facts: list[tuple[str, list[str]]], dataset: str, unit: str) -> Iterator[tuple[str, list[str]]]:
    """(JOINs, column) of each fact with few values: that of the film, else of its study, else of its patient.

    unit: of a row that is a study, first what all its films say.
    """
    for number, (fact, levels) in enumerate(facts):
        joins, values = [], []
        for level in ("image", "study", "patient"):
            if level in levels:
                at = f"fact{number}_{level}"
                films = level == "image" and unit == "study"
                its = (FACT_OF_FILMS if films else FACT).format(dataset=dataset, name=quoted(fact), level=level)
                joins.append(f"LEFT JOIN {its} AS {at} ON {at}.id = items.{'study' if films else level}_id")
                values.append(f"{at}.text")
        yield " ".join(joins), [f"coalesce({', '.join(values)}) AS {identifier(f'fact_{fact}')}"]


def map_join(placed: list[tuple[str, str]], dataset: str) -> Iterator[tuple[str, list[str]]]:
    """(JOIN, columns) of the map; without one its columns are null."""
    if not placed:
        yield "", ["NULL::FLOAT AS x", "NULL::FLOAT AS y"]
        return
    store = quoted(placed[0][0])
    yield (
        f"LEFT JOIN (SELECT item_id, any_value(x) AS x, any_value(y) AS y FROM maps WHERE dataset = {dataset} "
        f"AND store = {store} GROUP BY item_id) AS placed ON placed.item_id = items.item_id",
        ["placed.x", "placed.y"],
    )


def far_join(runs: BoardRuns, dataset: str, *, section: str) -> list[tuple[str, list[str]]]:
    """(JOIN, column) of the distance to training; without a run it is null."""
    if runs.main is None:
        return [("", ["NULL::DOUBLE AS distance"])]
    far = FAR.format(dataset=dataset, split=quoted(runs.main.split), section=quoted(section))
    return [(f"LEFT JOIN {far} AS far ON far.item_id = items.item_id", ["far.distance"])]


def findings_of(con: duckdb.DuckDBPyConnection, dataset: Dataset) -> tuple[str, ...]:
    """`label_set:label` of the sets of which a study may have several labels, the most frequent first."""
    sets = [name for name, one in dataset.descriptor.get("label_sets", {}).items() if one["task"] == "multilabel"]
    if not sets:
        return ()
    return tuple(name for (name,) in con.execute(SEVERAL, {"dataset": dataset.name, "sets": sets}).fetchall())


def finding_join(findings: tuple[str, ...], dataset: str) -> list[tuple[str, list[str]]]:
    """(JOIN, column) of the bits of a study."""
    if not findings:
        return []
    named = (name.partition(":") for name in findings)
    bits = ", ".join(f"({quoted(one)}, {quoted(label)}, {bit})" for bit, (one, _, label) in enumerate(named))
    found = BITS_OF_A_STUDY.format(dataset=dataset, bits=bits)
    return [(f"LEFT JOIN {found} AS bits ON bits.study_id = items.study_id", ["coalesce(bits.found, 0) AS found"])]
