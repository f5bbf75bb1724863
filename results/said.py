"""What was said about a record later: verifications, of which its badge follows, and metrics computed from its evidence.

It counts for the content that it names by the record's digest alone. A place of a record (:mod:`elboard.results.places`) keeps it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import in_range, of_examples
from elboard.bench.provenance import revision, versions
from elboard.bench.record import Record

if TYPE_CHECKING:
    from elboard.results.places import Place

KINDS = ("recomputed", "rerun")
BADGES = ("disputed", "claimed", "recomputed", "re-run")  # from the least to the most trusted


class Check(NamedTuple):
    """A metric of the record beside the value found now, and the absolute difference allowed."""

    claimed: float
    found: float
    tolerance: float
    ok: bool


@dataclass(frozen=True)
class Verification:
    """The outcome of checking one record.

    Attributes:
        digest: of the record's content that was checked.
        kind: "recomputed" from evidence or "rerun".
        checked: metric -> :class:`Check`.
        unchecked: metrics about which this verification says nothing.
        ok: whether all that was checked agrees; None where nothing could be checked.
        note: how it was compared, or why there is no verdict.
        commit, versions, when: of this verification, not of the record.
    """

    key: str
    attempt: str
    digest: str
    kind: str
    checked: dict[str, Check]
    unchecked: list[str]
    ok: bool | None
    note: str = ""
    commit: str = field(default_factory=lambda: str(revision().get("commit", "")))
    versions: dict[str, str] = field(default_factory=lambda: dict(versions()))
    when: str = field(default_factory=records.now)

    @property
    def largest(self) -> tuple[str, float]:
        """The metric farthest from its claim in units of its tolerance, and the absolute difference; ("", 0.0) if none is checked."""

        def strain(name: str) -> tuple[float, float]:
            of = self.checked[name]
            gap = abs(of.claimed - of.found)
            if math.isnan(gap):
                return float("inf"), gap
            return (gap / of.tolerance if of.tolerance else float("inf") if gap else 0.0), gap

        name = max(self.checked, key=strain, default="")
        return (name, strain(name)[1]) if name else ("", 0.0)

    def proves(self, primary: str) -> bool:
        """Whether the metric ``primary``, or that of the subset which the evidence keeps, is among those checked."""
        return of_examples(primary) in map(of_examples, self.checked)

    def to_dict(self) -> dict:
        """As it is written: plain JSON; a check that agrees is ``[found - claimed, tolerance]``, any other has all four fields."""
        checked = {
            name: [float(f"{check.found - check.claimed:.3g}"), check.tolerance] if check.ok else list(check)
            for name, check in self.checked.items()
        }
        return {**asdict(self), "checked": checked}

    def beside(self, record: Record) -> dict:
        """As :meth:`to_dict`, for the place that has ``record``: without what that says itself, and the commonest check said once, in
        ``rest``, of all metrics that are neither in ``checked`` nor in ``unchecked``. The digest says of which content."""
        tree = self.to_dict()
        if self.digest != digest_of(record) or {*self.checked, *self.unchecked} != set(record.metrics):
            return tree
        known = _known(record)
        tree = {name: value for name, value in tree.items() if value != known.get(name)}
        agreeing = Counter(tuple(of) for of in tree["checked"].values() if len(of) == 2)
        if agreeing:
            tree["rest"] = list(agreeing.most_common(1)[0][0])
            tree["checked"] = {name: of for name, of in tree["checked"].items() if of != tree["rest"]}
        return tree

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], record: Record | None = None) -> Verification:
        """Of what :meth:`to_dict` made, or :meth:`beside` with ``record``. Raises TypeError, KeyError or ValueError for anything else."""
        fields = {name: value for name, value in tree.items() if name != "largest_difference"}  # older ones say it
        if record is not None:
            fields = _known(record) | fields
        if "rest" in fields:
            rest = fields.pop("rest")
            fields["checked"] = {name: fields["checked"].get(name, rest) for name in record.metrics if name not in fields["unchecked"]}
        if fields["kind"] not in KINDS or fields["ok"] not in (True, False, None) or not isinstance(fields["digest"], str):
            raise ValueError("not a verification")
        return cls(**{**fields, "checked": {name: _check_of(of) for name, of in fields["checked"].items()}})


def _known(record: Record) -> dict[str, Any]:
    """What a verification of ``record``, done where and as it was run, has in common with it."""
    return {"key": record.key, "attempt": record.attempt, "versions": record.provenance.get("versions", {}), "note": ""}


def _check_of(said: Any) -> Check:
    """The check that a verification says; of one that agrees, in terms of the claim."""
    if isinstance(said, Mapping):  # as older ones say it
        return Check(**said)
    return Check(0.0, *said, True) if len(said) == 2 else Check(*said)


def digest_of(record: Record) -> str:
    """The digest of a record's content: of one that was read the digest that reading checked, of one not yet written that of sealing it."""
    return record.digest or records.seal(record).digest


def verifications(place: Place) -> list[Verification]:
    """The verifications of the record at ``place``; what is none is passed over."""
    found = []
    for tree in place.said("verified"):
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            found.append(Verification.from_dict(tree, place.record))
    return found


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


def backfilled(place: Place) -> dict[str, float]:
    """The metrics of the record at ``place`` together with those computed later; the record's own come first and win.

    What names another digest, or is no possible value, is passed over.
    """
    digest, later = digest_of(place.record), {}
    for tree in place.said("backfill"):
        with suppress(ValueError, TypeError, KeyError, OverflowError, UserError):
            if tree["digest"] == digest and math.isfinite(tree["value"]) and in_range(tree["metric"], tree["value"]):
                later[tree["metric"]] = float(tree["value"])
    return later | place.record.metrics
