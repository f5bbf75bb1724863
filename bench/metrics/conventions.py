"""Names of metrics and what they mean: unit, direction, range, positive class, tie rule, source.

A key is ``name``, ``name@K`` or ``name[parameters]``, then ``/slice`` for a part of the data: ``ndcg@100``, ``nll[k=5000]``,
``fid[inception-2015,n=10000]``, ``auroc/near``. Keys that differ in anything are different metrics and never share a column.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from elboard.bench.errors import UserError, nearest

INF = float("inf")
KEY = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(@(?P<at>\d+))?(\[(?P<parameters>[^\[\]]+)\])?(/(?P<slice>[\w.+-]+))?")


@dataclass(frozen=True)
class Convention:
    """What a metric's name means.

    Attributes:
        direction: "higher" or "lower" is better, or "none".
        low, high: range of possible values, bounds included.
        note: positive class, tie rule, estimator, source.
    """

    name: str
    title: str
    unit: str
    direction: str
    low: float = -INF
    high: float = INF
    note: str = ""


def _share(name: str, title: str, direction: str, note: str = "") -> Convention:
    return Convention(name, title, "", direction, 0.0, 1.0, note)


_ALL = (
    Convention("elbo", "evidence lower bound", "nats", "higher", note="one sample of z an example, mean over examples"),
    Convention(
        "nll",
        "negative log likelihood",
        "nats",
        "lower",
        note="minus the k-sample importance bound (Burda et al. 2016, eq. 8); k in the key",
    ),
    Convention("bits_per_dim", "bits per dimension", "bits", "lower", note="nats / (D ln 2)"),
    Convention("kl", "KL(q(z|x) || p(z))", "nats", "none"),
    Convention("reconstruction", "-E_q log p(x|z)", "nats", "lower"),
    Convention(
        "mse",
        "mean squared error of the reconstruction",
        "",
        "lower",
        0.0,
        note="mean over pixels, of the decoder's mean at the code's mean",
    ),
    Convention(
        "active_units",
        "active latent units",
        "units",
        "none",
        0.0,
        note="variance over x of E_q[z|x] above 0.01 (Burda et al. 2016, section 5.2)",
    ),
    Convention("mutual_information", "I_q(x; z)", "nats", "none", note="Hoffman & Johnson 2016; at most the log of the number of examples"),
    Convention("fid", "Frechet Inception distance", "", "lower", -1e-3, note="feature network and samples in the key (Heusel et al. 2017)"),
    Convention(
        "fd", "Frechet distance of features", "", "lower", -1e-3, note="feature network in the key; not an Inception network, so not FID"
    ),
    Convention("kid", "kernel distance of features", "", "lower", note="unbiased, cubic kernel (Binkowski et al. 2018); may be negative"),
    _share("gen_precision", "precision of samples", "higher", "k = 3 (Kynkaanniemi et al. 2019)"),
    _share("gen_recall", "recall of samples", "higher", "k = 3 (Kynkaanniemi et al. 2019)"),
    _share("accuracy", "accuracy", "higher", "of the most probable class; the lowest index among ties"),
    Convention("class_nll", "negative log likelihood of the class", "nats", "lower", 0.0, note="probabilities floored at 1e-12"),
    Convention("brier", "Brier score", "", "lower", 0.0, 2.0, note="sum over classes of squared differences, mean over examples"),
    _share("ece", "expected calibration error", "lower", "15 equal-width bins, right-closed"),
    _share("adaptive_ece", "adaptive calibration error", "lower", "15 bins of equal mass"),
    _share("classwise_ece", "classwise calibration error", "lower", "mean over classes, 15 equal-width bins, right-closed"),
    Convention("entropy", "predictive entropy", "nats", "none", 0.0),
    _share("auroc", "area under the ROC curve", "higher", "OOD positive; ties count half"),
    _share("aupr_in", "average precision, ID positive", "higher", "of the negated scores"),
    _share("aupr_out", "average precision, OOD positive", "higher"),
    _share("fpr95_ood_positive", "ID flagged at 95 % OOD detected", "lower"),
    _share("fpr95_id_positive", "OOD accepted at 95 % ID accepted", "lower", "the FPR95 of ReAct and OpenOOD"),
    _share("ndcg", "normalised discounted cumulative gain", "higher", "ideal truncated at K; ties by item index"),
    _share("recall", "recall", "higher", "denominator min(K, targets)"),
    _share("item_coverage", "share of items in any top-K list", "higher"),
    _share("accuracy_last", "clean test accuracy of the last epoch", "higher"),
    _share("accuracy_best", "clean test accuracy at the epoch that noisy validation selects", "higher"),
    _share("accuracy_peak", "largest clean test accuracy of any epoch", "higher", "an oracle: it selects on the test set"),
    _share("accuracy_last10", "mean clean test accuracy of the last ten epochs", "higher"),
    _share("memorised", "corrupted training labels that are predicted", "lower"),
    _share("label_precision", "clean labels among those selected", "higher"),
    _share("auc", "area under the ROC curve of links", "higher", "edges positive; ties count half"),
    _share("ap", "average precision of links", "higher", "edges positive"),
)
CONVENTIONS = {convention.name: convention for convention in _ALL}


@dataclass(frozen=True)
class Key:
    """A parsed metric key; parts that are absent are empty."""

    name: str
    at: str = ""
    parameters: str = ""
    slice: str = ""


@functools.lru_cache(maxsize=4096)
def parse(key: str) -> Key:
    """Take a key apart. Raises UserError if it does not follow the grammar."""
    match = KEY.fullmatch(key)
    if match is None:
        raise UserError(f"metric key {key!r} is not of the form name, name@K or name[parameters], with /slice")
    return Key(**{part: value or "" for part, value in match.groupdict().items()})


def bare(key: str) -> str:
    """``key`` without its parameters: ``fid[mnist-cnn,n=10]/x`` -> ``fid/x``."""
    head, bracket, rest = key.partition("[")
    return head + rest.partition("]")[2] if bracket else key


def convention(key: str) -> Convention:
    """The convention of ``key``. Raises UserError with the nearest names."""
    name = parse(key).name
    if name not in CONVENTIONS:
        raise UserError(f"no metric {name!r}: {nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]


def better(key: str, value: float, than: float) -> bool:
    """Whether ``value`` is strictly better. Raises UserError for a metric without a direction."""
    direction = convention(key).direction
    if direction == "none":
        raise UserError(f"metric {key!r} has no direction, so nothing can be selected by it")
    return value > than if direction == "higher" else value < than


def in_range(key: str, value: float) -> bool:
    """Whether ``value`` is possible, up to rounding of 1e-6."""
    of = convention(key)
    return of.low - 1e-6 <= value <= of.high + 1e-6
