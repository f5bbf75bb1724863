"""Results from elsewhere: packing a folder of runs into one file, and reviewing such a file without trusting it.

A submission holds for each finished run ``records/<key>.<attempt>.json``, and under the same stem ``evidence/*.npz``, ``curves/*.jsonl``
and ``pictures/<stem>/*.png``. A review imports no code from places that a record names, and writes nothing before all its checks are done.

The archive is refused as a whole for what no honest submission has (names that lead elsewhere, wrong sizes or hashes ...), a record for
what is wrong with it alone. That record and evidence agree proves no honesty: an accepted record's badge is *recomputed*, not *re-run*.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench import plain
from elboard.bench import record as records
from elboard.bench.config import check_options
from elboard.bench.errors import UserError, nearest
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import check_name
from elboard.bench.record import Record
from elboard.bench.registry import Entry, discover
from elboard.bench.source import ways_to_test_data
from elboard.results import untrusted
from elboard.results.beside import all_beside, path_beside, stem_of
from elboard.results.places import effective
from elboard.results.shipping import board_file, write_lines
from elboard.results.store.lines import SHIPPED, lines
from elboard.results.untrusted import InvalidEvidence, Refused, one_line, read_evidence, strict_json
from elboard.results.verify import Verification, badge, task_of, verify

SUFFIX, SKEW = ".elboard.zip", datetime.timedelta(hours=1)  # SKEW: between clocks
LARGEST = 4 * 2**20  # bytes of a record, of curves, of a picture
MARKUP = re.compile(r"<[A-Za-z/!?]|javascript:", re.IGNORECASE)


@dataclass(frozen=True)
class Accepted:
    """A record that passed, the same decoded as it was submitted, what recomputing showed, and the digest of its evidence."""

    record: Record
    tree: dict[str, Any]
    verification: Verification
    evidence: str


@dataclass
class Report:
    """What a review found.

    Attributes:
        refused: one line for each refusal, ``what: why``.
        flagged: what is accepted, but worth a look.
        held: why records are not taken in unless their runs are named, one line each.
        written: files written by accepting.
    """

    file: Path
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as text."""
        said = [f"{self.file.name}: {len(self.accepted)} records accepted, {len(self.refused)} refused"]
        if self.held:
            said[0] += f", {len(self.held)} held back"
        for found in self.accepted:
            spec, of = found.record.spec, found.verification
            trust = f"{badge(found.record, [of])}, {len(of.checked)} of {len(found.record.metrics)} metrics recomputed"
            run = f"{spec['method']} on {spec['task']}, seed {spec['seed']}, {spec['budget']}, key {found.record.key}"
            said.append(f"accepted: {run}: {trust}")
        for word, of in (("refused", self.refused), ("held back", self.held), ("look at", self.flagged)):
            said += [f"{word}: {line}" for line in of]
        return said + [f"written: {path}" for path in self.written]


