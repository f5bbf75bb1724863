"""What must hold exactly for post-hoc detectors and for the features that they share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.ood import OODSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.ood.base import CHUNK, Features, PostHoc, quantile
from elboard.methods.ood.energy import Energy
from elboard.methods.ood.msp import MSP
from elboard.methods.ood.react import ReAct
from elboard.methods.ood.vra import VRA
from elboard.methods.ood.vra_true import LEAST, VRATrue
from elboard.methods.parts.classifier import ClassifierMethod

IDENTITIES = {
    "msp": ("test_msp_is_the_score_of_the_classifier",),
    "energy": ("test_energy_by_numpy",),
    "react": ("test_react_without_a_clip_is_energy", "test_react_clips_at_one_quantile_of_all_activations"),
    "vra": ("test_vra_between_the_extremes_is_energy", "test_vra_value_by_value", "test_the_three_branches"),
    "vra-true": ("test_equal_densities_leave_the_identity", "test_the_oracle_is_the_best_operation_by_brute_force"),
}

N = CHUNK + 30  # two batches of training images
SPEC = OODSpec((1, 8, 8), N, likelihood="discretised-logistic", levels=17, n_classes=3)


def images(n: int, seed: int) -> Tensor:
    return torch.randint(0, 17, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)) / 16


def base(backbone: str = "cnn") -> Softmax:
    torch.manual_seed(0)
    return Softmax(Softmax.Config(backbone=backbone), SPEC).eval()


def fitted(cls: type, of: Softmax | None = None, folder: Path | None = None, **options: float) -> PostHoc:
    method = cls(cls.Config(**options), SPEC, {"classifier": of or base()})
    folders = {"classifier": [folder]} if folder else {}
    method.fit(Data(SPEC, {"x": images(N, 1), "y": torch.zeros(N, dtype=torch.int64)}), SimpleNamespace(base_folders=folders))
    return method


def scores(method: PostHoc, x: Tensor) -> Tensor:
    with torch.no_grad():
        return method.ood_score(x)


def brute_force(method: VRA, z: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The score of VRA, value by value."""
    c, head = method.config, method.base.head
    w, b = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    found = []
    for row in z:
        g = np.empty_like(row)
        for j, value in enumerate(row):
            alpha, beta = (np.float32(np.quantile(train[:, j], share)) for share in (c.alpha_quantile, c.beta_quantile))
            if value < alpha:
                g[j] = 0
            elif value <= beta:
                g[j] = value + c.gamma
            else:
                g[j] = beta
        bonus = c.quadratic * sum((value - c.m) ** 2 for value in row)
        found.append(-np.log(np.exp(w @ g + b).sum()) + bonus)
    return np.array(found)


@pytest.mark.parametrize("backbone", ["mlp", "cnn", "pooled", "resnet8", "resnet20"])
def test_msp_is_the_score_of_the_classifier(backbone: str) -> None:
    of, x = base(backbone), images(20, 2)
    assert torch.equal(scores(fitted(MSP, of), x), scores(of, x))


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_energy_by_numpy(temperature: float) -> None:
    method, x = fitted(Energy, temperature=temperature), images(20, 2)
    logits = method.base(x).detach().double().numpy()
    expected = -temperature * np.log(np.exp(logits / temperature).sum(1))
    np.testing.assert_allclose(scores(method, x), expected, rtol=1e-5)


def test_higher_logits_are_less_out_of_distribution() -> None:
    method, logits = fitted(Energy), torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [5.0, 5.0, 0.0]])
    assert method.score(logits, logits).diff().max() < 0


def test_react_without_a_clip_is_energy() -> None:
    x = images(N, 1)
    assert torch.equal(scores(fitted(ReAct, eta=1.0), x), scores(fitted(Energy), x))


