"""A checkout with any number of shipped records: the package's own, and these again with other seeds.

python tests/speed/shipped.py FOLDER 5000
"""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
PARTS = ("bench", "docs", "elboard", "methods", "sweeps", "tasks")
STRIDE = 1_000  # between a seed and the next copy's


def checkout(folder: Path, count: int) -> Path:
    """Make ``folder`` a checkout of this code, by links, that ships ``count`` records. Returns it."""
    from elboard.results.store.lines import boards_below, lines

    (folder / "results").mkdir(parents=True)
    for part in (*PARTS, *(f"results/{one.name}" for one in (ROOT / "results").iterdir() if one.name != "records")):
        (folder / part).symlink_to(ROOT / part)
    found = {file.relative_to(ROOT): lines(f"{file.parent.name}/{file.stem}", []) for file in boards_below(ROOT / "results" / "records")}
    wanted: dict[Path, list[str]] = defaultdict(list)
    made, copy = 0, 0
    while made < count:
        for file, of_file in found.items():
            for line in of_file[: count - made]:
                wanted[file].append(_line(line, copy, made))
                made += 1
        copy += 1
    for file, texts in wanted.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return folder


def _line(line: object, copy: int, number: int) -> str:
    """The line of a record's copy with another seed, other values and what is said of it kept; the first copy is the record itself."""
    from elboard.bench import record as records
    from elboard.bench.metrics.conventions import in_range
    from elboard.results.shipping import encoded

    if not copy:
        return encoded(line.tree)
    old = line.record
    run = old.run().reseeded(old.spec["seed"] + STRIDE * copy)
    metrics = {name: other if in_range(name, other := value * (1 - 1e-3 * (number % 7))) else value for name, value in old.metrics.items()}
    changed = {"key": run.key, "attempt": f"{number:012x}", "spec": run.resolved(), "identity": run.identity(), "metrics": metrics}
    new = records.seal(dataclasses.replace(old, **changed, digest=""))
    said = [{**of, "key": new.key, "attempt": new.attempt, "digest": new.digest} for of in line.said("verified")]
    return encoded({"record": dataclasses.asdict(new), "verified": said})


if __name__ == "__main__":
    checkout(Path(sys.argv[1]), int(sys.argv[2]))
