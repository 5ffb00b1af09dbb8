"""The golden store of format 2 of dataset.json: made once, never made again; what it answers lies in `format2.json`.

    python tests/golden/make_format2.py

Films are left out. Formats of then: dataset.json 2, manifests 1, run.json 1.
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

STEPS = ("data add", "data label", "embed films", "embed texts", "data split", "train", "audit", "notes")


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place.draw(folder / "collection")
        route.whole(folder / "collection", folder / "root", [one for one in route.STEPS if one.name in STEPS])
        shutil.rmtree(folder / "root" / "small" / "cache", ignore_errors=True)
        shutil.copytree(folder / "root", HERE / "format2", ignore=shutil.ignore_patterns(".lock"))
    answers = asked(final_tables, HERE / "format2")
    (HERE / "format2.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
