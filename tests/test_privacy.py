"""Who on this machine may read a store: its owner, and the group where the root is the group's."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from conftest import collection
from planted import Planted, plant

from cxremb.ablation import ablate
from cxremb.ablation.trial import Trial
from cxremb.audit import audit as audit_module
from cxremb.audit.audit import audit
from cxremb.catalog import add_collection
from cxremb.doctor import store_root
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.store.clean import remove, remove_dataset
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import make_folder, replace_text, writing
from cxremb.store.reader import list_stores
from cxremb.training import loop

SOMEBODY, THEIR_GROUP, OUR_GROUP = 65_534, 65_534, 4_242
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can go into, which pytest's are not."""
    folder = Path(mkdtemp(prefix="cxremb-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def add(folder: Path, root: Path) -> Dataset:
    add_collection(collection(folder / "films", 2), root)
    dataset = open_dataset(root)
    embed(dataset, load_encoder(What("tiny")))
    return dataset


def as_somebody(act: Callable[[], object], group: int = THEIR_GROUP) -> bool:
    """Whether another user, of that group, is allowed to do it."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(SOMEBODY)
            act()
            code = 0
        except Exception as error:
            code = 1 if "ermission" in str(error) else 3
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 1}
    return code == 0


def modes(folder: Path) -> set[int]:
    """The modes of a folder and of all in it."""
    return {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*")) if path.is_dir()}


def test_all_folders_of_a_root_are_their_owner_s(tmp_path: Path) -> None:
    before = os.umask(0)  # the most open one
    try:
        dataset = add(tmp_path, tmp_path / "a" / "stores")
    finally:
        os.umask(before)
    assert modes(tmp_path / "a") == {0o700}
    assert {path.name for path in dataset.paths.folder.iterdir()} >= {"dataset.json", "embeddings"}


@as_root
def test_nobody_else_reads_a_report(open_folder: Path) -> None:
    dataset = add(open_folder, open_folder / "stores")
    tables = list(dataset.paths.folder.rglob("*.parquet"))
    assert len(tables) >= 4
    for path in (dataset.paths.descriptor, *tables):
        assert not as_somebody(path.read_bytes)
    for path in (dataset.paths.folder, open_folder / "stores"):  # as an older cxremb left them
        path.chmod(0o755)
    assert as_somebody(dataset.paths.descriptor.read_bytes)


@as_root
def test_who_may_only_read_is_told_before_the_work(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made is given again; what would have to be made is refused before anything is trained or decoded."""
    dataset = plant(open_folder / "stores", Planted(studies=60, image=1.5))
    trial = Trial(alone=True, controls=False)
    ablate(dataset, ["image"], trial=trial)
    for path in (dataset.paths.root, *dataset.paths.root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)

    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(loop, "fit_members", work)
    monkeypatch.setattr(audit_module, "open_subject", work)
    assert as_somebody(lambda: ablate(dataset, ["image"], trial=trial))
    assert not as_somebody(lambda: ablate(dataset, ["image[head=linear]"], trial=trial))
    assert not as_somebody(lambda: audit(dataset, pixels=False))


@as_root
def test_in_a_root_of_the_group_the_group_works_too(open_folder: Path) -> None:
    root = open_folder / "stores"
    root.mkdir()
    os.chown(root, -1, OUR_GROUP)
    root.chmod(0o2770)
    folder = root / "small" / "runs"

    def work() -> None:
        with writing(folder):
            replace_text(folder / "new" / "run.json", "{}")

    with writing(folder):
        replace_text(folder / "old" / "run.json", "{}")
    assert modes(root) == {0o2770}
    assert as_somebody(work, OUR_GROUP)
    assert as_somebody((folder / "old" / "run.json").read_bytes, OUR_GROUP)
    assert not as_somebody(work)
    assert (folder / "new" / "run.json").read_text() == "{}"


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    make_folder(tmp_path / "there")
    assert modes(tmp_path / "there") == {0o755}


def test_the_doctor_says_who_else_may_read(tmp_path: Path) -> None:
    root = tmp_path / "my stores"
    dataset = add(tmp_path, root)
    assert "who may read" not in {line.what for line in store_root(root)}
    for folder in (root, dataset.paths.folder):
        folder.chmod(0o755)
    found = next(line for line in store_root(root) if line.what == "who may read")
    assert not found.ok
    assert found.found.startswith("small: ")
    assert os.system(found.remedy) == 0
    assert "who may read" not in {line.what for line in store_root(root)}


def test_what_is_removed_is_gone_with_all_that_was_made_of_it(tmp_path: Path) -> None:
    dataset = add(tmp_path, tmp_path / "stores")
    (store,) = list_stores(dataset)
    store.load("image")  # which keeps a matrix
    for folder in (dataset.paths.maps, dataset.paths.distances):
        make_folder(folder)
    (dataset.paths.maps / f"{store.name}.parquet").write_bytes(b"x")
    (dataset.paths.distances / f"{store.name}~mine@1.parquet").write_bytes(b"x")
    (dataset.paths.maps / "other@0123456789ab.parquet").write_bytes(b"x")
    assert list((dataset.paths.cache / "vectors").glob(f"{store.name}-*"))
    assert remove(store.folder) > 0
    left = [path.name for path in dataset.paths.folder.rglob("*") if store.name in path.name]
    assert left == []
    assert (dataset.paths.maps / "other@0123456789ab.parquet").exists()  # `gc` judges that
    assert list((tmp_path / "stores" / ".locations" / "small").iterdir())
    remove_dataset(dataset.paths)
    assert list((tmp_path / "stores").iterdir()) == []
