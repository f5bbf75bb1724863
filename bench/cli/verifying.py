"""``check``, ``verify``, ``submit``, ``review`` and ``backfill``: whether code and records are what they say."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench import check as conformance
from elboard.bench.cli.app import Json, OutThere, Paths, app, argument
from elboard.bench.cli.printing import check_scope, telling
from elboard.bench.errors import UserError, command, nearest, printable
from elboard.bench.metrics.conventions import convention
from elboard.bench.plugins import aside
from elboard.bench.registry import broken, compatible, discover
from elboard.bench.run import root_folder
from elboard.bench.runs import matching

ShippedAlso = Annotated[bool, typer.Option(help="Also the records that ship with the package.")]


@app.command()
def check(
    path: Annotated[Path, argument("A file or folder with methods and tasks.")],
    as_json: Json = False,
) -> int:
    """Check anybody's methods and tasks: cards, options, runs, checkpoints, evidence, with all that they fit here."""
    paths = (path,)
    entries = [entry for kind in ("method", "task") for entry in discover(kind, paths).values()]
    mine = [entry for entry in entries if entry.file.resolve().is_relative_to(path.resolve())]
    found = [conformance.Finding(file.name, "reads", said) for file, said in broken(path).items()]
    if not mine and not found:
        raise UserError(f"{path}: no method and no task: nothing there has a CARD")
    pairs = [pair for pair in compatible(paths) if {entry.card.name for entry in mine} & {*pair}]
    with tempfile.TemporaryDirectory(prefix="elboard-check-") as folder, aside():
        found += [finding for entry in mine for finding in conformance.collect(entry.card.name, conformance.of_entry(entry, paths))]
        for task, method in pairs:
            found += conformance.collect(f"{method} on {task}", conformance.of_pair(task, method, paths, Path(folder)))
    if as_json:
        print(json.dumps([finding._asdict() for finding in found], indent=1))
    else:
        print(*(f"{finding.of}: {finding.check}: {finding.said}" for finding in found), sep="\n", end="\n" if found else "")
        print(f"{len(mine)} checked, on {len(pairs)} pairs: {len(found)} finding{'s' * (len(found) != 1)}")
    return int(bool(found))


