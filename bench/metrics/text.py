"""How probable sequences of tokens are by a fixed model of another text."""

from __future__ import annotations

import numpy as np

WEIGHTS = (0.01, 0.09, 0.3, 0.6)  # of the uniform law, single letters, pairs and triples


def trigram_tables(x: np.ndarray, letters: int) -> list[np.ndarray]:
    """Counts of single letters (K,), of pairs (K, K) and of triples (K, K, K) within the sequences ``x`` (N, L)."""
    found = []
    for n in (1, 2, 3):
        parts = [x[:, i : x.shape[1] - n + 1 + i].astype(np.int64) for i in range(n)]
        number = np.zeros_like(parts[0])
        for part in parts:
            number = number * letters + part
        found.append(np.bincount(number.ravel(), minlength=letters**n).reshape([letters] * n).astype(np.float64))
    return found


def trigram_bits(tables: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Bits a character (N,) of ``x`` (N, L) from its third one on, by frequencies after two, one and no letters that are mixed by
    :data:`WEIGHTS`; a frequency after what was never seen is the one after a letter less."""
    one, two, three = tables
    a, b, c = x[:, :-2], x[:, 1:-1], x[:, 2:]
    uniform = 1.0 / len(one)
    single = one[c] / one.sum()
    of_pair, of_triple = two.sum(1)[b], three.sum(2)[a, b]
    pair = np.where(of_pair > 0, two[b, c] / np.maximum(of_pair, 1), single)
    triple = np.where(of_triple > 0, three[a, b, c] / np.maximum(of_triple, 1), pair)
    p = WEIGHTS[0] * uniform + WEIGHTS[1] * single + WEIGHTS[2] * pair + WEIGHTS[3] * triple
    return -np.log2(p).mean(1)
