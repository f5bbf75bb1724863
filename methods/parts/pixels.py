"""Distributions of the values of a pixel by the maps of a network, its channels one after the other; log-masses or -densities in nats.

Values are v = 2 level / (levels - 1) - 1, in images ``(B, C, H, W)``; a head takes ``n_outputs`` maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def level_of(v: Tensor, levels: int) -> Tensor:
    """The level nearest to v, of 0 to levels - 1."""
    return ((v + 1) / 2 * (levels - 1)).round()


class LogisticMixture(nn.Module):
    """A mixture of logistics, integrated over the cells of the levels (Salimans et al. 2017).

        p(v) = sum_k pi_k prod_c [sigmoid((v_c + h - mu'_kc) / s_kc) - sigmoid((v_c - h - mu'_kc) / s_kc)]
        mu'_kc = mu_kc + sum_{d<c} tanh(a_kcd) v_d,   log s >= -7,   h = 1 / (levels - 1)

    The first cell extends to minus infinity and the last one to infinity, so that masses sum to one; the component is one for all channels.
    Without levels (0) values are real, and p is the density.
    """

    def __init__(self, channels: int, levels: int, components: int):
        super().__init__()
        self.channels, self.levels, self.components = channels, levels, components
        self.sizes = [1, channels, channels, channels * (channels - 1) // 2]  # logits, means, log-scales, coefficients
        self.n_outputs = components * sum(self.sizes)

    def parts(self, out: Tensor) -> tuple[Tensor, ...]:
        """Log-weights ``(B, 1, K, H, W)``, means and log-scales ``(B, C, K, H, W)``, coefficients ``(B, C (C - 1) / 2, K, H, W)``."""
        logits, means, log_scales, coefficients = out.float().unflatten(1, (-1, self.components)).split(self.sizes, 1)
        return logits.log_softmax(2), means, log_scales.clamp(min=-7.0), coefficients.tanh()

    def coupled(self, mean: Tensor, coefficients: Tensor, before: list[Tensor]) -> Tensor:
        """mu' of the channel that follows ``before``, each ``(B, ..., H, W)``."""
        first = len(before) * (len(before) - 1) // 2
        for d, v in enumerate(before):
            mean = mean + coefficients[:, first + d] * v
        return mean

    def log_prob(self, v: Tensor, out: Tensor) -> Tensor:
        """``(B, H, W)``."""
        log_weights, means, log_scales, coefficients = self.parts(out)
        log_p = log_weights[:, 0]
        before: list[Tensor] = []
        for c in range(self.channels):
            value = v[:, c, None]
            log_p = log_p + self._logistic(value, self.coupled(means[:, c], coefficients, before), log_scales[:, c])
            before.append(value)
        return torch.logsumexp(log_p, 1)

    def _logistic(self, v: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Log-mass of the cell about v, or log-density at it."""
        inverse = torch.exp(-log_scale)
        if not self.levels:
            z = (v - mean) * inverse
            return F.logsigmoid(z) + F.logsigmoid(-z) - log_scale
        half = 1 / (self.levels - 1)
        log_upper, log_lower = F.logsigmoid((v - mean + half) * inverse), F.logsigmoid(-(v - mean - half) * inverse)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)); at the edges one factor alone remains
        inside = log_upper + log_lower + torch.log(-torch.expm1(-2 * half * inverse))
        return torch.where(v < half - 1, log_upper, torch.where(v > 1 - half, log_lower, inside))

    def draw(self, out: Tensor) -> Tensor:
        """Values ``(B, C, H, W)``: a component, and a logistic value for each channel given those before, rounded to levels."""
        log_weights, means, log_scales, coefficients = self.parts(out)
        gumbel = -torch.empty_like(log_weights).exponential_().log()
        k = (log_weights + gumbel).argmax(2, keepdim=True)
        of = [part.gather(2, k.expand(-1, part.shape[1], -1, -1, -1))[:, :, 0] for part in (means, log_scales, coefficients)]
        before: list[Tensor] = []
        for c in range(self.channels):
            noise = torch.rand_like(of[0][:, c]).clamp(1e-5, 1 - 1e-5).logit()
            v = self.coupled(of[0][:, c], of[2], before) + of[1][:, c].exp() * noise
            before.append(level_of(v.clamp(-1, 1), self.levels) * 2 / (self.levels - 1) - 1 if self.levels else v)
        return torch.stack(before, 1)


class LevelSoftmax(nn.Module):
    """A softmax over the levels of each channel (van den Oord et al. 2016); a channel's logits have, for each channel before it, a learned
    vector added that belongs to that one's level."""

    def __init__(self, channels: int, levels: int):
        super().__init__()
        self.channels, self.levels = channels, levels
        self.n_outputs = channels * levels
        self.tables = nn.ModuleList(nn.Embedding(levels, levels) for _ in range(channels * (channels - 1) // 2))
        for table in self.tables:
            nn.init.zeros_(table.weight)

    def logits(self, out: Tensor, before: list[Tensor]) -> Tensor:
        """Of the channel that follows ``before``, levels ``(B, H, W)``: ``(B, levels, H, W)``."""
        c = len(before)
        found = out.unflatten(1, (self.channels, self.levels))[:, c].float()
        for d, level in enumerate(before):
            found = found + self.tables[c * (c - 1) // 2 + d](level).permute(0, 3, 1, 2)
        return found

    def log_prob(self, v: Tensor, out: Tensor) -> Tensor:
        """``(B, H, W)``."""
        level = level_of(v, self.levels).long()
        return -sum(
            F.cross_entropy(self.logits(out, [*level[:, :c].unbind(1)]), level[:, c], reduction="none") for c in range(self.channels)
        )

    def draw(self, out: Tensor) -> Tensor:
        """Values ``(B, C, H, W)``."""
        before: list[Tensor] = []
        for _ in range(self.channels):
            logits = self.logits(out, before)
            before.append((logits - torch.empty_like(logits).exponential_().log()).argmax(1))
        return 2 * torch.stack(before, 1) / (self.levels - 1) - 1
