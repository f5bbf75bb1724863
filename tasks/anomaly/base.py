"""Anomalies in images: whether an image has one, and of methods with heat maps where they see it.

Protocol, common to the family:

* Images are drawn here, training, validation and test images from random streams of the task; half of the validation and of the test images
  have one anomaly, whose pixels are known. Training images say by ``y`` whether they have one; no method sees a mask.
* ``auroc`` (primary) and other metrics of :mod:`elboard.bench.metrics.ood`, anomalous images positive; ``auroc/<slice>`` of anomalies of a
  slice against all normal images.
* ``detection_rate``, ``false_alarms``, ``alarm_precision`` at the threshold whose G-mean is largest on the validation images.
* Heat maps (:class:`elboard.bench.kinds.anomaly.AnomalyMap`) of anomalous test images: ``pixel_auroc``; of those that are flagged,
  ``max_iou``, the largest overlap with the mask over thresholds that are the same for all methods, ``wrong_reason``, the share with less
  than 0.1, and ``ceiling_iou``, what the regions of the map allow. The largest over thresholds is optimistic: a random map is the control.
* ``psnr`` of reconstructions of normal test images, ``silhouette`` of normal and anomalous codes, where a method has them.

Evidence: scores of validation and test images; of each image its overlaps, PSNR and silhouette in half precision, of which the metrics are
made. Selection: the AUROC of the validation images, whose anomalies are of kinds that training images have where these have any.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.anomaly import AnomalyMap, AnomalySpec
from elboard.bench.kinds.representation import Encoder, Reconstructor
from elboard.bench.metrics import anomaly as metrics
from elboard.bench.metrics.ood import ood_metrics
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.images import mean_of
from elboard.tasks.parts.pictures import grid

CHUNK, SHOWN = 200, 16
AT_ONCE = 100  # images drawn at once: bounds memory
STREAMS = {"train": 1, "valid": 2, "test": 3}
MAPS = {"max_iou": "overlap", "ceiling_iou": "ceiling"}
NETWORK = "conv-16-32-64"


class Drawn(NamedTuple):
    """Images float32 ``(n, 3, H, W)`` in [0, 1], masks bool ``(n, H, W)`` and the index of each anomaly in the slices of each group."""

    x: np.ndarray
    mask: np.ndarray
    groups: dict[str, np.ndarray]


def joined(parts: list[Drawn]) -> Drawn:
    groups = {name: np.concatenate([part.groups[name] for part in parts]) for name in parts[0].groups}
    return Drawn(np.concatenate([part.x for part in parts]), np.concatenate([part.mask for part in parts]), groups)


class Anomalies(Task):
    """The family's protocol; a subclass draws the images.

    Attributes:
        groups: names of the slices by which anomalies are told apart.
        share: of training images with an anomaly.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]]
    share: ClassVar[float] = 0.0
    sets: ClassVar[Sets] = {
        "validation": Examples(arrays=("valid_*",), metrics=()),
        "images": Examples(
            arrays=("normal", "anomalous", "group_*", "overlap", "ceiling", "pixels", "quality", "silhouette"), metrics=("*", "*/*")
        ),
    }

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count
        n_valid: Count
        n_test: Count

    @abstractmethod
    def draw(self, n: int, anomalous: bool, split: str, rng: np.random.Generator) -> Drawn:
        """n images, of which all have an anomaly or none."""

    def _drawn(self, split: str, n: int, anomalous: int) -> Drawn:
        """Normal images first."""
        rng = np.random.default_rng(STREAMS[split])
        counts = ((n - anomalous, False), (anomalous, True))
        return joined([self.draw(min(AT_ONCE, of - at), has, split, rng) for of, has in counts for at in range(0, of, AT_ONCE)])

    def _labelled(self, split: str, n: int, anomalous: int) -> dict[str, Tensor]:
        x = torch.from_numpy(self._drawn(split, n, anomalous).x)
        return {"x": x, "y": (torch.arange(n) >= n - anomalous).long()}

    def load_train(self) -> Data:
        c = self.config
        train = self._labelled("train", c.n_train, round(self.share * c.n_train))
        spec = AnomalySpec(tuple(train["x"].shape[1:]), c.n_train, likelihood="gaussian", network=NETWORK)
        return Data(spec, train, self._labelled("valid", c.n_valid, c.n_valid // 2))

    def load_test(self, data: Data) -> Test:
        """Images as ``normal`` and ``anomalous``, the masks of these and their slices."""
        half = self.config.n_test // 2
        drawn = self._drawn("test", 2 * half, half)
        groups = {name: index[half:] for name, index in drawn.groups.items()}
        normal, anomalous = torch.from_numpy(drawn.x).split(half)
        return {"normal": normal.clone(), "anomalous": anomalous.clone(), "mask": drawn.mask[half:]} | groups

    def _each(self, function: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
        return torch.cat([function(part.to(self.device)).float().cpu() for part in x.split(CHUNK)]).numpy()

    def _validated(self, method: Any, data: Data) -> dict[str, np.ndarray]:
        scores, y = self._each(method.anomaly_score, data.valid["x"]), data.valid["y"].numpy()
        return {"valid_normal": scores[y == 0], "valid_anomalous": scores[y == 1]}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        scores = self._validated(method, data)
        return {"auroc": ood_metrics(scores["valid_normal"], scores["valid_anomalous"])["auroc"]}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        normal, anomalous = test["normal"], test["anomalous"]
        arrays = self._validated(method, data)
        arrays |= {name: self._each(method.anomaly_score, test[name]) for name in ("normal", "anomalous")}
        arrays |= {f"group_{name}": test[name].astype(np.uint8) for name in self.groups}
        shown, each = [anomalous[:SHOWN]], {}
        if isinstance(method, AnomalyMap):
            maps = self._each(method.anomaly_map, anomalous)
            for name, of in (("overlap", metrics.max_iou), ("ceiling", metrics.ceiling_iou), ("pixels", metrics.pixel_auroc)):
                each[name] = of(maps, test["mask"])
            shown += [_grey(test["mask"][:SHOWN]), _grey(maps[:SHOWN])]
        if isinstance(method, Reconstructor):
            error = self._each(lambda x: (method.reconstruct(x).clamp(0, 1) - x).square().mean((1, 2, 3)), normal)
            each["quality"] = -10 * np.log10(np.maximum(error, 1e-10))
            shown.append(method.reconstruct(anomalous[:SHOWN].to(self.device)).cpu())
        if isinstance(method, Encoder):
            each["silhouette"] = metrics.silhouettes(*(self._each(method.represent, x) for x in (normal, anomalous)))
        arrays |= {name: values.astype(np.float16) for name, values in each.items()}
        return Observed(arrays, {"anomalies": grid(torch.stack(shown, 1).flatten(0, 1), 4 * len(shown))})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        normal, anomalous = observed["normal"], observed["anomalous"]
        index = {name: observed[f"group_{name}"] for name in cls.groups}
        slices = {of: index[name] == k for name, names in cls.groups.items() for k, of in enumerate(names)}
        slices = {of: chosen for of, chosen in slices.items() if chosen.any()}
        found = ood_metrics(normal, anomalous)
        found |= {f"auroc/{of}": ood_metrics(normal, anomalous[chosen])["auroc"] for of, chosen in slices.items()}
        if {"auroc/small", "auroc/large"} <= found.keys():
            found["size_gap"] = found["auroc/large"] - found["auroc/small"]
        for name, array in (("psnr", "quality"), ("silhouette", "silhouette"), ("pixel_auroc", "pixels")):
            found |= {name: mean_of(observed[array])} if array in observed else {}
        if "valid_normal" not in observed:
            return found
        threshold = metrics.best_threshold(observed["valid_normal"], observed["valid_anomalous"])
        found |= metrics.flagged(normal, anomalous, threshold)
        for of, chosen in {"": np.ones(len(anomalous), bool), **slices}.items():
            found |= _overlaps(observed, chosen & (anomalous >= threshold), f"/{of}" if of else "")
        return found


def _overlaps(observed: Mapping[str, np.ndarray], chosen: np.ndarray, ending: str) -> dict[str, float]:
    """Of heat maps of the flagged anomalies ``chosen``; nothing where there are none."""
    if "overlap" not in observed or not chosen.any():
        return {}
    found = {f"{name}{ending}": mean_of(observed[array][chosen]) for name, array in MAPS.items()}
    return found | {f"wrong_reason{ending}": float((observed["overlap"][chosen] < metrics.APART).mean())}


def _grey(maps: np.ndarray) -> Tensor:
    """``(n, H, W)`` as pictures ``(n, 3, H, W)``, from 0 to the largest value of each."""
    maps = torch.as_tensor(maps, dtype=torch.float32).clamp(min=0)
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12))[:, None].expand(-1, 3, -1, -1)
