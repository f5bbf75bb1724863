"""Results from elsewhere: packing a folder of runs into one file, and reviewing such a file without trusting it.

A submission holds for each finished run ``records/<key>.<attempt>.json``, and under the same stem ``evidence/*.npz``, ``curves/*.jsonl``
and ``pictures/<stem>/*.png`` (:mod:`elboard.results.bundle`). A review imports no code from places that a record names, unpickles nothing,
and writes nothing before all its checks are done.

The archive is refused as a whole for what no honest submission has (names that lead elsewhere, wrong sizes or hashes ...), a record for
what is wrong with it alone. That record and evidence agree proves no honesty: an accepted record's badge is *recomputed*, not *re-run*.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.record import Record
from elboard.bench.registry import Entry, discover
from elboard.results.badges import badge
from elboard.results.bundle import LARGEST_FILE, Refused, contents_of, one_line, pack, strict_json
from elboard.results.evidence import InvalidEvidence, evidence_of, homes_of, read_evidence, record_files
from elboard.results.illustrations import illustrate, lacking
from elboard.results.store import SHIPPED
from elboard.results.store.files import tell
from elboard.results.verify import Verification, task_of, verify, write_verification

SUFFIX = ".elboard.zip"
LARGEST_RECORD = 4 * 2**20
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE = re.compile(r"(evidence|pictures)/[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
MARKUP = re.compile(r"<[A-Za-z/!?]|javascript:", re.IGNORECASE)


@dataclass(frozen=True)
class Accepted:
    """A record that passed, as it was submitted, with its evidence and what recomputing showed."""

    record: Record
    content: bytes
    evidence: bytes
    verification: Verification


@dataclass
class Report:
    """What a review found.

    Attributes:
        refused: one line for each refusal, ``what: why``.
        flagged: what is accepted, but worth a look.
        written: files written by accepting.
    """

    file: Path
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as text."""
        said = [f"{self.file.name}: {len(self.accepted)} records accepted, {len(self.refused)} refused"]
        for found in self.accepted:
            spec, of = found.record.spec, found.verification
            trust = f"{badge(found.record, [of])}, {len(of.checked)} of {len(found.record.metrics)} metrics recomputed"
            run = f"{spec['method']} on {spec['task']}, seed {spec['seed']}, {spec['budget']}, key {found.record.key}"
            said.append(f"accepted: {run}: {trust}")
        said += [f"refused: {line}" for line in self.refused] + [f"look at: {line}" for line in self.flagged]
        return said + [f"written: {path}" for path in self.written]


def submit(folder: Path, target: Path) -> Path:
    """Pack the finished runs of ``folder`` into one file and return it; of several attempts at a run the one that counts.

    Args:
        target: the file, ``.elboard.zip`` is added where it is missing.

    Raises:
        UserError: no finished run, a target that exists or cannot be written.
    """
    files: dict[str, bytes] = {}
    for path, record in _finished(folder):
        stem = f"{record.key}.{record.attempt}"
        files[f"records/{stem}.json"] = path.read_bytes()
        evidence = evidence_of(path)
        if evidence is not None:
            files[f"evidence/{stem}.npz"] = evidence.read_bytes()
        for home in homes_of(path):
            if (home / "curves.jsonl").is_file():
                files[f"curves/{stem}.jsonl"] = (home / "curves.jsonl").read_bytes()
            for picture in sorted((home / "pictures").glob("*.png")):
                files[f"pictures/{stem}/{picture.name}"] = picture.read_bytes()
    if not files:
        raise UserError(f"{folder}: no finished run to submit")
    path = target if target.name.endswith(SUFFIX) else target.with_name(target.name + SUFFIX)
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pack(files, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


def _finished(folder: Path) -> Iterator[tuple[Path, Record]]:
    """File and record of each finished run: the attempt that counts. Warns of files that are left out."""
    by_key: dict[str, dict[str, tuple[Path, Record]]] = {}
    left_out: list[str] = []
    for path in record_files(folder, shipped=False):
        try:
            record = records.read(path)
        except (records.InvalidRecord, OSError) as error:
            left_out.append(str(error))
            continue
        by_key.setdefault(record.key, {})[record.attempt] = path, record
    tell(left_out)
    for attempts in by_key.values():
        best = records.effective(record for _, record in attempts.values())
        if best.status == "done":
            yield attempts[best.attempt]


def review(file: Path, accept: bool = False, into: Path = SHIPPED, paths: Sequence[Path] = ()) -> Report:
    """Check a submission; with ``accept`` write the records that pass below ``into``, with evidence and verification.

    A record is written to ``<into>/<task>/<method>-s<seed>-<key>.<attempt>.json`` as it was submitted, byte for byte; curves and
    pictures of one run of each group of which there are none yet (:mod:`elboard.results.illustrations`).

    Args:
        paths: where tasks and methods lie besides the package.

    Raises:
        UserError: with ``accept``, a folder that cannot be written.
    """
    report = Report(file)
    try:
        contents = contents_of(file)
    except Refused as error:
        report.refused.append(f"{file.name}: {error}")
        return report
    reviewer = _Reviewer(contents, into, tuple(paths))
    for name in sorted(name for name in contents if name.startswith("records/")):
        try:
            found = reviewer.record(name)
        except Refused as error:
            report.refused.append(f"{name}: {error}")
            continue
        report.accepted.append(found)
        report.flagged += [f"{name}: {flag}" for flag in reviewer.flags(found)]
    if accept:
        chosen = lacking([found.record for found in report.accepted], into)
        for found in report.accepted:
            report.written += _write(found, into)
        for record in chosen:
            written, flags = illustrate(record, contents, place(record, into))
            report.written += written
            report.flagged += flags
    return report


def place(record: Record, into: Path) -> Path:
    """Where the record lies among those that ship with the package."""
    spec = record.spec
    return into / spec["task"] / f"{spec['method']}-s{spec['seed']}-{record.key}.{record.attempt}.json"


def _write(found: Accepted, into: Path) -> list[Path]:
    path = place(found.record, into)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".npz").write_bytes(found.evidence)
        records.write_text_atomically(path, found.content.decode())
        return [path, path.with_suffix(".npz"), write_verification(found.verification, path)]
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


