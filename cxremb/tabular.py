"""Results as tables of the ecosystem: Arrow, pandas and Polars, and as themselves in a notebook."""

from abc import ABC, abstractmethod
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

SHOWN = 20  # rows in a notebook: what a screen holds


class Tabular(ABC):
    """What can be read as a table. `pl.DataFrame(result)`, `pd.DataFrame.from_arrow(result)` and DuckDB take it too."""

    @abstractmethod
    def to_arrow(self) -> "pa.Table":
        """The rows as an Arrow table."""

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a pandas data frame. Raises `ImportError` without pandas."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """The rows as a Polars data frame. Raises `ImportError` without Polars."""
        import polars as pl

        return pl.DataFrame(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """As the Arrow PyCapsule interface asks."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        """One line: all of it is in the table."""
        return f"<{type(self).__name__}: {self.heading()}>"

    def heading(self) -> str:
        """One line over the table in a notebook."""
        return type(self).__name__

    def shown(self) -> "pa.Table":
        """The rows that a notebook shows."""
        return self.to_arrow()

    def _repr_html_(self) -> str:
        """The first rows as an HTML table, as notebooks ask."""
        rows = self.shown()
        head = "".join(f"<th>{escape(name)}</th>" for name in rows.column_names)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(as_text(value))}</td>' for value in row.values())}</tr>"
            for row in rows.slice(0, SHOWN).to_pylist()
        )
        more = f"<p>{rows.num_rows:,} rows, the first {SHOWN} shown</p>" if rows.num_rows > SHOWN else ""
        return (
            f"<p>{escape(self.heading())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
        )


def as_text(value: object) -> str:
    """A cell; numbers to four digits, a vector by its first few."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        first = ", ".join(as_text(one) for one in value[:3])
        return f"[{first}{', ...' if len(value) > 3 else ''}]"
    return "" if value is None else str(value)
