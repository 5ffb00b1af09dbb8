"""What the rows of one table mean: which columns make the ids, the patient, the text and the labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from cxremb.cells import Cells, is_missing, plain
from cxremb.datasets.table.columns import Role, find_facts, find_film, find_picture, find_roles, snake
from cxremb.datasets.table.template import Template, parse_template
from cxremb.datasets.tree import NOT_GIVEN, without_suffix
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.tablefile import TableFile

CLINICAL = "clinical"  # the section that a template makes


@dataclass(frozen=True)
class TableSpec:
    """What to make of a table; all columns by their names in it."""

    table: Path
    name: str
    images: Path | None = None  # folder of image files
    columns: Mapping[str, str] = field(default_factory=dict)  # id, path, patient, study, view, part, sex ... -> column
    labels: tuple[str, ...] = ()  # COLUMN, or COLUMN=POSITIVE: the class that is 1
    texts: tuple[str, ...] = ()  # COLUMN, or SECTION=COLUMN
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
    facts: Mapping[str, Role]  # name -> column, of all columns that have no role
    picture: Role | None = None  # the column with the films as bytes
    left_off: str = ""  # folders that all paths begin with, and that are of another machine

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

    def fact_cells(self, cells: Cells) -> dict[str, str]:
        """Name -> what a row says, of the facts that it has."""
        return {name: text for name, it in self.facts.items() if (text := plain(cells[it.column]))}

    @property
    def fact_columns(self) -> list[str]:
        """The columns of the facts."""
        return [it.column for it in self.facts.values()]

    @property
    def facts_of_images(self) -> bool:
        """Whether a row speaks of an image and not of a whole study, so that facts may differ within a study."""
        return self.has_images and "study" in self.roles

    def cell(self, role: str, cells: Cells) -> str:
        """What a row says for a role, "" if nothing does."""
        return cells[self.roles[role].column] if role in self.roles else ""

    def path(self, cells: Cells) -> str:
        """The path a row gives, with / between folders."""
        return self.cell("path", cells).replace("\\", "/")

    def place(self, cells: Cells) -> str:
        """The same without the folders that are left off: where the film lies, on any machine."""
        path = self.path(cells)
        whole = PurePosixPath(path)
        found = self.left_off and whole.is_relative_to(self.left_off)
        return whole.relative_to(self.left_off).as_posix() if found else path

    def paths(self) -> Iterator[str]:
        """The path of each row that gives one."""
        column = [self.roles["path"].column] if "path" in self.roles else []
        return filter(None, (self.path(cells) for _, cells in self.rows(column))) if column else iter(())

    def film(self, number: int) -> Path | None:
        """The path of the film whose bytes stand in row `number`, if any do."""
        if self.picture is None or self.table.shards is None:
            return None
        return self.table.shards.film(number, self.picture.column)

    def ids(self, cells: Cells) -> tuple[str, str]:
        """(study id, image id) of a row, "" where it has none. Without a study column, the image is the study."""
        item = clean_id(self.cell("id", cells)) or without_suffix(self.place(cells)).strip("/")
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
    texts, pre_read = (section_options(words, table.columns) for words in (spec.texts, spec.pre_read))
    known_before = (*pre_read.values(), *(template.fields if template else ()))
    labels = label_options(spec.labels, table.columns)
    table.require((*labels, *texts.values(), *known_before))
    leaking = [label for label in labels if label in known_before]
    if leaking:
        raise DataError(
            f"column {leaking[0]} is a label and also text from before the film was read: it would give itself away",
            hint="leave it out of --pre-read and --text-template",
        )
    taken = (*labels, *texts.values(), *pre_read.values())
    roles = find_roles(table, spec.columns, taken)
    picture = find_picture(table, spec.columns, elsewhere=spec.images is not None or bool(spec.columns.get("path")))
    if picture and table.shards and not {"id", "path"} & roles.keys() and "id" not in spec.columns:
        column = table.shards.id_column(picture.column)
        roles["path" if column.endswith(".path") else "id"] = Role(column, guessed=True)
    if not {"id", "path", "study"} & {*roles, *spec.columns}:
        roles |= find_film(table, taken)
    has_images = "path" in roles or spec.images is not None or picture is not None
    if not ({"id", "path"} & roles.keys() or ("study" in roles and not has_images)):
        raise DataError(
            f"{table.path}: no column says which image or study a row is; it has {', '.join(map(repr, table.columns))}",
            hint=f"it was read as {table.format}; name one: --column id=COLUMN, or --column path=COLUMN",
        )
    sections = section_names([*texts.items(), *pre_read.items()], template)
    facts = find_facts(table, spec.columns, {*taken, *(role.column for role in roles.values())})
    return Layout(table, roles, has_images, labels, sections, template, facts, picture)


def label_options(given: Iterable[str], columns: Sequence[str]) -> dict[str, str | None]:
    """Column -> its positive class, of words `COLUMN` and `COLUMN=POSITIVE`. A column's own name may hold a =."""
    found: dict[str, str | None] = {}
    for word in given:
        column, equals, positive = word.rpartition("=") if word not in columns else (word, "", "")
        found[column if equals else word] = positive if equals else None
    return found


def section_options(given: Iterable[str], columns: Sequence[str]) -> dict[str, str]:
    """Section -> column, of words `COLUMN` and `SECTION=COLUMN`. Raises `DataError` if two columns are one section."""
    sections: list[tuple[str, str]] = []
    for word in given:
        section, equals, column = word.partition("=") if word not in columns else (word, "", "")
        sections.append((snake(section), column if equals else word))
    return section_names(sections, None)


def section_names(given: Sequence[tuple[str, str]], template: Template | None) -> dict[str, str]:
    """Section -> column. Raises `DataError` if two columns would be one section."""
    sections: dict[str, str] = {CLINICAL: "--text-template"} if template else {}
    for section, column in given:
        if sections.setdefault(section, column) != column:
            raise DataError(
                f"{column} and {sections[section]} would both be the section {section}",
                hint="rename one of the columns in the table, or say --text SECTION=COLUMN",
            )
    return {section: column for section, column in sections.items() if column != "--text-template"}
