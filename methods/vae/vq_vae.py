"""Vector-quantised variational autoencoder (van den Oord, Vinyals and Kavukcuoglu 2017).

    z_e = f(x),   k_g = argmin_j |z_e,g - e_j|,   z_q,g = e_k_g   for each of G positions of the code                     (eqs. 1 f.)
    L = -log p(x|z_q) + sum_g |sg[z_e,g] - e_k_g|^2 + beta sum_g |z_e,g - sg[e_k_g]|^2                                       (eq. 3)

sg stops gradients. The likelihood's gradient passes from the decoder's input straight to the encoder's output, as if z_q were z_e; entries
are moved by the second term alone (``update=loss``), or without it by moving averages (``update=ema``, appendix A.1):

    N_j <- gamma N_j + (1 - gamma) n_j,   m_j <- gamma m_j + (1 - gamma) sum_{k_g = j} z_e,g,   e_j = m_j / N_j

The prior is uniform in training. What samples come from is fitted to the codes of at most 20,000 training images afterwards, when samples
are first drawn after an epoch: a mixture of 100 products of categorical laws over the G positions
(:mod:`elboard.methods.parts.categoricals`), in the place of the paper's PixelCNN. ``components=1`` is the product of the marginals. A
mixture of 5,000 images knows them by heart: in one pilot of ``samples/mnist`` its log mass on validation codes was -80 nats, below the -75
of the marginals; of 20,000 it was -68, and the validation Frechet distance 122 instead of 203. No likelihood is claimed. ``perplexity`` in
the curves is that of the codes of a batch; :meth:`VQVAE.training_step` is overridden because moving averages are no gradients.

Differences from the paper: that prior; the family's dense network, whose last layer gives 16 positions of 4 dimensions, with 128 entries,
where the paper has maps of a convolutional network and 512 entries; entries start at codes of training images, since from small random
ones few are ever used; distances are summed over positions, as the log-likelihood is over pixels, and not averaged: averaged ones let the
encoder's output run away from the entries (perplexity 18 instead of 104 of 128 after six epochs of ``samples/mnist``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.codebooks import DiscreteCodes
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Range
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.categoricals import CategoricalMixture
from elboard.methods.parts.priors import Prior
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="vq-vae",
    title="Vector-quantised autoencoder",
    family="vae",
    home="samples/mnist",
    cite="van den Oord et al. 2017",
    defaults="convention",
)
CODES = 20_000  # images that the prior is fitted to
UNUSED = 1e-6  # moving count below which an entry stays where it is


class VQVAE(Deterministic, DiscreteCodes):
    """Trained on the reconstruction from the nearest entries of a codebook."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        latent_dim: int = 64  # of all positions together
        positions: Count = 16  # G
        codes: Count = 128  # K
        commitment: NonNegative = 0.25  # beta; section 3.2
        update: Literal["loss", "ema"] = "loss"  # section 3.2; ema: appendix A.1
        decay: Annotated[float, Range(0, below=1)] = 0.99  # gamma; ditto
        components: int = 100  # of the prior over codes

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if config.latent_dim % config.positions:
            raise UserError(f"latent_dim={config.latent_dim} is no multiple of positions={config.positions}")
        super().__init__(config, spec, bases)
        self.n_codes = config.codes
        entries = torch.randn(config.codes, config.latent_dim // config.positions)
        self.codebook = nn.Parameter(entries, requires_grad=config.update == "loss")
        self.register_buffer("counts", torch.ones(config.codes))  # N
        self.register_buffer("sums", entries.clone())  # m

    def make_prior(self) -> Prior:
        return CategoricalMixture(self.config.positions, self.config.codes, self.config.components)

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        first, self.__dict__["shown"] = self.shown, data.train["x"][:CODES]
        with torch.no_grad():
            z = self.positions(first.to(self.device)).flatten(0, 1)
            at = torch.randint(len(z), (self.n_codes,), generator=torch.Generator().manual_seed(0))
            self.codebook.copy_(z[at.to(z.device)])
            self.sums.copy_(self.codebook)

    def positions(self, x: Tensor) -> Tensor:
        """z_e, ``(B, positions, latent_dim / positions)``."""
        return self.code(x).unflatten(1, (self.config.positions, -1))

    def nearest(self, z: Tensor) -> Tensor:
        """``(B, positions, D)`` -> ``(B, positions)``."""
        return (self.codebook.square().sum(1) - 2 * z @ self.codebook.T).argmin(-1)

    def indices(self, x: Tensor) -> Tensor:
        return self.nearest(self.positions(x))

    def terms(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The scalars of the loss, z_e and the numbers of its entries."""
        z = self.positions(x)
        k = self.nearest(z)
        e = self.codebook[k]
        distortion = self.distortion(x, (z + (e - z).detach()).flatten(1)).mean()
        commitment = (z - e.detach()).square().sum((1, 2)).mean()
        loss = distortion + self.config.commitment * commitment
        if self.config.update == "loss":
            loss = loss + (e - z.detach()).square().sum((1, 2)).mean()
        share = F.one_hot(k.flatten(), self.n_codes).to(z.dtype).mean(0)
        perplexity = torch.exp(-torch.xlogy(share, share).sum())
        return {"loss": loss, "distortion": distortion, "commitment": commitment, "perplexity": perplexity}, z.detach(), k

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.terms(batch["x"])[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out, z, k = self.terms(batch["x"])
        self.accumulate(out)
        if self.config.update == "ema":
            self.average(z.flatten(0, 1), k.flatten())
        return out["loss"]

    @torch.no_grad()
    def average(self, z: Tensor, k: Tensor) -> None:
        """One step of the moving averages, by codes ``(N, D)`` of the entries ``(N,)``."""
        rest = 1 - self.config.decay
        self.counts.mul_(self.config.decay).index_add_(0, k, torch.full_like(z[:, 0], rest))
        self.sums.mul_(self.config.decay).index_add_(0, k, rest * z)
        used = self.counts > UNUSED
        self.codebook[used] = self.sums[used] / self.counts[used, None]

    def fitted_to(self, x: Tensor) -> Tensor:
        return self.indices(x)

    def draw_codes(self, x: Tensor) -> Tensor:
        """z_q, ``(B, latent_dim)``."""
        return self.codebook[self.indices(x)].flatten(1)

    def draw_prior(self, n: int) -> Tensor:
        return self.codebook[super().draw_prior(n)].flatten(1)
