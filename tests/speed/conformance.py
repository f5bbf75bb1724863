"""What conformance costs with many methods and tasks: copies of the real ones, the slowest among them, as an installed package.

    python tests/speed/conformance.py [--methods 150] [--tasks 70] [--workers 2]

Prints processor seconds, those of the workers included. On a busy machine they say more than the clock does; two cores take half of them.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from elboard.bench.registry import Entry, discover

ROOT = Path(__file__).parents[2]
PACKAGE = "elboard_copies"


def copies(kind: str, total: int) -> list[tuple[Entry, int]]:
    """Entry and number of each copy: all are copied in turn until there are ``total`` with the real ones."""
    entries = sorted(discover(kind).values(), key=lambda entry: entry.card.name)
    return [(entries[i % len(entries)], 2 + i // len(entries)) for i in range(max(0, total - len(entries)))]


def write_package(folder: Path, methods: int, tasks: int) -> None:
    """A distribution in ``folder`` whose entry points bring the copies; a copied method is at home on the copied task of its number."""
    made = {kind: copies(kind, total) for kind, total in (("method", methods), ("task", tasks))}
    homes = {(entry.card.name, n) for entry, n in made["task"]}
    points = []
    for kind, entries in made.items():
        families = set()
        for entry, n in entries:
            family, name = entry.file.parent.name, entry.card.name
            text = re.sub(rf'^(    name="{re.escape(name)})"', rf'\1-{n}"', entry.file.read_text(encoding="utf-8"), count=1, flags=re.M)
            text = re.sub(r"^    aliases=.*\n", "", text, flags=re.M)
            home = getattr(entry.card, "home", "")
            if (home, n) in homes:
                text = text.replace(f'home="{home}"', f'home="{home}-{n}"')
            file = folder / PACKAGE / f"{kind}s" / family / f"{entry.file.stem}_{n}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            families.add(family)
        points.append(f"[elboard.{kind}s]\n" + "".join(f"{name} = {PACKAGE}.{kind}s.{name}\n" for name in sorted(families)))
    for package in {file.parent for file in folder.rglob("*.py")} | {folder / PACKAGE, *(folder / PACKAGE).glob("*")}:
        (package / "__init__.py").touch()
    about = folder / f"{PACKAGE}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1\n")
    (about / "entry_points.txt").write_text("\n".join(points))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("methods", 150), ("tasks", 70), ("workers", 2)):
        options.add_argument(f"--{name}", type=int, default=default)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="elboard-copies-") as folder:
        write_package(Path(folder), asked.methods, asked.tasks)
        environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"}
        count = "from elboard.bench.registry import *; print(len(discover('method')), len(discover('task')), len(compatible()))"
        shown = subprocess.run([sys.executable, "-c", count], env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        print("{} methods, {} tasks, {} pairs".format(*shown.split()))
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-n", str(asked.workers), "--dist", "loadgroup", "--durations", "20"]
        files = [f"tests/conformance/test_{name}.py" for name in ("cards", "pairs")]
        done = subprocess.run([*command, *files], env=environment, cwd=ROOT)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    clock = time.monotonic() - start
    print(f"{cpu:.0f} s of processor time, {cpu / asked.workers:.0f} s on {asked.workers} idle cores; {clock:.0f} s by the clock")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
