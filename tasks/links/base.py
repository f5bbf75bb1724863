"""Link prediction with all node features and part of the edges (Kipf and Welling 2016, section 3).

Of the E undirected edges floor(E / 10) are for testing and floor(E / 20) for validation, chosen by the run's seed; the others make the
training graph, which may leave nodes without a neighbour. Splits are nested: test edges are drawn from a pool that belongs to the task,
three times as large, and validation edges from the others, so that no edge by which anything is chosen is a test edge of any seed. As many
pairs that are no edge are drawn for each of the two sets: uniformly over unordered pairs of different nodes, never an edge of the whole
graph, none twice, none in both sets. Methods see the features of all nodes and the training edges; held-out edges are among the pairs that
they take for non-edges, as in the paper. Nodes' labels are not used.

One epoch is one step on the whole graph: the training batch holds the nodes' numbers, and the budgets' batch size exceeds their count.
A method gives one score a pair. Scores are compared as float32, edges being positive: AUC (ties count half) and average precision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.links import GraphSpec
from elboard.bench.metrics.ood import link_metrics
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.loaders import planetoid
from elboard.tasks.data.task import DataTask, permutation

TEST, VALID = 10, 20  # one edge of ten, one of twenty
POOL = 3  # times as many edges as a test set has are those that test sets are drawn from


def generated_graph(nodes: int = 150, blocks: int = 5, words: int = 30) -> dict[str, np.ndarray]:
    """A stochastic block model with noisy block-indicative words, for the smoke budget: ``edges`` (E, 2) with u < v, ``features``."""
    rng = np.random.default_rng(0)
    block, topic = np.arange(nodes) % blocks, np.arange(words) % blocks
    chance = np.where(block[:, None] == block, 0.25, 0.01)
    edges = np.argwhere(np.triu(rng.random((nodes, nodes)) < chance, k=1))
    said = rng.random((nodes, words)) < np.where(block[:, None] == topic, 0.4, 0.1)
    return {"edges": edges, "features": said.astype(np.float32)}


def sample_non_edges(n_nodes: int, edges: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` different pairs ``(count, 2)`` with u < v, uniform over those that are not among ``edges`` (E, 2), u < v.

    Raises ValueError if there are not so many.
    """
    if count > n_nodes * (n_nodes - 1) // 2 - len(edges):
        raise ValueError(f"a graph of {n_nodes} nodes and {len(edges)} edges has no {count} non-edges")
    known = edges[:, 0] * n_nodes + edges[:, 1]
    found = np.empty(0, np.int64)
    while len(found) < count:
        pairs = np.sort(rng.integers(n_nodes, size=(2 * count, 2)), axis=1)
        codes = np.concatenate([found, pairs[pairs[:, 0] < pairs[:, 1]] @ [n_nodes, 1]])
        codes = codes[~np.isin(codes, known)]
        found = codes[np.sort(np.unique(codes, return_index=True)[1])]
    return np.stack(np.divmod(found[:count], n_nodes), axis=1)


class LinkPrediction(DataTask):
    """The family's protocol, on the data set that the card names."""

    sets: ClassVar[Sets] = {"pairs": Examples(arrays=("scores", "y"), metrics=("auc", "ap"))}

    def _graph(self) -> dict[str, np.ndarray]:
        return generated_graph() if self.budget == "smoke" else planetoid(self.card.data[0])

    def load_train(self) -> Data:
        graph = self._graph()
        edges, features = graph["edges"], torch.from_numpy(graph["features"])
        n_valid, nodes = len(edges) // VALID, len(features)
        pool, pool_non, others = _pools(edges, nodes)
        rng = np.random.default_rng(self.seed)
        untested = rng.permutation(pool)[len(edges) // TEST :]
        shuffled = rng.permutation(others)
        valid, train = shuffled[:n_valid], np.concatenate([shuffled[n_valid:], untested])
        valid_non = sample_non_edges(nodes, np.concatenate([edges, pool_non]), n_valid, rng)
        return Data(
            spec=GraphSpec((features.shape[1],), nodes, n_nodes=nodes),
            train={"node": torch.arange(nodes)},
            valid=_labelled(valid, valid_non),
            shared={"features": features, "edges": torch.from_numpy(train)},
        )

    def load_test(self, data: Data) -> Test:
        edges = self._graph()["edges"]
        pool, pool_non, _ = _pools(edges, data.spec.n_nodes)
        count, rng = len(edges) // TEST, np.random.default_rng(self.seed)
        return _labelled(rng.permutation(pool)[:count], np.random.default_rng([self.seed, 1]).permutation(pool_non)[:count])

    def scores(self, method: Any, part: Batch) -> dict[str, np.ndarray]:
        """Scores float32 and labels uint8 of a part's pairs, each ``(P,)``."""
        scores = method.link_scores(part["pairs"].to(self.device)).float().cpu().numpy()
        return {"scores": scores, "y": part["y"].numpy()}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return _metrics(**self.scores(method, data.valid))

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self.scores(method, test))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        return _metrics(observed["scores"], observed["y"])


def _pools(edges: np.ndarray, n_nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges that test sets are drawn from, as many pairs that are none, and the edges that are never tested, each ``(E, 2)``."""
    count, shuffled = POOL * (len(edges) // TEST), edges[permutation(len(edges), 0)]
    return shuffled[:count], sample_non_edges(n_nodes, edges, count, np.random.default_rng(0)), shuffled[count:]


def _labelled(edges: np.ndarray, non_edges: np.ndarray) -> Batch:
    """``pairs`` (P, 2) int64, edges first, and ``y`` (P,) uint8, 1 for an edge."""
    y = torch.arange(len(edges) + len(non_edges)) < len(edges)
    return {"pairs": torch.from_numpy(np.concatenate([edges, non_edges])), "y": y.to(torch.uint8)}


def _metrics(scores: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return link_metrics(scores[y == 1], scores[y == 0])
