"""``check``: whether anybody's methods and tasks keep their contract."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

from elboard.bench import check
from elboard.bench.errors import UserError
from elboard.bench.registry import compatible, discover


def check_command(path: Path, as_json: bool) -> int:
    """Print one line for each finding. Returns 1 if there is one, else 0. Raises UserError where ``path`` holds no method and no task."""
    paths = (path,)
    entries = [entry for kind in ("method", "task") for entry in discover(kind, paths).values()]
    mine = [entry for entry in entries if entry.file.resolve().is_relative_to(path.resolve())]
    if not mine:
        raise UserError(f"{path}: no method and no task: nothing there has a CARD")
    pairs = [pair for pair in compatible(paths) if {entry.card.name for entry in mine} & {*pair}]
    with tempfile.TemporaryDirectory(prefix="elboard-check-") as folder, contextlib.redirect_stdout(sys.stderr):
        found = [finding for entry in mine for finding in check.collect(entry.card.name, check.of_entry(entry, paths))]
        for task, method in pairs:
            found += check.collect(f"{method} on {task}", check.of_pair(task, method, paths, Path(folder)))
    if as_json:
        print(json.dumps([finding._asdict() for finding in found], indent=1))
    else:
        print(*(f"{finding.of}: {finding.check}: {finding.said}" for finding in found), sep="\n", end="\n" if found else "")
        print(f"{len(mine)} checked, on {len(pairs)} pairs: {len(found)} finding{'s' * (len(found) != 1)}")
    return int(bool(found))
