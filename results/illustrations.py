"""Curves and pictures of submitted runs: what pages of methods show. One run of a group is enough, and nothing of them is trusted.

Curves must be lines of JSON with numbers alone; pictures are decoded and encoded anew, so that nothing but their pixels comes in. What is
otherwise is left out and told: a record does not depend on it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.record import Record
from elboard.results.bundle import Refused, one_line, strict_json
from elboard.results.store.rows import group_of

LARGEST = 4 * 2**20  # bytes of one file
SIDE = 4096  # pixels of a picture's side
CURVE = re.compile(r"[A-Za-z][A-Za-z0-9_./@%+-]{0,79}")


def lacking(found: Iterable[Record], into: Path) -> list[Record]:
    """One run, that of the smallest seed, of each group of which no curves or pictures lie below ``into``."""
    first: dict[str, Record] = {}
    for record in sorted(found, key=lambda record: record.spec["seed"]):
        first.setdefault(group_of(record), record)
    looked_in = {(record.spec["task"], record.spec["method"]) for record in first.values()}
    here = {group for task, method in looked_in for group in _here(into / task, method)}
    return [record for group, record in first.items() if group not in here]


def _here(folder: Path, method: str) -> set[str]:
    """The groups of ``method`` of which there are some in the folder of a task."""
    found = set()
    for file in folder.glob(f"{method}-s*"):
        if file.suffix in (".jsonl", ".png"):
            key, attempt = file.name.split(".")[:2]
            with suppress(records.InvalidRecord, OSError):
                found.add(group_of(records.read(folder / f"{key}.{attempt}.json")))
    return found


def illustrate(record: Record, contents: Mapping[str, bytes], path: Path) -> tuple[list[Path], list[str]]:
    """Write the curves and pictures of ``record`` that a submission's ``contents`` have beside its file at ``path``.

    Returns the files, and a line for each that is left out. Raises UserError where they cannot be written.
    """
    stem, written, left_out = f"{record.key}.{record.attempt}", [], []
    wanted = {f"curves/{stem}.jsonl": ("curves.jsonl", _curves)}
    for name in sorted(name for name in contents if name.startswith(f"pictures/{stem}/")):
        wanted[name] = (name.rpartition("/")[2], _picture)
    for name, (tail, check) in wanted.items():
        if not contents.get(name):
            continue  # a method that is not trained has an empty file of curves
        try:
            if len(contents[name]) > LARGEST:
                raise Refused(f"{len(contents[name])} bytes, more than {LARGEST}")
            content = check(contents[name])
        except Refused as error:
            left_out.append(f"{name}: is left out: {error}")
            continue
        file = path.with_name(f"{path.stem}.{tail}")
        try:
            file.write_bytes(content)
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror or error})") from None
        written.append(file)
    return written, left_out


def _curves(content: bytes) -> bytes:
    for i, line in enumerate(content.splitlines(), 1):
        row = strict_json(line)
        if not isinstance(row, dict) or not all(CURVE.fullmatch(name) and _number(value) for name, value in row.items()):
            raise Refused(f"line {i} is no mapping from names to numbers")
    return content


def _number(value: object) -> bool:
    if value is None or isinstance(value, int) and not isinstance(value, bool):
        return value is None or abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _picture(content: bytes) -> bytes:
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
