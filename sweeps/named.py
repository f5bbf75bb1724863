"""Sweeps by name: shipped files, and those that are derived from the papers and the cards. Never imports torch.

``lite`` are the reference records: what each paper asks for, and each method on its home task. ``paper:<slug>`` is what one paper asks for.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from elboard.bench.config import BUDGETS, parse_seeds, resolve
from elboard.bench.errors import UserError, check_known
from elboard.bench.folders import path_of
from elboard.bench.papers import Paper, paper, papers
from elboard.bench.registry import compatible, discover
from elboard.bench.registry import find as find_entry
from elboard.sweeps.files import read
from elboard.sweeps.plan import FOLDER
from elboard.sweeps.search import parse

LITE = "The reference records at the lite budget: what the papers ask for, and each method on its home task; with --all each on each."


def named() -> dict[str, str]:
    """Descriptions of the sweeps that ship with the package, by name."""
    files = {file.stem: read(file).get("description", "") for file in sorted(FOLDER.glob("*.yaml"))}
    return {**files, "lite": LITE, **{f"paper:{of.slug}": of.title for of in papers() if of.asked("lite")}}


def find(name: str, budget: str = "", everything: bool = False, paths: tuple[Path, ...] = ()) -> Path | dict[str, Any]:
    """The sweep ``name``, for :func:`elboard.sweeps.plan.expand`: a shipped one, ``paper:<slug or number>``, ``lite``, or a path.

    ``budget`` is a paper's, lite if empty; ``everything`` adds to ``lite`` all other pairs that fit. Raises UserError as it says.
    """
    if budget and not name.startswith("paper:"):
        raise UserError(f"--budget is for a paper's sweep, `paper:<slug>`; what {name} runs at stands in its file")
    check_known("budget", budget or "lite", BUDGETS)
    if everything and name != "lite":
        raise UserError(f"--all is for the sweep lite, not for {name}")
    if name.startswith("paper:"):
        return of_paper(paper(name.removeprefix("paper:")), budget or "lite")
    if name == "lite":
        return lite(everything, paths)
    shipped, file = FOLDER / f"{name}.yaml", path_of(name)
    written = "/" in name or file.suffix in (".yaml", ".yml")
    if not written and shipped.is_file():
        return shipped
    if not file.is_file():
        if written:
            raise UserError(f"no sweep file {name!r}")
        check_known("sweep", name, named())
    return file


def lite(everything: bool = False, paths: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of the sweep ``lite``."""
    pairs, tasks, methods = compatible(paths), discover("task", paths), discover("method", paths)
    asked = [entry for of in papers() if of.asked("lite") for entry in of.runs("lite")]
    asked = [entry for entry in asked if (entry["tasks"][0], find_entry("method", entry["methods"][0]).card.name) in pairs]
    others = [(task, method) for task, method in pairs if everything or methods[method].card.home == task]
    homes = [{"tasks": [task], "methods": [method]} for task, method in others if "lite" in tasks[task].budgets()]
    return {"name": "lite-all" if everything else "lite", "description": LITE, "budget": "lite", "seeds": "0-2", "runs": [*asked, *homes]}


def of_paper(of: Paper, budget: str, done: Collection[str] = (), paths: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a sweep with the runs of a paper at ``budget`` that are not in ``done``: keys, and of runs with options that a search
    chose :func:`searched_key`.

    Raises UserError where the paper has no runs at that budget.
    """
    runs, known = [], tuple(map(str, paths))
    for entry in of.runs(budget):
        task, method, seeds = entry["tasks"][0], entry["methods"][0], parse_seeds(entry["seeds"])
        if "search" in entry:
            run = {"task": task, "method": method, "budget": budget, "options": entry["set"], "seeds": tuple(seeds), "paths": known}
            search = parse(Path(f"{of.slug}.yaml"), entry["search"], **run)
            seeds = [seed for seed in seeds if searched_key(search.id, search.trials, seed) not in done]
        else:
            first = resolve(task, method, budget=budget, overrides=entry["set"], origin=f"{of.slug}.yaml", paths=known)
            seeds = [seed for seed in seeds if first.reseeded(seed).key not in done]
        runs += [{**entry, "seeds": seeds}] if seeds else []
    return {"name": f"paper-{of.slug}", "description": f"Runs for {of.title}.", "budget": budget, "runs": runs}


def searched_key(search: str, trials: int, seed: int) -> str:
    """Names the run with ``seed`` of the options that a search, by its id, chose after so many trials: whatever these are."""
    return f"{search} {trials} {seed}"
