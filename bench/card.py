"""Cards: what a method or a task is, as literals that can be read without importing its code."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MethodCard:
    """The static description of a method; written as ``CARD = MethodCard(...)`` with literals only.

    Attributes:
        name: unique name, the one used on the command line (``"mult-vae"``).
        title: what it is, in a few words.
        family: folder under ``methods/`` and group on the boards.
        home: the task on whose board it is compared first of all, and on which tests run it whole.
        aliases: further names that find it, of what is the same method elsewhere.
        requires: what it cannot run without beyond our own dependencies: names of modules to import, or "gpu".
        offers: the protocols (:mod:`elboard.bench.kinds`) among the base classes of its class: read from there, never written.
        paper: number of the paper in ``elboard list papers`` (``"021"``); empty for a classical baseline.
        cite: authors and year.
        bases: the finished runs that it starts from, by role: ``{"classifier": {"method": "softmax"}}``. A role names the ``method``, and
            where they are not the run's own the ``task``, the ``budget``, the ``seed`` (a fixed one) and options (``set``); ``count``, a
            number or the name of an option, makes it a list of runs with seeds of their own, as the members of an ensemble.
        splits: its loss is the mean of terms of single examples, plus what no batch changes, so that after an attempt that ran out of
            memory the next may compute it in parts (:func:`elboard.bench.method.in_parts`).
        defaults: how its defaults were found: "paper", "library", or by what search on which data.
        version: raised whenever the same configuration gives other results; part of a run's key.
    """

    name: str
    title: str
    family: str
    home: str = ""
    paper: str = ""
    cite: str = ""
    bases: dict = field(default_factory=dict, hash=False)
    splits: bool = False
    defaults: str = "paper"
    version: int = 1
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskCard:
    """The static description of a task; written as ``CARD = TaskCard(...)`` with literals only.

    Attributes:
        name: ``family/data``.
        title: what is measured, in a few words.
        needs: protocols that a method must offer, all of them.
        primary: the metric key that orders the board.
        metrics: metric keys shown on the board, the primary one among them.
        selection: the key returned by ``Task.validate`` that selects epochs and hyper-parameters.
        data: data sets of ``tasks/data/datasets.yaml`` that budgets beyond smoke read.
        varies: what differs between seeds ("seed", or "seed and split").
        requires: as of a method.
        papers: papers whose claims this task tests.
        aliases: further names that find it.
        version: raised whenever the protocol changes; boards never mix versions.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    primary: str
    metrics: tuple[str, ...]
    selection: str
    data: tuple[str, ...] = ()
    varies: str = "seed"
    papers: tuple[str, ...] = ()
    version: int = 1
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.name.split("/")[0]


def fits(method: MethodCard, task: TaskCard) -> bool:
    """Whether ``method`` can run on ``task``: it offers every protocol that the task needs."""
    return set(task.needs) <= set(method.offers)


def missing(card: MethodCard | TaskCard) -> str:
    """What ``card`` requires and this machine lacks, with what helps; empty where all is there. Imports nothing."""
    modules = [name for name in card.requires if name != "gpu" and importlib.util.find_spec(name.split(".")[0]) is None]
    if modules:
        wanted = " ".join(name.replace("_", "-") for name in modules)
        return f"{card.name} needs {', '.join(modules)}, which cannot be imported: pip install {wanted}"
    gpu = os.path.exists("/proc/driver/nvidia/version") and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
    return "" if gpu or "gpu" not in card.requires else f"{card.name} needs a GPU, and this machine shows none"
