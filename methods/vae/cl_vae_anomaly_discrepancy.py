"""CL-VAE whose encoder sees a discrepancy map beside the image (Bogdoll, Pavlitska, Klaus and Zoellner 2023).

    D(x) = |x - x'|, mean over channels, in [0, 1];   q(z|x) = N(mu(x, D), diag s^2(x, D));   all else as in ``cl-vae-anomaly``

x' is a re-synthesis that knows normal images alone, so that D is large where something else is. It is the run ``resynthesis``, a VAE that
was trained on the normal training images.

Differences from the paper: re-synthesis by that VAE in the place of semantic segmentation and a generator; so without the replacement of
rare labels. D is not reconstructed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.methods.parts.convolutions import ConvEncoder
from elboard.methods.vae.cl_vae_anomaly import CLVAEAnomaly
from elboard.methods.vae.detecting import difference

CARD = MethodCard(
    name="cl-vae-anomaly-discrepancy",
    title="CL-VAE with a discrepancy map",
    family="vae",
    home="anomaly/streets",
    paper="044",
    cite="Bogdoll et al. 2023",
    bases={"resynthesis": {"method": "vae-anomaly"}},
    defaults="convention",
)


class CLVAEDiscrepancy(CLVAEAnomaly):
    """The encoder has a fourth channel."""

    def make_encoder(self) -> nn.Module:
        channels, *size = self.spec.shape
        return ConvEncoder(self.network, (channels + 1, *size))

    def seen(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            discrepancy = difference(x, self.base.reconstruct(x)).clamp(0, 1)
        return torch.cat([x, discrepancy[:, None]], dim=1)
