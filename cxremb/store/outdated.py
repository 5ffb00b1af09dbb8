"""Vectors of what has changed since it was encoded: they are read as they are until somebody encodes again."""

import hashlib
from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import StoreError, reason
from cxremb.store.dataset import Dataset
from cxremb.store.layout import BEFORE_READING, JOINED, PRE_READ
from cxremb.store.matrices import Matrix
from cxremb.store.reader import Store, list_stores
from cxremb.store.texts import REPORT, report_texts
from cxremb.store.views import Holdings, create_views


def outdated(dataset: Dataset, modality: str, now: Mapping[str, str], *, matrix: Matrix) -> NDArray[np.bool_]:
    """(n,) for each vector, whether its film or its text is another one by now; of a text also whether it is gone.

    now: `text_contents` of the text that the vectors are of, if they are of texts. A film that is not on this machine,
    or could not be read when it was added, is taken to be what it was.
    """
    ids, contents = matrix.ids.to_pylist(), matrix.contents.to_pylist()
    if modality == "text":
        return np.array([now.get(study) != content for study, content in zip(ids, contents, strict=True)], np.bool_)
    films = dict(zip(dataset.images["image_id"].to_pylist(), dataset.images["sha256"].to_pylist(), strict=True))
    return np.array(
        [(films.get(image) or content) != content for image, content in zip(ids, contents, strict=True)], np.bool_
    )


def text_contents(reports: pa.Table, name: str) -> dict[str, str]:
    """study_id -> SHA-256 of its text of that name, as `embed` knows it."""
    if name == PRE_READ:
        rows = pc.equal(reports["role"], BEFORE_READING)
    else:
        rows = pc.is_in(reports["section"], value_set=pa.array(JOINED if name == REPORT else [name], pa.string()))
    texts = report_texts(reports.filter(rows))
    return {study: hashlib.sha256(text.encode()).hexdigest() for study, found, text in texts if found == name}


def stale_stores(dataset: Dataset) -> list[Store]:
    """Those that are behind their data set, as `stores.stale` of docs/sql.md; newest first. No other one is read.

    Raises `StoreError` if a table or a part is damaged.
    """
    stores = list_stores(dataset)
    try:
        with duckdb.connect(":memory:") as con:
            con.execute("SET enable_progress_bar = false")
            create_views(con, Holdings([dataset], [(dataset.name, store) for store in stores], []))
            stale = {name for (name,) in con.execute("SELECT store FROM stores WHERE stale").fetchall()}
    except duckdb.Error as error:
        raise StoreError(f"{dataset.name}: {reason(error)}", hint="see what is wrong: `cxremb store check`") from error
    return [store for store in stores if store.name in stale]


def rows_with(flags: NDArray[np.bool_], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) whether any vector of each row has its flag. places: (n,) or (n, views) of vectors, -1 for none."""
    padded = np.append(flags, np.bool_(False))  # -1 finds the last one
    return np.asarray(padded[places].reshape(len(places), -1).any(axis=1))
