"""Curves and pictures of runs: beside the shipped records, and in the folders of runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from elboard.results.store import SHIPPED

POINTS = 120  # of a curve; longer ones are thinned
SEEDS = 5  # curves of a row
LOOKED = 20  # runs of a row in which curves and pictures are looked for
BESIDE = re.compile(r"-(?P<key>[0-9a-f]{16})\.[0-9a-f]{12}\.(?P<what>[A-Za-z0-9_.-]+)")


class Gallery:
    """Files of runs by key; absent ones are simply absent."""

    def __init__(self, root: Path | None, shipped: bool) -> None:
        self.homes = homes_of(root)
        self.beside: dict[str, dict[str, Path]] = {}
        for file in sorted(SHIPPED.rglob("*")) if shipped else ():
            match = BESIDE.search(file.name)
            if match and file.suffix in (".jsonl", ".png"):
                self.beside.setdefault(match["key"], {})[match["what"]] = file

    def curves(self, keys: Sequence[str]) -> list[dict[str, list]]:
        """For each run that has curves, up to SEEDS: ``{"epoch": [...], "valid/accuracy": [...]}`` with None where a value is absent."""
        found = []
        for key in keys[:LOOKED]:
            beside = self.beside.get(key, {}).get("curves.jsonl")
            files = [beside] if beside else [home / key / "curves.jsonl" for home in self.homes]
            found += [curve for file in files if file.is_file() and (curve := _curve(file))]
            if len(found) >= SEEDS:
                break
        return found[:SEEDS]

    def pictures(self, keys: Sequence[str]) -> list[tuple[str, Path]]:
        """(name, file) of the pictures of the first run that has some."""
        for key in keys[:LOOKED]:
            found = [(what.removesuffix(".png"), file) for what, file in self.beside.get(key, {}).items() if what.endswith(".png")]
            if not found:
                files = (file for home in self.homes for file in sorted((home / key / "pictures").glob("*.png")))
                found = [(file.stem, file) for file in files if file.is_file() and not file.is_symlink()]
            if found:
                return found
        return []


def homes_of(root: Path | None) -> list[Path]:
    """The folders that hold runs as ``<key>/``: ``root`` and its archive."""
    return [folder for folder in (root, root / "archive") if folder.is_dir()] if root is not None else []


def _curve(file: Path) -> dict[str, list]:
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed
        if isinstance(row, dict) and "epoch" in row:
            rows.append(row)
    rows = rows[:: math.ceil(len(rows) / POINTS)] if rows else []
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_value(row.get(name)) for row in rows] for name in names}


def _value(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(f"{value:.5g}") if number else None
