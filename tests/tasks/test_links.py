"""The link-prediction tasks: splits, non-edges, metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded
from sklearn.metrics import average_precision_score, roc_auc_score

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.tasks.data.loaders import planetoid
from elboard.tasks.links.base import generated_graph, sample_non_edges

NAMES = ("links/cora", "links/citeseer")


def make(name, budget="smoke", seed=0):
    cls = find("task", name).load()
    return cls(cls.Config(), budget, seed)


def whole(name, budget):
    return generated_graph() if budget == "smoke" else planetoid(name.split("/")[1])


def as_set(pairs):
    return {tuple(pair) for pair in np.asarray(pairs).tolist()}


class Oracle:
    """Scores ``inside`` for the edges of a graph, ``outside`` for other pairs."""

    def __init__(self, edges, inside=1.0, outside=0.0):
        self.edges, self.inside, self.outside = as_set(edges), inside, outside

    def link_scores(self, pairs):
        return torch.tensor([self.inside if tuple(pair) in self.edges else self.outside for pair in pairs.tolist()])


@pytest.mark.parametrize("budget", ["smoke", "lite"])
@pytest.mark.parametrize("name", NAMES)
def test_split(name, budget):
    graph, (data, test) = whole(name, budget), loaded(make(name, budget, seed=3))
    edges, total = as_set(graph["edges"]), len(graph["edges"])
    sizes = {"test": total // 10, "valid": total // 20}
    train, held_out, non_edges = as_set(data.shared["edges"]), set(), set()
    assert len(train) == len(data.shared["edges"]) == total - sizes["test"] - sizes["valid"]
    for part, size in ((test, sizes["test"]), (data.valid, sizes["valid"])):
        pairs, y = (part[field].numpy() for field in ("pairs", "y"))
        assert len(pairs) == len(y) == 2 * size and y.sum() == size and (pairs[:, 0] < pairs[:, 1]).all()
        assert len(as_set(pairs)) == 2 * size, "a pair twice"
        assert not as_set(pairs) & (held_out | non_edges), "validation and test share a pair"
        held_out |= as_set(pairs[y == 1])
        non_edges |= as_set(pairs[y == 0])
    assert train | held_out == edges and not train & held_out
    assert not non_edges & edges
    assert (data.shared["edges"][:, 0] < data.shared["edges"][:, 1]).all() and data.shared["edges"].dtype == torch.int64


@pytest.mark.parametrize(("name", "nodes", "words", "edges"), [("links/cora", 2708, 1433, 4488), ("links/citeseer", 3327, 3703, 3870)])
def test_counts_of_the_paper_and_all_features_kept(name, nodes, words, edges):
    data = make(name, "lite").load_train()
    assert (data.spec.n_nodes, data.spec.n_train, data.spec.shape) == (nodes, nodes, (words,)) and len(data.shared["edges"]) == edges
    assert (
        np.array_equal(data.shared["features"].numpy(), whole(name, "lite")["features"]) and data.shared["features"].dtype == torch.float32
    )
    assert torch.equal(data.train["node"], torch.arange(nodes))


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_is_one_step_and_full_is_lite(name):
    budgets = find("task", name).budgets()
    assert all(settings["train"]["batch_size"] == 0 for settings in budgets.values())
    assert budgets["full"] == budgets["lite"] and budgets["lite"]["train"]["epochs"] == 200


def test_the_seed_of_the_run_makes_the_split():
    (a, test), (again, test_again), (b, test_b) = (loaded(make("links/cora", seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a.valid[field], again.valid[field]) for field in ("pairs", "y"))
    assert not torch.equal(a.valid["pairs"], b.valid["pairs"])
    assert torch.equal(test["pairs"], test_again["pairs"]) and not torch.equal(test["pairs"], test_b["pairs"])
    assert torch.equal(a.shared["edges"], again.shared["edges"]) and not torch.equal(a.shared["edges"], b.shared["edges"])
    assert torch.equal(a.shared["features"], b.shared["features"])


def test_methods_see_no_test_pair_and_no_held_out_edge_in_the_graph():
    data, test = loaded(make("links/cora"))
    assert set(data.shared) == {"features", "edges"} and set(data.train) == {"node"}
    assert not as_set(data.shared["edges"]) & as_set(test["pairs"][test["y"] == 1])


def test_non_edges_are_uniform_and_may_be_all_there_are():
    edges = np.array([[0, 1], [1, 2], [0, 4]])
    every = sample_non_edges(5, edges, 7, np.random.default_rng(0))
    assert as_set(every) == {(0, 2), (0, 3), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)}
    with pytest.raises(ValueError, match="no 8 non-edges"):
        sample_non_edges(5, edges, 8, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    draws = [tuple(pair) for _ in range(2000) for pair in sample_non_edges(5, edges, 2, rng).tolist()]
    counts = np.array([draws.count(pair) for pair in sorted(as_set(every))])
    assert counts.sum() == 4000 and np.abs(counts - 4000 / 7).max() < 5 * (4000 / 7) ** 0.5


def test_the_generated_graph_has_blocks_that_the_words_tell():
    graph = generated_graph()
    assert (graph["edges"][:, 0] < graph["edges"][:, 1]).all() and len(as_set(graph["edges"])) == len(graph["edges"]) > 500
    inside = (graph["edges"] % 5)[:, 0] == (graph["edges"] % 5)[:, 1]
    assert inside.mean() > 0.75 and graph["features"].shape == (150, 30) and set(np.unique(graph["features"])) == {0.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_an_oracle_its_opposite_and_a_constant(name):
    task, edges = make(name), whole(name, "smoke")["edges"]
    data, test = loaded(task)
    scores = scored(task, task.observe(Oracle(edges), data, test, []))
    metrics, evidence = scores.metrics, scores.evidence
    assert metrics == {"auc": 1.0, "ap": 1.0} == task.validate(Oracle(edges), data)
    assert task.score(task.observe(Oracle(edges, 0.0, 1.0), data, test, []).arrays)["auc"] == 0.0
    assert task.score(task.observe(Oracle(edges, 1.0, 1.0), data, test, []).arrays) == {"auc": 0.5, "ap": 0.5}
    assert evidence["scores"].dtype == np.float32 and evidence["y"].dtype == np.uint8


def test_metrics_are_those_of_scikit_learn_on_the_evidence():
    class Noise:
        def link_scores(self, pairs):
            return torch.randn(len(pairs), generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(decimals=1)

    task = make("links/citeseer")
    scores = scored(task, task.observe(Noise(), *loaded(task), []))
    metrics, evidence = scores.metrics, scores.evidence
    y, s = evidence["y"], evidence["scores"]
    assert metrics["auc"] == pytest.approx(roc_auc_score(y, s), abs=1e-9)
    assert metrics["ap"] == pytest.approx(average_precision_score(y, s), abs=1e-9)
