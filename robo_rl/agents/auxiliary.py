"""Features that are learned from what observations and actions tell by themselves, beside the reward.

Each loss is a module with weights of its own; one optimiser moves them and the trunk that the features come from.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.ensemble import start
from robo_rl.agents.optimisers import OptimiserName, make_optimiser
from robo_rl.agents.switches import refuse_idle
from robo_rl.contracts.learning import Batch, Following, Obs
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Metrics

_DEFAULTS: dict[str, dict[str, float]] = {
    "none": {},
    "curl": {"noise": 0.1, "tau": 0.05},
    "taco": {"noise": 0.1, "steps": 3},
    "prediction": {"tau": 0.01, "steps": 5},
}
"""The settings that each loss has, and what they are if not given."""


@dataclass(frozen=True)
class AuxiliaryConfig:
    """A loss that learns features from observations and actions alone."""

    loss: Literal["none", "curl", "taco", "prediction"] = "none"
    """Contrast two views of an observation (curl), a state and its actions with what they lead to (taco), or predict
    the features to come (prediction)."""
    width: int = 50
    """Number of learned features."""
    hidden: int = 256
    """Width of the hidden layers of predictors and projections."""
    learning_rate: float = 3e-4
    """Step size."""
    steps: int | None = None
    """Actions that taco and prediction look ahead over; 3 and 5 if not given."""
    noise: float | None = None
    """Noise that tells two views of a vector apart, in standard deviations over the batch; of curl and taco, 0.1."""
    tau: float | None = None
    """Share of the features' weights that flows into those of the targets, of curl (0.05) and prediction (0.01); 1
    takes the features themselves for targets."""

    def __post_init__(self) -> None:
        refuse_idle("auxiliary", self, "loss")
        for name in ("steps", "noise", "tau"):
            if getattr(self, name) is not None and name not in _DEFAULTS[self.loss]:
                raise UserError(f"auxiliary.{name} does nothing with auxiliary.loss {self.loss!r}; leave it out")
        if self.width < 1 or self.hidden < 1 or (self.steps is not None and self.steps < 1):
            raise UserError("auxiliary.width, hidden and steps must be at least 1")
        if self.noise is not None and self.noise <= 0.0:
            raise UserError(f"auxiliary.noise must be positive, or both views are one, not {self.noise}")
        if self.tau is not None and not 0.0 < self.tau <= 1.0:
            raise UserError(f"auxiliary.tau must lie in (0, 1], not {self.tau}")

    def of(self, name: Literal["steps", "noise", "tau"]) -> float:
        """Return a setting of the loss: what is given, or its default."""
        given = getattr(self, name)
        return _DEFAULTS[self.loss][name] if given is None else given

    @property
    def following(self) -> int:
        """Number of following steps that batches must carry; 0 for none."""
        return int(self.of("steps")) if "steps" in _DEFAULTS[self.loss] else 0


class Features(nn.Module):
    """Observations to features, and to latents z (B, width) of them, by a trunk: a linear map, layer norm, tanh.

    Where the encoder below has no weights (vectors), policy and critics see its output with the latents beside it, as
    constants: only the auxiliary loss moves the trunk (as Ota et al. 2020 learn features of vectors). Where it has
    weights, they see its output as ever, and the auxiliary loss moves the encoder too.

    Args:
        encoder: observations to features (B, ``encoder.width``).
        width: of the latents.
        generator: draws the initial weights.
    """

    def __init__(self, encoder: Encoder, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = encoder
        inputs = encoder.width
        self.trunk = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.Tanh())
        start(self.trunk, generator)
        self.learns = any(True for _ in encoder.parameters())
        self.width = inputs if self.learns else inputs + width

    def forward(self, obs: Obs) -> Tensor:
        """Return what policy and critics see, (B, ``self.width``)."""
        x = self.encoder(obs).to(next(self.trunk.parameters()).device)
        if self.learns:
            return x
        with torch.no_grad():
            return torch.cat([x, self.trunk(x)], dim=-1)

    def latent(self, obs: Obs, noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Return latents z (B, width), of a view of the observations if there is ``noise``."""
        x = self.encoder(obs)
        if noise:
            x = x + noise * x.detach().std(dim=0) * torch.randn(x.shape, generator=generator, device=x.device)
        return self.trunk(x)


