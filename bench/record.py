"""Records: the immutable result of one attempt at a run, written once, sealed by a digest of its content, validated when read."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elboard.bench import legacy, plain
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.identity import IN_KEY, difference, key_of, reseeded
from elboard.bench.metrics.conventions import in_range
from elboard.bench.registry import discover

SCHEMA = 3
STATUSES = ("done", "failed")
DAY = 86400.0  # seconds
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{6,8}\.tmp|\.now\.[0-9a-f]{8}|\.claim\.[0-9a-f]{32}")  # of files that are moved or removed at once
ARCHIVE = "archive"  # folder of runs, beside them, to which nothing is written any more
FAILURES = ("bug", "nan", "oom", "timeout", "killed", "infra")


@dataclass(frozen=True)
class Record:
    """One attempt at a run.

    Attributes:
        spec: ``RunSpec.resolved()`` without the section wandb: names, versions, budget, seed and the whole configuration, of the runs that
            it starts from too.
        identity: ``RunSpec.identity()``, of which ``key`` is the hash.
        metrics: metric key -> value; ``primary`` names the one that orders the board.
        failure: ``{"class", "message", "log"}`` of a failed attempt, class one of bug, nan, oom, timeout, killed, infra.
        cost: wall_s, train_s, evaluate_s, cpu_s, peak_memory_mib, parameters, flops_per_example (forward and backward) and so on.
        provenance: software versions, git commit and dirty flag, hardware, data checksums.
        files: names of evidence and pictures, relative to the run's folder.
        defaults: how the method's defaults were found (:attr:`elboard.bench.card.MethodCard.found`).
        digest: SHA-256 of all else (:func:`digest_of`); empty until the record is sealed, which writing does.
    """

    key: str
    attempt: str
    status: str
    spec: dict
    metrics: dict[str, float] = field(default_factory=dict)
    primary: str = ""
    failure: dict[str, str] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    identity: dict = field(default_factory=dict)
    defaults: str = ""
    schema: int = SCHEMA
    digest: str = ""

    @classmethod
    def of(cls, spec: RunSpec, attempt: str, status: str, **fields: Any) -> Record:
        """The record of an attempt at ``spec``."""
        method = discover("method", tuple(map(Path, spec.paths))).get(spec.method)
        said = {"identity": spec.identity(), "defaults": method.card.found if method else ""}
        return cls(spec.key, attempt, status, plain.shared(spec.resolved()), **said, **fields)

    @classmethod
    def from_dict(cls, tree: Any) -> Record:
        """The record that a decoded file says, whatever its schema. Errors are those of :func:`validate`."""
        validate(tree)
        return cls(**(legacy.upgraded(tree) if tree["schema"] == legacy.SCHEMA else tree))

    def run(self) -> RunSpec:
        """The specification."""
        return RunSpec.joined(self.spec, self.identity)


def now() -> str:
    """The time in UTC, as records state it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def effective(found: Iterable[Record]) -> Record | None:
    """The record that counts of several attempts at one run: the newest finished one, else the newest failed one; by id among equals."""
    return max(found, key=lambda record: (record.status == "done", record.ended, record.attempt), default=None)


class InvalidRecord(ValueError):
    """A file that is not a valid record; the message names the file and what is wrong."""