@app.command()
def verify(
    keys: Annotated[list[str], typer.Argument(help="Keys of runs, or their beginnings; all if left out.")] = [],  # noqa: B006
    rerun: Annotated[bool, typer.Option("--rerun", help="Execute the runs again instead of reading their evidence.")] = False,
    shipped: ShippedAlso = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """Compute the metrics of records again, and say which agree."""
    from elboard.results.verify import write_verification

    if rerun and not keys:
        raise UserError("--rerun executes whole runs: name them, as in `elboard verify KEY --rerun`")
    counts: dict[str, int] = {}
    found = _chosen(keys, out, shipped)
    peers = [place.record for place in _chosen([], out, shipped)] if rerun else []
    for place in found:
        record = place.record
        name = f"{record.key}  {record.spec['method']} on {record.spec['task']}, seed {record.spec['seed']}"
        verification = _checked(place, peers if rerun else None, tuple(path))
        if isinstance(verification, str):
            state, said = "not checked", verification
        else:
            state = {True: "agrees", False: "DISAGREES", None: "not checked"}[verification.ok]
            said = _said(verification)
            try:
                write_verification(verification, place)
            except OSError as error:
                said += f" (not written: {error.strerror})"
        counts[state] = counts.get(state, 0) + 1
        print(f"{name}: {state}: {said}")
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no finished run")
    return int("DISAGREES" in counts)


def _chosen(keys: list[str], out: Path | None, shipped: bool) -> list[Any]:
    """Where the record lies of each finished run whose key begins with one of ``keys``; of several attempts the one that counts.

    Raises UserError for a beginning that no run has.
    """
    from elboard.results.places import effective

    with telling():
        runs = effective(root_folder(out), shipped)
    chosen = set() if keys else set(runs)
    for key in keys:
        found = matching(root_folder(out), key, runs)
        if not found:
            raise UserError(f"no run {key!r}: {nearest(key, runs)}")
        chosen |= found
    return [place for key, place in runs.items() if key in chosen and place.record.status == "done"]


def _checked(place: Any, peers: list[Any] | None, paths: tuple[Path, ...]) -> Any:
    """A verification from evidence, or of a run that is executed again, as ``peers`` were if they are given; or why there is none."""
    from elboard.results import verify
    from elboard.results.untrusted import InvalidEvidence, read_evidence

    try:
        if peers is not None:
            with tempfile.TemporaryDirectory(prefix="elboard-rerun-") as folder:
                return verify.rerun(place.record, Path(folder), peers, paths)
        if place.evidence is None:
            return "it has no evidence"
        return verify.verify(place.record, read_evidence(place.evidence), paths)
    except (InvalidEvidence, UserError) as error:
        return str(error)


def _said(verification: Any) -> str:
    word = {"recomputed": "recomputed from evidence", "rerun": "run again"}[verification.kind]
    total = len(verification.checked) + len(verification.unchecked)
    parts = [f"{len(verification.checked)} of {total} metrics {word}"] if verification.checked else []
    wrong = {name: check for name, check in verification.checked.items() if not check.ok}
    for name, check in list(wrong.items())[:3]:
        parts.append(f"{name} is {check.claimed:.6g} in the record, {check.found:.6g} now (allowed: {check.tolerance:.1g})")
    if len(wrong) > 3:
        parts.append(f"{len(wrong) - 3} more")
    if verification.checked and not wrong:
        name, gap = verification.largest
        parts.append(f"largest difference {gap:.1e} ({name})" if gap else "no difference")
    if verification.checked and verification.unchecked:
        shown = ", ".join(verification.unchecked[:4]) + (" ..." if len(verification.unchecked) > 4 else "")
        parts.append(f"unchecked: {shown}")
    return printable("; ".join([*parts, *([verification.note] if verification.note else [])]))


@app.command()
def submit(target: Annotated[Path, argument("The file to write (.elboard.zip).")], out: OutThere = None) -> None:
    """Pack the finished runs into one file for others."""
    from elboard.results import submission

    with telling():
        path = submission.submit(root_folder(out), target)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; `{command('review', path)}` shows what a reviewer will see")


@app.command()
def review(
    file: Annotated[Path, argument("A submission.")],
    accept: Annotated[bool, typer.Option("--accept", help="Take in the records that pass.")] = False,
    replace: Annotated[
        list[str], typer.Option("--replace", help="Key of a run that is held back: take it in, in place of what is here; repeatable.")
    ] = [],  # noqa: B006
    path: Paths = [],  # noqa: B006
) -> int:
    """Check a submission without trusting it."""
    from elboard.results import submission

    report = submission.review(file, accept, paths=tuple(path), replace=replace)
    print("\n".join(map(printable, report.lines())))
    return int(bool(report.refused or report.held))


@app.command()
def backfill(
    metric: Annotated[str, typer.Argument(help="A metric key, as brier.")],
    task: Annotated[str, typer.Argument(help="A task or a family; all if left out.")] = "",
    shipped: ShippedAlso = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """Compute a metric that was added later from the evidence of old records."""
    from elboard.results.backfill import backfill

    convention(metric)
    check_scope(task, tuple(path))
    written = present = failed = 0
    for place in _chosen([], out, shipped):
        of = place.record.spec["task"]
        if task and task not in (of, of.split("/")[0]):
            continue
        try:
            file = backfill(place, metric, tuple(path))
        except UserError as error:
            failed += 1
            print(f"not computed: {error}", file=sys.stderr)
            continue
        written, present = written + (file is not None), present + (file is None)
        if file is not None:
            print(f"written: {file}")
    print(f"{metric}: {written} computed now, {present} there before, {failed} not computed")
    return int(bool(failed))