@dataclass
class _Reviewer:
    """Checks of single records against what is known here."""

    contents: Mapping[str, bytes]
    into: Path
    paths: tuple[Path, ...]

    @cached_property
    def checksums(self) -> dict[tuple[str, int], dict[str, str]]:
        """Data checksums of the records that are here already, by task and version; budgets beyond smoke read the same data."""
        known: dict[tuple[str, int], dict[str, str]] = {}
        for file in self.into.rglob("*.json"):
            if records.is_record_file(file.name):
                try:
                    record = records.read(file)
                except (records.InvalidRecord, OSError):
                    continue
                data = record.provenance.get("data")
                if record.status == "done" and record.spec["budget"] != "smoke" and isinstance(data, dict):
                    known.setdefault((record.spec["task"], record.spec["task_version"]), data)
        return known

    def record(self, name: str) -> Accepted:
        """The record of the file ``name`` if it passes. Raises Refused."""
        content = self.contents[name]
        if len(content) > LARGEST_RECORD:
            raise Refused(f"{len(content)} bytes, more than a record has")
        tree = strict_json(content)
        try:
            records.validate(tree)
        except ValueError as error:
            raise Refused(one_line(error)) from None
        record = Record(**tree)
        if name != f"records/{record.key}.{record.attempt}.json":
            raise Refused(f"its name is not that of attempt {record.attempt} at {record.key}")
        entry = self._known(record)
        self._data(record, entry)
        if place(record, self.into).exists():
            raise Refused("it is here already")
        evidence = self.contents.get(f"evidence/{record.key}.{record.attempt}.npz")
        if evidence is None:
            raise Refused("it comes without evidence")
        return Accepted(record, content, evidence, self._recomputed(record, evidence))

    def _known(self, record: Record) -> Entry:
        """The task as it is here, where a record of it may be accepted."""
        spec = record.spec
        try:
            entry = task_of(record, self.paths)
        except UserError as error:
            raise Refused(one_line(error)) from None
        if not WORD.fullmatch(spec["method"]):
            raise Refused(f"the method's name {spec['method']!r:.80} is no name: letters, digits, '.', '_' and '-'")
        if spec["budget"] not in entry.budgets():
            raise Refused(f"{entry.card.name} has no budget {spec['budget']!r:.40}")
        strange = [name for names in record.files.values() for name in names if not FILE.fullmatch(name)]
        if strange:
            raise Refused(f"it names the file {strange[0]!r:.80}, which is neither evidence nor a picture of its run")
        return entry

    def _data(self, record: Record, entry: Entry) -> None:
        """Its data must be those of the records that are here, or those that the task names."""
        if record.spec["budget"] == "smoke":
            return
        spec, said = record.spec, record.provenance.get("data")
        here = self.checksums.get((spec["task"], spec["task_version"]))
        wanted = entry.load().checksums() if here is None else here
        if not isinstance(said, dict) or said != wanted:
            known = said if isinstance(said, dict) else {}
            names = sorted(name for name in {*wanted, *known} if known.get(name) != wanted.get(name))
            raise Refused(f"its data are others: the checksum of {', '.join(map(repr, names))[:120]} is not the one known here")

    def _recomputed(self, record: Record, evidence: bytes) -> Verification:
        try:
            verification = verify(record, read_evidence(io.BytesIO(evidence), LARGEST_FILE), self.paths)
        except InvalidEvidence as error:
            raise Refused(f"its evidence is unreadable: {one_line(error)}") from None
        except UserError as error:
            raise Refused(one_line(error)) from None
        if verification.ok is False:
            wrong = [name for name, check in verification.checked.items() if not check.ok]
            check = verification.checked[wrong[0]]
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise Refused(f"{wrong[0]} is {check.claimed:.6g} in the record, {check.found:.6g} by its evidence{more}")
        return verification

    def flags(self, found: Accepted) -> list[str]:
        """What is no reason to refuse a record, but worth a look."""
        record, spec = found.record, found.record.spec
        said = [f"{where} holds markup; it is kept as text" for where in _markup(json.loads(found.content))]
        method = discover("method", self.paths).get(spec["method"])
        if method is None:
            said.append(f"the method {spec['method']} is not known here: nobody can run it again")
        elif method.card.version != spec["method_version"]:
            said.append(f"{spec['method']} is version {method.card.version} here, not {spec['method_version']}")
        if found.verification.ok is None:
            said.append(f"nothing could be recomputed ({found.verification.note}): it stays claimed")
        elif not found.verification.proves(record.primary):
            said.append(f"its primary metric {record.primary} does not follow from the evidence: it stays claimed")
        source = record.provenance.get("source", {})
        if not isinstance(source, dict) or source.get("dirty") or not source.get("commit"):
            said.append("it was run from a changed or unknown source tree")
        return said


def _markup(tree: Any) -> list[str]:
    """Places of texts that a browser might take for markup."""
    found, left = [], [("the record", tree)]
    while left:
        where, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{where}, {name!r:.60}", item) for name, item in value.items()] + [(f"a name in {where}", name) for name in value]
        elif isinstance(value, list):
            left += [(where, item) for item in value]
        elif isinstance(value, str) and MARKUP.search(value):
            found.append(where)
    return sorted(set(found))
