"""Published collections, added from the real tables that travel with the package torchxrayvision: what SQL then counts.

Films of none of them are here, so every film is listed and not present. Each add runs in a process of its own, whose
peak of resident memory the operating system tells.

    python benchmarks/published.py                    # all of them, into results/published.json
    python benchmarks/published.py --only nih siim --output /tmp/two.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from add_collection import commit

HERE = Path(__file__).parent
# Collection -> name in its release -> name in the package. Empty: the same.
TABLES = {
    "chexpert": {"train.csv.gz": "chexpert_train.csv.gz"},
    "nih": {
        "Data_Entry_2017_v2020.csv.gz": "Data_Entry_2017_v2020.csv.gz",
        "BBox_List_2017.csv.gz": "BBox_List_2017.csv.gz",
        "google2019_nih-chest-xray-labels.csv.gz": "google2019_nih-chest-xray-labels.csv.gz",
    },
    "padchest": {"PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz": ""},
    "vindr": {"train.csv.gz": "vinbigdata-train.csv.gz"},
    "rsna": {
        "stage_2_train_labels.csv.zip": "kaggle_stage_2_train_labels.csv.zip",
        "kaggle_stage_2_train_images_dicom_headers.csv.gz": "kaggle_stage_2_train_images_dicom_headers.csv.gz",
    },
    "siim": {"train-rle.csv.gz": "siim-pneumothorax-train-rle.csv.gz"},
}
# What is asked of each, and of one alone: name -> SQL that gives one number.
QUESTIONS = {
    "films": "select count(*) from images",
    "studies": "select count(*) from studies",
    "patients": "select count(distinct patient_id) from studies",
}
OWN = {
    "chexpert": {
        "pneumonia uncertain": "select count(*) from readings join images using (study_id) "
        "where label = 'Pneumonia' and value = -1",
        "pneumonia positive": "select count(*) from readings join images using (study_id) "
        "where label = 'Pneumonia' and value = 1",
        "atelectasis uncertain": "select count(*) from readings join images using (study_id) "
        "where label = 'Atelectasis' and value = -1",
        "atelectasis positive": "select count(*) from readings join images using (study_id) "
        "where label = 'Atelectasis' and value = 1",
        "no finding is 0": "select count(*) from readings where label = 'No Finding' and value = 0",
        "films at the top age": "select count(*) from facts join images on id = study_id where name = 'age' "
        "and number = 90",
    },
    "nih": {
        "PA": "select count(*) from images where view = 'PA'",
        "AP": "select count(*) from images where view = 'AP'",
        "boxes": "select sum(len(string_split(text, ';'))) from facts where starts_with(name, 'box_')",
        "films with boxes": "select count(distinct id) from facts where starts_with(name, 'box_')",
        "films of Google": "select count(distinct study_id) from labels where label_set = 'google'",
    },
    "padchest": {
        "by a physician": "select count(*) from facts join images on id = study_id where name = 'method_label' "
        "and text = 'Physician'",
        "by a network": "select count(*) from facts join images on id = study_id where name = 'method_label' "
        "and text <> 'Physician'",
        "pseudonodule": "select count(*) from labels join images using (study_id) where label_set = 'labels' "
        "and label = 'pseudonodule'",
        "hiatal hernia": "select count(*) from labels join images using (study_id) where label_set = 'labels' "
        "and label = 'hiatal hernia'",
        "studies after an earlier one": "select count(*) from prior",
        "days since it, median": "select median(days) from prior",
        "patients whose sex is known": "select count(sex) from patients",
        "projection guessed": "select count(*) from facts where name = 'method_projection' and text = 'resnet-50.t7'",
    },
    "vindr": {
        "readers": "select count(distinct reader) from readings",
        "readings": "select count(*) from (select distinct study_id, reader from readings)",
        "films on which readers differ": "select count(*) from (select study_id from (select study_id, label from "
        "readings group by all having min(value) <> max(value)) group by all)",
        "on No finding": "select count(*) from (select study_id from readings where label = 'No finding' "
        "group by all having min(value) <> max(value))",
    },
    "rsna": {
        "positive": "select count(*) from labels where label_set = 'pneumonia' and value = 1",
        "boxes": "select sum(len(string_split(text, ';'))) from facts where name = 'box_pneumonia'",
    },
    "siim": {"positive": "select count(*) from labels where value = 1"},
}
ADD = """
import json, resource, sys, time
from pathlib import Path
import cxremb
kind, folder, root, questions = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
start, spent = time.perf_counter(), time.process_time()
added = cxremb.add(kind, folder, root=root)
took = time.perf_counter() - start, time.process_time() - spent
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on a Mac
counts = {name: int(cxremb.sql(text, root=root).fetchall()[0][0]) for name, text in questions.items()}
print(json.dumps({
    "seconds": round(took[0], 1),
    "processor_seconds": round(took[1], 1),
    "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    "counts": counts,
    "notes": {note.what: note.count for note in added.notes},
}))
"""


def package() -> Path | None:
    """The folder of tables in torchxrayvision, if it is installed; the package itself is not imported."""
    found = find_spec("torchxrayvision")
    return Path(str(found.origin)).parent / "data" if found else None


def lay_out(kind: str, folder: Path) -> Path:
    """The tables of one collection under the names that its release gives them."""
    folder.mkdir(parents=True)
    for name, source in TABLES[kind].items():
        (folder / name).symlink_to(package() / (source or name))
    return folder


def add(kind: str, work: Path) -> dict[str, object]:
    """What one add took, in a process of its own, and what SQL counts."""
    questions = json.dumps({**QUESTIONS, **OWN[kind]})
    words = [kind, str(lay_out(kind, work / "tables" / kind)), str(work / "root" / kind), questions]
    done = subprocess.run([sys.executable, "-c", ADD, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Add each, write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--output", type=Path, default=HERE / "results" / "published.json")
    options = parser.parse_args()
    if package() is None:
        sys.exit("install the tables first: pip install torchxrayvision==1.5.7")
    with tempfile.TemporaryDirectory() as work:
        found = {kind: add(kind, Path(work)) for kind in options.only}
    about = {
        "benchmark": "published",
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torchxrayvision": version("torchxrayvision"),
    }
    options.output.write_text(json.dumps({**about, "collections": found}, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
