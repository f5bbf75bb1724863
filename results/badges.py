"""How far each record can be trusted: what verifications of it say, in a word. See :mod:`elboard.results.verify`."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from elboard.bench import record as records
from elboard.bench.record import ARCHIVE, Record
from elboard.results.evidence import all_beside_shipped
from elboard.results.store.files import shipped as shipped_record
from elboard.results.store.files import shipped_files
from elboard.results.store.homes import package
from elboard.results.store.rows import group_of
from elboard.results.verify import Verification, digest_of, verifications_at, verifications_in

if TYPE_CHECKING:
    from elboard.results.store import Group

Attempts = dict[str, tuple[Record, list[Verification]]]  # by attempt, each with what was said of it

DEARER = 300  # keys of groups are found in the time in which one record is read
KEPT = "badges.json"


def badge(record: Record, verifications: Iterable[Verification]) -> str:
    """``"re-run"``, ``"recomputed"``, ``"claimed"`` or ``"disputed"``: what ``verifications`` of exactly this content say.

    One that disagrees outweighs all others. A recomputation counts if the primary metric is among those checked, of all examples or of the
    subset that the evidence keeps.
    """
    digest = digest_of(record)
    said = [of for of in verifications if of.digest == digest and of.ok is not None]
    if any(of.ok is False for of in said):
        return "disputed"
    if any(of.kind == "rerun" for of in said):
        return "re-run"
    return "recomputed" if any(of.proves(record.primary) for of in said) else "claimed"


def badges(root: Path | None, shipped: bool = True, among: Sequence[Group] | None = None) -> dict[str, dict[str, str]]:
    """The badges of the finished runs (of ``among``) that have a verification, in the runs' folder or the package, by group and key.

    That of a run is the one of the record that counts. Others are claimed. Reads the records of these runs alone, so that it costs little
    where little is verified; groups are asked for their keys only where that is less.
    """
    wanted = None if among is None else {group.group for group in among}
    tasks = {""} if among is None else {group.task for group in among}
    known = (_kept(root) or _words(_of_package(tasks))) if shipped else {}
    keys = _verified(root, among)
    if root is not None:
        keys |= {key for key in known if any(os.path.isdir(root / place / key) for place in ("", ARCHIVE))}
    known = {key: said for key, said in known.items() if key not in keys}
    if keys:
        known |= _words(_with_runs(root, keys, _of_package(tasks, keys) if shipped else {}))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, (group, word) in known.items():
        if wanted is None or group in wanted:
            found[group][key] = word
    return dict(found)


def _of_package(tasks: Iterable[str], keys: set[str] | None = None) -> dict[str, Attempts]:
    """The package's records of the runs ``keys``, of all that have a verification if None."""
    beside = all_beside_shipped(tasks, "verified")
    wanted = {_key_in(file.name) for file in beside} if keys is None else keys
    found: dict[str, Attempts] = defaultdict(dict)
    for file in (file for task in sorted(tasks) for file in shipped_files(task)):
        key = _key_in(file.name)
        if key in wanted:
            with suppress(records.InvalidRecord, OSError):
                record = shipped_record(file)
                found[key][record.attempt] = (record, list(verifications_in(beside.get(file, ())).values()))
    return found


def _with_runs(root: Path, keys: Iterable[str], of_package: Mapping[str, Attempts]) -> dict[str, Attempts]:
    """The records of the runs ``keys`` in the folder ``root``, with those ``of_package``."""
    found = {}
    for key in keys:
        attempts = dict(of_package.get(key, {}))
        for file in records.files_of(root / key):
            with suppress(records.InvalidRecord, OSError):
                record = records.read(file)
                known, said = attempts.get(record.attempt, (record, []))
                attempts[record.attempt] = (known, [*said, *verifications_at(file).values()])
        found[key] = attempts
    return found


def _words(runs: Mapping[str, Attempts]) -> dict[str, tuple[str, str]]:
    """The group and the badge of each run that has finished and is no trial of a search, by key."""
    found = {}
    for key, attempts in runs.items():
        best = records.effective(record for record, _ in attempts.values())
        if best is not None and best.status == "done" and "trial" not in best.notes:
            found[key] = (group_of(best), badge(*attempts[best.attempt]))
    return found


def keep_badges(root: Path) -> None:
    """Keep what is said of the package's records in the folder of runs ``root``, beside the index of them."""
    home = package(root)
    state = home.state()
    said = {"state": state, "badges": _words(_of_package({""}))}
    records.write_text_atomically(home.index / KEPT, json.dumps(said))


def _kept(root: Path | None) -> dict[str, tuple[str, str]] | None:
    """What :func:`keep_badges` kept, None where it is not (or no longer) so."""
    if root is None:
        return None
    home = package(root)
    try:
        said = json.loads((home.index / KEPT).read_text(encoding="utf-8"))
        if said["state"] == home.state():
            return {key: (group, word) for key, (group, word) in said["badges"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return None


def _verified(root: Path | None, among: Sequence[Group] | None) -> set[str]:
    """The keys of the folder of runs that have a verification, and may be runs of ``among``."""
    if root is None or not (root / "verified").is_dir():
        return set()
    keys = {folder.name for folder in (root / "verified").iterdir()}
    if among is not None and len(keys) * DEARER > sum(group.n for group in among):
        keys &= {key for group in among for key in group.keys}
    return keys


def _key_in(name: str) -> str:
    """The key in the name of a shipped record's file, ``<method>-s<seed>-<key>.<attempt>...``; empty if there is none."""
    match = re.search(r"-([0-9a-f]{16})\.", name)
    return match[1] if match else ""
