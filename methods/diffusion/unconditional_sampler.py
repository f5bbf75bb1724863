"""A way to draw from a trained diffusion without conditions, by the evaluations of its network: DDIM unless another sampler is asked for.

    x_s = alpha_s data^ + sigma_s eps^                                      (eta = 0; Song, Meng and Ermon 2021, eq. 12)

Nothing is trained: the model is that of the run ``model``, ``ddpm`` at its own defaults but for the samples by which its epoch was chosen,
which are of ten evaluations. Samplers are those of :mod:`elboard.methods.diffusion.diffusion_sampler`; steps are even in time
(``spacing``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.sampling import SteppedGenerator
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.diffusion.base import Unconditional

CARD = MethodCard(
    name="unconditional-sampler",
    title="A sampler of a trained diffusion without conditions",
    family="diffusion",
    home="sampling/fashion14",
    cite="Song, Meng and Ermon 2021",
    bases={
        "model": {
            "method": "ddpm",
            "task": {"sampling/fashion14": "samples/fashion14"},
            "set": {"sampler": "ddim", "evaluations": 10},
        }
    },
    defaults="paper",
)


class UnconditionalSampler(Method, SteppedGenerator):
    """See the module. Raises UserError if ``model`` is not of the kind ``of``."""

    of: type[Unconditional] = Unconditional

    @dataclass(kw_only=True)
    class Config(Options):
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "ddim"
        spacing: Literal["time", "log-snr", "karras"] = "time"

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, self.of):
            raise UserError(f"{type(self.base).__name__} is no {self.of.__name__} to be drawn from")

    def fit(self, data: Data, training: Any) -> None:
        return

    def sample_in(self, n: int, evaluations: int) -> Tensor:
        return self.base.drawn(n, self.config.sampler, evaluations, self.config.spacing)
