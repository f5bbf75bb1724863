"""``why``, ``compact``, ``archive``, ``doctor`` and ``data``: runs, software, devices and data sets that are here, and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from elboard.bench.cli.app import Out, OutThere, app
from elboard.bench.cli.printing import print_table, telling
from elboard.bench.errors import UserError, check_known, nearest, printable
from elboard.bench.identity import difference
from elboard.bench.run import root_folder
from elboard.bench.runs import folder_named, matching

data_app = typer.Typer(help="Data sets: list, fetch, check.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.command()
def why(key: Annotated[str, typer.Argument(help="A run's key, or its beginning.")], out: OutThere = None) -> None:
    """What a run's key was made of, and what differs from the nearest other run."""
    from elboard.results.places import effective

    found = {key: place.record for key, place in effective(root_folder(out), shipped=True).items()}
    matches = sorted(matching(root_folder(out), key, found))
    if len(matches) > 1:
        raise UserError(f"{len(matches)} keys begin with {key!r}: {', '.join(sorted(matches)[:6])}")
    if not matches:
        raise UserError(f"no run {key!r}: {nearest(key, found)}")
    record = found.pop(matches[0])
    print(f"{record.key}: {record.spec['method']} on {record.spec['task']}, {record.status}")
    if record.failure:
        print(printable(f"failed ({record.failure['class']}): {record.failure['message']}"))
    for role, runs in record.run().bases.items():
        for base in runs:
            print(f"starts from {role}: {base.key} {base.method} on {base.task}, {base.budget}, seed {base.seed}")
    print(json.dumps(record.identity, indent=1, sort_keys=True))
    others = [(difference(record.identity, other.identity), other_key) for other_key, other in found.items()]
    if others:
        leaves, other_key = min(others, key=lambda item: (len(item[0]), item[1]))
        print(f"nearest other run: {other_key}")
        for leaf, (mine, theirs) in leaves.items():
            print(f"  {leaf}: {mine!r} here, {theirs!r} there")


@app.command()
def compact(out: OutThere = None) -> None:
    """Index the records of a folder of runs, so that boards need not read each file."""
    from elboard.results import store

    root = root_folder(out)
    with telling():
        count, fresh = store.compact(root)
    keep_statistics(root)
    print(f"{count} records, {fresh} of them new")


def keep_statistics(root: Path) -> None:
    """Compute what boards of the records under ``root`` and of the package say, and keep that alone for ``leaderboard``."""
    from elboard.results.board.build import read_boards
    from elboard.results.kept import clear, place

    clear(place(root))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those who index the records tell of them
        read_boards(root)


@app.command()
def archive(keys: Annotated[list[str], typer.Argument(help="Keys of runs that are finished for good.")], out: OutThere = None) -> None:
    """Move runs into the archive of their folder, whose files are not looked at one by one."""
    from elboard.results.store import pack

    root = root_folder(out)
    keys = [folder_named(root, key).name for key in keys]
    with telling():
        count = pack(root, keys)
    print(f"{len(set(keys))} runs moved to {root / 'archive'}, which holds {count} records now")


@app.command()
def doctor(out: Out = None) -> None:
    """Versions, devices, data, and what is missing."""
    import torch

    from elboard.bench.provenance import hardware, revision, versions  # imports importlib.metadata, a tenth of what help takes
    from elboard.tasks.data.fetch import available, describe

    for name, number in versions().items():
        print(f"{name}: {number}")
    source = revision()
    print(f"source: {source['commit'][:12]}{' with changes' if source['dirty'] else ''}" if source else "source: installed package")
    for name, value in hardware().items():
        print(f"{name}: {value}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"accelerators: {', '.join(devices) if devices else 'mps' if torch.backends.mps.is_available() else 'none, runs use the CPU'}")
    root = root_folder(out).resolve()
    parent = root if root.exists() else next(folder for folder in root.parents if folder.exists())
    print(f"runs: {root} ({'writable' if os.access(parent, os.W_OK) else 'NOT writable: give another with --out or ELBOARD_HOME'})")
    print(f"ELBOARD_DATA: {os.environ.get('ELBOARD_DATA', 'not set')}")
    names = [entry["name"] for entry in describe()]
    here = [name for name in names if available(name)]
    print(f"data here: {', '.join(here) or 'none'}")
    if len(here) < len(names):
        print(f"data not here, fetched when needed: {', '.join(name for name in names if name not in here)}")
    for package, use in (("wandb", "the tracker wandb"), ("ray", "sweeps on Ray")):
        if importlib.util.find_spec(package) is None:
            print(f"not installed: {package} ({use})")


def _names(names: list[str]) -> list[str]:
    from elboard.tasks.data.fetch import describe

    known = [entry["name"] for entry in describe()]
    if names == ["all"] or not names:
        return known
    for name in names:
        check_known("data set", name, known)
    return names


@data_app.command("list")
def data_list() -> None:
    """All data sets, their licences, and which are here."""
    from elboard.tasks.data.fetch import available, describe

    rows = [[e["name"], e["title"], e["licence"], "yes" if available(e["name"]) else "no"] for e in describe()]
    print_table(["data", "what", "licence", "here"], rows)


@data_app.command("fetch")
def data_fetch(names: Annotated[list[str], typer.Argument(help="Data sets, or `all`.")]) -> int:
    """Fetch data sets into the cache."""
    from elboard.tasks.data.fetch import DataError, fetch

    failed = 0
    for name in _names(names):
        try:
            print(f"{name}: {fetch(name)}")
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


@data_app.command("check")
def data_check(names: Annotated[list[str], typer.Argument(help="Data sets; all that are here if left out.")] = []) -> int:  # noqa: B006
    """Compare the data sets that are here with their checksums."""
    from elboard.tasks.data.fetch import available, check

    failed = 0
    for name in _names(names):
        if not names and not available(name):
            continue
        good, message = check(name)
        print(f"{name}: {message}")
        failed |= not good
    return int(failed)
