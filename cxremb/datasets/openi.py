"""The two archives of Indiana University Chest X-rays: downloaded with resume, unpacked without escapes."""

import gzip
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from uuid import uuid4

from cxremb.datasets.download import OnBytes, download, unwatched_bytes
from cxremb.errors import FetchError
from cxremb.store.files import sync_folder

OPENI_URL = "https://openi.nlm.nih.gov/imgs/collections/"
IMAGES = "NLMCXR_png.tgz"
REPORTS = "NLMCXR_reports.tgz"
BLOCK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


def obtain(folder: Path, base_url: str = OPENI_URL, progress: OnBytes = unwatched_bytes) -> tuple[Path, Path]:
    """The folder of unpacked images and the archive of reports (it is read in place), as the adapter takes them."""
    images, reports = fetch(folder, base_url, progress)
    return unpack(images, folder / "images", progress), reports


def fetch(folder: Path, base_url: str = OPENI_URL, progress: OnBytes = unwatched_bytes) -> tuple[Path, Path]:
    """The archives of images and of reports in `folder`; one that is complete is not downloaded again.

    Raises `FetchError` if they cannot be had or written; what has arrived is kept, and the next call resumes it.
    """
    if not base_url.startswith(("http://", "https://")):
        raise FetchError(f"{base_url}: not an http or https address", hint=f"leave --base-url out to use {OPENI_URL}")
    base = base_url.rstrip("/") + "/"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reports = download_archive(base + REPORTS, folder / REPORTS, progress)  # the small one first: it fails soon
        return download_archive(base + IMAGES, folder / IMAGES, progress), reports
    except OSError as error:
        raise unwritable(folder, error) from error


def download_archive(url: str, target: Path, progress: OnBytes = unwatched_bytes) -> Path:
    """One archive of the collection, resumed if it broke off. Raises as `download`."""
    hint = (
        f"run the same command again to resume; or download {OPENI_URL}{IMAGES} and {OPENI_URL}{REPORTS} elsewhere, "
        f"unpack the first, and run `cxremb data add iu_xray --images DIR --reports {REPORTS}`"
    )
    return download(url, target, progress, magic=GZIP_MAGIC, hint=hint)


def unpack(archive: Path, folder: Path, progress: OnBytes = unwatched_bytes) -> Path:
    """`folder`, holding all files of the .tgz; nothing is done if it is there already, since it appears in one step.

    Raises `FetchError`, naming the member, for one that is a link, a device, or leads out of `folder`; for an archive
    that is damaged or ends early; and for a disk that cannot take it. In each case nothing is left behind.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    draft = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        extract(archive, draft, progress)
        draft.replace(folder)
        sync_folder(folder.parent)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FetchError(
            f"{archive}: a damaged or incomplete archive ({error})", hint="delete it, then run the same command again"
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def extract(archive: Path, draft: Path, progress: OnBytes) -> None:
    """Every file of the .tgz into `draft`, each member checked before it is written."""
    total = archive.stat().st_size
    with archive.open("rb") as raw, gzip.open(raw) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as members:
        for member in members:
            check_member(member, archive)
            write_member(members, member, draft / member.name)
            progress(raw.tell(), total, f"unpacking {archive.name}")
        while unzipped.read(BLOCK_BYTES):  # to the end: only there does gzip compare its checksum
            pass


def write_member(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """A file or folder with the owner and mode of any new one: `extract` cannot promise that before Python 3.11.4."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file, BLOCK_BYTES)


def check_member(member: tarfile.TarInfo, archive: Path) -> None:
    """Raises `FetchError` unless the member is a file or folder below where it is unpacked."""
    steps = re.split(r"[\\/]", member.name)
    if ".." in steps or steps[0] == "" or ":" in steps[0]:
        trouble = "leads out of the folder it is unpacked in"
    elif not (member.isfile() or member.isdir()):
        trouble = "is a link or a device"
    elif member.issparse():
        trouble = "is a file with holes, which may be larger than any disk"
    else:
        return
    raise FetchError(
        f"{archive}: refused, its member {member.name!r} {trouble}",
        hint="this is not the archive that Open-i publishes: delete it and fetch it from a source you trust",
    )


def unwritable(path: Path, error: OSError) -> FetchError:
    """The error to raise when the disk fails."""
    return FetchError(
        f"{error.filename or path}: {error.strerror or error}",
        hint="free space (4 GB is enough) or mend the permissions, or name another folder with --output",
    )