class AuxiliaryLoss(nn.Module, ABC):
    """A loss on latents, with weights of its own."""

    @abstractmethod
    def loss(self, features: Features, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss, without dimensions; gradients flow into ``features`` and what the loss owns."""

    def after_step(self, features: Features) -> None:
        """Follow the features after a step of the optimiser; there may be nothing to follow them."""


class CURL(AuxiliaryLoss):
    """Contrastive features (Srinivas et al. 2020): of all targets, which one is another view of the same observation?

    The targets come from weights that follow slowly; similarity is ``q W k``.
    """

    def __init__(self, features: Features, config: AuxiliaryConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.noise, self.tau = config.of("noise"), config.of("tau")
        self.target = copy.deepcopy(features).requires_grad_(False)
        self.similarity = _similarity(config.width, generator)

    def loss(self, features: Features, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return InfoNCE of two views; see :class:`AuxiliaryLoss`."""
        view = features.latent(batch.obs, self.noise, generator)
        with torch.no_grad():
            other = self.target.latent(batch.obs, self.noise, generator)
        return info_nce(view, other, self.similarity)

    def after_step(self, features: Features) -> None:
        """Let the targets' weights follow."""
        _follow(self.target, features, self.tau)


class TACO(AuxiliaryLoss):
    """Temporal action-driven contrastive features (Zheng et al. 2023).

    Three losses: a state with the K actions taken from there must find what it led to among those of the whole batch; a
    view of a state must find the other view; and the reward of the K steps must follow from state and actions. Actions
    are encoded by small networks of their own. Policy and critics see the actions as they are.
    """

    def __init__(
        self, features: Features, actions: int, config: AuxiliaryConfig, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.noise = config.of("noise")
        code = int(1.25 * actions) + 1
        codes = config.following * code
        self.action = nn.Sequential(nn.Linear(actions, 64), nn.Tanh(), nn.Linear(64, code))
        self.sequence = nn.Sequential(nn.Linear(codes, codes), nn.LayerNorm(codes), nn.Tanh())
        self.outcome = _mlp(config.width + codes, config.hidden, config.width)
        self.reward = _mlp(config.width + codes, config.hidden, 1)
        start(self, generator)
        self.similarity = _similarity(config.width, generator)

    def loss(self, features: Features, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the sum of the three; see :class:`AuxiliaryLoss`."""
        following = _following(batch)
        whole = following.valid[:, -1]
        view = features.latent(batch.obs, self.noise, generator)
        with torch.no_grad():
            other = features.latent(batch.obs, self.noise, generator)
            ahead = features.latent({key: value[:, -1] for key, value in following.obs.items()})
        known = torch.cat([view, self.sequence(self.action(following.action).flatten(1))], dim=-1)
        temporal = info_nce(self.outcome(known), ahead, self.similarity, whole)
        contrast = info_nce(view, other, self.similarity)
        error = (self.reward(known).squeeze(-1) - following.reward).square()
        return temporal + contrast + _mean_where(whole, error)


class Prediction(AuxiliaryLoss):
    """Self-predictive features (SPR, Schwarzer et al. 2021): from z and the actions, the latents of the steps to come.

    ``z_{k+1} = h(z_k, a_k)``; the loss is ``1 - cos(q(z_k), target_k)``, mean over all steps within the episode. The
    targets come from weights that follow slowly (or from the features themselves, ``tau`` 1) and have no gradient; the
    linear predictor q stands between them and the latents, which keeps these from all becoming one.
    """

    def __init__(
        self, features: Features, actions: int, config: AuxiliaryConfig, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tau = config.of("tau")
        self.target = copy.deepcopy(features).requires_grad_(False)
        self.dynamics = nn.Sequential(
            *_mlp(config.width + actions, config.hidden, config.width), nn.LayerNorm(config.width), nn.Tanh()
        )
        self.predictor = nn.Linear(config.width, config.width)
        start(self.dynamics, generator)
        start(self.predictor, generator)

    def loss(self, features: Features, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of all steps; see :class:`AuxiliaryLoss`."""
        following = _following(batch)
        z, predicted = features.latent(batch.obs), []
        for action in following.action.unbind(1):
            z = self.dynamics(torch.cat([z, action], dim=-1))
            predicted.append(self.predictor(z))
        with torch.no_grad():
            targets = self.target.latent({key: value.flatten(0, 1) for key, value in following.obs.items()})
        alike = cosine_similarity(torch.stack(predicted, dim=1).flatten(0, 1), targets, dim=-1)
        return _mean_where(following.valid.flatten(), 1.0 - alike)

    def after_step(self, features: Features) -> None:
        """Let the targets' weights follow."""
        _follow(self.target, features, self.tau)


class AuxiliaryLearner:
    """Learns features by an auxiliary loss, with an optimiser of its own.

    Args:
        features: that are learned.
        actions: A.
        config: which loss, and how large.
        optimiser: kind of it.
        generator: draws the initial weights.
    """

    def __init__(
        self,
        features: Features,
        actions: int,
        config: AuxiliaryConfig,
        *,
        optimiser: OptimiserName = "adam",
        generator: torch.Generator,
    ) -> None:
        self.features = features
        self.module: AuxiliaryLoss
        if config.loss == "curl":
            self.module = CURL(features, config, generator=generator)
        elif config.loss == "taco":
            self.module = TACO(features, actions, config, generator=generator)
        else:
            self.module = Prediction(features, actions, config, generator=generator)
        self.module.to(next(features.parameters()).device)
        self._parameters = [p for p in (*self.module.parameters(), *features.parameters()) if p.requires_grad]
        self.optimiser = make_optimiser(optimiser, self._parameters, config.learning_rate)

    def update(self, batch: Batch, generator: torch.Generator) -> Metrics:
        """Take one step; return the loss as ``auxiliary_loss``.

        Args:
            batch: observations as they are; with :attr:`Batch.following` where the loss looks ahead.
            generator: draws noise, where the learner is.

        Raises:
            ValueError: if the batch carries no following steps and the loss needs them.
        """
        loss = self.module.loss(self.features, batch, generator)
        self.optimiser.zero_grad()
        loss.backward(inputs=self._parameters)
        self.optimiser.step()
        self.module.after_step(self.features)
        return {"auxiliary_loss": loss.detach()}


def info_nce(anchors: Tensor, positives: Tensor, similarity: Tensor, valid: Tensor | None = None) -> Tensor:
    """Cross-entropy of finding, among all positives (B, Z), the one of the same row; mean over the anchors (B, Z).

    Logits are ``anchor W positive`` (van den Oord et al. 2018). Rows that are not ``valid`` (B,) are neither anchors
    nor among the positives. By chance it is ``log B``.
    """
    logits = anchors @ similarity @ positives.T
    if valid is not None:
        logits = logits.masked_fill(~valid, -1e9)
    own = torch.arange(len(logits), device=logits.device)
    losses = cross_entropy(logits, own, reduction="none")
    return losses.mean() if valid is None else _mean_where(valid, losses)


def _mean_where(valid: Tensor, values: Tensor) -> Tensor:
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp_min(1)


def _following(batch: Batch) -> Following:
    if batch.following is None:
        raise ValueError("the auxiliary loss looks ahead: sample with following=config.auxiliary.following")
    return batch.following


def _similarity(width: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.rand(width, width, generator=generator))


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


@torch.no_grad()
def _follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.lerp_(fast, tau)
