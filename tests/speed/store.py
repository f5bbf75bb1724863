"""What reading records costs: ``python tests/speed/store.py``. One machine in one sitting; only the ratios travel.

Archives of 100,000 and 1,000,000 synthetic records, all tasks x 56 methods x their seeds with the metrics of their boards and 7 costs each,
are written by the package's own writer; each time is that of a fresh process, the best of three, its imports apart; on a busy machine the
processor time says more. Aims are those of ``elboard leaderboard`` once ``elboard compact`` has kept the statistics. Not a test, for the
reasons given in ``sweeps.py``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
METHODS = 56
ONE = "ood/mnist"
COST = ("cpu_s", "evaluate_s", "flops_per_example", "parameters", "peak_memory_mib", "train_s", "wall_s")
SIZES = ((100_000, 0.5), (1_000_000, 3.0))
LEADERBOARD = """
import contextlib, gc, io, sys, time
from pathlib import Path
import duckdb
from elboard.bench.cli.boards import print_leaders
from elboard.bench.cli.printing import print_tables
from elboard.bench.registry import discover
from elboard.results.board.build import boards, read_boards
from elboard.results.store import groups_of, load
root, which, shipped = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "shipped"
duckdb.connect().execute("SELECT 1").fetchall()
with contextlib.redirect_stdout(io.StringIO()):
    print_tables(boards(groups_of(load(None)[:9]))[:1])  # methods' options and what prints: imports
    print_leaders(boards(groups_of(load(None)[:9])))
def lap():
    laps.append((time.perf_counter(), time.process_time()))
laps = []
lap()
_, made = read_boards(root, shipped, which)
gc.freeze()  # as the command does
lap()
with contextlib.redirect_stdout(io.StringIO()):
    print_tables(made, 0) if which in discover("task") else print_leaders(made)
lap()
print(f"{laps[-1][1] - laps[0][1]:.4f}", *(f"{b[1] - a[1]:.4f}" for a, b in zip(laps, laps[1:])), f"{laps[-1][0] - laps[0][0]:.4f}")
"""


def row(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:66} {value:9.3f} {unit:3} {note}", flush=True)


def seconds(function: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    function()
    return time.process_time() - start


def timed(*words: str) -> list[float]:
    """What a fresh process prints, of the quickest of three."""
    command = [sys.executable, "-c", LEADERBOARD, *words]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(3)]
    return min([float(word) for word in run.stdout.split()] for run in runs)


def synthetic(card: Any, seeds: int) -> list[Any]:
    """Attempts at runs of one task."""
    import numpy as np

    from elboard.results.store import load
    from elboard.results.store.groups import Rest, attempts, common_to, structured

    task, metrics = card.name, [key for key in card.metrics if "[" not in key]
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    example = next(record for record in load(None) if record.spec["method"] == "vae")
    parts = []
    for method in (f"method-{i:02}" for i in range(METHODS)):
        spec = {**example.spec, "task": task, "method": method}
        identity = {**example.identity, "task": f"{task}@1", "method": f"{method}@1"}
        keys = [f"{key:016x}" for key in rng.integers(0, 2**63, seeds).tolist()]
        drawn = [f"{attempt:012x}" for attempt in rng.integers(0, 2**48, seeds).tolist()]
        texts = {
            "key": keys,
            "attempt": drawn,
            "ended": ["2026-11-24T16:22:38+00:00"] * seeds,
            "badge": [""] * seeds,
            "file": [f"{key}/attempts/{attempt}.json" for key, attempt in zip(keys, drawn, strict=True)],
        }
        done, others = rng.random(seeds) > 0.01, ([False] * seeds, [8_000] * seeds, [10**18] * seeds)
        columns = structured((*texts.values(), range(seeds), done, *others))
        values = {("cost", name): 100 * rng.random(seeds) for name in COST} | {("metrics", name): rng.random(seeds) for name in metrics}
        record = replace(example, spec=spec, identity=identity)
        (about, setting, spec), names = common_to(record), tuple(sorted(values))
        parts.append(attempts(about, setting, names, Rest(spec, columns, np.array([values[name] for name in names]))))
    return parts


def archive(home: Path, total: int) -> int:
    """Write the index of an archive of about ``total`` synthetic records below ``home``; returns their number."""
    from elboard.bench.registry import discover
    from elboard.results.store.cache import write
    from elboard.results.store.files import Runs

    place = Runs(home / "archive", closed=True)
    place.cache.mkdir(parents=True)
    cards = [entry.card for _, entry in sorted(discover("task").items())]
    parts = [part for card in cards for part in synthetic(card, round(total / METHODS / len(cards)))]
    write(place.cache, parts, place.state())
    return sum(part.n for part in parts)


def archived() -> None:
    from elboard.bench.cli.store import keep_statistics

    for size, aim in SIZES:
        with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
            home, counts = Path(name), []
            took = seconds(lambda home=home, size=size, counts=counts: counts.append(archive(home, size)))
            total, size_mib = f"{counts[0]:,}", sum(file.stat().st_size for file in home.rglob("*.parquet")) / 2**20
            row(f"making and writing the index of {total} archived records", took, "s", f"{size_mib:.0f} MiB")
            row(f"keeping the statistics of {total} records", seconds(lambda home=home: keep_statistics(home)), "s", "once")
            for pattern, what in (("", "all boards"), (ONE, "one board")):
                for shipped in ("shipped", "alone"):
                    cpu, made, printed, took = timed(name, pattern, shipped)
                    note = f"aim {aim}; boards {made:.3f}, printing {printed:.3f}; by the clock {took:.3f} s"
                    row(f"leaderboard, {what} of {total} records, {shipped}", cpu, "s", note)


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


if __name__ == "__main__":
    for part in (archived, loose):
        part()
