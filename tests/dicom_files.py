"""DICOM films made by tests: a real data set of one frame, with the tags that a test asks for."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)


def dataset(values: np.ndarray, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> FileDataset:
    """A film of one frame: 12 bits in 16, unsigned, MONOCHROME2, unless the tags say otherwise; None leaves one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    meta.TransferSyntaxUID = syntax
    file = FileDataset(
        None,
        {},
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
    )
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.PatientID, file.StudyInstanceUID, file.Modality = "P1", "1.2.3", "DX"
    usual: dict[str, Any] = {
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1 if values.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if values.ndim == 2 else "RGB",
        "PixelRepresentation": 0,
        "BitsAllocated": 8 * values.dtype.itemsize,
        "BitsStored": 12 if values.dtype.itemsize == 2 else 8,
        **({"PlanarConfiguration": 0} if values.ndim == 3 else {}),
    }
    every = {**usual, **tags}
    every.setdefault("HighBit", every["BitsStored"] - 1 if every["BitsStored"] else None)
    for name, value in every.items():
        if value is not None:
            setattr(file, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    file.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes()
    file["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    return file


def written(file: FileDataset) -> bytes:
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
