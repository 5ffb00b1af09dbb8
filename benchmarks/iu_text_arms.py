"""What the texts of the real IU X-ray reports tell of the label, by section and with their XXXX kept, dropped, masked.

    python benchmarks/iu_text_arms.py indiana_reports.csv indiana_projections.csv [--work DIR] [--out FILE]

It runs the commands that it writes down: MiniLM vectors of all texts, once for each way with the marks, then two
tables: every text against findings + impression, and the pre-read text against itself without its marks. No film is
read. Called again with the same --work, it trains nothing that is there.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("keep", "drop", "mask")
TEXTS = "text,text[xxxx=drop],text[xxxx=mask],findings,impression,indication,pre-read"
PRE_READ = "pre-read,pre-read[xxxx=drop],pre-read[xxxx=mask]"


def cxremb(words: str, root: Path) -> str:
    """What the command prints."""
    asked = [sys.executable, "-m", "cxremb", *shlex.split(words), "--root", str(root)]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout


def table(arms: str, reference: str, root: Path) -> dict[str, Any]:
    """One comparison, with the command that made it and its wall time."""
    command, start = f'ablate --arms "{arms}" --reference {reference} --format json', time.perf_counter()
    found: dict[str, Any] = json.loads(cxremb(command, root).replace(str(root), "stores"))
    return {**found, "command": f"cxremb {command}", "wall_seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Embed, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path)
    parser.add_argument("projections", type=Path)
    parser.add_argument("--work", type=Path, help="keep stores and runs here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "iu_text_arms.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.work or Path(name)
        cxremb(f"data add iu_xray --reports '{options.reports}' --projections '{options.projections}'", root)
        embedded = [json.loads(cxremb(f"embed --model minilm --xxxx {way} --format json", root)) for way in WAYS]
        result = {
            **table(TEXTS, "text", root),
            "pre_read": table(PRE_READ, "pre-read", root),
            "embedded": [{key: one[key] for key in ("store", "xxxx", "asked", "failed")} for one in embedded],
            "about": "IU X-ray, 3,851 real reports (Kaggle table), MiniLM vectors, no images",
            "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
            "load": [round(load, 1) for load in os.getloadavg()],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in (*result["rows"], *result["pre_read"]["rows"]):
        print(row["arm"], row["n"], {key: row["auroc"][key] for key in ("value", "low", "high")}, row["difference"])


if __name__ == "__main__":
    main()
