"""What must hold exactly for Wasserstein autoencoders that are trained side by side, with and without bounds of their slopes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.kinds.rates import Fit, FitsSpec
from elboard.methods.parts.batched import GroupSort, SpectralLinear, batched_mlp, iterate
from elboard.methods.parts.multiquadrics import SCALES, Multiquadrics
from elboard.methods.vae.wae_grid import WAEGrid, discrepancy, sliced
from elboard.methods.vae.wae_groupsort import WAEGroupSort

IDENTITIES = {
    "wae-grid": (
        "test_the_penalty_is_the_unbiased_discrepancy",
        "test_no_model_has_a_gradient_from_another",
        "test_the_sliced_penalty_of_shifted_codes_is_the_shift",
        "test_fits_of_one_start_begin_alike",
    ),
    "wae-groupsort": ("test_networks_are_lipschitz", "test_without_bound_and_sorting_it_is_the_grid"),
}
FITS = (Fit("a", 4, 2, 10), Fit("b", 4, 1, 0), Fit("b", 6, 2, 10))
SPEC = FitsSpec((4,), 10, fits=FITS)


def build(of: type[WAEGrid] = WAEGrid, **options: Any) -> WAEGrid:
    torch.manual_seed(0)
    return of(of.Config(**({"hidden": [8, 8]} | options)), SPEC)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"x4": torch.randn(2, 7, 4, generator=generator), "x6": torch.randn(1, 7, 6, generator=generator)}


def unbiased(z: torch.Tensor, prior: torch.Tensor) -> float:
    """Gretton et al. 2012, eq. 3, pair by pair."""
    n, c = len(z), 2 * z.shape[1]

    def mean(a: torch.Tensor, b: torch.Tensor, skip: bool) -> float:
        pairs = [(i, j) for i in range(n) for j in range(n) if not skip or i != j]
        return sum(c * s / (c * s + (a[i] - b[j]).square().sum().item()) for i, j in pairs for s in SCALES) / len(pairs)

    return mean(z, z, True) + mean(prior, prior, True) - 2 * mean(z, prior, False)


def test_the_penalty_is_the_unbiased_discrepancy() -> None:
    """But for the prior's own mean, which no parameter changes; of a fit with one unit in one dimension."""
    z, prior, other = (torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(i)) for i in range(3))
    own = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    dims = torch.tensor([2.0, 1.0])
    found = discrepancy(z * own, prior * own, dims) - discrepancy(other * own, prior * own, dims)
    for i, units in enumerate((2, 1)):
        wanted = unbiased(z[i, :, :units], prior[i, :, :units]) - unbiased(other[i, :, :units], prior[i, :, :units])
        assert found[i].item() == pytest.approx(wanted, abs=1e-5)


def test_the_kernel_has_its_derivative() -> None:
    assert torch.autograd.gradcheck(Multiquadrics.apply, torch.tensor([0.01, 0.3, 2.0, 40.0], dtype=torch.float64, requires_grad=True))


def test_resampled_codes_have_the_discrepancy_of_the_empirical_law() -> None:
    """Drawn with replacement, as batches are: the expected U-statistic holds each of n codes against itself too, as MMD^2(E_# mu_n, .)."""
    generator = torch.Generator().manual_seed(0)
    z, prior = torch.randn(2, 1, 4, 2, generator=generator)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))  # all batches of two
    batches, dims = z[0][pairs], torch.full((16,), 2.0)
    found = discrepancy(batches, prior[:, :2].expand(16, -1, -1), dims).mean()
    squared = torch.cdist(z[0], z[0]).square()
    across = torch.cdist(z[0], prior[0, :2]).square()
    kernel = [sum(4 * s / (4 * s + of) for s in SCALES).mean() for of in (squared, across)]
    assert found.item() == pytest.approx((kernel[0] - 2 * kernel[1]).item(), abs=1e-5)


def test_no_model_has_a_gradient_from_another() -> None:
    for options in ({}, {"penalty": "sliced"}):
        method = build(**options)
        risk, penalty = method.terms(batch())
        (risk + penalty)[1].backward()
        for name, parameter in method.named_parameters():
            if ".x6." in name:
                assert parameter.grad is None or not parameter.grad.any(), name
            else:
                assert parameter.grad[1].abs().sum() > 0 and not parameter.grad[0].any(), name


