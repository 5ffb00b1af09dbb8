"""What DuckDB means to do with a query, read from its plan before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Operator = Mapping[str, Any]
SHARED = "dataset = dataset"  # a condition that holds for all rows of a data set: no join may rest on it alone


def operators(plan: Sequence[Operator]) -> Iterator[Operator]:
    """Every operator of a plan, as EXPLAIN (FORMAT json) gives it."""
    for operator in plan:
        yield operator
        yield from operators(operator["children"])


def names(plan: Sequence[Operator]) -> set[str]:
    """The names of all operators, in lower case; that of a scan is its table function."""
    return {operator["name"].strip().lower() for operator in operators(plan)}


def multiplies(plan: Sequence[Operator]) -> bool:
    """Whether two tables are joined on `dataset` alone: all rows of one with all rows of the other."""
    return any(conditions(operator) == {SHARED} for operator in operators(plan) if "JOIN" in operator["name"])


def conditions(join: Operator) -> set[str]:
    """The conditions of a join; DuckDB writes one as a text, several as a list."""
    found = join.get("extra_info", {}).get("Conditions", [])
    return {found} if isinstance(found, str) else set(found)
