"""Identities of the noisy-label methods: what must hold exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.noisy import RedrawnSpec
from elboard.bench.task import Data, Task
from elboard.bench.training import Training
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.noisy.base import quietly, small_loss
from elboard.methods.noisy.co_teaching import CoTeaching
from elboard.methods.noisy.label_draws import LabelDraws
from elboard.methods.noisy.nested_co_teaching import NestedCoTeaching
from elboard.methods.noisy.nested_dropout import NestedDropout
from elboard.methods.parts.classifier import ClassifierMethod

IDENTITIES = {
    "label-draws": ("test_equal_draws_are_one_plain_training", "test_each_network_is_trained_on_its_own_draw"),
    "co-teaching": (
        "test_co_teaching_that_forgets_nothing_is_two_plain_trainings",
        "test_each_network_learns_from_the_selection_of_the_other",
    ),
    "nested-dropout": ("test_nested_dropout_at_full_width_is_the_plain_network", "test_masks_are_nested_and_not_rescaled"),
    "nested-co-teaching": (
        "test_first_stage_is_two_nested_dropout_networks",
        "test_second_stage_crosses_the_selections_of_two_halves_with_one_prefix",
    ),
}

SPEC = ClassSpec((1, 8, 8), 64, n_classes=4)
WIDTH = 128


def make(cls, seed=0, spec=SPEC, **options):
    torch.manual_seed(seed)
    return cls(cls.Config(**options), spec)


def batch_of(n=32, seed=0, spec=SPEC):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *spec.shape, generator=generator)
    return {"x": x, "y": torch.randint(spec.n_classes, (n,), generator=generator), "index": torch.arange(n)}


def train(method, steps=5):
    optimizer = method.make_optimizer(method.parameter_groups())
    for i in range(steps):
        optimizer.zero_grad()
        method.training_step(batch_of(seed=i), i).backward()
        method.configure_gradient_clipping(optimizer)
        optimizer.step()
    return method


def own_state(pair):
    return {name: tensor for name, tensor in pair.state_dict().items() if not name.startswith(("peer.", "selected"))}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("optimizer", "clip"), [("adam", 0.0), ("sgd", 0.0), ("adam", 0.05)])
def test_co_teaching_that_forgets_nothing_is_two_plain_trainings(optimizer, clip):
    options = {"optimizer": optimizer, "clip": clip, "lr": 0.01}
    pair = make(CoTeaching, forget_rate=0.0, **options)
    plain = [make(Softmax, **options) for _ in range(2)]
    plain[0].load_state_dict(own_state(pair))
    plain[1].load_state_dict(pair.peer.state_dict())
    before = {name: tensor.clone() for name, tensor in own_state(pair).items()}
    train(pair)
    for method in plain:
        train(method)
    assert same(own_state(pair), dict(plain[0].state_dict())) and same(dict(pair.peer.state_dict()), dict(plain[1].state_dict()))
    assert not same(own_state(pair), before) and not same(own_state(pair), dict(plain[1].state_dict()))
    assert bool(pair.selected[:32].all()) and not bool(pair.selected[32:].any())


def test_each_network_learns_from_the_selection_of_the_other():
    pair, batch = make(CoTeaching, forget_rate=0.5, ramp=0.0), batch_of()
    with torch.no_grad():
        losses = [F.cross_entropy(net(batch["x"]), batch["y"], reduction="none") for net in (pair, pair.peer)]
    first, second = (torch.tensor(sorted(sorted(range(32), key=lambda i, of=of: of[i].item())[:16])) for of in losses)
    assert not torch.equal(first, second)
    wanted = []
    for network, chosen in ((pair, second), (pair.peer, first)):
        pair.zero_grad()
        F.cross_entropy(network(batch["x"][chosen]), batch["y"][chosen]).backward()
        wanted.append(network.head.weight.grad.clone())
    pair.zero_grad()
    out, kept = pair.teach(batch)
    out["loss"].backward()
    torch.testing.assert_close(pair.head.weight.grad, wanted[0])
    torch.testing.assert_close(pair.peer.head.weight.grad, wanted[1])
    assert torch.equal(kept.nonzero().squeeze(1), first)


def test_the_selection_is_that_of_all_processes(monkeypatch):
    pair, batch = make(CoTeaching, forget_rate=0.5, ramp=0.0), batch_of()
    kept = pair.teach(batch)[1]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    of_other = {torch.int64: batch["index"] + 32, torch.uint8: torch.arange(32).byte() % 2}
    monkeypatch.setattr(pair, "all_gather", lambda of: torch.stack([of, of_other[of.dtype]]))
    pair.training_step(batch, 0)
    assert torch.equal(pair.selected, torch.cat([kept, torch.arange(32) % 2 == 1]))


@pytest.mark.parametrize(("share", "n"), [(1.0, 10), (0.5, 5), (0.34, 3), (0.0, 1)])
def test_small_loss_takes_exactly_the_smallest(share, n):
    losses = torch.tensor([3.0, 1.0, 1.0, 0.5, 9.0, 2.0, 1.0, 8.0, 0.1, 7.0])
    chosen = small_loss(losses, share)
    assert chosen.tolist() == sorted([8, 3, 1, 2, 6, 5, 0, 9, 7, 4][:n])  # the first among equals


def test_forget_schedule_endpoints():
    pair = make(CoTeaching, forget_rate=0.4, ramp=0.25)
    values = []
    for pair.progress in (0.0, 0.125, 0.25, 1.0):
        values.append(pair.forgotten())
    assert values == [0.0, 0.2, 0.4, 0.4]
    assert make(CoTeaching, forget_rate=0.4, ramp=0.0).forgotten() == 0.4


def test_the_forget_rate_is_that_of_the_data_unless_it_is_given():
    spec = dataclasses.replace(SPEC, noise_rate=0.3)
    assert [make(CoTeaching, spec=spec, forget_rate=rate).forget_rate for rate in (None, 0.0, 0.1)] == [0.3, 0.0, 0.1]
    assert make(CoTeaching).forget_rate == 0.0


def test_a_single_network_predicts_unless_the_ensemble_is_asked_for():
    x = batch_of()["x"]
    for ensemble in (False, True):
        pair = make(CoTeaching, ensemble=ensemble)
        logits = (pair(x) + pair.peer(x)) / 2 if ensemble else pair(x)
        assert torch.equal(pair.predict(x), logits.softmax(1)[None])


def test_bad_options_are_the_users_mistake():
    for cls, options in ((CoTeaching, {"forget_rate": 1.0}), (NestedDropout, {"eta": 0.0})):
        with pytest.raises(UserError, match=next(iter(options))):
            make(cls, **options)


class Plain(ClassifierMethod):
    """A plain network whose head has no bias."""

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.head = nn.Linear(self.backbone.n_features, spec.n_classes, bias=False)


def test_nested_dropout_at_full_width_is_the_plain_network():
    nested, plain = make(NestedDropout, mu=WIDTH, eta=1e-3), make(Plain)
    plain.load_state_dict({name: tensor for name, tensor in nested.state_dict().items() if name != "prefix"})
    assert torch.equal(nested.prefix_probabilities(), F.one_hot(torch.tensor(WIDTH - 1), WIDTH).float())
    train(nested)
    train(plain)
    assert torch.equal(nested.head.weight, plain.head.weight)
    x = batch_of(seed=9)["x"]
    assert torch.equal(nested.predict(x), plain.predict(x))


def test_prefixes_are_drawn_from_the_truncated_half_gaussian():
    nested = make(NestedDropout, eta=2.0)
    p, k = nested.prefix_probabilities().double(), torch.arange(1, WIDTH + 1).double()
    torch.testing.assert_close(p[:8] / p[0], torch.exp(-(k[:8] ** 2 - 1) / 4), rtol=1e-5, atol=0)
    torch.manual_seed(0)
    draws = torch.stack([nested.draw_prefix() for _ in range(2000)])
    seen = torch.bincount(draws, minlength=WIDTH + 1)[1:] / 2000
    assert seen[WIDTH // 2 :].sum() == 0 and (seen - p).abs().max() < 4 * 0.5 / 2000**0.5


def test_masks_are_nested_and_not_rescaled():
    nested, x = make(NestedDropout), batch_of()["x"]
    features = nested.features(x)
    for k in (1, 7, WIDTH):
        expected = features[:, :k] @ nested.head.weight[:, :k].t()
        torch.testing.assert_close(nested(x, torch.tensor(k)), expected, rtol=1e-4, atol=1e-5)
    before = nested(x, torch.tensor(7))
    with torch.no_grad():
        nested.head.weight[:, 7:] += 1.0
    assert torch.equal(nested(x, torch.tensor(7)), before) and not torch.equal(nested(x, torch.tensor(8)), before)


def test_prefix_of_best_validation_accuracy_and_the_shortest_among_equals():
    nested, held_out = train(make(NestedDropout)), batch_of(64, seed=5)
    nested.prepare(Data(SPEC, batch_of(), held_out))
    accuracies = nested.prefix_accuracies(held_out["x"], held_out["y"])
    for k in (1, 5, WIDTH):
        direct = (nested(held_out["x"], torch.tensor(k)).argmax(1) == held_out["y"]).float().mean()
        assert accuracies[k - 1] == direct
    best = nested.choose_prefix()
    assert best == accuracies.max() and int(nested.prefix) == int((accuracies == accuracies.max()).nonzero()[0]) + 1
    untold = make(NestedDropout)
    untold.prepare(Data(SPEC, batch_of()))
    assert untold.choose_prefix() == 0.0 and int(untold.prefix) == WIDTH


def test_quietly_leaves_every_mode_as_it_was():
    part = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2))
    part[1].eval()
    with quietly(part):
        assert not part[0].training and not torch.is_grad_enabled()
    assert part.training and part[0].training and not part[1].training and torch.is_grad_enabled()


def test_first_stage_is_two_nested_dropout_networks():
    pair, batch = make(NestedCoTeaching), batch_of()
    torch.manual_seed(3)
    out, kept = pair.teach(batch)
    torch.manual_seed(3)
    expected = [F.cross_entropy(net(batch["x"], net.draw_prefix()), batch["y"]) for net in (pair, pair.peer)]
    assert torch.equal(out["loss"], expected[0] + expected[1]) and not bool(kept.any())


def test_second_stage_crosses_the_selections_of_two_halves_with_one_prefix():
    pair, batch = train(make(NestedCoTeaching, forget_rate=0.5, dropout=0.0)), batch_of()
    pair.fine_tuning = True
    pair.prefix.fill_(3)
    pair.peer.prefix.fill_(100)
    x, y = batch["x"], batch["y"]
    with torch.no_grad():
        losses = torch.cat(
            [
                F.cross_entropy(pair(x[:16], torch.tensor(3)), y[:16], reduction="none"),
                F.cross_entropy(pair.peer(x[16:], torch.tensor(100)), y[16:], reduction="none"),
            ]
        )
    first, second = small_loss(losses[:16], 0.5), small_loss(losses[16:], 0.5) + 16
    torch.manual_seed(4)
    k = pair.draw_prefix()
    torch.manual_seed(4)
    out, kept = pair.teach(batch)
    expected = F.cross_entropy(pair(x[second], k), y[second]) + F.cross_entropy(pair.peer(x[first], k), y[first])
    assert torch.equal(out["loss"], expected)
    assert kept.nonzero().squeeze(1).tolist() == sorted(first.tolist() + second.tolist()) and int(kept.sum()) == 16


def test_second_stage_starts_from_the_best_epoch_of_each_network(monkeypatch):
    pair = make(NestedCoTeaching)
    accuracies = iter([0.5, 0.2, 0.4, 0.3])  # two epochs, two networks
    monkeypatch.setattr(NestedDropout, "choose_prefix", lambda self: next(accuracies))
    pair.before_validation()
    first = {name: tensor.clone() for name, tensor in own_state(pair).items()}
    train(pair, 2)
    pair.before_validation()
    second = {name: tensor.clone() for name, tensor in pair.peer.state_dict().items()}
    train(pair, 2)
    assert not same(own_state(pair), first)
    stored: dict = {}
    pair.on_save_checkpoint(stored)
    resumed = make(NestedCoTeaching, seed=1)
    resumed.load_state_dict(pair.state_dict())
    resumed.on_load_checkpoint(stored)
    resumed.start_fine_tuning()
    assert same(own_state(resumed), first) and same(dict(resumed.peer.state_dict()), second)


class Silent(Task):
    """A task that validates nothing."""

    def load_train(self):
        raise NotImplementedError

    def observe(self, method, data, test, history):
        raise NotImplementedError

    @classmethod
    def measure(cls, observed, asked):
        raise NotImplementedError


class Watched(NestedCoTeaching):
    """Notes the stage, the rate and the normalisation of every step."""

    def training_step(self, batch, batch_idx):
        group = self.optimizers(use_pl_optimizer=False).param_groups[0]
        self.seen.append((self.fine_tuning, group["lr"], self.backbone.norm.running_mean.clone()))
        return super().training_step(batch, batch_idx)


def test_stages_of_a_training(tmp_path: Path):
    spec = ClassSpec((3, 8, 8), 8, n_classes=4)
    train_batch = batch_of(8, spec=spec)
    data = Data(spec, train_batch, {name: train_batch[name] for name in ("x", "y")})
    config = resolve(
        "noisy/digits-sym40", "nested-co-teaching", budget="smoke", overrides={"train.epochs": 3, "train.batch_size": 4}
    ).config
    config["trainer"]["accelerator"] = "cpu"
    method = make(Watched, spec=spec, backbone="resnet20", lr=0.01, fine_tune_lr=0.001)
    method.seen = []
    method.prepare(data)
    task = Silent(Silent.Config(), "smoke", 0)
    task.card = type("Card", (), {"selection": "accuracy"})
    method.fit(data, Training(task, data, config, 0, tmp_path, lambda event: None))
    stages, rates, means = zip(*method.seen, strict=True)
    assert stages == (False, False, False, False, True, True) and rates == pytest.approx([0.01] * 4 + [0.001] * 2)
    assert not torch.equal(means[0], means[1]) and torch.equal(means[4], means[5])
    assert torch.equal(method.backbone.norm.running_mean, means[5]) and bool(method.selected.any())


# --- several draws of the noise -------------------------------------------------------------------

REDRAWN = RedrawnSpec((1, 8, 8), 64, n_classes=4, draws=3)


def redrawn(seed, equal=False):
    batch = batch_of(seed=seed)
    others = [batch["y"] if equal else (batch["y"] + r * batch["index"]) % 4 for r in range(3)]
    return {"x": batch["x"], "index": batch["index"], "labels": torch.stack(others, 1)}


def train_draws(method, batches):
    optimizer = method.make_optimizer(method.parameter_groups())
    for i, batch in enumerate(batches):
        optimizer.zero_grad()
        method.training_step(batch, i).backward()
        method.configure_gradient_clipping(optimizer)
        optimizer.step()
    return method


def test_equal_draws_are_one_plain_training():
    """The same labels in all draws: every network is the one that is trained on them, and the variance is 0."""
    method = train_draws(make(LabelDraws, spec=REDRAWN, clip=0.1), [redrawn(i, equal=True) for i in range(5)])
    plain = train(make(ClassifierMethod, clip=0.1))
    x = batch_of(seed=9)["x"]
    for network in method.networks:
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True))
    assert torch.equal(method.draws(x), plain.predict(x).expand(3, -1, -1))


def test_each_network_is_trained_on_its_own_draw():
    method = train_draws(make(LabelDraws, spec=REDRAWN), [redrawn(i) for i in range(5)])
    for r, network in enumerate(method.networks):
        alone = make(ClassifierMethod)
        train_draws(alone, [{"x": of["x"], "y": of["labels"][:, r]} for of in map(redrawn, range(5))])
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), alone.parameters(), strict=True))
    assert method.draws(batch_of()["x"]).std(0).max() > 0


def test_nested_networks_choose_their_prefixes_by_their_own_draw():
    method = train_draws(make(LabelDraws, spec=REDRAWN, nested=True, eta=5.0), [redrawn(i) for i in range(5)])
    assert all(type(network) is NestedDropout for network in method.networks)
    held_out = redrawn(7)
    method.prepare(Data(REDRAWN, valid={name: held_out[name] for name in ("x", "labels")}))
    method.before_validation()
    for r, network in enumerate(method.networks):
        accuracies = network.prefix_accuracies(held_out["x"], held_out["labels"][:, r])
        assert network.chosen_prefix() == int((accuracies - 1e-5 * network.sizes).argmax()) + 1


def test_data_with_one_draw_are_refused():
    with pytest.raises(UserError, match="several draws"):
        make(LabelDraws)
