"""Files from anywhere, read without trusting them: submissions (``.elboard.zip``), evidence (``.npz``), curves and pictures.

Nothing is unpickled. Names, kinds and sizes are checked in the directory of an archive before anything is read, all is read in memory,
within limits. ``manifest.json`` of a submission gives the size and the SHA-256 of each file. Curves must be lines of JSON with numbers
alone; pictures are decoded and encoded anew, so that nothing but their pixels comes in.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from elboard.bench.record import save_atomically

SCHEMA = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 8 * 2**20
MOST_FILES, MOST_ARRAYS, LARGEST_FILE, LARGEST_TOTAL = 100_000, 1000, 256 * 2**20, 2**30
RATIO, FREE = 100, 2**20  # beyond the first MiB a file that inflates a hundredfold is a bomb
STEM = r"[0-9a-f]{16}\.[A-Za-z0-9_-]{1,64}"
NAME = re.compile(rf"records/{STEM}\.json|evidence/{STEM}\.npz|curves/{STEM}\.jsonl|pictures/{STEM}/[A-Za-z0-9._-]{{1,80}}\.png")
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal contents make equal files
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
EPOCHS, CURVES = 50, 100  # of a curve, of a run
SIDE = 4096  # pixels of a picture's side
CURVE = re.compile(r"[A-Za-z][A-Za-z0-9_./@%+=,\[\]-]{0,79}")


class Refused(ValueError):
    """Why a submission, or a record in it, is not accepted; one line."""


class InvalidEvidence(ValueError):
    """A file that is no evidence; the message says what is wrong in one line."""


def pack(files: Mapping[str, bytes], path: Path) -> None:
    """Write ``files`` with their manifest to a submission at ``path``."""
    listed = {name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in files.items()}
    manifest = json.dumps({"schema": SCHEMA, "files": listed}, indent=1, sort_keys=True) + "\n"

    def save(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in {MANIFEST: manifest.encode(), **files}.items():
                packed = name.endswith((".npz", ".png"))  # already
                archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)

    save_atomically(path, save)


def contents_of(file: Path) -> dict[str, bytes]:
    """The files of an archive that is what it says it is, without the manifest. Raises Refused."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if min((entry.header_offset for entry in entries), default=0) > 0:  # the end may be that of an archive within a truncated one
                raise zipfile.BadZipFile("it begins with something else")
            _check_directory(entries)
            found = {entry.filename: read_entry(archive, entry) for entry in entries}
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror or error})") from None
    except Refused:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on what is none
        raise Refused(f"not a readable zip archive, perhaps truncated ({one_line(error)})") from None
    _check_manifest(found)
    return {name: content for name, content in found.items() if name != MANIFEST}


def _check_directory(entries: list[zipfile.ZipInfo]) -> None:
    """Names, kinds and declared sizes, before anything is read."""
    if len(entries) > MOST_FILES:
        raise Refused(f"{len(entries)} files, more than {MOST_FILES}")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename  # under which it is read and unpacked
        mode = entry.external_attr >> 16
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or "\\" in name or ".." in name.split("/") or "\0" in name:
            raise Refused(f"the name {name!r:.120} leads out of the archive")
        if name != entry.orig_filename:
            raise Refused(f"the name {name!r:.80} is {entry.orig_filename!r:.80} too")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Refused(f"{name!r:.120} is a link or no plain file")
        if name.lower() in seen:
            raise Refused(f"the name {name!r:.120} is there twice")
        if entry.flag_bits & 1 or entry.compress_type not in METHODS:
            raise Refused(f"{name!r:.120} is encrypted or packed in an unknown way")
        if name != MANIFEST and not NAME.fullmatch(name):
            raise Refused(f"the name {name!r:.120} is none of a submission's")
        largest = LARGEST_MANIFEST if name == MANIFEST else LARGEST_FILE
        if entry.file_size > largest:
            raise Refused(f"{name!r:.120} has {entry.file_size} bytes, more than {largest}")
        if entry.file_size > FREE + RATIO * entry.compress_size:
            raise Refused(f"{name!r:.120} inflates {entry.compress_size} bytes to {entry.file_size}")
        seen.add(name.lower())
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_TOTAL:
        raise Refused(f"its files have {total} bytes together, more than {LARGEST_TOTAL}")