def test_react_clips_at_one_quantile_of_all_activations() -> None:
    method, x = fitted(ReAct, eta=0.9), images(20, 2)
    train, z = (method.base.features(part).detach().double().numpy() for part in (images(N, 1), x))
    c = np.sort(train.ravel())[int(np.ceil(0.9 * (train.size - 1)))]
    assert method.threshold.item() == pytest.approx(np.quantile(train, 0.9), rel=1e-6) and method.threshold.item() <= c * (1 + 1e-6)
    head = method.base.head
    logits = np.minimum(z, method.threshold.item()) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(scores(method, x), -np.log(np.exp(logits).sum(1)), rtol=1e-5)
    assert (z > method.threshold.item()).any()


def test_vra_between_the_extremes_is_energy() -> None:
    x = images(N, 1)
    assert torch.equal(scores(fitted(VRA, alpha_quantile=0.0, beta_quantile=1.0), x), scores(fitted(Energy), x))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha_quantile": 0.0, "beta_quantile": 0.7},
        {"alpha_quantile": 0.6, "beta_quantile": 0.95, "gamma": 0.6},
        {"alpha_quantile": 0.5, "beta_quantile": 0.85, "quadratic": 0.01, "m": 4.0},
        {"alpha_quantile": 0.8, "beta_quantile": 0.8, "gamma": 0.1, "quadratic": 0.1, "m": 0.0},
    ],
)
def test_vra_value_by_value(options: dict[str, float]) -> None:
    method, x = fitted(VRA, **options), images(12, 2)
    train, z = (method.base.features(part).detach().double().numpy() for part in (images(N, 1), x))
    np.testing.assert_allclose(scores(method, x), brute_force(method, z, train), rtol=1e-5)


def test_the_three_branches() -> None:
    """Below alpha 0 and not alpha; gamma in the middle alone, both borders included; beta and not beta + gamma above."""
    method = fitted(VRA, gamma=0.5)
    method.alpha.fill_(1.0)
    method.beta.fill_(2.0)
    z = torch.zeros(6, method.alpha.numel())
    z[:, 0] = torch.tensor([0.0, 0.99, 1.0, 1.5, 2.0, 2.01])
    assert method.rectify(z)[:, 0].tolist() == [0.0, 0.0, 1.5, 2.0, 2.5, 2.0]


def test_without_a_shift_vra_plus_is_vra() -> None:
    x = images(20, 2)
    for units in ("features", "mean"):
        assert torch.equal(scores(fitted(VRA, gamma=0.0, units=units), x), scores(fitted(VRA), x))
        assert not torch.equal(scores(fitted(VRA, gamma=0.1, units=units), x), scores(fitted(VRA), x))


def test_units_of_the_mean_are_those_of_features_scaled() -> None:
    """gamma and m as multiples of the mean training feature, a in their squares."""
    of, x = base("pooled"), images(20, 2)
    mean = torch.cat([of.features(part).detach() for part in images(N, 1).split(CHUNK)]).double().mean().item()
    said = fitted(VRA, of, units="mean", gamma=0.4, quadratic=0.01, m=3.0)
    same = fitted(VRA, of, gamma=0.4 * mean, quadratic=0.01 / mean**2, m=3.0 * mean)
    assert said.unit.item() == pytest.approx(mean, rel=1e-6) and same.unit == 1
    torch.testing.assert_close(scores(said, x), scores(same, x))
    again = VRA(said.config, SPEC, {"classifier": of})
    again.load_state_dict(said.state_dict())
    assert torch.equal(scores(said, x), scores(again, x))


def test_without_a_lower_cut_and_at_its_threshold_vra_is_react() -> None:
    of, x = base(), images(20, 2)
    react, vra = fitted(ReAct, of, eta=0.9), fitted(VRA, of, alpha_quantile=0.0)
    vra.alpha.zero_()
    vra.beta.fill_(react.threshold)
    assert torch.equal(scores(vra, x), scores(react, x))


# --- the oracle -----------------------------------------------------------------------------------


