"""Names of metrics and what they mean: unit, direction, range. Keys follow ``name[parameters]/slice`` or ``name@K``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bench.errors import UserError, nearest


@dataclass(frozen=True)
class Convention:
    name: str
    unit: str
    direction: str
    low: float = -math.inf
    high: float = math.inf


_T = {
    "elbo": ("nats", "higher"), "nll": ("nats", "lower"), "log_evidence": ("nats", "higher"), "bits_per_dim": ("bits", "lower"),
    "kl": ("nats", "none"), "reconstruction": ("nats", "lower"), "mse": ("", "lower"), "active_units": ("units", "none"), "mutual_information": ("nats", "none"),
    "accuracy": ("", "higher", 0, 1), "class_nll": ("nats", "lower", 0), "auroc": ("", "higher", 0, 1), "ndcg": ("", "higher", 0, 1), "recall": ("", "higher", 0, 1), "auc": ("", "higher", 0, 1), "ap": ("", "higher", 0, 1),
}
CONVENTIONS = {k: Convention(k, *v) for k, v in _T.items()}


def parse(key):
    m = re.fullmatch(r"([a-z_0-9]+?)(@\d+)?(\[[^]]*\])?(/.+)?", key)
    return m.group(1), m.group(2), m.group(3), m.group(4)


def convention(key):
    name = parse(key)[0]
    if name not in CONVENTIONS:
        raise UserError(f"no metric {name!r}: {nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]


def better(key, a, b):
    return a < b if convention(key).direction == "lower" else a > b


def in_range(key, value):
    c = convention(key)
    return c.low - 1e-6 <= value <= c.high + 1e-6
