"""A folder of runs, in which they are found by their specifications: the one answer to what has become of a run. Never imports torch.

Records are the truth. What an engine or a scheduler believes changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from elboard.bench import legacy
from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError, command, nearest
from elboard.bench.identity import UNSAID, changed
from elboard.bench.record import Record
from elboard.bench.registry import discover

RETRIABLE = ("oom", "timeout", "killed", "infra")
RETRIES = 2
LAST, EPOCHS = "checkpoints/last.ckpt", "checkpoints/epochs"  # of a run's folder: whence training goes on, and what is tracked afterwards


def matching(root: Path, key: str, known: Collection[str]) -> set[str]:
    """Those of the keys ``known`` that begin with ``key``; if none does, those of runs whose folders under ``root`` have names that do,
    which may be keys from before."""
    folders = (folder for home in (root, root / records.ARCHIVE) for folder in home.glob(f"{escape(key)}*/"))
    named = {one for one in known if one.startswith(key)}
    return named or {record.key for folder in folders for record in records.attempts(root / folder.name)} & set(known)


def folders_of(root: Path, key: str) -> list[Path]:
    """The folders under ``root`` with records of runs whose keys begin with ``key``, by whatever names: keys from before are others."""
    folders = sorted(file.parent for file in root.glob("*/attempts"))
    return [folder for folder in folders if any(record.key.startswith(key) for record in records.attempts(folder))]


def folder_named(root: Path, key: str) -> Path:
    """The folder under ``root`` of the run ``key``, else of the one run that begins so. Raises UserError for none or several."""
    known = {folder.name: folder for folder in sorted(root.glob("*/")) if (folder / "log.txt").exists() or (folder / "attempts").is_dir()}
    begun = [folder for name, folder in known.items() if key and name.startswith(key)]
    found = [known[key]] if key in known else begun or (folders_of(root, key) if key else [])
    if not found:
        raise UserError(f"no run {key!r} in {root}: {nearest(key, known)}")
    if len(found) > 1:
        raise UserError(f"{key!r} is the beginning of {len(found)} runs in {root}: {', '.join(folder.name for folder in found[:6])}")
    return found[0]


def begin_anew(folder: Path, keep: bool = False) -> Path | None:
    """Take the checkpoint away from which training in a run's ``folder`` would go on; where it is ``kept``, under which name."""
    last, aside = folder / LAST, (folder / LAST).with_suffix(".unfit")
    for file in (aside, *(() if keep else (last,))):
        if file.is_dir():  # as some strategies write it
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
    return last.rename(aside) if keep else None


def again(spec: RunSpec, root: Path) -> str:
    """The command that runs ``spec`` under ``root``."""
    given = changed(spec.identity(), discover("method", tuple(map(Path, spec.paths))))
    options = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items() if name not in UNSAID]
    words = ("run", spec.task, spec.method, *options, "--seed", spec.seed, "--budget", spec.budget)
    return command(*words, out=root, paths=spec.paths)


@dataclass(frozen=True)
class Runs:
    """The runs under ``root``.

    ``forgiven``: attempts by key that do not count: failures from before a sweep was asked for, which the user may have mended.
    """

    root: Path
    forgiven: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def folder(self, run: RunSpec) -> Path:
        """Where a run lies or will lie: what lies under a key from before goes on there."""
        if not self._has(run.key):
            for key in filter(self._has, legacy.keys_of(run)):
                if all(record.key in (key, run.key) for record in records.attempts(self.root / key)):  # not of code edited since
                    return self.root / key
        return self.root / run.key

    def _has(self, key: str) -> bool:
        return os.path.isdir(self.root / key) or os.path.isdir(self.root / records.ARCHIVE / key)

    def weights(self, spec: RunSpec) -> Path:
        """The file of the final weights."""
        return self.folder(spec) / "checkpoints" / "final.ckpt"

    def attempts(self, spec: RunSpec) -> list[Record]:
        """The valid records of a run; invalid files are passed over."""
        return records.attempts(self.folder(spec))

    def done(self, spec: RunSpec) -> Record | None:
        """The newest record of a completed attempt."""
        return records.effective(record for record in self.attempts(spec) if record.status == "done")

    def trained(self, spec: RunSpec) -> Record | None:
        """:meth:`done`, if the weights are there from which others can start."""
        return self.done(spec) if self.weights(spec).exists() else None

    def parts(self, spec: RunSpec) -> int:
        """Of how many parts the loss of a batch is next: 2 to the number of attempts that ran out of memory."""
        return 2 ** sum(record.status == "failed" and record.failure["class"] == "oom" for record in self.attempts(spec))

    def over(self, spec: RunSpec) -> Record | None:
        """The record by which a run is over, or None where it is to be tried (again): that of a completed attempt, of a failure that is
        not to be tried again, or of such a failure of a run that it starts from."""
        found = self.attempts(spec)
        done = records.effective(record for record in found if record.status == "done")
        if done is not None:
            return done
        ignored = self.forgiven.get(spec.key, ())
        failed = sorted((record for record in found if record.attempt not in ignored), key=lambda record: record.ended)
        fatal = [record for record in failed if record.failure["class"] not in RETRIABLE]
        if fatal or len(failed) > RETRIES:
            return (fatal or failed)[-1]
        bases = (self.over(base) for base in spec.starts_from())
        return next((record for record in bases if record is not None and record.status == "failed"), None)

    def failures(self, specs: Iterable[RunSpec]) -> dict[str, list[str]]:
        """The failed attempts at ``specs``, by key, for those that have any."""
        found = {spec.key: [record.attempt for record in self.attempts(spec) if record.status == "failed"] for spec in specs}
        return {key: failed for key, failed in found.items() if failed}
