"""What must hold exactly for few-shot classifiers: prototypes by hand, mixtures at their ends, modulation by nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestCentroid
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from elboard.bench.kinds.fewshot import EpisodeSpec
from elboard.bench.task import Data
from elboard.methods.fewshot.base import Block, Prototypical, by_prototypes, cutmix, partners
from elboard.methods.fewshot.metamodulation import MetaModulation
from elboard.methods.fewshot.mlti import MLTI
from elboard.methods.fewshot.protonet import ProtoNet

IDENTITIES = {
    "protonet": (
        "test_probabilities_are_their_formula",
        "test_prototypes_of_one_shot_are_the_support",
        "test_the_most_probable_class_is_that_of_the_nearest_centroid",
    ),
    "mlti": (
        "test_interpolation_at_its_ends_is_the_task_and_its_partner",
        "test_interpolation_of_images_is_of_images",
        "test_without_mixed_batches_mlti_is_protonet",
    ),
    "metamodulation": (
        "test_without_offsets_modulation_is_protonet",
        "test_modulation_is_its_formula",
        "test_the_divergence_is_zero_at_the_prior_and_torchs_elsewhere",
        "test_without_variance_the_variational_form_is_the_deterministic_one",
    ),
}
SHOT = 2
SPEC = EpisodeSpec((1, 8, 8), 60, n_classes=6, way=3, shot=SHOT, queries=3)
MODULATED = ({}, {"levels": "last"}, {"variational": False}, {"variational": False, "levels": "last"})


def build(cls: type[Prototypical], seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return cls(cls.Config(filters=4, **options), SPEC).double()


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def batch(tasks: int = 3, shot: int = SHOT) -> dict[str, Tensor]:
    return {"support": images(tasks, 3, shot), "query": images(tasks, 3, 3, seed=2)}


def silent(method: MetaModulation, logvar: float | None = None) -> MetaModulation:
    """``method`` whose offsets have mean 0, and the log-variance ``logvar`` where one is given."""
    for of in method.offsets:
        for net, bias in (*((net, 0.0) for net in of.mean), *((net, logvar) for net in of.logvar)):
            if bias is not None:
                torch.nn.init.zeros_(net[2].weight)
                torch.nn.init.constant_(net[2].bias, bias)
    return method


def evaluated(method: Any) -> Any:
    """``method`` as in a test, so that no image of a batch has a part in the statistics."""
    method.prepare(Data(SPEC, {"x": images(6, 5, seed=7)}))
    method.before_validation()
    return method.eval()


def same_noise(function: Any, *words: Any) -> Any:
    torch.manual_seed(5)
    return function(*words)


# --- prototypes ------------------------------------------------------------------------------------


def test_probabilities_are_their_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(2, 3, 4, 5, generator=generator).double(), torch.randn(2, 6, 5, generator=generator).double()
    found = by_prototypes(support, query).exp().numpy()
    for e in range(2):
        for n in range(6):
            weights = [np.exp(-((query[e, n].numpy() - support[e, k].numpy().sum(0) / 4) ** 2).sum()) for k in range(3)]
            np.testing.assert_allclose(found[e, n], np.array(weights) / sum(weights), rtol=1e-12)


def test_prototypes_of_one_shot_are_the_support() -> None:
    method, support, query = evaluated(build(ProtoNet)), images(2, 3, 1), images(2, 7, seed=2)
    distances = torch.cdist(method.embed(query), method.embed(support)[:, :, 0]) ** 2
    torch.testing.assert_close(method.class_log_probabilities(support, query), (-distances).log_softmax(2), rtol=1e-9, atol=1e-9)
    again = method.class_log_probabilities(support.expand(-1, -1, 4, -1, -1, -1), query)
    torch.testing.assert_close(method.class_log_probabilities(support, query), again, rtol=1e-9, atol=1e-9)  # copies say nothing new


def test_the_most_probable_class_is_that_of_the_nearest_centroid() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(1, 5, 5, 6, generator=generator), torch.randn(1, 200, 6, generator=generator)
    expected = NearestCentroid().fit(support[0].flatten(0, 1).numpy(), np.repeat(range(5), 5)).predict(query[0].numpy())
    assert np.array_equal(by_prototypes(support, query)[0].argmax(1).numpy(), expected)


def test_the_loss_is_that_of_the_queries() -> None:
    method, of = build(ProtoNet), batch()
    features = method.embed(torch.cat([of["support"], of["query"]], dim=2))
    log_p = by_prototypes(features[:, :, :SHOT], features[:, :, SHOT:].flatten(1, 2))
    y = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    expected = -torch.stack([log_p[m, n, y[n]] for m in range(3) for n in range(9)]).mean()
    out = method.loss(of)
    torch.testing.assert_close(out["loss"], expected, rtol=1e-12, atol=0)
    assert out["accuracy"].item() == pytest.approx((log_p.argmax(2) == y).double().mean().item())


def test_statistics_of_tests_are_those_of_the_training_images() -> None:
    method, x = build(ProtoNet), images(6, 5)
    method.prepare(Data(SPEC, {"x": x}))
    for _ in range(3):
        method.loss(batch())
    method.before_validation()
    maps = method.blocks[0].conv(x.flatten(0, 1)).detach()
    torch.testing.assert_close(method.blocks[0].norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(method.blocks[0].norm.running_var, maps.var((0, 2, 3)), rtol=1e-9, atol=1e-12)
    learned = method.embed(x)
    torch.testing.assert_close(method.eval().embed(x), learned, rtol=0.05, atol=0.05)


def test_normalisation_is_of_each_channel() -> None:
    normalised = build(ProtoNet).blocks[0].normalised(images(2, 3, 5))
    assert normalised.shape == (2, 3, 5, 4, 8, 8)
    torch.testing.assert_close(normalised.mean((0, 1, 2, 4, 5)), torch.zeros(4).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(normalised.var((0, 1, 2, 4, 5), correction=0), torch.ones(4).double(), rtol=1e-2, atol=0)


# --- mixtures --------------------------------------------------------------------------------------


def test_interpolation_at_its_ends_is_the_task_and_its_partner() -> None:
    """At each level; the partner of a task is the next one, its classes in some order."""
    method, x = build(MLTI), images(3, 3, 5)
    plain = method.embed(x)
    for level in range(4):
        torch.testing.assert_close(method.interpolated(x, torch.ones(3).double(), level), plain, rtol=1e-12, atol=0)
        other = method.interpolated(x, torch.zeros(3).double(), level)
        for task in range(3):
            near = torch.cdist(other[task].flatten(1), plain[(task + 1) % 3].flatten(1)).min(1)
            assert near.values.max() < 1e-9 and sorted(near.indices.tolist()) == [0, 1, 2]


def test_interpolation_of_images_is_of_images() -> None:
    method, x, shares = build(MLTI), images(3, 3, 5), torch.tensor([0.2, 0.5, 0.9]).double()
    own = shares.view(3, 1, 1, 1, 1, 1)
    mixed = same_noise(lambda: own * x + (1 - own) * partners(x))
    torch.testing.assert_close(same_noise(method.interpolated, x, shares, 0), method.embed(mixed), rtol=1e-9, atol=1e-12)


def test_without_mixed_batches_mlti_is_protonet() -> None:
    for space in ("features", "images"):
        mlti, protonet = (build(cls, **of) for cls, of in ((MLTI, {"mixed": 0.0, "space": space}), (ProtoNet, {})))
        assert torch.equal(mlti.loss(batch())["loss"], protonet.loss(batch())["loss"])


def test_orders_of_classes_are_permutations_of_each_task() -> None:
    x = torch.arange(400 * 5).view(400, 5, 1)
    found = partners(x)[..., 0]
    assert (found.sort(1).values == x[..., 0].roll(-1, 0)).all()
    first = (found[:, 0] % 5).bincount()
    assert first.min() > 50, "each class is the first one as often"


def test_a_box_is_the_same_for_support_and_query() -> None:
    x, other = torch.zeros(50, 3, 5, 2, 14, 14), torch.ones(50, 3, 5, 2, 14, 14)
    assert not cutmix(x, other, torch.ones(50)).any(), "nothing of the other where the share is 1"
    boxes = same_noise(cutmix, x, other, torch.full((50,), 0.75))
    assert (boxes == boxes[:, :1, :1, :1]).all()
    box = boxes[:, 0, 0, 0]
    rows, columns = box.amax(2), box.amax(1)
    assert torch.equal(box, rows[:, :, None] * columns[:, None]) and len(box.unique(dim=0)) > 30, "rectangles, one of each task"
    assert ((rows.diff(dim=1) != 0).sum(1) <= 2).all() and rows.sum(1).max() == 7, "of half the side where no border cuts them"


def test_shares_are_of_a_symmetric_beta() -> None:
    for alpha in (0.5, 2.0):
        found = build(MLTI, alpha=alpha).shares(torch.zeros(20_000, 1))
        assert found.mean().item() == pytest.approx(0.5, abs=0.01)
        assert found.var().item() == pytest.approx(1 / (8 * alpha + 4), rel=0.03)


def test_originals_are_weighed_beside_what_is_mixed() -> None:
    plain, both = (build(MLTI, space="images", mixed=1.0, original=of) for of in (0.0, 0.3))
    own = build(ProtoNet).loss(batch())["loss"]
    torch.testing.assert_close(
        same_noise(both.loss, batch())["loss"], same_noise(plain.loss, batch())["loss"] + 0.3 * own, rtol=1e-12, atol=0
    )


# --- modulation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", MODULATED)
def test_without_offsets_modulation_is_protonet(options: dict[str, Any]) -> None:
    method = silent(build(MetaModulation, cutmix=0.0, kl_weight=0.0, **options), logvar=-2000.0)
    out, expected = method.loss(batch()), build(ProtoNet).loss(batch())
    torch.testing.assert_close(out["loss"], expected["loss"], rtol=1e-10, atol=0)
    assert torch.equal(out["accuracy"], expected["accuracy"])


def test_modulation_is_its_formula() -> None:
    """Of the last block and of the first one by hand, task by task, with the next task as j."""
    for options in ({"levels": "last"}, {}):
        method, x = build(MetaModulation, variational=False, **options), images(3, 3, 5)
        blocks, first = list(method.blocks), 3 if options else 0
        h = x.flatten(0, 2)
        for block in blocks[:first]:
            h = block(h)
        a = blocks[first].conv(h)
        normal = (a - a.mean((0, 2, 3), keepdim=True)) / (a.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        pooled = F.max_pool2d(normal.relu(), 2, ceil_mode=True).unflatten(0, (3, 3, 5)).mean((-2, -1))
        expected = []
        for task in range(3):
            g = pooled[(task + 1) % 3]
            g = (g[:, :SHOT].flatten(0, 1).mean(0) + g[:, SHOT:].flatten(0, 1).mean(0)) / 2
            gamma, beta = (net(g)[:, None, None] for net in method.offsets[0].mean)
            own = normal.unflatten(0, (3, 15))[task]
            expected.append(F.max_pool2d(((1 + gamma) * own + beta).relu(), 2, ceil_mode=True))
        seen: list[Tensor] = []
        real = blocks[first].out
        blocks[first].out = lambda *of, real=real, seen=seen: seen.append(real(*of)) or seen[-1]
        features, kl = method.modulate(x, SHOT)
        torch.testing.assert_close(seen[-1][0].flatten(1, 2), torch.stack(expected), rtol=1e-9, atol=1e-10)
        assert kl == 0 and features.shape == (3, 3, 5, 4)


def test_the_partner_is_the_next_task_and_no_other() -> None:
    method = evaluated(build(MetaModulation, variational=False))
    x = images(4, 3, 5)
    changed = x.clone()
    changed[2] = images(3, 5, seed=9)
    before, after = (method.modulate(of, SHOT)[0] for of in (x, changed))
    same = [torch.allclose(before[task], after[task], rtol=1e-12, atol=0) for task in range(4)]
    assert same == [True, False, False, True], "of task 1 it is the partner"


def test_the_divergence_is_zero_at_the_prior_and_torchs_elsewhere() -> None:
    method = silent(build(MetaModulation, cutmix=0.0), logvar=0.0)
    assert method.loss(batch())["kl"] == 0
    method, found = build(MetaModulation, cutmix=0.0), []
    for of in method.offsets:
        of.register_forward_hook(lambda _, given, out: found.append(out))
    out = method.loss(batch())
    each = [kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0, 1)).sum((1, 2)).mean() for mean, logvar in found]
    assert len(each) == 4, "of scale and shift at all levels"
    torch.testing.assert_close(out["kl"], sum(each), rtol=1e-12, atol=0)
    torch.testing.assert_close(out["loss"], out["error"] + 0.001 * out["kl"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("levels", ["all", "last"])
def test_without_variance_the_variational_form_is_the_deterministic_one(levels: str) -> None:
    variational, plain = (build(MetaModulation, levels=levels, cutmix=0.0, variational=of) for of in (True, False))
    plain.load_state_dict({name: value for name, value in variational.state_dict().items() if "logvar" not in name})
    for of in variational.offsets:
        for net in of.logvar:
            torch.nn.init.constant_(net[2].bias, -2000.0)
    assert torch.equal(variational.loss(batch())["error"], plain.loss(batch())["error"])
    assert plain.loss(batch())["kl"] == 0


def test_support_and_query_have_the_same_draw() -> None:
    """Images that are in both have the same features there."""
    method, x = build(MetaModulation), images(3, 3, 2)
    features, _ = method.modulate(torch.cat([x, x], dim=2), 2)
    torch.testing.assert_close(features[:, :, :2], features[:, :, 2:], rtol=1e-12, atol=0)
    other, _ = method.modulate(torch.cat([x, x], dim=2), 2)
    assert not torch.allclose(features, other), "which is another one the next time"


def test_the_context_does_not_depend_on_the_number_of_shots() -> None:
    method, block = build(MetaModulation), Block(1, 4).double()
    normalised = torch.randn(3, 3, 5, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    many = torch.cat([normalised[:, :, :SHOT]] * 3 + [normalised[:, :, SHOT:]], dim=2)
    torch.testing.assert_close(method.context(block, many, 3 * SHOT), method.context(block, normalised, SHOT), rtol=1e-12, atol=0)
    for shot in (1, 4):
        assert method.modulate(images(3, 3, shot + 3), shot)[0].shape == (3, 3, shot + 3, 4)


def test_a_level_sees_the_partner_as_the_level_before_has_modulated_it() -> None:
    contexts: list[list[Tensor]] = []
    for bias in (0.0, 2.0):
        method, seen = silent(evaluated(build(MetaModulation, variational=False))), []
        torch.nn.init.constant_(method.offsets[0].mean[1][2].bias, bias)  # the shift of the first level
        for of in method.offsets:
            of.register_forward_hook(lambda _, given, out, seen=seen: seen.append(given[0]))
        method.modulate(images(3, 3, 5), SHOT)
        contexts.append(seen)
    assert torch.equal(contexts[0][0], contexts[1][0]) and not any(map(torch.allclose, contexts[0][1:], contexts[1][1:]))


def test_offsets_learn_and_those_that_are_made_anew_do_not() -> None:
    method = build(MetaModulation, cutmix=0.0)
    method.loss(batch())["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.any() for net in method.offsets for parameter in net.logvar[0][2].parameters())
    rebuilt = build(MetaModulation, cutmix=0.0, rebuilt=True)
    assert set(rebuilt.state_dict()) == set(build(ProtoNet).state_dict()), "there is nothing to learn"
    losses = [same_noise(rebuilt.float().loss, {name: value.float() for name, value in batch().items()})["loss"] for _ in range(2)]
    assert torch.equal(*losses) and rebuilt.loss({name: value.float() for name, value in batch().items()})["loss"] != losses[0]


def test_where_cutmix_mixes_it_is_mltis() -> None:
    mlti, modulated = build(MLTI, space="images", mixed=1.0), build(MetaModulation, cutmix=1.0)
    modulated.load_state_dict(mlti.state_dict(), strict=False)
    assert torch.equal(same_noise(mlti.loss, batch())["loss"], same_noise(modulated.loss, batch())["loss"])


def test_draws_that_are_averaged_have_a_smaller_deviation() -> None:
    mean, logvar = torch.zeros(4000, 2, 4), torch.full((4000, 2, 4), 1.0)
    for draws in (1, 25):
        found = build(MetaModulation, draws=draws).draw(mean, logvar).std().item()
        assert found == pytest.approx(np.exp(0.5) / np.sqrt(draws), rel=0.03)


def test_tests_are_of_the_unmodulated_network() -> None:
    method, protonet = evaluated(build(MetaModulation)), build(ProtoNet).eval()
    protonet.load_state_dict(method.state_dict(), strict=False)
    of = images(2, 3, 2), images(2, 7, seed=2)
    assert torch.equal(method.class_log_probabilities(*of), protonet.class_log_probabilities(*of))
