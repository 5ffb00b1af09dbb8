"""Rows of the data themselves, with film and report: only where they are asked for."""

from base64 import b64encode
from contextlib import closing
from functools import partial
from io import BytesIO

import numpy as np
import pyarrow.compute as pc
from PIL import Image as PilImage

from cxremb.embedding.decode import Decoders, all_failed, first_good
from cxremb.errors import StoreError
from cxremb.images import Film, FilmFile, decode_file
from cxremb.reporting.parts import PatientCase, Section
from cxremb.reporting.subject import ReportSubject
from cxremb.store.dataset import Dataset

CASES = 6  # of the reference, the most wrong first
SIDE = 280  # pixels of a film's longer side
WARNING = "Texts and films of patients follow, as asked for with --include-data. Do not pass this page on."


def cases_section(subject: ReportSubject) -> Section | None:
    """The test rows that the reference, else the first arm, is most wrong about; None unless data may be shown."""
    if not subject.include_data:
        return None
    main = subject.result.reference or subject.result.rows[0].arm
    test = subject.tests[main].pools[0]
    wrong = np.nanmax(np.abs(test.y - test.prob), axis=1)
    rows = np.argsort(-wrong, kind="stable")[:CASES]
    cases = [case_of(subject, str(test.items[row]), str(test.studies[row])) for row in rows.tolist()]
    return Section("Cases", f"{WARNING} The rows that {main} is most wrong about.", cases=cases)


def case_of(subject: ReportSubject, item: str, study: str) -> PatientCase:
    """One row with its film, its report, and what is said of it."""
    said = []
    for arm, test in subject.tests.items():
        pool = test.pools[0]
        for row in np.flatnonzero(pool.items == item)[:1].tolist():
            labels = zip(pool.labels, pool.y[row].tolist(), pool.prob[row].tolist(), strict=True)
            said += [f"{arm}: {label} {prob:.3f} (is {y:g})" for label, y, prob in labels]
    reports = subject.dataset.reports
    own = reports.filter(pc.equal(reports["study_id"], study)).select(["section", "text"]).to_pylist()
    texts = [(row["section"], row["text"]) for row in own]
    return PatientCase(f"{item}, study {study}", film_of(subject.dataset, item, study), texts, "; ".join(said))


def film_of(dataset: Dataset, item: str, study: str) -> str | None:
    """The film, or the study's first one, small and as a data URI; None where it cannot be read.

    A codec that ends its process on it ends another one than this.
    """
    images = dataset.images
    own = images.filter(pc.equal(images["study_id"], study)).sort_by("image_id").to_pylist()
    row = next((one for one in own if one["image_id"] == item), own[0] if own else None)
    if row is None or row["path"] is None:
        return None
    decoders = Decoders(partial(first_good, read=decode_file), all_failed, workers=1, processes=False)
    try:
        with closing(decoders):
            answer = next(decoders.run([[FilmFile(row["path"], row["sha256"])]], 1))
    except StoreError:  # its server cannot be asked
        return None
    if not isinstance(answer, Film):  # moved, changed or damaged since: the report stands without it
        return None
    film = PilImage.fromarray(answer.pixels)
    film.thumbnail((SIDE, SIDE))
    file = BytesIO()
    film.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + b64encode(file.getvalue()).decode()