def _plain(tree: Any) -> Any:
    """What JSON can say: it has no NaN or infinity, which are written as text, and no half characters (of undecodable file names)."""
    if isinstance(tree, Mapping):
        return {_plain(str(name)): _plain(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    if isinstance(tree, str) and not tree.isascii():
        return tree.encode("utf-8", "replace").decode()
    return tree


def digest_of(tree: Mapping) -> str:
    """SHA-256 (hexadecimal) of a decoded record without its ``digest``: of its JSON with sorted keys, without spaces, in UTF-8.

    Numbers count as Python writes them, which is how they are written to the file. Raises ValueError for what JSON cannot say.
    """
    return hashlib.sha256(canonical({name: value for name, value in tree.items() if name != "digest"}).encode("utf-8")).hexdigest()


def canonical(tree: Mapping) -> str:
    """The one text of a decoded record. Raises ValueError for what JSON cannot say."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal(record: Record) -> Record:
    """``record`` with the digest of its content."""
    record = replace(record, schema=SCHEMA)
    return replace(record, digest=digest_of(_plain(asdict(record))))


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def save_atomically(path: Path, save: Callable[[Path], Any]) -> None:
    """``save`` to a temporary file beside ``path``, flush it to disk, rename it: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_up(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")
    try:
        save(temporary)
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_up(folder: Path, age: float = DAY) -> None:
    """Remove from ``folder`` what writers that were killed left there, once it is ``age`` seconds old."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > age:
                        os.unlink(entry.path)


def write_text_atomically(path: Path, text: str) -> None:
    """:func:`save_atomically` of ``text``."""
    save_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write(record: Record, path: Path) -> Record:
    """Seal ``record`` and write it as JSON, atomically. Returns the sealed record. Raises ValueError for one that nobody could read."""
    record = seal(record)
    tree = _plain(asdict(record))
    validate(tree, record.digest)
    write_text_atomically(path, json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return record


def leave(spec: RunSpec, folder: Path, status: str, **fields: Any) -> Record:
    """Write the record of a new attempt at ``spec`` to the run's ``folder``. Returns it, sealed."""
    record = Record.of(spec, uuid.uuid4().hex[:12], status, **fields)
    return write(record, folder / "attempts" / f"{record.attempt}.json")


def files_of(folder: Path) -> list[Path]:
    """The files of a run's records: those in its folder ``<root>/<key>``, and the archived ones in ``<root>/archive/<key>``."""
    homes = (folder, folder.parent / ARCHIVE / folder.name)
    return [file for home in homes for file in sorted((home / "attempts").glob("*.json")) if is_record_file(file.name)]


def attempts(folder: Path) -> list[Record]:
    """The valid records of a run's folder; invalid and vanished files are passed over."""
    found = []
    for file in files_of(folder):
        with suppress(InvalidRecord, OSError):
            found.append(read(file))
    return found


def is_record_file(name: str) -> bool:
    """Whether a file of this name is a record, and not a temporary file or one that says something about a record
    (``<stem>.verified.json``, ``<stem>.backfill.<metric>.json``)."""
    return name.endswith(".json") and not name.startswith(".") and not re.search(r"\.(verified|backfill)\.", name)


def read(path: Path) -> Record:
    """Read and validate. Raises InvalidRecord with one line, OSError where the file cannot be read."""
    return parse(path.read_bytes(), path)


def parse(content: bytes, path: Path) -> Record:
    """The record that a file's ``content`` holds, validated; ``path`` is named in the message. Raises InvalidRecord with one line."""
    try:
        tree = json.loads(content.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise InvalidRecord(f"{path}: not valid JSON, perhaps truncated; it is left out") from None
    try:
        return Record.from_dict(tree)
    except ValueError as error:
        raise InvalidRecord(f"{path}: {error}; it is left out") from None


def no_constant(name: str) -> None:
    """For decoders of JSON: there is no NaN and no infinity in it."""
    raise ValueError(f"{name} is not JSON")


_MAPPINGS = ("spec", "identity", "metrics", "failure", "cost", "provenance", "files", "notes")
_TEXTS = ("key", "attempt", "status", "primary", "started", "ended", "defaults", "digest")


def validate(tree: Any, digest: str = "") -> None:
    """Check a decoded record against the schema, its key and its digest. Raises ValueError saying what is wrong, in one line.

    ``digest``: that of sealing it, where it was sealed just now; it saves encoding it again.
    """
    if not isinstance(tree, dict):
        raise ValueError("not a record")
    if type(tree.get("schema")) is not int or tree["schema"] not in (SCHEMA, legacy.SCHEMA):
        raise ValueError(f"schema {tree.get('schema')!r} is not the known {SCHEMA}")
    new = {"identity", "defaults"} if tree["schema"] == legacy.SCHEMA else set()
    unknown = set(tree) - set(Record.__dataclass_fields__) | new & set(tree)
    missing = {"key", "attempt", "status", "spec", "identity", "digest"} - new - set(tree)
    if unknown or missing:
        raise ValueError(f"unknown fields {sorted(unknown)}" if unknown else f"fields {sorted(missing)} are missing")
    _validate_types(tree)
    if tree["status"] not in STATUSES:
        raise ValueError(f"status {tree['status']!r} is none of {', '.join(STATUSES)}")
    if tree["status"] == "failed" and tree.get("failure", {}).get("class") not in FAILURES:
        raise ValueError(f"failure class {tree.get('failure', {}).get('class')!r} is none of {', '.join(FAILURES)}")
    check_metrics(tree)
    for name, value in tree.get("cost", {}).items():
        if not finite(value) or value < 0:
            raise ValueError(f"cost {_shown(name)} is {value!r:.60}, not a finite number of at least 0")
    _validate_times(tree)
    _validate_spec(tree)
    try:
        same = digest == tree["digest"] or digest_of(tree) == tree["digest"]
    except (ValueError, RecursionError):
        raise ValueError("its content has no canonical form") from None
    if not same:
        raise ValueError("its content does not match its digest; it was changed after it was written")
    plain.check(tree)


def _shown(name: str) -> str:
    """``name`` as a message of one line can show it."""
    return name[:80] if name.isprintable() else repr(name)[:80]


def finite(value: Any) -> bool:
    """Whether ``value`` is a number that a float can hold; True and False are none."""
    try:
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _validate_types(tree: dict) -> None:
    for names, kind, word in ((_MAPPINGS, dict, "a mapping"), (_TEXTS, str, "text"), (("warnings",), list, "a list")):
        for name in names:
            if name in tree and not isinstance(tree[name], kind):
                raise ValueError(f"{name} is {tree[name]!r:.60}, not {word}")
    lists = [("warnings", tree.get("warnings", [])), *((f"files.{_shown(name)}", value) for name, value in tree.get("files", {}).items())]
    for name, value in lists:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is {value!r:.60}, not a list of texts")
    for name, value in tree.get("failure", {}).items():
        if not isinstance(value, str):
            raise ValueError(f"failure.{_shown(name)} is {value!r:.60}, not text")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", tree["attempt"]):
        raise ValueError(f"attempt {tree['attempt']!r:.80} is not a name of letters, digits, '.', '_' and '-'")


def check_metrics(tree: dict) -> None:
    """Raises ValueError where status, primary metric and metrics of ``tree`` could not stand in a record."""
    metrics = tree.get("metrics", {})
    if tree["status"] == "done" and not metrics:
        raise ValueError("a finished record without metrics")
    if tree["status"] == "done" and tree.get("primary") not in metrics:
        raise ValueError(f"its primary metric {tree.get('primary')!r} is not among its metrics")
    for name, value in metrics.items():
        if not finite(value):
            raise ValueError(f"metric {_shown(name)} is {value!r:.60}, not a finite number")
        try:
            possible = in_range(name, value)
        except UserError as error:
            raise ValueError(str(error)) from None
        if not possible:
            raise ValueError(f"metric {_shown(name)} is {value}, outside its range")


def _validate_times(tree: dict) -> None:
    times = {}
    for name in ("started", "ended"):
        text = tree.get(name, "")
        try:
            moment = datetime.datetime.fromisoformat(text) if text else None
        except ValueError:
            raise ValueError(f"{name} is {text!r:.60}, not an ISO 8601 time") from None
        if moment is not None and moment.utcoffset():
            raise ValueError(f"{name} is {text}, which is not in UTC")
        times[name] = moment.replace(tzinfo=None) if moment else None
    if all(times.values()) and times["ended"] < times["started"]:
        raise ValueError(f"it ended at {tree['ended']}, before it started at {tree['started']}")


def _validate_spec(tree: dict) -> None:
    old = tree["schema"] == legacy.SCHEMA
    try:
        spec = legacy.spec_of(tree["spec"]) if old else RunSpec.joined(tree["spec"], tree["identity"])
        identity = legacy.tree_of(spec) if old else spec.identity()
        key, wrong = key_of(identity), "" if old else _strange(spec, identity, tree)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError):
        raise ValueError("its specification is incomplete") from None
    kinds = {"task": str, "task_version": int, "method": str, "method_version": int, "budget": str, "seed": int}
    for name, kind in kinds.items():
        if type(getattr(spec, name)) is not kind:
            raise ValueError(f"spec.{name} is {getattr(spec, name)!r:.60}, not {'text' if kind is str else 'a whole number'}")
    if not 0 <= spec.seed < 2**63:
        raise ValueError(f"spec.seed is {spec.seed}, not a whole number from 0 to 2^63 - 1")
    plain.check_spec(spec.resolved() if old else tree["spec"])
    if wrong:
        raise ValueError(f"its identity is not that of its specification: {_shown(wrong)}")
    if key != tree["key"]:
        raise ValueError(f"its key {_shown(tree['key'])} is not the hash {key} of its identity")


def _strange(spec: RunSpec, identity: Mapping, tree: Mapping) -> str:
    """In what the ``identity`` of ``spec`` is not that of a decoded record, or its options not those of ``spec``; empty if in nothing."""
    if identity != tree["identity"]:
        return next(iter(difference(identity, tree["identity"])), "its form")
    if reseeded(tree["spec"], identity, spec.seed) != tree["spec"]:
        return "the seed of a run that it starts from"
    return _unlike(spec) or ("a field unknown" if spec.resolved() != tree["spec"] else "")


def _unlike(spec: RunSpec) -> str:
    """An option by which a run is named that its configuration has not, or another; empty if there is none."""
    for section, options in spec.options.items():
        for name, value in options.items():
            if section not in IN_KEY or name not in spec.config[section] or spec.config[section][name] != value:
                return f"options.{section}.{name}"
    return next(filter(None, (_unlike(run) for runs in spec.bases.values() for run in runs)), "")
