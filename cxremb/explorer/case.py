"""One case: its films, report, labels, what every run says, what lies near, what the audit says, and notes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from cxremb.errors import CxrembError, DataError
from cxremb.explorer.arms import CONTROL
from cxremb.explorer.board import Board
from cxremb.explorer.pages import render
from cxremb.explorer.rows import PAGE, Question, RowPlace, past
from cxremb.explorer.selection import Selection, order
from cxremb.store.layout import ROLES
from cxremb.store.notes import StoredNote, add_note

NEAR = 8  # neighbours
SAYS = """
SELECT run_id, arm, avg(y_prob) AS p, count(*) AS models FROM predictions JOIN runs USING (run_id, dataset)
WHERE dataset = $dataset AND item_id = $item AND label = $label AND part = 'test' AND run_id IN ({runs})
GROUP BY run_id, arm
"""
REPORT = "SELECT section, role, text FROM reports WHERE dataset = $dataset AND study_id = $study AND text <> ''"
LABELS = "SELECT label_set, label, value FROM labels WHERE dataset = $dataset AND study_id = $study ORDER BY ALL"
FACTS = """
SELECT name, text FROM facts WHERE dataset = $dataset AND (
    (level = 'study' AND id = $study) OR (level = 'patient' AND id = $patient) OR (level = 'image' AND id = $image))
ORDER BY name
"""
FILMS = """
SELECT image_id, view, sha256, path IS NOT NULL AS here, unreadable FROM images LEFT JOIN unreadable USING (image_id)
WHERE dataset = $dataset AND study_id = $study ORDER BY image_id
"""
FILM = """
SELECT image_id, study_id, view, width, height, sha256, path, path IS NOT NULL AS here, unreadable
FROM images LEFT JOIN unreadable USING (image_id) WHERE dataset = $dataset AND image_id = $item
"""
NEARER = "SELECT avg((distance < $far)::INT) AS share FROM cases WHERE distance IS NOT NULL"
NOTES = """
SELECT created, author, image_id, text, label, value FROM notes WHERE dataset = $dataset AND study_id = $study
ORDER BY created DESC
"""
# An example is an id, `one ~ other`, `one = other`, `patient: what of it` or `path: why`; the newest audit counts.
AUDIT = """
SELECT name, status, why, [one for one in examples if list_has_any(
    regexp_split_to_array(one, ' [~=] |: '), [$study, $patient, $image, $item, $path])] AS named
FROM (SELECT *, max(created) OVER (PARTITION BY name) AS newest FROM audits WHERE dataset = $dataset)
WHERE created = newest AND status IN ('fail', 'note') AND len(named) > 0
"""
NO_VECTOR = """
SELECT any_value(replace(message, coalesce(path, '') || ': ', '')) AS why FROM failures
WHERE dataset = $dataset AND item_id IN ($image, $study) AND (section = 'image') = ($modality = 'image')
HAVING count(*) > 0
"""
HAS_STORE = "SELECT count(*) AS many FROM meta.stores WHERE dataset = $dataset AND modality = $modality"
STORES = """
SELECT store, encoder, modality, sections FROM meta.stores JOIN (
    SELECT dataset, store, list(DISTINCT section) AS sections FROM embeddings
    WHERE dataset = $dataset AND item_id IN ($image, $study) GROUP BY dataset, store) USING (dataset, store)
WHERE modality = $modality AND coalesce(xxxx, 'keep') = 'keep' ORDER BY created DESC LIMIT 1
"""
NEAREST = """
SELECT near.item_id, near.study_id, near.cosine, cases.patient_id, cases.sha256, cases.here, cases.unreadable,
    {truth} AS truth, cases.patient_id = $patient AS same, cases.item_id AS case_id