def test_fits_of_one_start_begin_alike() -> None:
    """Of one batch they make the same risk; those of another law or start another one, and so do fits without a start."""
    laws, starts = "aabaa", (0, 0, 0, 1, None)
    fits = tuple(Fit(law, 4, 2, n, start=start) for n, (law, start) in enumerate(zip(laws, starts, strict=True)))
    x = batch()["x4"][:1].expand(5, -1, -1)
    for of in (WAEGrid, WAEGroupSort):
        torch.manual_seed(0)
        risk = of(of.Config(hidden=[8, 8], penalty="none"), FitsSpec((4,), 10, fits=fits)).terms({"x4": x})[0].tolist()
        assert risk[0] == pytest.approx(risk[1], rel=1e-6) and len({round(value, 6) for value in risk}) == 4


def test_codes_have_the_units_of_their_fit() -> None:
    method = build()
    z = method.encode("x4", batch()["x4"])
    assert z[0].ne(0).all() and z[1, :, 0].ne(0).all() and not z[1, :, 1].any()
    assert method.draw("x6", 5).shape == (1, 5, 6)
    before = method.decode("x4", z)
    with torch.no_grad():
        method.encoders["x4"][-1].weight[1, :, 1] += 1
    torch.testing.assert_close(method.decode("x4", method.encode("x4", batch()["x4"])), before)


def test_the_loss_is_the_sum_of_all_objectives() -> None:
    method, found = build(lambda_=3.0), []
    for _ in range(2):
        torch.manual_seed(5)
        risk, penalty = method.terms(batch())
        found.append((risk + 3 * penalty).sum())
    torch.manual_seed(5)
    assert method.loss(batch())["loss"].item() == found[0].item() == found[1].item()
    z = method.encode("x6", batch()["x6"])
    assert risk[2].item() == pytest.approx((method.decode("x6", z) - batch()["x6"]).square().sum(-1).mean().item())
    assert not build(penalty="none").terms(batch())[1].any()


def test_the_sliced_penalty_of_shifted_codes_is_the_shift() -> None:
    """W_2^2 along t of codes shifted by s is (t s)^2, whose mean over directions is |s|^2 / Z."""
    prior = torch.randn(1, 50, 3).expand(400, -1, -1)
    shift = torch.tensor([0.5, -1.0, 2.0])
    found = sliced(prior + shift, prior, torch.full((400,), 3.0))
    assert found.mean().item() == pytest.approx(shift.square().sum().item(), rel=0.05)
    one = prior * torch.tensor([1.0, 0.0, 0.0])
    assert sliced(one + torch.tensor([2.0, 0, 0]), one, torch.ones(400)).tolist() == pytest.approx([4.0] * 400, rel=1e-4)


# --- bounded slopes ------------------------------------------------------------------------------


def test_networks_are_lipschitz() -> None:
    torch.manual_seed(0)
    network = batched_mlp(2, [3, 8, 8, 4], "groupsort", 2.0)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, SpectralLinear):
                layer.weight.mul_(7.0)
    for _ in range(50):
        iterate(network)
    layers = [layer for layer in network if isinstance(layer, SpectralLinear)]
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weights(), 2).tolist() == pytest.approx([2 ** (1 / 3)] * 2, rel=1e-3)
    a, b = torch.randn(2, 2, 500, 3)
    assert ((network(a) - network(b)).norm(dim=-1) <= 2.001 * (a - b).norm(dim=-1)).all()


def test_sorting_is_a_permutation_of_pairs() -> None:
    x = torch.tensor([[3.0, 1.0, -2.0, 5.0]], requires_grad=True)
    found = GroupSort()(x)
    assert found.tolist() == [[1.0, 3.0, -2.0, 5.0]]
    found.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())
    with pytest.raises(UserError, match="even"):
        GroupSort()(torch.zeros(1, 3))


def test_without_bound_and_sorting_it_is_the_grid() -> None:
    method, plain = build(WAEGroupSort, activation="relu", lipschitz=0.0), build()
    assert method.state_dict().keys() == plain.state_dict().keys()
    values = []
    for of in (method, plain):
        torch.manual_seed(5)
        values.append(of.loss(batch())["loss"].item())
    assert values[0] == values[1]


def test_the_loss_leaves_the_power_method_where_it_is() -> None:
    method = build(WAEGroupSort)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.loss(batch())["loss"].backward()
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    with torch.no_grad():
        method.encoders["x4"][0].weight.copy_(torch.randn(2, 4, 8))
    iterate(method)
    assert not torch.equal(before["encoders.x4.0.left"], method.state_dict()["encoders.x4.0.left"])


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="sliced"):
        build(penalty="slised")
    with pytest.raises(UserError, match="groupsort"):
        build(WAEGroupSort, activation="groupsrot")