def _check_manifest(found: Mapping[str, bytes]) -> None:
    if MANIFEST not in found:
        raise Refused(f"it has no {MANIFEST}")
    manifest = strict_json(found[MANIFEST])
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise Refused(f"its {MANIFEST} is none")
    if manifest.get("schema") != SCHEMA:
        raise Refused(f"schema {manifest.get('schema')!r:.40} of its {MANIFEST} is not the known {SCHEMA}")
    listed, present = manifest["files"], set(found) - {MANIFEST}
    if set(listed) != present:
        raise Refused(f"{sorted(set(listed) ^ present)[0]!r:.120} is not both in the archive and in its {MANIFEST}")
    for name, said in listed.items():
        if said != {"sha256": hashlib.sha256(found[name]).hexdigest(), "size": len(found[name])}:
            raise Refused(f"{name} is not the file that the {MANIFEST} describes: another hash or size")


def strict_json(content: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no name twice. Raises Refused."""

    def constant(name: str) -> None:
        raise Refused(f"it holds {name}, which is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict:
        if len({name for name, _ in pairs}) < len(pairs):
            raise Refused("a name is there twice in one mapping")
        return dict(pairs)

    try:
        return json.loads(content.decode(), parse_constant=constant, object_pairs_hook=once)
    except Refused:
        raise
    except (ValueError, RecursionError):
        raise Refused("not valid JSON") from None


def read_evidence(source: Path | IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file: numbers and booleans only. Nothing is unpickled, and sizes are checked before anything is read.

    Raises InvalidEvidence: not an archive of such arrays, or too large.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _check_arrays(entries)
            return {entry.filename.removesuffix(".npy"): _array(entry.filename, read_entry(archive, entry)) for entry in entries}
    except InvalidEvidence:
        raise
    except OSError as error:
        raise InvalidEvidence(f"cannot be read ({error.strerror or error})") from None
    except Exception as error:  # zipfile, zlib and NumPy's reader of headers raise many kinds on what is none
        raise InvalidEvidence(f"not a readable .npz archive ({one_line(f'{type(error).__name__}: {error}')})") from None


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of ``entry``, of the size that it declares: asked for all, zipfile would inflate up to 2 GiB before it looks.

    Raises zipfile.BadZipFile where size or checksum are others.
    """
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename!r} has {len(content)} bytes, not the {entry.file_size} that it declares")
    return content


def _check_arrays(entries: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_FILE:
        raise InvalidEvidence(f"its arrays take {total / 2**20:.0f} MiB, more than the {LARGEST_FILE / 2**20:.0f} MiB allowed")
    if len(entries) > MOST_ARRAYS or len({entry.filename for entry in entries}) < len(entries):
        raise InvalidEvidence(f"{len(entries)} arrays, some of one name or more than {MOST_ARRAYS}")
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
    if dtype.kind not in "biuf" or dtype.itemsize > 16:
        raise InvalidEvidence(f"{name!r} holds {dtype} objects: only numbers and booleans are read, nothing is unpickled")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise InvalidEvidence(f"{name!r} claims shape {shape}, but has {len(content) - file.tell()} bytes")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hexadecimal) of what arrays hold, however they are packed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def curves_of(content: bytes) -> bytes:
    """The same with six digits of each value, where pages show five, of at most fifty epochs, evenly spaced."""
    rows = [strict_json(line) for line in content.splitlines()]
    names: set[str] = set()
    for i, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(CURVE.fullmatch(name) and _number(value) for name, value in row.items()):
            raise Refused(f"line {i} is no mapping from names to numbers")
        names |= row.keys()
    if len(names) > CURVES:
        raise Refused(f"{len(names)} curves, more than {CURVES}")
    last, n = len(rows) - 1, min(len(rows), EPOCHS)
    rows = [rows[round(i * last / (n - 1))] for i in range(n)] if n > 1 else rows
    short = ({name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()} for row in rows)
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in short).encode()


def _number(value: object) -> bool:
    if value is None or isinstance(value, int) and not isinstance(value, bool):
        return value is None or abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def picture_of(content: bytes) -> bytes:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:  # reads the header alone
            if max(image.size) > SIDE:
                raise Refused(f"{image.size[0]} x {image.size[1]} pixels, more than {SIDE} a side")
            pixels = image.convert("L" if image.mode in ("1", "L") else "RGB")
    except Refused:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise Refused(f"no readable PNG ({one_line(error)})") from None
    out = io.BytesIO()
    pixels.save(out, format="PNG", optimize=True)
    return out.getvalue()


def one_line(error: object) -> str:
    """The message of ``error`` in one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(error).split()))[:200]
