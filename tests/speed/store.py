"""What reading records costs: ``python tests/speed/store.py``. One machine in one sitting; only the ratios travel.

Archives of synthetic records, all tasks x 56 methods x 100 (1,000) seeds with the metrics of their boards and 7 costs each, are written by
the package's own writer; each time is that of a fresh process, the best of three, its imports apart; on a busy machine the CPU seconds say
more. The aims are those of ``elboard leaderboard`` once ``elboard compact`` has kept the statistics; "shipped" are boards that the records
of the package stand on too, as the command shows them by default. Not a test, for the reasons given in ``sweeps.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
METHODS = 56
ONE = "ood/mnist"
COST = ("cpu_s", "evaluate_s", "flops_per_example", "parameters", "peak_memory_mib", "train_s", "wall_s")
TIMED = """
import sys, time
from pathlib import Path
import numpy
start = time.perf_counter()
if sys.argv[1] == "duckdb":
    import duckdb
    middle = time.perf_counter()
    duckdb.connect().execute("SELECT 1").fetchall()
    print(middle - start, time.perf_counter() - middle)
    sys.exit()
from elboard.results.store import groups
if sys.argv[4] == "warm":
    import duckdb
    duckdb.connect().execute("SELECT 1").fetchall()
start, cpu = time.perf_counter(), time.process_time()
found = groups(Path(sys.argv[2]), shipped=False, pattern=sys.argv[3])
cpu = time.process_time() - cpu
print(time.perf_counter() - start, len(found), sum(group.n for group in found), cpu)
start, cpu = time.perf_counter(), time.process_time()
values = sum(len(column) for group in found for column in (*group.metrics.values(), *group.cost.values()))
print(time.perf_counter() - start, time.process_time() - cpu)
start = time.perf_counter()
names = sum(len(group.keys) + len(group.attempts) for group in found)
print(time.perf_counter() - start)
"""


LEADERBOARD = """
import contextlib, io, sys, time
from pathlib import Path
import duckdb
from elboard.bench.cli.boards import FEW
from elboard.bench.cli.printing import print_tables, read_groups
from elboard.bench.registry import discover
from elboard.results.board.build import Choice, boards
from elboard.results.store import groups_of, load
from elboard.results.verify import badges
from elboard.results.store.homes import FOLDER
root, which, shipped = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "shipped"
duckdb.connect().execute("SELECT 1").fetchall()
with contextlib.redirect_stdout(io.StringIO()):
    print_tables(boards(groups_of(load(None)))[:1])  # methods' options and what prints tables: imports
def lap():
    laps.append((time.perf_counter(), time.process_time()))
laps = []
lap()
found = read_groups(root, shipped, which)
lap()
made = boards(found, which, (), Choice(), badges(root, shipped, found), root / FOLDER)
lap()
with contextlib.redirect_stdout(io.StringIO()):
    print_tables(made, 0 if which in discover("task") else FEW)
