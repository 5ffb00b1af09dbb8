"""Documents are easy to read beside code: no line over 120 characters."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 120
GENERATED = {"docs/commands.md"}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in (ROOT, ROOT / "docs", ROOT / "stores")
    for path in folder.glob("*.md")
    if str(path.relative_to(ROOT)) not in GENERATED
)


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    lines = enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1)
    long = [number for number, line in lines if len(line) > LONGEST and not line.startswith("|")]  # no table can wrap
    assert not long, f"{page}: lines {long}"
