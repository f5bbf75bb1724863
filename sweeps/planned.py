"""What engines are given: the plan of a sweep under a folder of runs. Never imports torch.

``<root>/sweeps/<id>/plan.json`` holds the runs and searches, what runs need, and which old failures do not count, for workers that come and
go (:mod:`elboard.sweeps.queue`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.runs import Runs
from elboard.sweeps.frontier import Frontier, History
from elboard.sweeps.plan import Sweep
from elboard.sweeps.search import Search
from elboard.sweeps.work import Resources, processes


@dataclass(frozen=True)
class Plan:
    """What a worker must know. ``id`` names the sweep on the scheduler; ``forgiven`` are old failed attempts, by key."""

    id: str
    name: str
    root: Path
    tracker: str
    runs: tuple[RunSpec, ...]
    resources: dict[str, Resources]
    forgiven: dict[str, list[str]]
    searches: tuple[Search, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / "sweeps" / self.id

    @property
    def known(self) -> Runs:
        """What has become of its runs."""
        return Runs(self.root, self.forgiven)

    def histories(self) -> list[History]:
        """What has become of the searches."""
        return [History(search, self.known).look() for search in self.searches]

    def frontier(self, searches: Sequence[Search] | None = None) -> Frontier:
        """The runs of the searches (all, or some) as they become known; adds what they need to ``resources``."""
        return Frontier(self.searches if searches is None else searches, self.known, self.resources)

    def unfinished(self) -> list[RunSpec]:
        """The runs that are neither done nor failed for good, of searches those that could go on now."""
        own = [spec for spec in self.runs if self.known.over(spec) is None]
        return own + [spec for history in self.histories() for spec in history.unfinished()]

    def save(self) -> Path:
        """Write the plan into its folder and return the file."""
        tree = {"id": self.id, "name": self.name, "root": str(self.root), "tracker": self.tracker, "forgiven": self.forgiven}
        tree |= {"runs": [spec.to_dict() for spec in self.runs], "searches": [search.to_dict() for search in self.searches]}
        tree["resources"] = {key: asdict(need) for key, need in self.resources.items()}
        file = self.folder / "plan.json"
        records.write_text_atomically(file, json.dumps(tree))
        return file


def plan_of(sweep: Sweep, root: Path, tracker: str = "none") -> Plan:
    """The plan of ``sweep``: the same runs under ``root`` give the same id. What has failed until now is forgiven."""
    keys = "".join(sorted([*(spec.key for spec in sweep.runs), *(f"{s.id} {s.trials} {s.seeds}" for s in sweep.searches)]))
    known, forgiven = Runs(root), {}
    for search in sweep.searches:
        forgiven |= History(search, known).look().forgivable()
    forgiven |= known.failures(sweep.runs)
    name = f"{sweep.name}-{hashlib.sha256(keys.encode()).hexdigest()[:8]}"
    return Plan(name, sweep.name, root.resolve(), tracker, sweep.runs, sweep.resources, forgiven, sweep.searches)


def load(file: Path) -> Plan:
    """Raises UserError where ``file`` is no plan."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        runs = tuple(RunSpec.from_dict(words) for words in tree["runs"])
        needs = {key: Resources(**words) for key, words in tree["resources"].items()}
        searches = tuple(Search.from_dict(words) for words in tree["searches"])
        return Plan(tree["id"], tree["name"], Path(tree["root"]), tree["tracker"], runs, needs, tree["forgiven"], searches)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no plan of a sweep") from None


def plans(root: Path) -> dict[str, Path]:
    """The plan files under ``root`` by id, the newest last."""
    files = sorted((root / "sweeps").glob("*/plan.json"), key=lambda file: file.stat().st_mtime)
    return {file.parent.name: file for file in files}


def shape(spec: RunSpec) -> tuple[int, int]:
    """(nodes, processes a node) of a run: runs of one shape can share an allocation."""
    nodes = spec.config["trainer"]["num_nodes"]
    return (nodes, processes(spec) // nodes) if nodes > 1 else (1, 1)
