"""`cxremb data add`: one command for each kind of collection."""

from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli.collection import show
from cxremb.cli.options import DEFAULT_ROOT, Root, Uncertain
from cxremb.cli.output import AsFormat, Format
from cxremb.datasets.tree import NOT_GIVEN

app = typer.Typer(help="Bring a collection in: say which kind it is.", no_args_is_help=True)

OwnName = Annotated[str | None, typer.Option("--name", help="Name of the data set, if not the collection's own.")]
NewName = Annotated[str, typer.Option("--name", help="Name of the data set.")]
Licence = Annotated[str, typer.Option(help="Licence of the images; it is kept in every store.")]
Pseudonymise = Annotated[
    Path | None,
    typer.Option(
        metavar="KEYFILE",
        help="Keyed hashes in place of ids, days shifted by patient. The key is made if the file is missing; keep it.",
    ),
]
Citation = Annotated[str, typer.Option(help="How to cite the collection.")]


@app.command("iu_xray")
def iu_xray(
    reports: Annotated[Path, typer.Option(help="indiana_reports.csv, or a folder or .tgz of Open-i XML.")],
    images: Annotated[Path | None, typer.Option(help="Folder of image files; folders below are searched too.")] = None,
    projections: Annotated[Path | None, typer.Option(help="indiana_projections.csv: images and their views.")] = None,
    name: OwnName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """IU X-ray, in the Kaggle layout or Open-i's: pair images and reports. Say what does not pair, and go on.

    Example: cxremb data add iu_xray --images png/ --reports indiana_reports.csv --projections indiana_projections.csv
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    added = add("iu_xray", reports, images=images, projections=projections, name=name, root=root, progress=bar)
    show(added, fmt)


@app.command("mimic_cxr")
def mimic_cxr(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="MIMIC-CXR-JPG: holds files/ and the tables.")],
    reports: Annotated[Path | None, typer.Option(help="mimic-cxr-reports.zip, or the folder it unpacks to.")] = None,
    uncertain: Annotated[Uncertain, typer.Option(help="What an uncertain label (-1) becomes.")] = Uncertain.ignore,
    name: OwnName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """MIMIC-CXR-JPG: films, views, CheXpert and NegBio labels, the official split and, if given, the reports.

    Example: cxremb data add mimic_cxr physionet.org/files/mimic-cxr-jpg/2.1.0 --reports mimic-cxr-reports.zip
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    added = add("mimic_cxr", folder, reports=reports, uncertain=uncertain.value, name=name, root=root, progress=bar)
    show(added, fmt)


@app.command("kermany")
def kermany(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="chest_xray: train, val, test / NORMAL, PNEUMONIA.")],
    name: OwnName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Kermany's paediatric pneumonia films: labels from the folders, patients from the file names.

    Example: cxremb data add kermany chest_xray/
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    show(add("kermany", folder, name=name, root=root, progress=bar), fmt)


@app.command("medmnist")
def medmnist(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A two-dimensional set, such as pneumoniamnist.npz.")],
    name: OwnName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """A MedMNIST .npz with its official split. Its arrays are unpacked to PNG files under ROOT/unpacked.

    Example: cxremb data add medmnist pneumoniamnist.npz
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    show(add("medmnist", file, name=name, root=root, progress=bar), fmt)


@app.command("table")
def table(
    name: NewName,
    file: Annotated[
        Path, typer.Option("--table", help="CSV, Parquet, or a folder of Parquet files: a row an image, or a report.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder, or address, of image files: paths are relative to it, ids are looked up in a folder."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=COLUMN",
            help="What a column is: id, path, image (bytes), patient, study, view, part, sex, age, birth_year, day, "
            "site, scanner, race or insurance. The rest is guessed; ROLE= for none.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN[=POSITIVE]", help="Yes or no, or classes; of two, POSITIVE is the 1."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="[SECTION=]COLUMN", help="A section of the report: findings=Befund.")
    ] = None,
    pre_read: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A text that was known before the film was read.")
    ] = None,
    text_template: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A sentence with columns in braces: the section `clinical`, pre-read."),
    ] = None,
    licence: Licence = NOT_GIVEN,
    citation: Citation = NOT_GIVEN,
    pseudonymise: Pseudonymise = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="With --pseudonymise: a column that names nobody, to be kept as a fact."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Any table of images, reports or both. Repeat --column, --label, --text and --pre-read as needed.

    Example: cxremb data add table --name hannover --table data.csv --images png/ --column id=image_id
    --column patient=patient_id --label modality=DX --text-template "{sex}, {age} years. CRP {crp_val}"
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    added = add(
        "table",
        file,
        name=name,
        root=root,
        progress=bar,
        images=images,
        columns=roles(column or []),
        labels=tuple(label or ()),
        texts=tuple(text or ()),
        pre_read=tuple(pre_read or ()),
        template=text_template,
        licence=licence,
        citation=citation,
        pseudonymise=pseudonymise,
        keep=tuple(keep or ()),
    )
    show(added, fmt)


@app.command("folder")
def folder(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Holds a folder per class, or parts of those.")],
    name: NewName,
    patient_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help=r"Finds the patient in a path: '(person\d+)_'.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class that is 1, if the names do not tell.")
    ] = None,
    licence: Licence = NOT_GIVEN,
    citation: Citation = NOT_GIVEN,
    pseudonymise: Pseudonymise = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Any folder of images; the sub-folders are classes, below train, val and test if there are such.

    Example: cxremb data add folder films/ --name films --patient-pattern '(p[0-9]+)_'
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    added = add(
        "folder",
        directory,
        name=name,
        root=root,
        progress=bar,
        pseudonymise=pseudonymise,
        patient_pattern=patient_pattern,
        positive=positive,
        licence=licence,
        citation=citation,
    )
    show(added, fmt)


@app.command("dicom")
def dicom(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A tree of DICOM files, whatever their names.")],
    name: NewName,
    licence: Licence = NOT_GIVEN,
    citation: Citation = NOT_GIVEN,
    pseudonymise: Pseudonymise = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """DICOM files: images, studies, patients and views from the tags.

    Example: cxremb data add dicom export/ --name ward7
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    added = add(
        "dicom",
        directory,
        name=name,
        root=root,
        progress=bar,
        pseudonymise=pseudonymise,
        licence=licence,
        citation=citation,
    )
    show(added, fmt)


def roles(given: list[str]) -> dict[str, str]:
    """ROLE=COLUMN as role -> column."""
    found: dict[str, str] = {}
    for word in given:
        role, equals, column = word.partition("=")
        if not equals or role in found:
            raise typer.BadParameter(f"{word}: write ROLE=COLUMN, each role once", param_hint="--column")
        found[role] = column
    return found
