"""Whether every package of the required, `demo` and `dev` dependencies is there as a wheel: nothing is compiled.

    python .ci/wheels.py            # for this machine
    python .ci/wheels.py --every    # for Linux x86-64 and arm64, macOS arm64 and Windows, with Python 3.11 to 3.13

Run it where `.[dev]` is installed: which package needs which is read from the installed ones, with the markers of the
target, and the versions from constraints.txt. pip is then asked for all of them at once, with wheels only, and installs
nothing.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
OURS = "cxremb"
GROUPS = ("demo", "dev")
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = range(17, 36)  # 2.17 to 2.35: the C library of systems that are still kept up to date (PEP 600)
SYSTEMS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {  # what markers ask, and pip's tags
    "linux x86-64": (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"},
        ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC)),
    ),
    "linux arm64": (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64", "os_name": "posix"},
        ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC)),
    ),
    "macos arm64": (
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"},
        ("macosx_14_0_arm64", "macosx_14_0_universal2"),
    ),
    "windows": (
        {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64", "os_name": "nt"},
        ("win_amd64",),
    ),
}


def requirements() -> dict[str, list[str]]:
    """Extra -> what it asks for; "" is what is required."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def needed(environment: Mapping[str, str], groups: Sequence[str] = GROUPS) -> dict[str, str]:
    """Package -> the requirement that first asked for it, of the whole tree of dependencies in `environment`."""
    extras = requirements()
    waiting = [Requirement(f"{OURS}[{','.join(groups)}]")]
    found: dict[str, str] = {}
    opened: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *sorted(one.extras)):
            if (name, extra) in opened:
                continue
            opened.add((name, extra))
            below = extras[extra] if name == OURS else installed_requirements(name)
            waiting += [item for item in map(Requirement, below) if applies(item, environment, extra)]
        if name != OURS:
            found.setdefault(name, f"{one.name}{one.specifier}")
    return found


def installed_requirements(name: str) -> list[str]:
    """What an installed package asks for; nothing of one that is not installed, as those of other systems are not."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def applies(one: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    """Whether a requirement counts in `environment`, for what a package asks with `extra`."""
    return one.marker is None or one.marker.evaluate({**environment, "extra": extra})


def pins() -> dict[str, str]:
    """Package -> `name==version` of constraints.txt."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(line.partition("==")[0]): line for line in lines if line}


def missing(wanted: Mapping[str, str], tags: tuple[str, ...], python: str) -> Iterator[str]:
    """What pip says of each package that has no wheel. No tags: for this machine."""
    remaining = dict(wanted)
    while remaining:
        with tempfile.TemporaryDirectory() as folder:
            words = ["--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--only-binary", ":all:"]
            if tags:
                words += ["--target", folder, "--python-version", python]
                words += [word for tag in tags for word in ("--platform", tag)]
            command = [sys.executable, "-m", "pip", "install", *words, *remaining.values()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        named = re.search(r"No matching distribution found for ([\w.-]+)", done.stderr)
        if named is None or canonicalize_name(named[1]) not in remaining:
            raise SystemExit(done.stderr)
        yield remaining.pop(canonicalize_name(named[1]))


def main() -> None:
    """Check this machine, or every system and Python; exit code 1 if a wheel is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="store_true", help="every system and Python")
    here = {key: str(value) for key, value in default_environment().items()}
    targets = [("this machine", here, (), here["python_version"])]
    if parser.parse_args().every:
        targets = [
            (
                f"{system}, Python {python}",
                {**here, **markers, "python_version": python, "python_full_version": f"{python}.0"},
                tags,
                python,
            )
            for system, (markers, tags) in SYSTEMS.items()
            for python in PYTHONS
        ]
    pinned, complete = pins(), True
    for name, environment, tags, python in targets:
        wanted = {package: pinned.get(package, wish) for package, wish in needed(environment).items()}
        lacking = list(missing(wanted, tags, python))
        complete = complete and not lacking
        answer = f"no wheel of {', '.join(lacking)}" if lacking else "wheels only"
        print(f"{name}: {len(wanted)} packages, {answer}", flush=True)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
