"""Bayesian autoencoder whose prior matches what it outputs to images (Tran, Rossi, Milios, Michiardi, Bonilla and Filippone 2021).

    x^ = f_dec(f_enc(x; w); w),   w_j ~ N(m_j, exp(rho_j)),   p(x | w) = prod Bernoulli(x | x^)
    1. (m, rho) = argmin DSWD( x^ of prior weights, x )  on images apart, from the weights of an autoencoder and rho = -6
    2. w_s ~ p(w | training images) by scale-adapted SGHMC on U(w) = -(N / B) sum_batch log p(x | w) - log p(w)
    3. codes f_enc(x; w_s) of the training images -> a Dirichlet-process mixture for each w_s;   new images f_dec(z; w_s)
    log-likelihood of a test image: log (1/S) sum_s p(x | w_s)

``prior=normal`` leaves out the first step: m = 0, rho = 0. Chains of all sizes run side by side, each from a draw of the prior, so that
weights of which no image says anything, those of pixels that are always 0, have its law from the first step on. Half of the training is
burn-in, from the rest S samples are taken at equal distances. Before the first one nothing is predicted: likelihoods are NaN, and no such
epoch can be chosen. ``prior_sd`` in the curves, the mean of exp(rho / 2), says whether the prior has collapsed. U in them falls at the end
of the burn-in: while the sampler adapts to gradients of the prior alone, which change slowly, it follows each of them, and the chain is too
hot; once it is held its law is the posterior's.

Differences from the paper: dense networks of 64 and 16 tanh units instead of convolutions; 300 iterations of 8 draws with 200 projections
and 10 inner steps instead of 2,000 of 32 with 1,000 and 30, at a rate so much larger that m and rho may go as far; they begin at once, not
after 50 iterations of the directions alone; the autoencoder from which m starts has as many steps, of all prior images, instead of 200
epochs; each draw has images of its own; Bernoulli, not continuous Bernoulli, pixels for grey levels; 16 samples instead of 32, from 6,000
steps instead of 37,000, in batches of 64 (the paper's are not verified), and those up to the epoch that validation images choose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.few import FewShotModels, FewSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive, Range, Share
from elboard.bench.task import Batch, Data
from elboard.methods.bayesian.matched_prior import FactorisedPrior, flat, matched_prior, part_of
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.code_mixtures import CodeMixtures
from elboard.methods.parts.likelihoods import Bernoulli
from elboard.methods.parts.sghmc import SGHMC

CARD = MethodCard(
    name="bae-prior",
    title="Bayesian autoencoder with a prior matched to images",
    family="bayesian",
    home="generation/mnist-small",
    paper="070",
    cite="Tran et al. 2021",
    defaults="convention",
)
BURN_IN = 0.5


class BAEPrior(Method, FewShotModels):
    """See the module; a chain for each size of the spec."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 0.003  # of SGHMC; the released code
        decay: Annotated[float, Range(above=0, below=1)] = 0.05  # the released code
        hidden: list[Count] = field(default_factory=lambda: [64])
        latent_dim: Count = 16
        prior: Literal["matched", "normal"] = "matched"
        prior_share: Share = 0.05  # of the number of the chain's steps: those of the prior
        prior_reach: Positive = 2.0  # the rate of Adam times the number of those steps; the released code: 1e-3 times 2,000
        log_variance: float = -6.0  # rho before them; the released code
        draws: Count = 8  # of prior weights
        projections: Count = 200
        inner: Count = 10
        samples: Count = 16  # S
        components: Count = 10  # of a mixture

    def __init__(self, config: Any, spec: FewSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, g = config, len(spec.sizes)
        self.network, self.likelihood = self.make_network(g), Bernoulli()
        self.register_buffer("sizes", torch.tensor(spec.sizes, dtype=torch.float32), persistent=False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))
        for name, w in self.network.named_parameters():
            self.register_buffer(f"kept_{flat(name)}", torch.zeros(c.samples, *w.shape))
        self.prior = FactorisedPrior(self.network)
        self.mixtures = CodeMixtures(g * c.samples, c.components, c.latent_dim)

    def make_network(self, models: int) -> nn.ModuleDict:
        sizes = [self.spec.shape[0], *self.config.hidden, self.config.latent_dim]
        return nn.ModuleDict({"encoder": batched_mlp(models, sizes, "tanh"), "decoder": batched_mlp(models, sizes[::-1], "tanh")})

    # --- 1: the prior ------------------------------------------------------------------------------

    def fit(self, data: Data, training: Any) -> None:
        if training.config["trainer"]["devices"] not in ("1", "auto"):
            raise UserError("bae-prior: processes would draw other noise for one chain; set trainer.devices=1")
        if self.config.prior == "matched":
            train = training.config["train"]
            steps = self.config.prior_share * train["epochs"] * len(training.task.batches(data, train, training.seed))
            x = data.shared["prior"].to(self.sizes.device)
            self.prior.take(*matched_prior(self.make_network, x, max(1, round(steps)), self.config))
        self.prior.draw(self.network)
        super().fit(data, training)
        self.eval()
        with torch.no_grad():
            for s in range(int(self.taken)):
                for g, n in enumerate(self.spec.sizes):
                    x = data.train["x"][:n].to(self.sizes.device).expand(len(self.sizes), -1, -1)
                    self.mixtures.fit(g * self.config.samples + s, self._call("encoder", x, s)[g])

    # --- 2: the posterior ----------------------------------------------------------------------------

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        return SGHMC(groups, lr=self.config.lr, decay=self.config.decay)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """U(w), summed over models."""
        x = batch["x"]
        log_p = self.likelihood.log_prob(x, self.network["decoder"](self.network["encoder"](x))).mean(1)
        potential = -(self.sizes * log_p + self.prior.log_prob(self.network)).sum()
        return {"loss": potential, "log_likelihood": log_p.mean(), "prior_sd": self.prior.spread()}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        super().on_train_batch_start(batch, batch_idx)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["adapting"] = self.progress < BURN_IN

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.agree(*(w.data for w in self.parameters()))  # one chain, whose noise is the first process's
        steps = self.trainer.num_training_batches
        done = (self.current_epoch * steps + batch_idx + 1) / (steps * self.trainer.max_epochs)
        due = int((done - BURN_IN) / (1 - BURN_IN) * self.config.samples + 1e-9)
        if due > self.taken:
            for name, w in self.network.named_parameters():
                getattr(self, f"kept_{flat(name)}")[self.taken] = w
            self.taken += 1

    # --- 3: predictions and new images ----------------------------------------------------------------

    def _call(self, part: str, x: Tensor, s: int) -> Tensor:
        """The encoder or the decoder with the weights of sample ``s``."""
        weights = {name: getattr(self, f"kept_{flat(name)}")[s] for name, _ in self.network.named_parameters()}
        return functional_call(self.network[part], part_of(weights, part), (x,))

    def log_likelihoods(self, x: Tensor) -> Tensor:
        n, x = int(self.taken), x.expand(len(self.sizes), -1, -1)
        if not n:
            return x.new_full(x.shape[:2], torch.nan)
        each = [self.likelihood.log_prob(x, self._call("decoder", self._call("encoder", x, s), s)) for s in range(n)]
        return torch.stack(each).logsumexp(0) - math.log(n)

    def draw(self, n: int) -> Tensor:
        """An equal number from each posterior sample, with its own mixture of codes."""
        taken, found = int(self.taken), []
        if not taken:
            return torch.full((len(self.sizes), n, *self.spec.shape), torch.nan, device=self.sizes.device)
        for s, part in enumerate(torch.arange(n).tensor_split(taken)):
            z = torch.stack([self.mixtures.sample(g * self.config.samples + s, len(part)) for g in range(len(self.sizes))])
            found.append(self.likelihood.mean(self._call("decoder", z, s)))
        return torch.cat(found, dim=1)