def both(bins: int = 20, n: int = 400) -> tuple[VRATrue, Tensor, Tensor]:
    """An oracle, its training features, and features of other images, some of them above any in training."""
    method = fitted(VRATrue, base("pooled"), bins=bins, strength=2.0)
    with torch.no_grad():
        return method, method.base.features(images(N, 1)), method.base.features(1.5 * images(n, 3).roll(2, 3))


def test_equal_densities_leave_the_identity() -> None:
    """The training images themselves, told as what is to be detected; and an oracle that was told nothing."""
    method, x = fitted(VRATrue), images(20, 2)
    told = method.told(images(N, 1))
    assert torch.equal(told.ratio, torch.ones_like(told.ratio))
    assert torch.equal(scores(told, x), scores(fitted(Energy), x)) and torch.equal(scores(method, x), scores(fitted(Energy), x))


def test_a_weak_oracle_leaves_the_identity() -> None:
    """g* = z for lambda to 0, where both densities are positive or both are not."""
    x, weak = images(N, 1)[:20], fitted(VRATrue, strength=1e-9)
    torch.testing.assert_close(scores(weak.told(images(N, 1)), x), scores(fitted(Energy), x))


def test_histograms_by_numpy() -> None:
    method, inside, outside = both()
    told = method.told(1.5 * images(400, 3).roll(2, 3))
    assert (outside > inside.max(0).values).any(), "the last bin is not empty"
    for j in range(0, inside.shape[1], 16):
        edges = np.linspace(0, inside[:, j].max().item(), 21, dtype=np.float32)
        pair = []
        for z in (inside[:, j].numpy(), outside[:, j].numpy()):
            beyond = z > inside[:, j].max().item()
            pair.append(np.append(np.histogram(z[~beyond], edges)[0], beyond.sum()) / len(z))
        expected = (pair[1] + LEAST) / (pair[0] + LEAST)
        moved = np.abs(told.ratio[j].numpy() / expected - 1) > 1e-4
        assert moved.sum() <= 2, "but for a value at an edge, which rounding puts into the next bin"


def test_the_oracle_is_the_best_operation_by_brute_force() -> None:
    """Of each bin, no other value gives more of p_in g - p_out g - p_in (g - z)^2 / (2 lambda)."""
    method, inside, outside = both()
    ratio = method.told(1.5 * images(400, 3).roll(2, 3)).ratio
    scale = 2.0 * inside.double().mean().item()
    found = method.optimal(inside[:30], ratio)
    grid = torch.linspace(0, float(inside.max()) + 2 * scale, 20_001, dtype=torch.float64)
    for i, j in ((i, j) for i in range(0, 30, 7) for j in range(0, inside.shape[1], 11)):
        z, r = inside[i, j].double(), ratio[j, method.bin(inside[:30])[i, j]].double()
        gain = grid - r * grid - (grid - z) ** 2 / (2 * scale)
        assert found[i, j].item() == pytest.approx(grid[gain.argmax()].item(), abs=float(grid[1]))
    assert (found > inside[:30]).any() and (found < inside[:30]).any() and found.min() >= 0


def test_what_is_only_out_of_distribution_is_suppressed() -> None:
    method, inside, outside = both()
    found = method.optimal(outside, method.told(1.5 * images(400, 3).roll(2, 3)).ratio)
    beyond = outside > inside.max(0).values
    assert beyond.any() and (found[beyond] == 0).all()


def test_thresholds_are_of_each_dimension() -> None:
    train = base().features(images(N, 1)).detach()
    method = fitted(VRA)
    torch.testing.assert_close(method.alpha, torch.quantile(train, 0.6, dim=0))
    torch.testing.assert_close(method.beta, torch.quantile(train, 0.9, dim=0))
    assert len(method.beta.unique()) > 10 and quantile(train, 1.0).equal(train.max(0).values)


@pytest.mark.parametrize("backbone", ["mlp", "cnn", "pooled", "resnet8", "resnet20"])
def test_backbones_give_non_negative_features(backbone: str) -> None:
    assert base(backbone).features(images(20, 2)).min() >= 0