FROM nearest($store, $item, k := {k}, of := $section) AS near LEFT JOIN cases ON {on}
WHERE near.dataset = $dataset ORDER BY near.cosine DESC, near.item_id
"""


@dataclass(frozen=True)
class Around:
    """The cases before and behind one in an order, and its place."""

    before: str | None
    after: str | None
    place: int  # from 1; 0: it is not among the rows that are picked
    total: int
    page: str | None  # behind which place the page of rows begins that has it; None: the first


@dataclass(frozen=True)
class Verdict:
    """What one run says of a case."""

    run_id: str
    title: str
    control: bool
    p: float | None  # None: it was not tested on it
    colour: int | None


def case_page(board: Board, chosen: Selection, item: str, *, author: str) -> str:
    """The page of one case. Raises `DataError` for an id that there is not."""
    with board.asking() as con:
        case = case_of(board, con, item)
        ids = {"dataset": board.dataset.name, "study": case["study_id"], "patient": case["patient_id"]}
        ids |= {"image": case["image_id"] or "", "item": case["item_id"], "path": case["path"] or ""}
        return render(
            "case.jinja",
            board,
            chosen=chosen,
            case=case,
            asked=item,
            nearer=rows(con, NEARER, {"far": case["distance"]})[0]["share"],
            around=around(board, con, chosen, case=case),
            verdicts=list(verdicts(board, con, case["item_id"])),
            films=rows(con, FILMS, ids),
            report=by_role(rows(con, REPORT, ids)),
            labels=by_set(rows(con, LABELS, ids)),
            facts=rows(con, FACTS, ids),
            audit=rows(con, AUDIT, ids),
            notes=rows(con, NOTES, ids),
            author=author,
            here="case",
        )


def case_of(board: Board, con: duckdb.DuckDBPyConnection, item: str) -> dict[str, Any]:
    """The row of an item; of a film that stands for no row, that of its study, with this film.

    Raises `DataError` for an id that there is not.
    """
    if found := rows(con, "SELECT * FROM cases WHERE item_id = $item", {"item": item}):
        return found[0]
    if films := rows(con, FILM, {"item": item, "dataset": board.dataset.name}):
        study = rows(con, "SELECT * FROM cases WHERE study_id = $study LIMIT 1", {"study": films[0]["study_id"]})
        return {**study[0], **films[0]}
    raise DataError(
        f"{board.dataset.name} has no case {item!r}", hint="it may have gone when the data set was added again"
    )


def rows(con: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query that takes some of `values`."""
    used = {name: value for name, value in values.items() if f"${name}" in sql}
    found = con.execute(sql, used)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def around(board: Board, con: duckdb.DuckDBPyConnection, chosen: Selection, *, case: Mapping[str, Any]) -> Around:
    """The neighbours of a case in the order of the selection; a filter that is wrong leaves all rows."""
    try:
        asked = Question(board, con, chosen)
    except CxrembError:
        asked = Question(board, con, replace(chosen, where=""))
    key = order(board, chosen.sort)
    ((value,),) = con.execute(f"SELECT {key} FROM cases WHERE n = {case['n']}").fetchall()
    at = RowPlace(value, case["n"])
    beside: dict[bool, tuple[str, RowPlace] | None] = {}
    for back in (True, False):
        way = f"{key} ASC, n DESC" if back else f"{key} DESC, n ASC"
        sql = f"SELECT item_id, {key}, n {asked.such(past(key, at, back=back))} ORDER BY {way} LIMIT 1"
        found = con.execute(sql).fetchall()
        beside[back] = (found[0][0], RowPlace(*found[0][1:])) if found else None
    among = con.execute(f"SELECT count(*) {asked.such(f'n = {at.n}')}").fetchall()[0][0]
    ahead = con.execute(f"SELECT count(*) {asked.such(past(key, at, back=True))}").fetchall()[0][0]
    before, after = beside[True], beside[False]
    return Around(
        before and before[0],
        after and after[0],
        ahead + 1 if among else 0,
        asked.total(),
        before[1].words if before and ahead >= PAGE else None,
    )


