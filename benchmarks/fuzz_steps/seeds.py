"""The inputs that fuzzing begins with: small ones of each format, and a store root for the records in it."""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

ROOT = Path(__file__).parent.parent.parent
PLACES = {"manifest": "*/embeddings/*/*.json", "dataset": "*/dataset.json", "run": "*/runs/*/run.json"}
XML = b"""<eCitation><uId id="CXR1"/><Abstract><AbstractText Label="FINDINGS">Clear &amp; dry.</AbstractText>
<AbstractText Label="IMPRESSION">No acute disease.</AbstractText></Abstract><MeSH><major>Opacity/lung</major>
<automatic>opacity</automatic></MeSH><parentImage id="CXR1_1_IM-0001-3001"/></eCitation>"""
CSV = (
    b'path,patient_id,study_id,view,indication,findings,ill\na.png,1,1,PA,Cough.,"Clear, dry.",0\nb.png,2,2,AP,,,1\n',
    b"uid;MeSH;Problems;image;indication;comparison;findings;impression\r\n1;normal;normal;x;a;b;c;\xe4\r\n",
    b"\xff\xfeu\0i\0d\0\n\x001\0\n\0",
    b'\xef\xbb\xbfsep=|\nid|label\n007|"a "" b"\n',
)


def pictures(style: str) -> Iterator[bytes]:
    """A small film as Pillow writes it, in each mode and compression that concerns the decoder."""
    grey = PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10), dtype=np.uint8))
    wide = PilImage.fromarray(np.asarray(grey).astype(np.uint16) * 16)
    turned = PilImage.Exif()
    turned[0x112] = 6
    ways: dict[str, list[tuple[PilImage.Image, dict[str, object]]]] = {
        "PNG": [(grey, {}), (wide, {}), (grey.convert("P"), {}), (grey.convert("RGBA"), {}), (grey, {"exif": turned})],
        "JPEG": [(grey, {}), (grey.convert("RGB"), {"progressive": True}), (grey, {"exif": turned})],
        "TIFF": [
            *((grey, {"compression": kind}) for kind in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")),
            *((wide, {}), (grey.convert("RGB"), {}), (grey.convert("P"), {}), (grey.convert("1"), {})),
        ],
    }
    for picture, options in ways[style]:
        buffer = io.BytesIO()
        picture.save(buffer, style, **options)
        yield buffer.getvalue()


def arrays(zipped: bool) -> Iterator[bytes]:
    """Arrays of each kind of number."""
    for kind in ("u1", "<u2", ">u2", "<f4", "?"):
        buffer = io.BytesIO()
        values = np.random.default_rng(0).integers(0, 200, (6, 5)).astype(kind)
        (np.savez_compressed(buffer, film=values) if zipped else np.save(buffer, values))
        yield buffer.getvalue()


def dicoms() -> Iterator[bytes]:
    """The films of the tests, with every tag that the decoder looks at, in each transfer syntax that is written."""
    sys.path.insert(0, str(ROOT / "tests"))
    from dicom_files import dataset, written
    from pydicom import uid

    values = np.random.default_rng(0).integers(0, 4096, (40, 36)).astype(np.uint16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -5, "WindowCenter": 2000, "WindowWidth": 3000}
    yield written(dataset(values))
    yield written(dataset(values, VOILUTFunction="SIGMOID", PixelPaddingValue=7, **tags))
    yield written(dataset(values))[132:]
    for syntax in (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless):
        made = dataset(values, **tags)
        made.compress(syntax, generate_instance_uid=False)
        yield written(made)


def statements() -> Iterator[bytes]:
    """The queries of the documents and of the package, and words that the guard has to think about."""
    for path in sorted((ROOT / "stores" / "queries").glob("*.sql")):
        yield path.read_bytes()
    text = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    yield from (block.encode() for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL))
    tricks = (
        *("with d as (copy (select 1) to 'x') select 1", "from studies; -- a", "explain analyze from studies;/* b */"),
        *(
            "select * from read_text('/etc/hostname')",
            "pivot labels on label in ('ill') using max(value)",
            "show tables",
        ),
        *(
            "summarize studies",
            "set memory_limit = '1GB'",
            "attach 'x' as y",
            "select $$a;b$$",
            "from nearest('a', 'b')",
        ),
        *("select cosine([1], [2])", "call pragma_version()", "describe images", "from glob('*')", "pragma version"),
        *("select getenv('HOME')", "from query('select 1')", "values (1)", "insert into studies values (1)", "vacuum"),
    )
    yield from (one.encode() for one in tricks)


def seeds(target: str, root: Path) -> list[bytes]:
    """What a target begins with. root: the store root of `store_root`."""
    if target in PLACES:
        return [path.read_bytes() for path in sorted(root.glob(PLACES[target]))]
    if target in {"png", "jpeg", "tiff"}:
        return [*pictures(target.upper())]
    if target in {"npy", "npz"}:
        return [*arrays(target == "npz")]
    return {"dicom": lambda: [*dicoms()], "csv": lambda: [*CSV], "xml": lambda: [XML], "sql": lambda: [*statements()]}[
        target
    ]()
