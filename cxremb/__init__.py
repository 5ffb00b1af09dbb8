"""cxremb: a precomputed-embedding feature store for chest X-rays, with lightweight trainers.

The names below are all there is; the command line calls the same functions. Nothing heavy is imported before its use.

    add             a collection of films, reports or both, read and kept as a data set
    embed           films or texts of a data set, encoded once into a store
    open_store      a store's vectors
    import_store    vectors of films that were made elsewhere, as a store
    load_features   vectors and labels as aligned arrays
    train           a head on stored vectors, or a network from pixels: a run
    ablate          arms compared on the same rows and folds
    external        trained on one collection, tested on others
    evaluate        all figures of a run, or its figures by group
    checklist       CLAIM or TRIPOD+AI, filled from a run
    compare         two runs on the rows that both judge
    report          one HTML page about an ablation or some runs
    load            the models of a run, to predict with
    predict         a run on films and reports that you bring
    similar         what lies nearest to a film or a text
    explore         pages over a data set, in a browser
    sql             any SELECT over data sets, stores and runs
    HeadClassifier  the heads as a scikit-learn estimator
    CxrembError     what all of them raise, with a hint
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxremb.version import VERSION as __version__  # noqa: N811 - the name that every package gives it

if TYPE_CHECKING:
    from cxremb.api.data import add, embed, load_features, open_store, sql
    from cxremb.api.external import external
    from cxremb.api.pages import explore
    from cxremb.api.predict import predict
    from cxremb.api.report import report
    from cxremb.api.runs import ablate, checklist, compare, evaluate, load, train
    from cxremb.api.search import similar
    from cxremb.api.vectors import import_store
    from cxremb.errors import CxrembError
    from cxremb.training.estimator import HeadClassifier

__all__ = [
    "CxrembError",
    "HeadClassifier",
    "__version__",
    "ablate",
    "add",
    "checklist",
    "compare",
    "embed",
    "evaluate",
    "explore",
    "external",
    "import_store",
    "load",
    "load_features",
    "open_store",
    "predict",
    "report",
    "similar",
    "sql",
    "train",
]

PLACES = {
    **dict.fromkeys(("add", "embed", "load_features", "open_store", "sql"), "cxremb.api.data"),
    **dict.fromkeys(("ablate", "checklist", "compare", "evaluate", "load", "train"), "cxremb.api.runs"),
    "explore": "cxremb.api.pages",
    "external": "cxremb.api.external",
    "import_store": "cxremb.api.vectors",
    "predict": "cxremb.api.predict",
    "report": "cxremb.api.report",
    "similar": "cxremb.api.search",
    "CxrembError": "cxremb.errors",
    "HeadClassifier": "cxremb.training.estimator",
}


def __getattr__(name: str) -> Any:
    """A public name, imported on its first use."""
    if name not in PLACES:
        raise AttributeError(f"module 'cxremb' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
