"""The archive of a submission (``.elboard.zip``): writing it, and reading one without trusting it.

``manifest.json`` gives the size and the SHA-256 of each file. Names, kinds and sizes are checked in the directory before anything is read,
all is read in memory, within limits, and nothing is written to disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elboard.results.evidence import METHODS, read_entry

SCHEMA = 1
MANIFEST = "manifest.json"
MOST_FILES, LARGEST_FILE, LARGEST_TOTAL = 100_000, 256 * 2**20, 2**30
RATIO, FREE = 100, 2**20  # beyond the first MiB a file that inflates a hundredfold is a bomb
STEM = r"[0-9a-f]{16}\.[A-Za-z0-9_-]{1,64}"
NAME = re.compile(rf"records/{STEM}\.json|evidence/{STEM}\.npz|curves/{STEM}\.jsonl|pictures/{STEM}/[A-Za-z0-9._-]{{1,80}}\.png")
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal contents make equal files


class Refused(ValueError):
    """Why a submission, or a record in it, is not accepted; one line."""


def pack(files: Mapping[str, bytes], path: Path) -> None:
    """Write ``files`` with their manifest to a submission at ``path``."""
    listed = {name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in files.items()}
    manifest = json.dumps({"schema": SCHEMA, "files": listed}, indent=1, sort_keys=True) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in {MANIFEST: manifest.encode(), **files}.items():
                packed = name.endswith((".npz", ".png"))  # already
                archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Refused(f"not a readable zip archive, perhaps truncated ({one_line(error)})") from None
    _check_manifest(found)
    return {name: content for name, content in found.items() if name != MANIFEST}


def _check_directory(entries: list[zipfile.ZipInfo]) -> None:
    """Names, kinds and declared sizes, before anything is read."""
    if len(entries) > MOST_FILES:
        raise Refused(f"{len(entries)} files, more than {MOST_FILES}")
    seen: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        mode = entry.external_attr >> 16
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or "\\" in name or ".." in name.split("/") or "\0" in name:
            raise Refused(f"the name {name!r:.120} leads out of the archive")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Refused(f"{name!r:.120} is a link or no plain file")
        if name.lower() in seen:
            raise Refused(f"the name {name!r:.120} is there twice")
        if entry.flag_bits & 1 or entry.compress_type not in METHODS:
            raise Refused(f"{name!r:.120} is encrypted or packed in an unknown way")
        if name != MANIFEST and not NAME.fullmatch(name):
            raise Refused(f"the name {name!r:.120} is none of a submission's")
        if entry.file_size > LARGEST_FILE:
            raise Refused(f"{name!r:.120} has {entry.file_size} bytes, more than {LARGEST_FILE}")
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


def one_line(error: Exception) -> str:
    """The message of ``error`` in one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(error).split()))[:200]
