"""The golden store of the format of dataset.json that is written now: made once, never made again.

    python tests/golden/make_later.py

It becomes `formatN`, without films, and what it answers `formatN.json`. 2 and 3 have manifests and run.json of format 1.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent / "benchmarks")]

from chaos_steps import place, route  # noqa: E402
from chaos_steps.forked import asked  # noqa: E402
from chaos_steps.tables import final_tables  # noqa: E402

from cxremb.store.layout import TABLES_FORMAT  # noqa: E402

NAME = f"format{TABLES_FORMAT}"
STEPS = ("data add", "data label", "embed films", "embed texts", "data split", "train", "audit", "notes")


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place.draw(folder / "collection")
        route.whole(folder / "collection", folder / "root", [one for one in route.STEPS if one.name in STEPS])
        shutil.rmtree(folder / "root" / "small" / "cache", ignore_errors=True)
        shutil.copytree(folder / "root", HERE / NAME, ignore=shutil.ignore_patterns(".lock"))
    answers = asked(final_tables, HERE / NAME)
    (HERE / f"{NAME}.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
