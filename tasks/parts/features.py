"""Feature networks for distances between real and generated images.

The small ones ship with the package (``train_features.py`` made them, once per data set); the hash of the weights is part of the network's
name and so of the metric's, because a distance in other features is another metric. ``inception-2015`` is there when its weights are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import named_by

WEIGHTS = Path(__file__).parent / "weights"
# height, width, logits, channels
SHAPES = {
    "mnist-cnn": (28, 28, 10, 1),
    "fashion-cnn": (28, 28, 10, 1),
    "digits-cnn": (8, 8, 10, 1),
    "sprites-cnn": (32, 32, 6, 1),
    "shapes-cnn": (16, 16, 8, 3),
}
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # the file that torch-fidelity publishes; the name ends in its sha256
Features = Callable[[Tensor], Tensor]


class FeatureCNN(nn.Module):
    """A classifier of images, most of them of one channel, whose 64 hidden activations are the features."""

    def __init__(self, height: int, width: int, n_classes: int, channels: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * (height // 4) * (width // 4), 64)
        self.head = nn.Linear(64, n_classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.hidden(x.flatten(1)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def stored(name: str, maker: str) -> tuple[str, dict[str, Tensor]]:
    """Full name (``mnist-cnn-1a2b3c4d``) and weights of a network that ships with the package, which the module ``maker`` makes. Raises
    UserError where they are not there or damaged."""
    files = sorted(WEIGHTS.glob(f"{name}-*.pt"))
    if not files:
        raise UserError(f"the weights of {name} are not in {WEIGHTS}; make them with `python -m {maker}`")
    data = files[0].read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:8]
    if files[0].stem != f"{name}-{digest}":
        raise UserError(f"{files[0]} has sha256 {digest}..., which is not in its name: the weights are damaged")
    return files[0].stem, {key: value.float() for key, value in torch.load(io.BytesIO(data), weights_only=True).items()}


@lru_cache(maxsize=4)
def small_network(name: str) -> tuple[str, FeatureCNN]:
    """Full name (``mnist-cnn-1a2b3c4d``) and network. Raises UserError for an unknown name or damaged weights."""
    if name not in SHAPES:
        raise UserError(f"no feature network {name!r}: {nearest(name, [*SHAPES, 'inception-2015', 'efficientnet-lite0'])}")
    full, state = stored(name, f"elboard.tasks.parts.train_features {name}")
    with torch.random.fork_rng(devices=[]):  # the initial weights must not move the random state of a run that loads first
        network = FeatureCNN(*SHAPES[name])
    network.load_state_dict(state)
    return full, network.eval().requires_grad_(False)


def _inception() -> Features:
    folders = [folder for folder in (named_by("ELBOARD_DATA"), Path(torch.hub.get_dir(), "checkpoints")) if folder]
    found = [folder / INCEPTION_FILE for folder in folders if (folder / INCEPTION_FILE).exists()]
    if not found:
        raise UserError(f"inception-2015 needs the file {INCEPTION_FILE} in {' or '.join(map(str, folders))}")
    with open(found[0], "rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith("6726825d"):
            raise UserError(f"{found[0]} is not the published file: its sha256 does not begin with 6726825d")
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        with torch.random.fork_rng(devices=[]):
            network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(found[0]))
    except ImportError as error:
        raise UserError(f"inception-2015 needs torch-fidelity: pip install torch-fidelity ({error})") from None

    def features(x: Tensor) -> Tensor:
        rgb = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return network.to(x.device)((rgb * 255).round().byte())

    return features


def load(name: str, device: torch.device | str) -> tuple[str, str, Features]:
    """The metric's name ("fid" of Inception alone, else "fd"), the network's full name, and the function
    from images ``(B, C, H, W)`` in [0, 1] to features ``(B, D)``."""
    if name == "inception-2015":
        return "fid", name, _inception()
    if name == "efficientnet-lite0":
        from elboard.tasks.parts.efficientnet import features

        return "fd", name, features(device)
    full, network = small_network(name)
    network.to(device)
    return "fd", full, lambda x: network.features(_small(x, SHAPES[name]))


def classifier(name: str, device: torch.device | str) -> tuple[str, Features]:
    """The full name of a small network, and the function from images ``(B, C, H, W)`` in [0, 1] to its logits."""
    full, network = small_network(name)
    network.to(device)
    return full, lambda x: network(_small(x, SHAPES[name]))


def _small(x: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Images of any kind as a small network takes them: channels averaged where it knows grey alone, and scaled where the size is
    another."""
    x = x.mean(1, keepdim=True) if shape[3] == 1 else x.expand(-1, shape[3], -1, -1)
    return x if tuple(x.shape[2:]) == shape[:2] else F.interpolate(x, shape[:2], mode="bilinear", antialias=True)
