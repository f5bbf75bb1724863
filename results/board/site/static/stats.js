// Ranks over a chosen subset of methods; the same rules as results/stats/groups.py.
"use strict";
(function () {
  // Holm's adjusted p-values of a list; null (undecided) stays null and counts for nothing.
  ELB.holm = function (p) {
    const order = p.map((value, i) => i).filter((i) => p[i] !== null).sort((a, b) => p[a] - p[b]);
    const adjusted = p.map(() => null);
    let largest = 0;
    order.forEach((i, place) => {
      largest = Math.max(largest, Math.min(1, (order.length - place) * p[i]));
      adjusted[i] = largest;
    });
    return adjusted;
  };

  // Ranks of the rows `subset` (indices below n): 1 + the number of methods significantly better after Holm's correction over all pairs
  // of the subset; null where a row is undecided against every other. `p`: upper triangle of all rows, row by row, `means`: of all rows
  // or null.
  ELB.ranks = function (n, p, means, higher, subset, alpha = 0.05) {
    const rows = [...subset].sort((a, b) => a - b);
    const pairs = [];
    for (let a = 0; a < rows.length; a += 1) {
      for (let b = a + 1; b < rows.length; b += 1) pairs.push([rows[a], rows[b]]);
    }
    const adjusted = ELB.holm(pairs.map(([i, j]) => p[i * n - (i * (i + 1)) / 2 + (j - i - 1)]));
    const better = new Map(rows.map((i) => [i, 0]));
    const decided = new Set();
    pairs.forEach(([i, j], at) => {
      if (adjusted[at] === null) return;
      decided.add(i).add(j);
      if (adjusted[at] > alpha || means[i] === null || means[j] === null || means[i] === means[j]) return;
      const worse = means[i] > means[j] === higher ? j : i;
      better.set(worse, better.get(worse) + 1);
    });
    const ranks = new Map(rows.map((i) => [i, decided.has(i) || rows.length === 1 ? 1 + better.get(i) : null]));
    return { pairs, adjusted, ranks };
  };
})();
