"""Distributions of points in the plane that are known: how near samples and densities come to them."""

from __future__ import annotations

from elboard.bench.metrics.conventions import Convention, share

METRICS = (
    Convention("excess_nll", "NLL above that of the true density", "nats", "lower", note="on the same points; estimates KL(true || model)"),
    Convention("mmd2", "squared maximum mean discrepancy", "", "lower", note="unbiased; mean of Gaussian kernels of widths .1, .3, 1, 3"),
    share("on_support", "samples on the support", "higher", "true density at least the 1 % quantile of that of true points; ideal .99"),
    share("mode_coverage", "modes with samples", "higher", "modes with at least a fifth of their share of the samples within 3 deviations"),
    Convention("tail_distance", "largest distances of samples from the nearest true point", "", "lower", 0.0, note="mean of a twentieth"),
    share("share_error", "total variation of the patterns' shares", "lower", "samples in no pattern's square count as one pattern more"),
)