def verdicts(board: Board, con: duckdb.DuckDBPyConnection, item: str) -> Iterator[Verdict]:
    """What each run that is shown says, the arms first."""
    shown = [*((arm.run, arm.place) for arm in board.runs.arms), *((run, None) for run in board.runs.controls)]
    if not shown:
        return
    listed = ", ".join(f"'{run.run_id}'" for run, _ in shown)
    ids = {"dataset": board.dataset.name, "item": item, "label": board.label}
    said = {row["run_id"]: row["p"] for row in rows(con, SAYS.format(runs=listed), ids)}
    for run, colour in shown:
        yield Verdict(run.run_id, run.arm.removeprefix(CONTROL), run.is_control, said.get(run.run_id), colour)


def by_role(report: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sections in the order in which a report has them."""
    places = {section: place for place, section in enumerate(ROLES)}
    return sorted(report, key=lambda row: (places.get(row["section"], len(places)), row["section"]))


def by_set(labels: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, bool]]]:
    """Label set -> (label, whether it has it); of several labels, those that it has."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for row in labels:
        found.setdefault(row["label_set"], []).append((row["label"], row["value"] == 1))
    return {name: [one for one in own if one[1]] or own[:1] for name, own in found.items()}


def neighbours_of(board: Board, chosen: Selection, item: str, *, modality: str) -> str:
    """A part of the page: the nearest by film, or by text, of the newest store of that kind."""
    if modality not in ("image", "text"):
        raise DataError(f"nothing is near by {modality!r}", hint="ask for image or text")
    with board.asking() as con:
        case = case_of(board, con, item)
        ids = {"dataset": board.dataset.name, "study": case["study_id"], "patient": case["patient_id"]}
        ids |= {"image": case["image_id"] or "", "modality": modality}
        stores = rows(con, STORES, ids)
        near: list[dict[str, Any]] = []
        if stores:
            section = section_of(stores[0]["sections"])
            ids |= {"store": stores[0]["store"], "section": section}
            ids["item"] = case["image_id"] if modality == "image" else case["study_id"]
            by_film = modality == "image" and board.unit == "image"
            on = "cases.item_id = near.item_id" if by_film else "cases.study_id = near.study_id"
            truth = "cases.truth" if board.runs.arms else "NULL"
            sql = NEAREST.format(k=4 * NEAR, on=on, truth=truth)
            near = first_of_each(rows(con, sql, ids))[:NEAR]
        why = "" if stores else without_vector(con, case, ids)
    store = stores[0] if stores else None
    return render("near.jinja", board, near=near, store=store, why=why, chosen=chosen, modality=modality)


def without_vector(con: duckdb.DuckDBPyConnection, case: Mapping[str, Any], ids: Mapping[str, Any]) -> str:
    """Why a case has no vector of its film or its text, and what makes one, where something does."""
    what = "film" if ids["modality"] == "image" else "text"
    if failed := rows(con, NO_VECTOR, ids):
        return f"This {what} has no vector: {failed[0]['why']}."
    if what == "film" and not case["image_id"]:
        return "This study has no film."
    if what == "film" and not case["here"]:
        return "This film is not on this machine, so it has no vector."
    if what == "text" and not rows(con, REPORT, ids):
        return "This study has no text."
    makes = "refresh" if rows(con, HAS_STORE, ids)[0]["many"] else "embed"
    return f"This {what} has no vector: `cxremb {makes}` makes one."


def section_of(sections: Sequence[str]) -> str:
    """What of a study is compared: its film, or its whole report where there is one."""
    return next((name for name in ("image", "findings+impression") if name in sections), sorted(sections)[0])


def first_of_each(near: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each item once: a study has several films."""
    found: dict[str, dict[str, Any]] = {}
    for row in near:
        found.setdefault(row["item_id"], row)
    return list(found.values())


def take_note(board: Board, item: str, form: Mapping[str, str], *, author: str) -> None:
    """Keep what was written about a case. Raises `DataError` for an empty note, `StoreError` where it cannot be."""
    with board.asking() as con:
        case = case_of(board, con, item)
    corrected = form.get("value") if board.runs.main and form.get("value") in ("0", "1") else None
    named = (board.runs.main.label_set, board.label, float(corrected)) if board.runs.main and corrected else (None,) * 3
    add_note(
        board.dataset,
        StoredNote(author, case["study_id"], case["image_id"], form.get("text", "").strip() or None, *named),
    )
