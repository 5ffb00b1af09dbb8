"""What the rows of one table mean: which columns make the ids, the patient, the text and the labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cxremb.datasets.table.columns import Role, find_roles, snake
from cxremb.datasets.table.template import Template, parse_template
from cxremb.datasets.tree import NOT_GIVEN, without_suffix
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.tablefile import Cells, TableFile, is_missing

CLINICAL = "clinical"  # the section that a template makes


@dataclass(frozen=True)
class TableSpec:
    """What to make of a table; all columns by their names in it."""

    table: Path
    name: str
    images: Path | None = None  # folder of image files
    columns: Mapping[str, str] = field(default_factory=dict)  # id, path, patient, study, view or part -> column
    labels: tuple[str, ...] = ()  # COLUMN, or COLUMN=POSITIVE: the class that is 1
    texts: tuple[str, ...] = ()
    pre_read: tuple[str, ...] = ()  # texts that were known before the film was read
    template: str | None = None  # "{sex}, {age} years. CRP {crp_val}"
    licence: str = NOT_GIVEN
    citation: str = NOT_GIVEN


@dataclass(frozen=True)
class Layout:
    """A spec that fits its table. With neither a path column nor a folder of images, a row is a study without one."""

    table: TableFile
    roles: Mapping[str, Role]
    has_images: bool
    labels: Mapping[str, str | None]  # column -> the class that is 1, if somebody says so
    sections: Mapping[str, str]  # section -> column
    template: Template | None

    @cached_property
    def of_study(self) -> tuple[str, ...]:
        """The columns that speak of a study, and so must agree between its rows."""
        roles = [self.roles[role].column for role in ("patient", "part") if role in self.roles]
        words = self.template.fields if self.template else ()
        return tuple(dict.fromkeys((*roles, *self.labels, *self.sections.values(), *words)))

    @cached_property
    def of_image(self) -> tuple[str, ...]:
        """The columns that say which image a row is, and whose."""
        return tuple(dict.fromkeys(role.column for role in self.roles.values()))

    @cached_property
    def used(self) -> tuple[str, ...]:
        """All columns to read."""
        return tuple(dict.fromkeys((*self.of_image, *self.of_study)))

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        """The table's rows with their numbers; "" for a cell that says that it is missing."""
        for number, cells in self.table.rows(columns):
            yield (
                number,
                {name: "" if is_missing(cell) else cell for name, cell in cells.items()},
            )

    def cell(self, role: str, cells: Cells) -> str:
        """What a row says for a role, "" if nothing does."""
        return cells[self.roles[role].column] if role in self.roles else ""

    def path(self, cells: Cells) -> str:
        """The path a row gives, with / between folders."""
        return self.cell("path", cells).replace("\\", "/")

    def ids(self, cells: Cells) -> tuple[str, str]:
        """(study id, image id) of a row, "" where it has none. Without a study column, the image is the study."""
        item = clean_id(self.cell("id", cells)) or without_suffix(self.path(cells)).strip("/")
        return clean_id(self.cell("study", cells)) or item, item if self.has_images else ""

    def patient(self, cells: Cells) -> str:
        """The patient of a row, "" where it names none."""
        return clean_id(self.cell("patient", cells))

    def texts(self, cells: Cells) -> dict[str, str]:
        """Section -> text, for the sections of a row that have text."""
        found = {section: cells[column] for section, column in self.sections.items()}
        if self.template:
            found[CLINICAL] = self.template.render(cells)
        return {section: text for section, text in found.items() if text}


def lay_out(spec: TableSpec, table: TableFile) -> Layout:
    """The spec's layout. Raises `DataError` if it does not fit the table, or a label would give itself away."""
    template = parse_template(spec.template) if spec.template else None
    known_before = (*spec.pre_read, *(template.fields if template else ()))
    words = (*spec.texts, *known_before)
    labels = label_options(spec.labels, table.columns)
    table.require((*labels, *words))
    leaking = [label for label in labels if label in known_before]
    if leaking:
        raise DataError(
            f"column {leaking[0]} is a label and also text from before the film was read: it would give itself away",
            hint="leave it out of --pre-read and --text-template",
        )
    roles = find_roles(table, spec.columns, (*labels, *spec.texts, *spec.pre_read))
    has_images = "path" in roles or spec.images is not None
    if not ({"id", "path"} & roles.keys() or ("study" in roles and not has_images)):
        raise DataError(
            f"{table.path}: no column says which image or study a row is; it has {', '.join(map(repr, table.columns))}",
            hint=f"it was read as {table.format}; name one: --column id=COLUMN, or --column path=COLUMN",
        )
    sections = section_names((*spec.texts, *spec.pre_read), template)
    return Layout(table, roles, has_images, labels, sections, template)


def label_options(given: Iterable[str], columns: Sequence[str]) -> dict[str, str | None]:
    """Column -> its positive class, of words `COLUMN` and `COLUMN=POSITIVE`. A column's own name may hold a =."""
    found: dict[str, str | None] = {}
    for word in given:
        column, equals, positive = word.rpartition("=") if word not in columns else (word, "", "")
        found[column if equals else word] = positive if equals else None
    return found


def section_names(columns: tuple[str, ...], template: Template | None) -> dict[str, str]:
    """Section -> column. Raises `DataError` if two columns would be one section."""
    sections: dict[str, str] = {CLINICAL: "--text-template"} if template else {}
    for column in columns:
        if sections.setdefault(snake(column), column) != column:
            raise DataError(
                f"{column} and {sections[snake(column)]} would both be the section {snake(column)}",
                hint="rename one of the columns in the table",
            )
    return {section: column for section, column in sections.items() if column in columns}
