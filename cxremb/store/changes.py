"""What differs between the tables of a data set and those that are to replace them."""

from collections.abc import Mapping
from pathlib import Path

from cxremb.store.layout import TABLES
from cxremb.store.tables import opened

# All that the tables say of an id, in one number: the sum of its rows' 64-bit hashes, whatever order they stand in.
# Rows belong to the study or, in `images`, to the image.
SAID = """
SELECT what, id, sum(row) AS said FROM ({rows}) GROUP BY what, id
"""
CHANGES = """
WITH before AS ({before}), after AS ({after})
SELECT what || CASE WHEN before.said IS NULL THEN ' added' WHEN after.said IS NULL THEN ' removed' ELSE ' changed' END
       AS change, count(*)
FROM before FULL JOIN after USING (what, id)
WHERE before.said IS DISTINCT FROM after.said
GROUP BY change ORDER BY change
"""


def changes(before: Mapping[str, Path], after: Mapping[str, Path]) -> dict[str, int]:
    """How many studies and images were added, removed and changed: {"images added": 8}; only what happened.

    before, after: table -> file. Two different ids' rows with equal 64-bit sums would pass as unchanged; nothing
    rests on it but the count and whether equal tables are written again.
    """
    old = {f"before_{name}": path for name, path in before.items()}
    new = {f"after_{name}": path for name, path in after.items()}
    with opened({**old, **new}) as con:
        question = CHANGES.format(before=said("before"), after=said("after"))
        return dict(con.execute(question).fetchall())


def said(when: str) -> str:
    """SQL of what all tables of that time say, per id."""
    rows = (
        f"""SELECT '{"images" if name == "images" else "studies"}' AS what,
        {"image_id" if name == "images" else "study_id"} AS id, hash('{name}', t) AS row FROM {when}_{name} t"""
        for name in TABLES
    )
    return SAID.format(rows=" UNION ALL ".join(rows))
