// Rows of a board compared, and ranks, over a chosen subset of methods; the same rules as results/stats/ranks.py, to 1e-9.
"use strict";
(function () {
  const [TINY, FEWEST_PAIRS, EXACT, ALPHA] = [2 ** -22, 3, 5, 0.05];
  const sum = (list) => list.reduce((total, value) => total + value, 0);
  const mean = (list) => Math.min(Math.max(sum(list) / list.length, Math.min(...list)), Math.max(...list));

  // A function from its asymptotic series at x >= 20 and its step from x to x + 1 below.
  const stepped = (step, series) => (x) => {
    let rest = 0;
    for (; x < 20; x += 1) rest += step(x);
    return rest + series(x, 1 / (x * x));
  };
  const lgamma = stepped((x) => -Math.log(x), (x, y) => (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + (1 - y * (1 / 30 - y * (1 / 105 - y * (1 / 140 - y / 99)))) / (12 * x));
  const digamma = stepped((x) => -1 / x, (x, y) => Math.log(x) - 0.5 / x - (y / 12) * (1 - y * (1 / 10 - y * (1 / 21 - y * (1 / 20 - y / 11)))));
  const trigamma = stepped((x) => 1 / (x * x), (x, y) => (1 + 0.5 / x + y * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - (5 * y) / 66))))) / x);
  const tetragamma = stepped((x) => -2 / x ** 3, (x, y) => -y * (1 + 1 / x + y * (1 / 2 - y * (1 / 6 - y * (1 / 6 - y * (3 / 10 - (5 * y) / 6))))));

  // The y > 0 with trigamma(y) = x, by Newton's method on 1 / trigamma.
  function inverseTrigamma(x) {
    if (x > 1e7) return 1 / Math.sqrt(x);
    if (x < 1e-6) return 1 / x;
    let y = 0.5 + 1 / x;
    for (let i = 0; i < 50; i += 1) {
      const found = trigamma(y);
      const step = (found * (1 - found / x)) / tetragamma(y);
      y += step;
      if (Math.abs(step) < 1e-14 * y) break;
    }
    return y;
  }

  // The regularised incomplete beta function I_x(a, b) with y = 1 - x, by Lentz's continued fraction.
  function beta(a, b, x, y) {
    if (x > (a + 1) / (a + b + 2)) return 1 - beta(b, a, y, x);
    const some = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
    let d = 1 / some(1 - ((a + b) * x) / (a + 1));
    let [c, h] = [1, d];
    for (let m = 1; m <= 10000; m += 1) {
      const before = h;
      for (const n of [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))]) {
        d = 1 / some(1 + n * d);
        c = some(1 + n / c);
        h *= d * c;
      }
      if (Math.abs(h - before) < 1e-15 * Math.abs(h)) break;
    }
    return (Math.exp(a * Math.log(x) + b * Math.log(y) + lgamma(a + b) - lgamma(a) - lgamma(b)) * h) / a;
  }

  // Two-sided p of Student's t.
  ELB.student = function (t, df) {
    if (t === 0) return 1;
    return Number.isFinite(t * t) ? beta(df / 2, 0.5, df / (df + t * t), (t * t) / (df + t * t)) : 0;
  };

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

  // Prior of variances: their degrees of freedom and scale, by the moments of the logarithms.
  ELB.prior = function (pairs) {
    const logs = pairs.map(({ variance, df }) => Math.log(variance) - digamma(df / 2) + Math.log(df / 2));
    const middle = sum(logs) / logs.length;
    const excess = sum(logs.map((log) => (log - middle) ** 2)) / (logs.length - 1) - sum(pairs.map(({ df }) => trigamma(df / 2))) / logs.length;
    if (excess <= 0) return { df: Infinity, variance: sum(pairs.map(({ variance }) => variance)) / pairs.length };
    const half = inverseTrigamma(excess);
    return { df: 2 * half, variance: Math.exp(middle + digamma(half) - Math.log(half)) };
  };

  // What is known of a row alone: its values by seed (a Map), size, mean, squared standard error, largest value.
  function side(of) {
    const values = [...of.values()];
    const [n, middle] = [values.length, mean(values)];
    const size = Math.max(...values.map(Math.abs));
    const still = Math.max(...values) - Math.min(...values) <= TINY * size;
    return { of, n, mean: middle, square: sum(values.map((value) => (value - middle) ** 2)) / (n - 1) / n, size, still };
  }

  // Effect, variance of a difference and its degrees of freedom, of two rows.
  function difference(a, b) {
    const both = [...a.of.keys()].filter((seed) => b.of.has(seed)).map((seed) => a.of.get(seed) - b.of.get(seed));
    const smaller = Math.min(a.n, b.n);
    const paired = both.length >= 2 && 5 * both.length >= 4 * smaller;
    const n = paired ? both.length : smaller;
    const shared = { n, rounding: TINY * Math.max(a.size, b.size), exact: n >= EXACT && a.still && b.still };
    if (paired) {
      const effect = sum(both) / n;
      return { ...shared, effect, harmonic: n, variance: sum(both.map((value) => (value - effect) ** 2)) / (n - 1), df: n - 1 };
    }
    const [total, parts, harmonic] = [a.square + b.square, a.square ** 2 / (a.n - 1) + b.square ** 2 / (b.n - 1), 2 / (1 / a.n + 1 / b.n)];
    return { ...shared, effect: a.mean - b.mean, harmonic, variance: total * harmonic, df: parts > 0 ? total ** 2 / parts : a.n + b.n - 2 };
  }

  function pValue(pair, prior, most) {
    if (pair.n < 2 || !(pair.exact || pair.spread || prior)) return null;
    if (pair.exact) return Math.abs(pair.effect) <= pair.rounding ? 1 : 0;
    const own = pair.spread ? pair.variance : 0;
    if (!Number.isFinite(own + pair.df)) return null; // beyond all bounds
    let [variance, df] = [own, pair.df];
    if (prior) {
      const shared = Number.isFinite(prior.df) ? (prior.df * prior.variance + df * own) / (prior.df + df) : prior.variance;
      variance = Math.max(shared, own);
      df += Math.max(Math.min(prior.df, most - df), 0) * (shared / variance) ** 2;
    }
    return ELB.student(pair.effect / Math.sqrt(variance / pair.harmonic), df);
  }

  // Every two of `rows`, each a Map from seeds to values: {i, j, effect, p}, i < j, row by row; p is null where undecided.
  ELB.compareRows = function (rows) {
    const sides = rows.map(side);
    const pairs = sides.flatMap((a, i) => sides.slice(i + 1).map((b, k) => ({ i, j: i + 1 + k, ...difference(a, b) })));
    pairs.forEach((pair) => (pair.spread = pair.n >= 2 && Math.sqrt(pair.variance) > pair.rounding));
    const spread = pairs.filter((pair) => pair.spread && Number.isFinite(pair.variance + pair.df));
    const prior = spread.length >= FEWEST_PAIRS ? ELB.prior(spread) : null;
    const many = sides.filter(({ n }) => n > 1).length;
    const most = (1 - 1 / Math.max(many, 1)) * sum(sides.map(({ n, still }) => (still ? 0 : n - 1)));
    return pairs.map((pair) => ({ i: pair.i, j: pair.j, effect: pair.effect, p: pValue(pair, prior, most) }));
  };

  // Standing of each row: {low, high, state}; low and high are null where it can be compared with none. `pairs` of ELB.compareRows.
  ELB.standings = function (pairs, means, higher, alpha = ALPHA) {
    const adjusted = ELB.holm(pairs.map(({ p }) => p));
    const sign = higher ? 1 : -1;
    const beats = means.map(() => new Set());
    const tested = new Set();
    const beaten = means.map(() => 0);
    pairs.forEach(({ i, j, effect }, at) => {
      if (adjusted[at] === null) return;
      tested.add(i).add(j);
      if (adjusted[at] > alpha || effect === 0) return;
      const [better, worse] = sign * effect > 0 ? [i, j] : [j, i];
      beats[better].add(worse);
      beaten[worse] += 1;
    });
    const unbeaten = [...means.keys()].filter((i) => tested.has(i) && !beaten[i]);
    const ahead = (i, k) => beats[i].size > beats[k].size || (beats[i].size === beats[k].size && sign * means[i] > sign * means[k]);
    const leader = unbeaten.reduce((best, i) => (best === null || ahead(i, best) ? i : best), null);
    const known = leader === null ? [] : [...beats[leader]];
    const top = (i) => i === leader || (known.every((k) => sign * means[i] >= sign * means[k]) && 2 * known.filter((k) => beats[i].has(k)).length > known.length);
    return means.map((_, i) => {
      if (!tested.has(i)) return { low: null, high: null, state: "undecided" };
      const state = beaten[i] ? "worse" : known.length && top(i) ? "top" : "undecided";
      return { low: 1 + beaten[i], high: tested.size - beats[i].size, state };
    });
  };
})();
