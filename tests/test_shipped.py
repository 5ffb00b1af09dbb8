"""Job files and example queries that come with the package are called by their names."""

from pathlib import Path

import pytest

from cxremb.embedding.jobfile import read_job
from cxremb.errors import DataError
from cxremb.shipped import find_file, shipped_names

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("suffix", "folder"), [(".toml", "embed_jobs"), (".sql", "stores/queries")])
def test_each_file_of_the_folder_has_its_name(suffix: str, folder: str) -> None:
    files = sorted((ROOT / folder).glob(f"*{suffix}"))
    assert shipped_names(suffix) == [path.stem for path in files]
    for path in files:
        assert find_file(Path(path.stem), suffix) == path
        assert find_file(Path(path.name), suffix) == path


def test_a_file_that_is_there_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(Path("demo"), ".toml") == ROOT / "embed_jobs" / "demo.toml"
    Path("demo").write_text("[[encode]]\nmodel = 'tiny'")
    assert find_file(Path("demo"), ".toml") == Path("demo")


def test_a_path_is_never_a_name(tmp_path: Path) -> None:
    for path in (tmp_path / "demo", Path("folder") / "demo.toml", Path("../demo")):
        assert find_file(path, ".toml") == path


def test_an_unknown_name_gets_those_that_are_known() -> None:
    with pytest.raises(DataError, match="nonsense: cannot be read") as caught:
        read_job(Path("nonsense"))
    assert "demo, example, iu_xray" in caught.value.hint
