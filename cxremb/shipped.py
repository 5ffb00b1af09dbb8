"""Files that come with the package: job files and example queries, called by their name alone."""

from pathlib import Path

HERE = Path(__file__).parent
FOLDERS = {  # where a wheel has them, then where a checkout has them
    ".toml": (HERE / "embed_jobs", HERE.parent / "embed_jobs"),
    ".sql": (HERE / "queries", HERE.parent / "stores" / "queries"),
}


def find_file(given: Path, suffix: str) -> Path:
    """The file `given`; if there is none and it is a bare name, the one of that name that comes with the package."""
    if not given.exists() and given.name == str(given):
        for folder in FOLDERS[suffix]:
            if (path := (folder / given.name).with_suffix(suffix)).is_file():
                return path
    return given


def shipped_names(suffix: str) -> list[str]:
    """The names that `find_file` knows, in order."""
    folder = next((folder for folder in FOLDERS[suffix] if folder.is_dir()), HERE)
    return sorted(path.stem for path in folder.glob(f"*{suffix}"))