lap()
print(*(f"{b[0] - a[0]:.4f}" for a, b in zip(laps, laps[1:])), f"{laps[-1][0] - laps[0][0]:.4f}", f"{laps[-1][1] - laps[0][1]:.4f}")
"""


def row(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:66} {value:9.3f} {unit:3} {note}", flush=True)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(*words: str, code: str = TIMED, by: int = 0) -> list[str]:
    """What a fresh process prints, of the quickest of three by the number ``by`` of it."""
    runs = [subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(3)]
    return min((run.stdout.split() for run in runs), key=lambda printed: float(printed[by]))


def synthetic(card: Any, seeds: int) -> tuple:
    """Rows of one task, names and states of files, and texts as long as those of real records."""
    import numpy as np

    from elboard.results.store import load
    from elboard.results.store.rows import Rows, setting_of

    task, metrics = card.name, [key for key in card.metrics if "[" not in key]
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    n = METHODS * seeds
    example = next(record for record in load(None) if record.spec["method"] == "vae")
    text = json.dumps(asdict(example), indent=1)
    settings = []
    for method in (f"method-{i:02}" for i in range(METHODS)):
        spec, identity = (
            {**example.spec, "task": task, "method": method},
            {**example.identity, "task": f"{task}@1", "method": f"{method}@1"},
        )
        settings.append(setting_of(replace(example, spec=spec, identity=identity)))
    attempts = rng.integers(0, 2**48, n).astype(np.uint64)
    rows = Rows(
        (task, 1, "lite"),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        attempt=attempts,
        done=rng.random(n) > 0.01,
        trial=np.zeros(n, dtype=bool),
        seed=np.tile(np.arange(seeds), METHODS),
        setting=np.repeat(np.arange(METHODS, dtype=np.int32), seeds),
        settings=settings,
        metrics={name: rng.random(n) for name in metrics},
        cost={name: 100 * rng.random(n) for name in COST},
        ended=np.full(n, "2026-11-24T16:22:38+00:00", dtype=object),
    )
    names = [f"{key:016x}/attempts/{attempt:012x}.json" for key, attempt in zip(rows.key.tolist(), attempts.tolist(), strict=True)]
    contents = [text.replace(example.attempt, f"{attempt:012x}") for attempt in attempts.tolist()]
    return rows, [(name, (len(text), 10**18)) for name in names], contents


def archive(home: Path, seeds: int) -> float:
    """Write an archive of synthetic records below ``home``; returns its size in MiB."""
    from elboard.bench.registry import discover
    from elboard.results.store import homes, index

    (home / "archive" / homes.FOLDER).mkdir(parents=True)
    _, place = homes.homes(home)
    with index.Reader() as reader:
        parts = [reader.write(place, *synthetic(entry.card, seeds)) for entry in discover("task").values()]
    index.cover(place, place.state(), parts, [])
    return sum(part.stat().st_size for part in parts) / 2**20


def archived() -> None:
    from elboard.bench.cli.store import keep_statistics
    from elboard.bench.registry import discover

    imported, connected = timed("duckdb")
    row("importing duckdb, NumPy being there", float(imported), "s")
    row("connecting and a first query", float(connected), "s")
    for seeds, aim in ((100, 0.2), (1000, 0.5)):
        total = f"{len(discover('task')) * METHODS * seeds:,}"
        with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
            home = Path(name)
            took = seconds(lambda home=home, seeds=seeds: archive(home, seeds))
            size = sum(file.stat().st_size for file in home.rglob("*.parquet")) / 2**20
            row(f"writing the parts of {total} archived records", took, "s", f"{size:.0f} MiB")
            for pattern, what in (("", "all"), (ONE, "one task of")):
                cold, warm = timed("groups", name, pattern, "cold"), timed("groups", name, pattern, "warm")
                about = f"{what} {total} records"
                row(f"groups of {about}, duckdb's start included", float(cold[0]), "s", f"{cold[1]} groups, {cold[2]} finished")
                row(f"groups of {about}, duckdb's start apart", float(warm[0]), "s", f"CPU {float(warm[3]):.3f} s")
                row("  all their values", float(warm[4]), "s", f"on demand; CPU {float(warm[5]):.3f} s")
                row("  all their keys and attempts as text", float(warm[6]), "s", "on demand")
            row(f"keeping the statistics of {total} records", seconds(lambda home=home: keep_statistics(home)), "s", "once")
            for pattern, what in (("", "all boards"), (ONE, "one board")):
                for shipped in ("shipped", "alone"):
                    leaderboard(f"{what} of {total} records, {shipped}", aim, name, pattern, shipped)


def leaderboard(what: str, aim: float, *words: str) -> None:
    """What the command takes once statistics are kept, imports and methods' options apart."""
    groups, made, printed, took, cpu = map(float, timed(*words, code=LEADERBOARD, by=4))
    row(f"leaderboard, {what}", took, "s", f"aim {aim}; CPU {cpu:.3f} s; groups {groups:.3f}, boards {made:.3f}, printing {printed:.3f}")


def loose() -> None:
    """Records that are not archived: every file is looked at."""
    from elboard.bench import record as records
    from elboard.results.store import compact, groups, load

    real = load(None)
    with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
        home = Path(name)
        for one in real:
            records.write(one, home / one.key / "attempts" / f"{one.attempt}.json")
        row(f"groups of {len(real)} loose records, not indexed", seconds(lambda: groups(home, shipped=False)), "s")
        row(f"compacting {len(real)} records", seconds(lambda: compact(home)), "s")
        row(f"groups of {len(real)} loose records, indexed", seconds(lambda: groups(home, shipped=False)), "s")
    with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
        indexed(Path(name))


def indexed(home: Path) -> None:
    """A hundred thousand loose files that the index holds: what it costs to see that none has changed."""
    import os

    from elboard.bench.registry import discover
    from elboard.results.store import homes, index

    (place,) = homes.homes(home)
    with index.Reader() as reader:
        for entry in discover("task").values():
            rows, files, contents = synthetic(entry.card, 100)
            for file, (_, time_ns) in files:
                (home / file).parent.mkdir(parents=True)
                (home / file).touch()
                os.utime(home / file, ns=(time_ns, time_ns))
            reader.write(place, rows, [(file, (0, stat[1])) for file, stat in files], contents)
    printed = timed("groups", str(home), "", "warm")
    row(
        "groups of all 100,000 records, loose and indexed",
        float(printed[0]),
        "s",
        f"CPU {float(printed[3]):.3f} s; every file is looked at",
    )


if __name__ == "__main__":
    for part in (archived, loose):
        part()
