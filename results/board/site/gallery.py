"""Curves and pictures of runs: beside the shipped records, and in the folders of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from elboard.bench.record import finite
from elboard.results.beside import all_beside, stem_of
from elboard.results.store.files import folders_of
from elboard.results.store.lines import SHIPPED, boards_below, lines

CURVES = 100  # of a run
POINTS = 120  # of a curve; longer ones are thinned
SEEDS = 5  # curves of a row
LOOKED = 20  # runs of a row in which curves and pictures are looked for


class Gallery:
    """Files of runs by key; absent ones are simply absent."""

    def __init__(self, root: Path | None, shipped: bool) -> None:
        self.homes = [runs.folder for runs in folders_of(root)]
        self.beside: dict[str, dict[str, Path]] = {}
        beside = {file: all_beside(file) for file in boards_below(SHIPPED)} if shipped else {}
        for line in lines("", []) if shipped else ():
            self.beside[line.record.key] = {**self.beside.get(line.record.key, {}), **beside[line.file].get(stem_of(line.record), {})}

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


def _curve(file: Path) -> dict[str, list]:
    rows = []
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the last line of a run that was killed
        if isinstance(row, dict) and "epoch" in row:
            rows.append(row)
    rows = rows[:: math.ceil(len(rows) / POINTS)] if rows else []
    names = list(dict.fromkeys(name for row in rows for name in row))[:CURVES]
    return {name: [_value(row.get(name)) for row in rows] for name in names}


def _value(value: object) -> float | None:
    return float(f"{value:.5g}") if finite(value) else None
