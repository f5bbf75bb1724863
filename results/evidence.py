"""Evidence of records: where it lies, and reading it without trusting it.

A record and its evidence lie in one of two layouts: ``<key>/attempts/<attempt>.json`` with ``<key>/evidence/evidence.npz`` in a folder of
runs (or in its ``archive``), ``<stem>.json`` with ``<stem>.npz`` among the records that ship with the package. What is derived from a
record later (verifications, backfilled metrics) is never written into it, but beside it: :func:`beside`.
"""

from __future__ import annotations

import glob
import io
import math
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from elboard.bench import record as records
from elboard.bench.record import Record
from elboard.results.store.files import shipped_files, shipped_texts

LARGEST = 256 * 2**20  # bytes of all arrays of one file
MOST = 1000  # arrays of one file
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class InvalidEvidence(ValueError):
    """A file that is no evidence; the message says what is wrong in one line."""


def record_files(root: Path | None, shipped: bool = True) -> Iterator[Path]:
    """The files of records: those of the runs' folder ``root``, its archive's, then those that ship with the package."""
    if root is not None:
        for home in (root, root / records.ARCHIVE):
            yield from (file for file in sorted(home.glob("*/attempts/*.json")) if records.is_record_file(file.name))
    if shipped:
        yield from shipped_files()


def in_runs(record_path: Path) -> bool:
    """Whether a record lies in a folder of runs, as ``<key>/attempts/<attempt>.json``."""
    return record_path.parent.name == "attempts"


def homes_of(record_path: Path) -> list[Path]:
    """The folders that may hold the files of the run of a record in a folder of runs; ``<root>/<key>`` is the last."""
    folder = record_path.parent.parent
    return [folder, folder.parent.parent / folder.name] if folder.parent.name == records.ARCHIVE else [folder]


def evidence_of(record_path: Path) -> Path | None:
    """The evidence of the record at ``record_path``, or None.

    A run's folder holds the evidence of its newest finished attempt only: other attempts have none.
    """
    if not in_runs(record_path):
        file = record_path.with_suffix(".npz")
        return file if file.is_file() else None
    homes = homes_of(record_path)
    file = next((home / "evidence" / "evidence.npz" for home in homes if (home / "evidence" / "evidence.npz").is_file()), None)
    if file is None:
        return None
    found: list[Record] = []
    for other in records.files_of(homes[-1]):
        with suppress(records.InvalidRecord, OSError):
            found.append(records.read(other))
    best = records.effective(found)
    return file if best is not None and best.status == "done" and best.attempt == record_path.stem else None


def beside(record_path: Path, kind: str, name: str) -> Path:
    """Where a file of ``kind`` ("verified" or "backfill") about a record goes.

    ``<root>/<kind>/<key>/<attempt>.<name>.json`` for a folder of runs, so that one listing says which runs have any, else
    ``<stem>.<kind>.<name>.json``; if ``name`` is empty, without its dot.
    """
    tail = f".{name}.json" if name else ".json"
    if in_runs(record_path):
        return _about(record_path, kind) / (record_path.stem + tail)
    return record_path.with_name(f"{record_path.stem}.{kind}{tail}")


def _about(record_path: Path, kind: str) -> Path:
    folder = homes_of(record_path)[-1]
    return folder.parent / kind / folder.name


def all_beside(record_path: Path, kind: str) -> list[Path]:
    """The files of ``kind`` about a record, sorted by name."""
    pattern = glob.escape(record_path.stem)
    if in_runs(record_path):
        return sorted(_about(record_path, kind).glob(f"{pattern}*.json"))
    return sorted(record_path.parent.glob(f"{pattern}.{kind}*.json"))


def all_beside_shipped(patterns: Iterable[str], kind: str) -> dict[Path, list[Path]]:
    """:func:`all_beside` of the records that ship with the package, of the tasks or families ``patterns``, that have such files."""
    found: dict[Path, list[Path]] = defaultdict(list)
    for pattern in sorted(patterns):
        for file in shipped_texts(pattern):
            stem, about, _ = file.name.partition(f".{kind}")
            if about:
                found[file.with_name(f"{stem}.json")].append(file)
    return found


def read_evidence(source: Path | IO[bytes], largest: int = LARGEST) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file: numbers and booleans only. Nothing is unpickled, and sizes are checked before anything is read.

    Args:
        largest: bytes that the arrays may take together.

    Raises:
        InvalidEvidence: not an archive of such arrays, or too large.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _check(entries, largest)
            return {entry.filename.removesuffix(".npy"): _array(entry.filename, read_entry(archive, entry)) for entry in entries}
    except InvalidEvidence:
        raise
    except OSError as error:
        raise InvalidEvidence(f"cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise InvalidEvidence(f"not a readable .npz archive ({_one_line(error)})") from None


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of ``entry``, of the size that it declares: asked for all, zipfile would inflate up to 2 GiB before it looks.

    Raises zipfile.BadZipFile where size or checksum are others.
    """
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename!r} has {len(content)} bytes, not the {entry.file_size} that it declares")
    return content


def _check(entries: list[zipfile.ZipInfo], largest: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > largest:
        raise InvalidEvidence(f"its arrays take {total / 2**20:.0f} MiB, more than the {largest / 2**20:.0f} MiB allowed")
    if len(entries) > MOST or len({entry.filename for entry in entries}) < len(entries):
        raise InvalidEvidence(f"{len(entries)} arrays, some of one name or more than {MOST}")
    for entry in entries:
        if not entry.filename.endswith(".npy") or entry.flag_bits & 1 or entry.compress_type not in METHODS:
            raise InvalidEvidence(f"{entry.filename!r} is not a plain .npy array")


def _array(name: str, content: bytes) -> np.ndarray:
    """The array of ``.npy`` bytes, whose header must agree with their length. Raises InvalidEvidence, ValueError."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise InvalidEvidence(f"{name!r} has version {version} of the format, not 1.0 or 2.0")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in "biuf":
        raise InvalidEvidence(f"{name!r} holds {dtype} objects: only numbers and booleans are read, nothing is unpickled")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise InvalidEvidence(f"{name!r} claims shape {shape}, but has {len(content) - file.tell()} bytes")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
