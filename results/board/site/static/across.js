// Statistics over several tasks; those of results/stats/across.py by the same definitions. A table is values[method][task] = list of runs, signed
// so that higher is better; an empty list is an absent result.
"use strict";
(function () {
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const present = (list) => list.filter((value) => !Number.isNaN(value));
  const meanOf = (list) => (present(list).length ? mean(present(list)) : NaN);

  ELB.across = {};

  ELB.across.taskRanks = function (table) {
    const means = table.map((row) => row.map((runs) => (runs.length ? mean(runs) : NaN)));
    return means.map((row) => row.map((value, t) => (Number.isNaN(value) ? NaN : means.reduce((rank, other) => rank + 0.5 * (other[t] > value) + 0.5 * (other[t] >= value), 0.5))));
  };

  ELB.across.meanRank = (table) => ELB.across.taskRanks(table).map(meanOf);

  // Share of pairs of runs that `a` wins against `b`, ties half, and the number of pairs.
  function duel(a, b) {
    let twice = 0;
    for (const x of a) for (const y of b) twice += (x > y) + (x >= y);
    return [twice / 2, a.length * b.length];
  }

  ELB.across.winRate = (table) =>
    table.map((row, i) => {
      let [won, met] = [0, 0];
      table.forEach((other, j) => {
        if (i === j) return;
        row.forEach((runs, t) => {
          const [wins, pairs] = duel(runs, other[t]);
          won += wins;
          met += pairs;
        });
      });
      return won / met;
    });

  // Probability that a run of `a` beats a run of `b`, ties half, averaged over the tasks that both have (Agarwal et al. 2021, section 4.3).
  ELB.across.improvement = (a, b) =>
    meanOf(a.map((runs, t) => {
      const [wins, pairs] = duel(runs, b[t]);
      return wins / pairs;
    }));

  ELB.across.normalise = function (table) {
    const bounds = table[0].map((_, t) => {
      const means = table.filter((row) => row[t].length).map((row) => mean(row[t]));
      return [Math.min(...means), Math.max(...means)];
    });
    return table.map((row) =>
      row.map((runs, t) => {
        const [worst, best] = bounds[t];
        const flat = !(best - worst > 1e-12 * Math.max(Math.abs(best), Math.abs(worst)));
        return runs.map((value) => (flat ? 0.5 : (value - worst) / (best - worst)));
      })
    );
  };

  ELB.across.iqm = (scores) =>
    scores.map((row) => {
      const runs = row.flat().sort((a, b) => a - b);
      const cut = Math.floor(runs.length / 4);
      return mean(runs.slice(cut, runs.length - cut));
    });

  // Share of runs above each threshold, averaged over tasks (Agarwal et al. 2021): [method][threshold].
  ELB.across.profile = (scores, thresholds) => scores.map((row) => thresholds.map((at) => meanOf(row.map((runs) => (runs.length ? mean(runs.map((value) => (value > at ? 1 : 0))) : NaN)))));

  // The solution of a symmetric positive definite system, which needs no pivots.
  function solve(matrix, vector) {
    const a = matrix.map((row, i) => [...row, vector[i]]);
    a.forEach((pivot, i) => {
      for (const row of a) {
        if (row === pivot) continue;
        const factor = row[i] / pivot[i];
        for (let k = i; k < pivot.length; k += 1) row[k] -= factor * pivot[k];
      }
    });
    return a.map((row, i) => row[vector.length] / row[i]);
  }

  function connected(won) {
    const reached = (next) => {
      const seen = new Set([0]);
      for (const i of seen) won.forEach((_, j) => next(i, j) && seen.add(j));
      return seen.size === won.length;
    };
    return reached((i, j) => won[i][j] > 0) && reached((i, j) => won[j][i] > 0);
  }

  // Bradley-Terry by Newton's method, one drawn game added to every pair that met; null where the ratings are not determined.
  ELB.across.elo = function (table) {
    const size = table.length;
    const won = table.map((row, i) =>
      table.map((other, j) => {
        if (i === j) return 0;
        const duels = row.map((runs, t) => duel(runs, other[t])).filter(([, pairs]) => pairs > 0);
        return duels.length ? 0.5 + duels.reduce((sum, [wins, pairs]) => sum + wins / pairs, 0) : 0;
      })
    );
    if (!connected(won)) return null;
    let strength = new Array(size).fill(0);
    for (let round = 0; round < 100; round += 1) {
      const slope = new Array(size).fill(0);
      const curve = won.map(() => new Array(size).fill(1 / size));
      for (let i = 0; i < size; i += 1) {
        for (let j = 0; j < size; j += 1) {
          if (i === j) continue;
          const games = won[i][j] + won[j][i];
          const chance = 1 / (1 + Math.exp(strength[j] - strength[i]));
          slope[i] += won[i][j] - games * chance;
          curve[i][i] += games * chance * (1 - chance);
          curve[i][j] -= games * chance * (1 - chance);
        }
      }
      const step = solve(curve, slope).map((value) => Math.max(-2, Math.min(2, value)));
      strength = strength.map((value, i) => value + step[i]);
      if (Math.max(...step.map(Math.abs)) < 1e-10) break;
    }
    const middle = mean(strength);
    return strength.map((value) => 1000 + (400 / Math.LN10) * (value - middle));
  };

  // Upper tail of the chi-squared distribution: the series, or the continued fraction, of the incomplete gamma function.
  function chiTail(x, degrees) {
    const [a, h] = [degrees / 2, x / 2];
    if (h <= 0) return 1;
    const scale = Math.exp(-h + a * Math.log(h) - logGamma(a));
    if (h < a + 1) {
      let [term, sum] = [1 / a, 1 / a];
      for (let n = 1; n < 1000 && term > sum * 1e-16; n += 1) sum += term *= h / (a + n);
      return 1 - scale * sum;
    }
    let [b, c] = [h + 1 - a, 1e300];
    let d = 1 / b;
    let fraction = d;
    for (let n = 1; n < 1000; n += 1) {
      const an = -n * (n - a);
      b += 2;
      d = 1 / (an * d + b);
      c = b + an / c;
      fraction *= d * c;
      if (Math.abs(d * c - 1) < 1e-16) break;
    }
    return scale * fraction;
  }

  function logGamma(x) {
    if (x < 15) return logGamma(x + 1) - Math.log(x); // Stirling's series is exact to rounding from 15 on
    return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5) - 1 / (1680 * x ** 7);
  }

  // Friedman's p corrected for ties, mean ranks, Nemenyi's distance, maximal groups (Demsar 2006, section 3.2.2); blocks are the tasks with all
  // methods, values their means: seeds are no independent tasks. `quantile`: of the studentized range for this number of methods.
  ELB.across.criticalDifference = function (table, quantile) {
    const all = ELB.across.taskRanks(table);
    const whole = all[0].map((_, t) => t).filter((t) => all.every((row) => !Number.isNaN(row[t])));
    const [methods, tasks] = [all.length, whole.length];
    if (methods < 2 || tasks < 2) return null;
    const byTask = all.map((row) => whole.map((t) => row[t]));
    const ranks = byTask.map(mean);
    const middle = (methods + 1) / 2;
    const spread = byTask.flat().reduce((sum, rank) => sum + (rank - middle) ** 2, 0);
    const between = ranks.reduce((sum, rank) => sum + (rank - middle) ** 2, 0);
    const p = spread > 0 ? chiTail(((methods - 1) * tasks ** 2 * between) / spread, methods - 1) : 1;
    const distance = quantile * Math.sqrt((methods * (methods + 1)) / (12 * tasks));
    const order = ranks.map((_, i) => i).sort((a, b) => ranks[a] - ranks[b]);
    const reach = order.map((i) => order.filter((j) => ranks[j] <= ranks[i] + distance).length);
    const groups = order.map((_, i) => order.slice(i, reach[i])).filter((_, i) => i === 0 || reach[i] > reach[i - 1]);
    return { p, ranks, distance, groups, tasks };
  };

  // A seeded generator of numbers in [0, 1): mulberry32.
  ELB.across.random = function (seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let z = Math.imul(state ^ (state >>> 15), state | 1);
      z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
      return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
    };
  };

  // The runs of each method and task drawn again with replacement.
  ELB.across.resample = (table, random) => table.map((row) => row.map((runs) => runs.map(() => runs[Math.floor(random() * runs.length)])));

  // Percentiles as numpy.quantile: linear between order statistics.
  ELB.across.quantile = function (values, q) {
    const sorted = [...values].sort((a, b) => a - b);
    const at = q * (sorted.length - 1);
    const below = Math.floor(at);
    return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
  };
})();
