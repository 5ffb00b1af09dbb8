"""Words planted in paths, ids and reports, looked for in every file that the main route writes."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import timm
from conftest import collection
from safetensors.torch import save_file

from cxremb.catalog import add_collection
from cxremb.types import Collection

PATIENT, TEXT, HOME = "PATMUSTER", "Zweigkanal", "home-of-mustermann"
ROUTE = (
    "embed --model tiny --workers 2",
    "embed --model tiny_text",
    "embed --model efficientnet_b0 --weights own.safetensors",
    "refresh --model efficientnet_b0",
    "audit",
    "train fusion --image-model tiny --text-model tiny_text --epochs 2",
    "ablate --image-model tiny --text-model tiny_text --text findings --no-controls",
    "evaluate RUN",
    "report --output report.html --figures figures",
    "export RUN --output model.onnx",
    "data label odd --sql SQL",
    "store gc --yes",
    "store check",
    "data show",
    "doctor",
)
SQL = "select study_id, 'odd' as label, row_number() over (order by study_id) % 2 as value from studies"
TABLES = r"(studies|images|reports|labels|facts|readings)-\w+\.parquet|.*@\w+\.parquet|(predictions|part)\S*\.parquet"


def planted(folder: Path) -> Collection:
    """The collection of the tests with the words in it, and a film that cannot be read."""
    given = collection(folder, 60)
    studies = [
        replace(
            study,
            patient_id=f"{PATIENT}{study.study_id}",
            sections={name: f"{text} {TEXT}." for name, text in study.sections.items()},
        )
        for study in given.studies
    ]
    images = [replace(image, patient_id=f"{PATIENT}{image.patient_id}") for image in given.images]
    for image in images[:2]:
        assert image.path is not None
        image.path.write_bytes(b"no film")
    (gone,) = (image.path for image in images[2:3])
    assert gone is not None
    gone.unlink()
    return replace(given, studies=studies, images=images)


def contents(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, all that it says) of every file; of Parquet its cells and metadata."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".locations" not in path.parts:
            held = path.read_bytes()
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                table = table.select([name for name in table.column_names if name not in {"embedding", "pixels"}])
                held += json.dumps([table.to_pylist(), str(table.schema.metadata)], default=str).encode()
            yield path, held.decode("latin-1")


@pytest.mark.slow
def test_no_path_no_patient_and_no_report_leaves_its_table(
    tmp_path: Path, cxremb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / HOME
    net = timm.create_model("efficientnet_b0", pretrained=False, num_classes=0)
    home.mkdir()
    save_file(net.state_dict(), home / "own.safetensors")
    added = add_collection(planted(home / "films"), home / "stores").dataset.paths
    monkeypatch.chdir(home)
    monkeypatch.setenv("CXREMB_STORES", "stores")
    printed = []
    for line in ROUTE:
        run = min((path.name for path in added.runs.glob("[!.]*")), default="")
        words = [{"RUN": run, "SQL": SQL}.get(word, word) for word in shlex.split(line)]
        done = cxremb(*words)
        assert done.code == 0, (line, done.err)
        printed.append((Path(line), done.out + done.err))
    files = [*contents(home / "stores"), *contents(home / "figures")]
    files += [one for one in contents(home) if one[0].parent == home]
    assert len(files) > 40
    assert {path.name for path, _ in files} >= {"report.html", "model.onnx", "dataset.json", "run.json"}
    wrong = []
    for path, said in files:
        in_its_table = re.fullmatch(TABLES, path.name) is not None
        for word in (HOME,) if in_its_table else (HOME, PATIENT, TEXT):
            found = re.findall(f".{{0,60}}{word}.{{0,40}}", said)
            wrong += [(str(path.relative_to(home)), one) for one in found[:1]]
    for path, said in printed:
        wrong += [(str(path), word) for word in (PATIENT, TEXT) if word in said]
    assert not wrong, "\n".join(map(str, wrong))
