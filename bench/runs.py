"""A folder of runs, in which they are found by their specifications: the one answer to what has become of a run. Never imports torch.

Records are the truth. What an engine or a scheduler believes changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.record import Record

RETRIABLE = ("oom", "timeout", "killed", "infra")
RETRIES = 2


@dataclass(frozen=True)
class Runs:
    """The runs under ``root``.

    ``forgiven``: attempts by key that do not count: failures from before a sweep was asked for, which the user may have mended.
    """

    root: Path
    forgiven: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def folder(self, run: RunSpec | str) -> Path:
        """Where a run, or the run of a key, lies or will lie."""
        return self.root / (run if isinstance(run, str) else run.key)

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
