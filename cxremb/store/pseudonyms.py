"""Pseudonyms: ids as keyed hashes and days shifted per patient, by a key that is never in a store."""

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Container
from datetime import date, timedelta
from pathlib import Path
from stat import S_IRWXG, S_IRWXO

from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.store.dataset import Dataset
from cxremb.store.files import make_folder, unwritable

KEY_BYTES = 32
KEY = re.compile(rb"[\w+/=-]{32,}", re.ASCII)  # also one that somebody brings, of 16 bytes in hexadecimal at least
LETTERS = 16  # of a pseudonym in base32, 80 bits: of ten million ids the odds that two meet are one in 10^10
MOST_DAYS = 730
FINGERPRINT, DAYS = b"fingerprint", b"days of "  # no id begins with them once `ID` stands before each
ID = b"id "


class Pseudonyms:
    """What a key makes of ids and days. One id has one pseudonym, be it a patient's, a study's or a film's."""

    def __init__(self, key: bytes, path: Path) -> None:
        self.key, self.path = key, path
        self.made: dict[str, str] = {}

    def digest(self, text: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104)."""
        return hmac.digest(self.key, text, hashlib.sha256)

    @property
    def fingerprint(self) -> str:
        """What tells this key from another, and nothing about it."""
        return self.digest(FINGERPRINT).hex()[:LETTERS]

    def of(self, name: str) -> str:
        """The pseudonym of an id, whoever asks."""
        return base64.b32encode(self.digest(ID + clean_id(name).encode())).decode()[:LETTERS].lower()

    def once(self, name: str) -> str:
        """As `of`, for ids that become those of a data set. Raises `DataError` if two would be one."""
        made = self.of(name)
        if self.made.setdefault(made, name) != name and clean_id(self.made[made]) != clean_id(name):
            raise DataError("two ids have one pseudonym", hint="make another key: name a file that is not there yet")
        return made

    def shift(self, day: date, patient: str) -> date:
        """The day as many days earlier, 1 to 730, as all days of this patient."""
        number = int.from_bytes(self.digest(DAYS + clean_id(patient).encode())[:8])
        return day - timedelta(days=1 + number % MOST_DAYS)


def read_key(path: Path) -> Pseudonyms:
    """The pseudonyms of the key in a file. Raises `DataError` if others may read it, or it is no key."""
    try:
        mode = path.stat().st_mode
        text = path.read_bytes().strip()
    except OSError as error:
        raise DataError(
            f"{path}: the key cannot be read ({error.strerror})", hint="name the file of the key"
        ) from error
    if os.name == "posix" and mode & (S_IRWXG | S_IRWXO):
        raise DataError(f"{path}: others may read the key", hint=f"`chmod 600 {path}`")
    if not KEY.fullmatch(text):  # a sheet that is named by mistake is another key next month
        raise DataError(
            f"{path}: not one word of 32 letters or more, so no key",
            hint="name a file that is not there yet, and a key is made",
        )
    return Pseudonyms(text, path.resolve())


def made_key(path: Path, root: Path) -> Pseudonyms:
    """The pseudonyms of the key in a file; a key is made if the file is not there yet.

    Raises `DataError` for a file below the store root, where it would go wherever the pseudonyms go.
    """
    if path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{path} lies in the store root {root}", hint="keep the key where the store is not: ~/klinik.key"
        )
    if path.exists():
        return read_key(path)
    try:
        make_folder(path.absolute().parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error, instead="another file") from error
    return read_key(path)


def pseudonym_of(dataset: Dataset) -> Callable[[str], str]:
    """What an id of the hospital is called in the data set: itself, or its pseudonym where the key is here.

    Raises `DataError` if the key that lies where it was is another one.
    """
    path = Path(dataset.locations.key)
    if not dataset.pseudonyms or not dataset.locations.key or not path.exists():
        return str
    names = read_key(path)
    if names.fingerprint != dataset.pseudonyms:
        raise DataError(f"{path}: not the key of the pseudonyms of {dataset.name}", hint="put the one back that is")
    return names.of


def why_unknown(dataset: Dataset) -> str:
    """What to do about ids of the hospital that a data set under pseudonyms does not know; "" where it has ids."""
    if not dataset.pseudonyms or (dataset.locations.key and Path(dataset.locations.key).exists()):
        return ""
    where = dataset.locations.key or "the key of its ids"
    return f"{dataset.name} has pseudonyms, which take the key: put {where} back, or add the data set again with it; "


def known_as(name: str, known: Container[str], pseudonym: Callable[[str], str]) -> str:
    """The id itself if it is known, else its clean form or its pseudonym if that is; else as it was given."""
    return next((one for one in (name, clean_id(name), pseudonym(name)) if one in known), name)