class Shifted(Softmax):
    """Features below 0."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) - 1


class OtherHead(Softmax):
    """Logits that are not the head of the features."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_bases_that_do_not_fit_are_refused() -> None:
    for cls in (VRA, VRATrue):
        with pytest.raises(UserError, match="non-negative"):
            fitted(cls, Shifted(Softmax.Config(), SPEC).eval())
    for wrong in (OtherHead(Softmax.Config(), SPEC), None):
        with pytest.raises(UserError, match="cannot be the base"):
            Energy(Energy.Config(), SPEC, {"classifier": wrong})


@pytest.mark.parametrize(
    ("cls", "options"),
    [(Energy, {"temperature": 0.0}), (ReAct, {"eta": 1.1}), (VRA, {"alpha_quantile": 0.95}), (VRA, {"beta_quantile": 1.5})],
)
def test_impossible_options_are_refused(cls: type, options: dict[str, float]) -> None:
    with pytest.raises(UserError):
        fitted(cls, **options)


def test_predictions_are_those_of_the_classifier() -> None:
    of, x = base(), images(20, 2)
    for cls in (MSP, Energy, ReAct, VRA, VRATrue):
        assert torch.equal(fitted(cls, of).predict(x, 5), of.predict(x))


def test_a_checkpoint_holds_the_thresholds() -> None:
    of, x = base(), images(20, 2)
    for cls in (ReAct, VRA, VRATrue):
        first, again = fitted(cls, of), cls(cls.Config(), SPEC, {"classifier": of})
        again.load_state_dict(first.state_dict())
        assert torch.equal(scores(first, x), scores(again, x)) and not [name for name in first.state_dict() if "base" in name]


# --- the cached pass ------------------------------------------------------------------------------


def counted(of: Softmax) -> list[int]:
    """Lengths of the batches that pass through the backbone from now on."""
    seen: list[int] = []
    of.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return seen


def test_detectors_of_one_base_share_one_pass(tmp_path: Path) -> None:
    of, x = base(), images(20, 2)
    fresh = [scores(fitted(cls, of), x) for cls in (MSP, Energy, ReAct, VRA)]
    seen = counted(of)
    first = [scores(fitted(cls, of, tmp_path), x) for cls in (MSP, Energy, ReAct, VRA)]
    assert sorted(seen) == sorted([CHUNK, N - CHUNK, 20]) and len(list((tmp_path / "features").iterdir())) == 3
    second = [scores(fitted(cls, of, tmp_path), x) for cls in (MSP, Energy, ReAct, VRA)]
    assert len(seen) == 3
    for a, b, c in zip(fresh, first, second, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_files_are_of_the_weights_the_images_and_the_batch(tmp_path: Path) -> None:
    of, x = base(), images(20, 2)
    features = Features(of, tmp_path)
    features(x)
    assert features.file(x.clone()) == features.file(x) and features.file(x).exists()
    assert len({features.file(part) for part in (x, x[:10], x.flip(0), x.double(), x.flatten(1))}) == 5
    with torch.no_grad():
        of.head.bias[0] += 1e-3
    assert Features(of, tmp_path).file(x) != features.file(x)


def test_files_may_vanish_and_need_not_be_writable(tmp_path: Path) -> None:
    of, x = base(), images(20, 2)
    method = fitted(VRA, of, tmp_path)
    first = scores(method, x)
    for file in (tmp_path / "features").iterdir():
        file.unlink()
    assert torch.equal(scores(method, x), first)
    (tmp_path / "file").touch()
    assert torch.equal(scores(fitted(VRA, of, tmp_path / "file"), x), first)


def test_no_folder_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of = base()
    seen = counted(of)
    method = fitted(MSP, of)
    assert not seen, "nothing to learn, no pass over the training images"
    scores(method, images(5, 3))
    assert not list(tmp_path.iterdir())


def test_the_base_is_no_part_of_the_detector() -> None:
    method = fitted(VRA)
    assert isinstance(method.base, ClassifierMethod) and not list(method.parameters()) and {*method.state_dict()} == {"alpha", "beta"}
