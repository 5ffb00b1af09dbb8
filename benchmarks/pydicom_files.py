"""The decoder on the files that pydicom carries for its own tests: what is read, what is refused and why.

    python benchmarks/pydicom_files.py [--out benchmarks/results/pydicom_files.json]

Every film that is read is compared with an independent reading: pydicom's pixels, its modality LUT, its VOI LUT or
window, its colours, and percentiles by NumPy. Odd image files of other packages (scikit-learn, scikit-image,
matplotlib) are read too, where they are installed, and compared with Pillow.
"""

import argparse
import importlib.util
import json
import platform
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images import decode_file, image_size

LUMA = np.array([0.299, 0.587, 0.114])
PACKAGES = ("numpy", "pillow", "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm")
OTHERS = ("sklearn", "skimage", "matplotlib", "scipy")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
NO_FILMS = {".py", ".json", ".txt", ".zip", ".gz", ".pyc", ".dump", ".icc"}


def stretched(values: Any) -> Any:
    """Between percentiles 0.5 and 99.5, by NumPy."""
    low, high = np.percentile(values, (0.5, 99.5))
    if not high > low:
        low, high = values.min(), values.max()
    return np.clip((values - low) / (high - low), 0, 1) * 255


def by_pydicom(path: Path) -> Any:
    """The film as pydicom's own functions have it, 0 to 255."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing

    tags = pydicom.dcmread(path, force=True)
    values = tags.pixel_array
    if tags.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, tags)
        return values[..., :3] @ LUMA / (255 if values.dtype == np.uint8 else 65535) * 255
    if values.ndim == 3:
        return values.astype(np.float64) @ LUMA / (2.0**tags.BitsStored - 1) * 255
    values = apply_modality_lut(values, tags).astype(np.float64)
    if tags.get("VOILUTSequence"):
        shown = (
            apply_voi_lut(values.astype(np.int64), tags) / (2.0 ** tags.VOILUTSequence[0].LUTDescriptor[2] - 1) * 255
        )
    elif tags.get("WindowWidth") not in (None, ""):
        black, white = apply_windowing(np.array([-1e12, 1e12]), tags)
        shown = (apply_windowing(values, tags) - black) / (white - black) * 255
    else:
        shown = stretched(values)
    if np.round(shown).min() == np.round(shown).max():
        shown = stretched(values)
    return 255 - shown if tags.PhotometricInterpretation == "MONOCHROME1" else shown


def by_pillow(path: Path) -> Any:
    """The picture as Pillow has it, 8 bits, upright."""
    from PIL import ImageOps

    with PilImage.open(path) as picture:
        if picture.format == "JPEG" and picture.mode == "RGB":  # the luma is stored
            picture.draft("YCbCr", None)
            return np.asarray(picture)[:, :, 0]
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I;16", "I", "F"):
            return stretched(np.asarray(upright).astype(np.float64))
        return np.asarray(upright.convert("RGBA").convert("RGB")).astype(np.float64) @ LUMA


def examine(path: Path, independent: Any) -> dict[str, Any]:
    """What becomes of one file: read, with the largest difference in grey values of 255; or refused, and why."""
    try:
        film = decode_file(path)
    except ImageError as error:
        return {"outcome": "refused", "stage": error.stage, "why": str(error).removeprefix(f"{path}: ")[:160]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = independent(path)
    same_size = other.shape == film.pixels.shape and image_size(path) == film.pixels.shape[::-1]
    off = float(np.abs(film.pixels - other).max()) if same_size else 255.0
    return {"outcome": "read", "off": round(off, 2), "notes": list(film.notes)}


def pydicom_files() -> dict[str, Path]:
    """The files that are installed with pydicom, and none that it would download."""
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in NO_FILMS and path.name != "README"
    }


def other_files() -> dict[str, Path]:
    """The pictures of other packages that are installed."""
    found = {}
    for name in OTHERS:
        spec = importlib.util.find_spec(name)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*")):
                if path.suffix.lower() in PICTURES:
                    found[f"{name}/{path.relative_to(folder)}"] = path
    return found


def survey() -> dict[str, dict[str, dict[str, Any]]]:
    """Each file with what became of it."""
    return {
        "pydicom": {name: examine(path, by_pydicom) for name, path in pydicom_files().items()},
        "others": {name: examine(path, by_pillow) for name, path in other_files().items()},
    }


def main() -> None:
    """Print the table, and write it with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    found = survey()
    counts = {}
    for source, files in found.items():
        reasons = Counter(
            one["why"].split(":")[0].split("(")[0] for one in files.values() if one["outcome"] == "refused"
        )
        read = [one for one in files.values() if one["outcome"] == "read"]
        counts[source] = {
            "files": len(files),
            "read": len(read),
            "more than 2 off": sum(one["off"] > 2 for one in read),
        }
        print(source, counts[source])
        for why, count in reasons.most_common():
            print(f"  {count:4} refused: {why}")
        for name, one in files.items():
            if one["outcome"] == "read" and one["off"] > 1:
                print(f"  {one['off']:6} off: {name}")
    if out:
        about = {
            "command": "python benchmarks/pydicom_files.py",
            "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
            "versions": {name: version(name) for name in PACKAGES},
            "counts": counts,
            "files": found,
        }
        out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
