"""Where records lie: as a file in a folder of runs, or as a line among those that ship with the package (:class:`Line`).

What is derived from a record later (verifications, backfilled metrics) is never written into it: it is said about it, which both kinds of
place keep. Both have ``record``, ``evidence``, ``said`` and ``say``.
"""

from __future__ import annotations

import glob
import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.record import ARCHIVE, Record
from elboard.results.left_out import telling
from elboard.results.store.files import folders_of
from elboard.results.store.lines import Line, lines


@dataclass(frozen=True)
class InRuns:
    """A record in a folder of runs (or in its archive), ``<root>/<key>/attempts/<attempt>.json``.

    What is said about it lies in ``<root>/<kind>/<key>/<attempt>.<any name>.json``, so that one listing says which runs have any.
    """

    file: Path
    record: Record

    @property
    def folders(self) -> list[Path]:
        """The folders that may hold the files of its run; ``<root>/<key>`` is the last."""
        folder = self.file.parent.parent
        return [folder, folder.parent.parent / folder.name] if folder.parent.name == ARCHIVE else [folder]

    @property
    def evidence(self) -> Path | None:
        """Its evidence: a run's folder holds that of its newest finished attempt only, other attempts have none."""
        files = [folder / "evidence" / "evidence.npz" for folder in self.folders]
        file = next((file for file in files if file.is_file()), None)
        best = records.effective(records.attempts(self.folders[-1])) if file else None
        return file if best is not None and best.status == "done" and best.attempt == self.record.attempt else None

    def said(self, kind: str) -> list[Any]:
        """What is said about it, of ``kind`` "verified" or "backfill"; what cannot be read is passed over."""
        found = []
        for file in sorted(self._about(kind).glob(f"{glob.escape(self.file.stem)}*.json")):
            with suppress(OSError, ValueError):
                found.append(json.loads(file.read_text(encoding="utf-8")))
        return found

    def say(self, kind: str, about: Mapping[str, Any]) -> Path:
        """Write ``about`` to a file that nothing overwrites, and return it. Raises OSError."""
        file = self._about(kind) / f"{self.file.stem}.{uuid.uuid4().hex[:12]}.json"
        records.write_text_atomically(file, json.dumps(about, indent=1, sort_keys=True) + "\n")
        return file

    def _about(self, kind: str) -> Path:
        return self.folders[-1].parent / kind / self.folders[-1].name


Place = InRuns | Line


def effective(root: Path | None, shipped: bool) -> dict[str, Place]:
    """Where the attempt that counts lies of each run, by key; one that lies in several places counts where its evidence is.

    Warns of files and lines that are left out.
    """
    with telling() as left_out:
        found = ((of, item) for of in folders_of(root) for file in sorted(of.scan(left_out).items()) for item in of.read(*file, left_out))
        in_runs = (InRuns(of.folder / item.file, item.record) for of, item in found)
        runs: dict[str, dict[str, Place]] = defaultdict(dict)
        for place in chain(in_runs, lines("", left_out) if shipped else ()):
            known = runs[place.record.key].get(place.record.attempt)
            if known is None or known.evidence is None:
                runs[place.record.key][place.record.attempt] = place
    return {key: of_run[records.effective(place.record for place in of_run.values()).attempt] for key, of_run in runs.items()}


def places_of_run(root: Path, key: str) -> Iterator[InRuns]:
    """The valid records of the run ``key`` in the folder of runs ``root`` and its archive."""
    for file in records.files_of(root / key):
        with suppress(records.InvalidRecord, OSError):
            yield InRuns(file, records.read(file))
