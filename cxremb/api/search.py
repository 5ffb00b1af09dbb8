"""What lies near a film or a text: what `cxremb similar` does."""

from pathlib import Path

from cxremb.api.places import remark, store_root
from cxremb.errors import DataError
from cxremb.similarity.find import Neighbours, find_similar
from cxremb.similarity.query import Asked, read_query
from cxremb.similarity.stores import Wanted
from cxremb.store.dataset import data_sets, open_dataset
from cxremb.types import Progress, unwatched


def similar(
    query: str | Path | None = None,
    *,
    text: str | None = None,
    to: str | None = None,
    where: str | None = None,
    other_patients: bool = False,
    limit: int = 10,
    model: str | None = None,
    section: str | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Neighbours:
    """The nearest films or texts by cosine, exactly: a row for each, with whose it is and its labels.

    query: the id of a film or a study, or the file of a film; or text in its place. to: image or text, where another
    kind is to be found by an aligned store. where: an SQL condition on a row, such as view = 'PA'. other_patients:
    leave out the patient that is asked about, and who hangs together with them. model: an encoder or store in place of
    the newest one. section: of texts, which one. dataset: whose store is read, and whose id it is; every other data set
    under `root` that has the same store is searched too.

    A new film or text is encoded as the store was. Raises `DataError` for an unknown id or kind, `ImageError` for a
    file that is no film, `StoreError` where a store is missing or was made by another encoder than is here,
    `QueryError` for wrong SQL.
    """
    if (query is None) == (text is None):
        raise DataError("nothing to compare with, or two things", hint="give an id, a file, or --text")
    place = store_root(root)
    wanted = Wanted(to, model, section, where, other_patients, limit)
    asked, found = Asked("", text=text), None
    if text is None:
        asked, found = read_query(data_sets(place, dataset), str(query))
    neighbours = find_similar(found or open_dataset(place, dataset), asked, wanted, progress=progress)
    remark((*neighbours.notes, *neighbours.caveats), shown=True)
    return neighbours
