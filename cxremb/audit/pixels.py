"""What one decode of each film tells of its pixels, kept under `cache/` by the digest of the film's bytes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.embedding.decode import FEW, Decoders, Files, changed
from cxremb.errors import ImageError
from cxremb.images import FilmFile, Grey, decode_file, digest_file, squash
from cxremb.processes import in_order, usable_cores
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table
from cxremb.types import Progress

METHOD = "2"  # raise it whenever the same film would give other facts
FACTS = pa.schema(
    [
        ("sha256", pa.string()),
        ("hash", pa.binary(32)),
        ("black", pa.float64()),  # share of pixels at 0
        ("white", pa.float64()),  # share at 255
        ("spread", pa.float64()),  # standard deviation in grey levels
        ("spine", pa.float64()),  # grey levels by which the middle is brighter than the lungs beside it
        ("trunk", pa.float64()),  # ... by which the centre is brighter than the upper corners
        ("frame", pa.float64()),  # width of the second widest constant edge, as a share of its side
    ]
)
HASH_SIDE, HASH_FROM = 16, 64  # 256 bits: 64 cannot tell chest films of two people apart
LOOKING = "looking at films"
AHEAD = 64  # films under way: enough to keep every core busy
LEVEL = 2  # grey levels by which a burnt-in edge may vary: JPEG leaves that much

File = tuple[str, str | None]  # its path, and its SHA-256 when it was added: none if it could not be read
Looked = dict[str, Any] | ImageError | None


@dataclass(frozen=True)
class PixelFacts:
    """One row for each distinct film that could be decoded, and a message for each that could not."""

    table: pa.Table  # columns `FACTS`
    unreadable: Mapping[str, str]  # image id -> why
    blank: tuple[str, ...]  # image ids of films with one grey level only

    @property
    def sha256(self) -> pa.Array:
        return self.table["sha256"].combine_chunks()

    @property
    def hashes(self) -> NDArray[np.uint8]:
        """(n, 32) perceptual hashes, eight bits a byte."""
        joined = b"".join(self.table["hash"].to_pylist())
        return np.frombuffer(joined, np.uint8).reshape(-1, HASH_SIDE**2 // 8)


def read_pixels(dataset: Dataset, progress: Progress) -> PixelFacts | str:
    """The facts of every film that is here, decoding only what the cache lacks; or why there are none."""
    here = dataset.images.filter(pc.is_valid(dataset.images["path"]))
    if not here.num_rows:
        return "no film is on this machine"
    path = dataset.paths.cache / "pixels.parquet"
    known = read_cache(path)
    files = dict(zip(here["path"].to_pylist(), here["sha256"].to_pylist(), strict=True))
    rows, failed, there = [], {}, set()
    looked_at = all_facts(set(known["sha256"].to_pylist()), list(files.items()))
    for (file, content), found in progress(looked_at, len(files), LOOKING):
        if isinstance(found, ImageError):
            failed[file] = found
        else:
            there.add(str(content))
            rows += [found] if found else []
    if rows:
        known = pa.concat_tables([known, pa.Table.from_pylist(rows, schema=FACTS)])
        known = known.take(pa.array(np.sort(np.unique(known["sha256"].to_numpy(), return_index=True)[1])))
        replace_table(path, known.replace_schema_metadata({"method": METHOD}))
    lost = [row for row in here.select(["image_id", "path"]).to_pylist() if row["path"] in failed]
    unreadable = {
        row["image_id"]: str(failed[row["path"]]).replace(row["path"], dataset.locations.short(row["path"]))
        for row in lost
        if failed[row["path"]].stage != "content"
    }
    blank = tuple(row["image_id"] for row in lost if failed[row["path"]].stage == "content")
    mine = known.filter(pc.is_in(known["sha256"], value_set=pa.array(sorted(there), pa.string())))
    return PixelFacts(mine, unreadable, blank)


def read_cache(path: Path) -> pa.Table:
    """The facts that are kept; none if the file is missing, damaged or made by another method."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return FACTS.empty_table()
    if not table.schema.equals(FACTS) or (table.schema.metadata or {}).get(b"method") != METHOD.encode():
        return FACTS.empty_table()
    return table.replace_schema_metadata(None)


def all_facts(kept: Collection[str], files: Sequence[File]) -> Iterator[tuple[File, Looked]]:
    """Each file with its row; None if that is in `kept`, by SHA-256, and the film is as it was; or why there is none.

    A file is a path and the SHA-256 it had when it was added. One that is gone or altered is none, kept or not.
    """
    yield from in_order(as_it_was, [file for file in files if file[1] in kept])
    fresh = [file for file in files if file[1] not in kept]
    decoders = Decoders(film_facts, died, usable_cores(), processes=len(fresh) >= FEW)
    with closing(decoders):
        answers = decoders.run(((FilmFile(path, content or ""),) for path, content in fresh), AHEAD)
        yield from zip(fresh, answers, strict=True)


def as_it_was(file: File) -> Looked:
    """None for a film whose bytes are those that were added."""
    path, sha256 = file
    try:
        return None if digest_file(Path(path)) == sha256 else changed(path)
    except ImageError as error:
        return error


def died(files: Files, why: str) -> Looked:
    """The error for a film whose decoder died."""
    return ImageError(f"{files[0].path}: {why}")


def film_facts(files: Files) -> Looked:
    """One row of `FACTS`, of a file and its SHA-256, or why there is none."""
    ((path, sha256, fetched),) = files
    try:
        pixels, digest = decode_file(Path(path), fetched=fetched)[:2]
    except ImageError as error:
        return ImageError(str(error), error.hint, error.stage)  # without what raised it, which may not travel
    if digest != sha256:
        return changed(path)
    small = squash(pixels, 32).astype(np.float64)
    lungs = (small[8:20, 5:11].mean() + small[8:20, 21:27].mean()) / 2
    return {
        "sha256": sha256,
        "hash": perceptual_hash(pixels),
        "black": float((pixels == 0).mean()),
        "white": float((pixels == 255).mean()),
        "spread": float(pixels.std()),
        "spine": float(small[8:20, 14:18].mean() - lungs),
        "trunk": float(small[8:24, 8:24].mean() - (small[:3, :3].mean() + small[:3, -3:].mean()) / 2),
        "frame": frame_width(pixels),
    }


def perceptual_hash(pixels: Grey) -> bytes:
    """256 bits: which of the 16 x 16 lowest spatial frequencies are above their median (pHash; Zauner 2010)."""
    small = squash(pixels, HASH_FROM).astype(np.float64)
    low = (COSINES @ small @ COSINES.T).ravel()
    return np.packbits(low > np.median(low)).tobytes()


def cosines() -> NDArray[np.float64]:
    """(16, 64) the first rows of the orthonormal discrete cosine transform (type II)."""
    angles = np.pi / HASH_FROM * np.outer(np.arange(HASH_SIDE), np.arange(HASH_FROM) + 0.5)
    rows: NDArray[np.float64] = np.cos(angles) * np.sqrt(2 / HASH_FROM)
    rows[0] /= np.sqrt(2)
    return rows


COSINES = cosines()


def frame_width(pixels: Grey) -> float:
    """How wide a constant band runs along two edges at least, as a share of its side."""
    steady = [np.ptp(pixels, axis=axis) <= LEVEL for axis in (1, 0)]
    widths = [np.argmin(lines) / len(lines) for flat in steady for lines in (flat, flat[::-1])]
    return float(sorted(widths)[-2])