def submit(folder: Path, target: Path) -> Path:
    """Pack the finished runs of ``folder`` into one file and return it; of several attempts at a run the one that counts.

    Records say nothing of where the runs were made or tracked (:mod:`elboard.bench.plain`). Links are left out, with a warning each.

    Args:
        target: the file, ``.elboard.zip`` is added where it is missing.

    Raises:
        UserError: no finished run, a target that exists or cannot be written.
    """
    files: dict[str, bytes] = {}
    for place in effective(folder, shipped=False).values():
        if place.record.status != "done":
            continue
        stem = f"{place.record.key}.{place.record.attempt}"
        wanted = {} if place.evidence is None else {f"evidence/{stem}.npz": place.evidence}
        for home in place.folders:
            if (home / "curves.jsonl").is_file():
                wanted[f"curves/{stem}.jsonl"] = home / "curves.jsonl"
            wanted |= {f"pictures/{stem}/{picture.name}": picture for picture in sorted((home / "pictures").glob("*.png"))}
        if _is_link(place.file, folder):
            continue
        files[f"records/{stem}.json"] = _shareable(place.file.read_bytes())
        files |= {name: file.read_bytes() for name, file in wanted.items() if not _is_link(file, folder)}
    if not files:
        raise UserError(f"{folder}: no finished run to submit")
    path = target if target.name.endswith(SUFFIX) else target.with_name(target.name + SUFFIX)
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name")
    try:
        untrusted.pack(files, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


def _is_link(file: Path, root: Path) -> bool:
    """Whether ``file`` or a folder between it and ``root`` is a link, which may lead anywhere; warns of it."""
    link = file.resolve() != root.resolve() / file.relative_to(root)
    if link:
        warnings.warn(f"{file}: is a link, or lies behind one; it is left out", stacklevel=3)
    return link


def _shareable(content: bytes) -> bytes:
    """A record without what is for no other reader, sealed again; as it is where there is nothing of that kind."""
    tree = json.loads(content)
    kept = {**tree, "spec": plain.shared(tree["spec"]), "warnings": list(filter(None, map(plain.heard, tree.get("warnings", []))))}
    if kept == tree:
        return content
    return json.dumps({**kept, "digest": records.digest_of(kept)}, indent=1, sort_keys=True).encode()


def review(file: Path, accept: bool = False, into: Path = SHIPPED, paths: Sequence[Path] = (), replace: Collection[str] = ()) -> Report:
    """Check a submission; with ``accept`` write the records that pass below ``into``, with what recomputing showed.

    Of records and verifications come lines (:mod:`elboard.results.store.lines`); evidence, and curves and pictures, are those of one run
    of each group of which there are none yet.

    Args:
        paths: where tasks and methods lie besides the package.
        replace: keys of runs to take in, in place of all records of them that are here, though there is a doubt (:func:`doubts`).

    Raises:
        UserError: with ``accept``, a folder that cannot be written; a key to replace about which there is no doubt.
    """
    report = Report(file)
    try:
        contents = untrusted.contents_of(file)
    except Refused as error:
        report.refused.append(f"{file.name}: {error}")
        return report
    reviewer, doubtful = _Reviewer(contents, into, tuple(paths)), set()
    for name in sorted(name for name in contents if name.startswith("records/")):
        try:
            found = reviewer.record(name)
        except (Refused, UserError) as error:
            report.refused.append(f"{name}: {error if isinstance(error, Refused) else one_line(error)}")
            continue
        report.flagged += [f"{name}: {flag}" for flag in reviewer.flags(found)]
        doubt, key = reviewer.doubt(found), found.record.key
        doubtful |= {key} if doubt else set()
        if doubt:
            (report.flagged if key in replace else report.held).append(f"{name}: {doubt}; --replace {key} takes it in")
        if not doubt or key in replace:
            report.accepted.append(found)
    for key in {*replace} - doubtful:
        raise UserError(f"--replace {key}: no run that is held back, {nearest(key, doubtful)}")
    if accept:
        try:
            _take_in(report, contents, into, replace)
        except OSError as error:
            raise UserError(f"{error.filename or into}: cannot be written ({error.strerror or error})") from None
    return report


def _take_in(report: Report, contents: Mapping[str, bytes], into: Path, replace: Collection[str]) -> None:
    """Write what was accepted, and say in ``report`` what was written. Raises OSError."""
    taken = [found.record for found in report.accepted]
    for file in {board_file(record, into) for record in taken if record.key in replace}:
        write_lines(file, [], without=replace)
    evident, illustrated = lacking(taken, into, "npz"), lacking(taken, into, "jsonl", "png")  # before anything of them is there
    boards: dict[Path, list[dict[str, Any]]] = defaultdict(list)
    for found in report.accepted:
        boards[board_file(found.record, into)].append({"record": found.tree, "verified": [found.verification.beside(found.record)]})
    for file, trees in boards.items():
        write_lines(file, trees)
        report.written.append(file)
    for record in evident:
        report.written.append(keep(record, into, "npz", contents[f"evidence/{record.key}.{record.attempt}.npz"]))
    for record in illustrated:
        written, flags = illustrate(record, contents, into)
        report.written += written
        report.flagged += flags


def lacking(found: Iterable[Record], into: Path, *endings: str) -> list[Record]:
    """One run, that of the smallest seed, of each group of which no file that ends so lies below ``into``."""
    first: dict[str, Record] = {}
    for record in sorted(found, key=lambda record: record.spec["seed"]):
        first.setdefault(group_of(record.identity), record)
    here: set[str] = set()
    for task in {record.spec["task"] for record in first.values()}:
        of_task = lines(task, [], into)
        beside = all_beside(of_task[0].file) if of_task else {}
        here |= {
            group_of(line.record.identity)
            for line in of_task
            if any(what.endswith(endings) for what in beside.get(stem_of(line.record), ()))
        }
    return [record for group, record in first.items() if group not in here]


def keep(record: Record, into: Path, what: str, content: bytes) -> Path:
    """Write ``what`` of the run of ``record`` beside its board below ``into``. Returns the file. Raises OSError."""
    file = path_beside(board_file(record, into), record, what)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def illustrate(record: Record, contents: Mapping[str, bytes], into: Path) -> tuple[list[Path], list[str]]:
    """Write the curves and pictures of ``record`` that a submission's ``contents`` have below ``into``.

    Returns the files, and a line for each that is left out. Raises OSError where they cannot be written.
    """
    stem, written, left_out = f"{record.key}.{record.attempt}", [], []
    wanted = {f"curves/{stem}.jsonl": ("curves.jsonl", untrusted.curves_of)}
    for name in sorted(name for name in contents if name.startswith(f"pictures/{stem}/")):
        wanted[name] = (name.rpartition("/")[2], untrusted.picture_of)
    for name, (what, check) in wanted.items():
        if not contents.get(name):
            continue  # a method that is not trained has an empty file of curves
        try:
            if len(contents[name]) > LARGEST:
                raise Refused(f"{len(contents[name])} bytes, more than {LARGEST}")
            written.append(keep(record, into, what, check(contents[name])))
        except Refused as error:
            left_out.append(f"{name}: is left out: {error}")
    return written, left_out


@dataclass
class _Reviewer:
    """Checks of single records against what is known here."""

    contents: Mapping[str, bytes]
    into: Path
    paths: tuple[Path, ...]
    values: dict[str, Record] = field(default_factory=dict)  # of the submission's runs before, by key
    evident: dict[str, str] = field(default_factory=dict)  # the key of a run by the digest of its evidence
    looked: set[str] = field(default_factory=set)  # tasks whose evidence that is here is among them

    @cached_property
    def checksums(self) -> dict[tuple[str, int], dict[str, str]]:
        """Data checksums of the records that are here already, by task and version; budgets beyond smoke read the same data."""
        known: dict[tuple[str, int], dict[str, str]] = {}
        for line in lines("", [], self.into):
            spec, data = line.record.spec, line.record.provenance.get("data")
            if line.record.status == "done" and spec["budget"] != "smoke" and isinstance(data, dict):
                known.setdefault((spec["task"], spec["task_version"]), data)
        return known

    def record(self, name: str) -> Accepted:
        """The record of the file ``name`` if it passes. Raises Refused, or UserError for a task or evidence unlike those here."""
        content = self.contents[name]
        if len(content) > LARGEST:
            raise Refused(f"{len(content)} bytes, more than a record has")
        tree = strict_json(content)
        try:
            record = Record.from_dict(tree)
        except ValueError as error:
            raise Refused(one_line(error)) from None
        if name != f"records/{record.key}.{record.attempt}.json":
            raise Refused(f"its name is not that of attempt {record.attempt} at {record.key}")
        entry = self._known(record)
        check_options(record.run(), self.paths)
        self._data(record, entry)
        if any(stem_of(line.record) == stem_of(record) for line in lines(record.spec["task"], [], self.into)):
            raise Refused("its attempt is here already")  # names of files beside tell runs apart by their attempts
        evidence = self.contents.get(f"evidence/{record.key}.{record.attempt}.npz")
        if evidence is None:
            raise Refused("it comes without evidence")
        arrays = self._arrays(evidence)
        return Accepted(record, tree, self._recomputed(record, arrays), untrusted.digest_of(arrays))

    def _known(self, record: Record) -> Entry:
        """The task as it is here, where a record of it may be accepted."""
        spec = record.spec
        entry = task_of(record, self.paths)
        try:
            for key in record.metrics:
                check_name(key)
        except ValueError as error:
            raise Refused(one_line(error)) from None
        if not plain.WORD.fullmatch(spec["method"]):
            raise Refused(f"the method's name {spec['method']!r:.80} is no name: letters, digits, '.', '_' and '-'")
        if spec["budget"] not in entry.budgets():
            raise Refused(f"{entry.card.name} has no budget {spec['budget']!r:.40}")
        strange = [name for names in record.files.values() for name in names if not plain.FILE.fullmatch(name)]
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

    def _arrays(self, evidence: bytes) -> dict[str, np.ndarray]:
        try:
            return read_evidence(io.BytesIO(evidence))
        except InvalidEvidence as error:
            raise Refused(f"its evidence is unreadable: {one_line(error)}") from None

    def _recomputed(self, record: Record, evidence: Mapping[str, np.ndarray]) -> Verification:
        verification = verify(record, evidence, self.paths)
        if verification.ok is False:
            wrong = [name for name, check in verification.checked.items() if not check.ok]
            check = verification.checked[wrong[0]]
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise Refused(f"{wrong[0]} is {check.claimed:.6g} in the record, {check.found:.6g} by its evidence{more}")
        return verification

    def doubt(self, found: Accepted) -> str:
        """Why ``found`` might replace, or stand for, what it should not; empty if there is no reason to ask."""
        record, task = found.record, found.record.spec["task"]
        here = [line for line in lines(task, [], self.into) if line.record.status == "done"]
        if task not in self.looked:
            self.looked.add(task)
            for line in here:
                with suppress(InvalidEvidence):
                    if line.evidence is not None:
                        self.evident.setdefault(untrusted.digest_of(read_evidence(line.evidence)), line.record.key)
        others = [*(line.record for line in here if line.record.key == record.key), *filter(None, [self.values.get(record.key)])]
        other = next((of for of in others if of.metrics != record.metrics), None)
        self.values.setdefault(record.key, record)
        twin = self.evident.setdefault(found.evidence, record.key)
        if other is not None:
            theirs, mine = other.metrics, record.metrics
            name = next(name for name in (record.primary, *theirs, *mine) if theirs.get(name) != mine.get(name))
            return f"there is a record of this run already, in which {name} is {theirs.get(name)}, not {mine.get(name)}"
        ended = datetime.datetime.fromisoformat(record.ended or record.started or records.now()).replace(tzinfo=datetime.UTC)
        if ended > datetime.datetime.now(datetime.UTC) + SKEW:
            return f"it ended at {record.ended}, which is yet to come"
        return f"its evidence is that of the run {twin} too" if twin != record.key else ""

    def flags(self, found: Accepted) -> list[str]:
        """What is no reason to refuse a record, but worth a look."""
        record, spec = found.record, found.record.spec
        said = [f"{where} holds markup; it is kept as text" for where in _markup(found.tree)]
        method = discover("method", self.paths).get(spec["method"])
        if method is None:
            said.append(f"the method {spec['method']} is not known here: nobody can run it again")
        elif method.card.version != spec["method_version"]:
            said.append(f"{spec['method']} is version {method.card.version} here, not {spec['method_version']}")
        if method is not None:
            said += [f"the source of {spec['method']} may come to test data: {way}" for way in ways_to_test_data(method.file)]
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
