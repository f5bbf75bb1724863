"""``python -m elboard.sweeps.one SPEC.json ROOT TRACKER``: one run in an interpreter of its own, for runs of several processes."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.run import execute
from elboard.sweeps.work import EXIT_PREEMPTED


def main(file: str, root: str, tracker: str) -> int:
    """Execute the run. Returns 0 if it is done, 75 if it was asked to stop and saved a checkpoint, else 1."""
    stopping.listen(signal.SIGUSR1, signal.SIGTERM)
    spec = RunSpec.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))
    try:
        return 0 if execute(spec, Path(root), tracker).status == "done" else 1
    except stopping.Preempted:
        return EXIT_PREEMPTED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
