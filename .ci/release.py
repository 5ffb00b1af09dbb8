"""A release in dist/: the wheel, built twice to the same bytes, its SHA-256, and what is installed with it (CycloneDX).

    python .ci/release.py [CYCLONEDX_PY]

The wheel is that of the last commit: its time is the commit's, so whoever builds it again gets the same file.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PIP = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")


def git(*words: str) -> bytes:
    """What git says."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def built(moment: str) -> tuple[str, bytes]:
    """Name and bytes of the wheel of the last commit, built in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        source.mkdir()
        subprocess.run(["tar", "-x", "-C", source], input=git("archive", "HEAD"), check=True)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": moment}
        subprocess.run([*PIP, "-w", out, source], check=True, env=environment, umask=0o022)
        (wheel,) = out.glob("*.whl")
        return wheel.name, wheel.read_bytes()


def main() -> None:
    """Write the release; exit code 1 if the wheel cannot be made twice."""
    moment = git("log", "-1", "--format=%ct").decode().strip()
    (name, wheel), (_, again) = built(moment), built(moment)
    if wheel != again:
        sys.exit("two builds differ")
    DIST.mkdir(exist_ok=True)
    (DIST / name).write_bytes(wheel)
    (DIST / "SHA256SUMS").write_text(f"{hashlib.sha256(wheel).hexdigest()}  {name}\n")
    print(DIST / name)
    if len(sys.argv) > 1:
        words = ["environment", "--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON"]
        out = DIST / f"{name.removesuffix('.whl')}.cdx.json"
        subprocess.run([sys.argv[1], *words, "-o", out, sys.executable], cwd=ROOT, check=True)
        print(out)


if __name__ == "__main__":
    main()
