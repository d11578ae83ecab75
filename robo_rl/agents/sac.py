"""Soft actor-critic with the RLPD recipe: critic ensemble, layer norm, random-subset minimum, many updates per step.

Haarnoja et al. 2018 (SAC), Chen et al. 2021 (REDQ), Ball et al. 2023 (RLPD). The algorithm is three functions:
critic, actor, temperature. Mixing demonstrations into the batch and n-step returns are the replay buffer's work.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.encoders import make_encoder
from robo_rl.agents.heads import Head, HLGaussHead, ScalarHead
from robo_rl.agents.networks import EnsembleMLP, Policy, action_width
from robo_rl.agents.snapshot import Part, pack, unpack
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

if TYPE_CHECKING:
    import gymnasium

    from robo_rl.contracts.learning import Metrics, Obs

_FOR_IMAGES = (
    "encoder", "encoder_weights", "share_encoder", "cache_features", "feature_variants", "random_shift",
    "colour_jitter",
)  # fmt: skip


@dataclass(frozen=True)
class SACConfig:
    """What soft actor-critic can be told."""

    critics: int = 10
    """Number of critics E in the ensemble."""
    target_subset: int = 2
    """Number of critics M, drawn anew for each update, whose minimum makes the target."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of critics and policy."""
    critic_layer_norm: bool = True
    """Normalise the critics' hidden layers; keeps values bounded where there are no data."""
    actor_layer_norm: bool = False
    """Normalise the policy's hidden layers."""
    critic_lr: float = 3e-4
    """Adam's step size for the critics."""
    actor_lr: float = 3e-4
    """Adam's step size for the policy."""
    temperature_lr: float = 3e-4
    """Adam's step size for the logarithm of the temperature."""
    tau: float = 0.005
    """Share of the critics that flows into the target critics at each update."""
    initial_temperature: float = 0.01
    """Weight of the entropy at the start. Small for a sparse reward, where 1 drowns it for some 10,000 updates."""
    target_entropy: float | None = None
    """Entropy (nats) that the temperature is tuned for; minus half the number of actions if not given."""
    entropy_backup: bool = False
    """Count the entropy bonus of later steps in the target. Off, values are plain returns, as sparse tasks want."""
    actor_q: Literal["mean", "min"] = "mean"
    """Whether the policy climbs the mean of all critics or their minimum."""
    actor_updates: int = 1
    """Updates of policy and temperature after each block of critic updates."""
    q_bounds: tuple[float, float] | None = None
    """Smallest and largest return that can occur; targets are clamped to it. (0, 1) for a sparse reward."""
    hl_gauss: bool = False
    """Learn histograms of values by cross-entropy (HL-Gauss), not values by squared error; needs q_bounds."""
    hl_gauss_bins: int = 101
    """Bins of that histogram."""
    hl_gauss_sigma: float = 0.75
    """Standard deviation of the Gaussian around a target, in bin widths."""
    observation_keys: tuple[str, ...] = ()
    """Observations to learn from, by name; all of them if empty."""
    encoder: Literal["conv", "resnet10", "resnet18", "frozen"] = "conv"
    """What camera images are encoded by: a network that the critics train, or a frozen one (of any architecture)."""
    encoder_weights: str | None = None
    """File with weights to start it from, or timm:NAME; frozen: those of robo-rl pretrain-encoder if not given."""
    share_encoder: bool = False
    """One image encoder for all cameras instead of one each."""
    cache_features: bool = False
    """Store the feature maps of a frozen encoder, computed once a frame, in place of the images."""
    feature_variants: int = 4
    """Feature maps stored of each frame: one as it is, the others of augmented ones; each update draws one."""
    random_shift: int = 4
    """Largest random shift of an image that is learned from, pixels."""
    colour_jitter: float = 0.0
    """Largest random change of contrast, colours and brightness of an image that is learned from, 0 to 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.target_subset <= self.critics:
            raise UserError(f"target_subset must lie in 1..critics ({self.critics}), not {self.target_subset}")
        if self.q_bounds is not None and not self.q_bounds[0] < self.q_bounds[1]:
            raise UserError(f"q_bounds must be (smallest, largest), not {self.q_bounds}")
        if self.q_bounds is not None and self.entropy_backup:
            raise UserError("q_bounds hold for plain returns only: set entropy_backup to False, or leave q_bounds out")
        if self.hl_gauss and self.q_bounds is None:
            raise UserError("hl_gauss needs q_bounds, the smallest and largest possible return")
        if self.hl_gauss and self.hl_gauss_bins <= 6 * self.hl_gauss_sigma + 1:
            raise UserError(f"hl_gauss_bins must exceed 6 * hl_gauss_sigma + 1, not {self.hl_gauss_bins}")
        if self.cache_features and self.encoder != "frozen":
            raise UserError("cache_features: only those of a frozen encoder stay the same; give --agent.encoder frozen")
        if self.feature_variants != 4 and not self.cache_features:
            raise UserError("feature_variants: there are none without --agent.cache-features; leave it out")
        for name, low, high in (("feature_variants", 1, 64), ("random_shift", 0, 64), ("colour_jitter", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name}: must lie in [{low}, {high}], got {getattr(self, name)}")

    def set_for_images(self) -> str | None:
        """Return the name of an option that only images have a use for and that is not as it is by default."""
        return next((name for name in _FOR_IMAGES if getattr(self, name) != getattr(SACConfig, name)), None)


class SAC:
    """Soft actor-critic on vectors or camera images.

    An encoder of images learns from the critics' loss alone; the policy takes its features as they are (SAC-AE, Yarats
    et al. 2019; DrQ, Kostrikov et al. 2020). The next observation goes through the same encoder, without a gradient.

    Args:
        observation_space: of one environment, a dictionary of vectors and images.
        action_space: of one environment, a box of [-1, 1].
        config: see :class:`SACConfig`.
        seed: of the initial weights, the noise and the choice of critics.
        device: where it learns.

    Example:
        >>> agent = SAC(env.observation_space, env.action_space, SACConfig(critics=2))    # doctest: +SKIP
        >>> action = agent.act(obs, explore=True)                                         # doctest: +SKIP
        >>> metrics = agent.update(buffer.sample(4 * 256), utd=4)                         # doctest: +SKIP
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: SACConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config = config or SACConfig()
        self.device = torch.device(device)
        actions = action_width(action_space)
        self.target_entropy = -0.5 * actions if config.target_entropy is None else config.target_entropy

        self.head: Head = ScalarHead()
        if config.hl_gauss and config.q_bounds is not None:
            self.head = HLGaussHead(*config.q_bounds, config.hl_gauss_bins, config.hl_gauss_sigma).to(self.device)

        # Initial weights are drawn on the CPU, so that they are the same on every device.
        weights = torch.Generator().manual_seed(seed)
        encoder = make_encoder(observation_space, config, weights)
        self.policy = Policy(encoder, actions, config.hidden, layer_norm=config.actor_layer_norm, generator=weights).to(
            self.device
        )
        self.critic = EnsembleMLP(
            config.critics,
            encoder.width + actions,
            config.hidden,
            self.head.outputs,
            layer_norm=config.critic_layer_norm,
            generator=weights,
        ).to(self.device)
        bias = self.head.initial_bias()
        if bias is not None:
            self.critic.biases[-1].data.copy_(bias)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = torch.tensor(config.initial_temperature, device=self.device).log().requires_grad_()

        self.encoder = encoder
        self._augment = Augmentation(config.random_shift, config.colour_jitter)
        encoding = [p for p in encoder.parameters() if p.requires_grad]  # none of vectors; the critics' loss moves them
        named = self.policy.named_parameters()
        self._actor_parameters = [p for name, p in named if not name.startswith("encoder.")]
        self._critic_parameters = list(self.critic.parameters())
        self._target_parameters = list(self.target_critic.parameters())
        self.critic_optimiser = torch.optim.Adam([*self._critic_parameters, *encoding], config.critic_lr, fused=True)
        self.actor_optimiser = torch.optim.Adam(self._actor_parameters, config.actor_lr, fused=True)
        self.temperature_optimiser = torch.optim.Adam([self.log_temperature], config.temperature_lr, fused=True)
        self._move_average = get_ema_multi_avg_fn(1.0 - config.tau)

        # Acting and learning draw from streams of their own: an evaluation between updates changes nothing.
        self.acting = torch.Generator(self.device).manual_seed(seed + 1)
        self.learning = torch.Generator(self.device).manual_seed(seed + 2)
        self.updates = torch.zeros((), dtype=torch.int64)

    def act(self, obs: Obs, *, explore: bool) -> Tensor:
        """Return actions (B, A) in [-1, 1], where ``obs`` is: drawn if ``explore``, otherwise the policy's mode."""
        return self.policy.act(obs, self.acting if explore else None)

    def update(self, batch: Batch, utd: int) -> Metrics:
        """Update the critics ``utd`` times, each with its part of ``batch``, then policy and temperature.

        Nothing in here waits for the device. Metrics are 0-d tensors of the last update in the block.

        Raises:
            ValueError: if the batch cannot be cut into ``utd`` equal parts.
        """
        if utd < 1 or len(batch.reward) % utd:
            raise ValueError(f"a batch of {len(batch.reward)} cannot be cut into {utd} equal parts")
        for part in self._encoded(batch, utd):
            outputs, target = self._update_critic(part)
        metrics = self._critic_metrics(outputs, target)
        for _ in range(self.config.actor_updates):
            actor_metrics = self._update_actor(part)
            self._update_temperature(actor_metrics["entropy"])
        self.updates += utd
        return metrics | actor_metrics | {"temperature": self.log_temperature.detach().exp()}

    def _encoded(self, batch: Batch, parts: int) -> Iterator[Batch]:
        """Return the parts of ``batch``, observations as features; an encoder that learns sees each in its turn."""
        if not self.encoder.learns:
            yield from self._features(batch).split(parts)
            return
        for part in batch.split(parts):
            obs, next_obs = (self._augment(each, self.learning) for each in (part.obs, part.next_obs))
            yield self._features(replace(part, obs=obs, next_obs=next_obs))

    def _features(self, batch: Batch) -> Batch:
        with torch.no_grad():
            next_features = self.encoder(batch.next_obs)
        return replace(batch, obs={"features": self.encoder(batch.obs)}, next_obs={"features": next_features})

    def _update_critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One step of all critics (and their encoder) to one target, then of the target critics; returns both sides."""
        target = self._td_target(batch)
        outputs = self.critic(torch.cat([batch.obs["features"], batch.action], dim=-1))
        loss = self.head.loss(outputs, target).mean(dim=1).sum()  # a sum over members: each learns as if alone
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        self._move_average(self._target_parameters, self._critic_parameters, self.updates)
        return outputs.detach(), target

    def _critic_metrics(self, outputs: Tensor, target: Tensor) -> Metrics:
        q = self.head.value(outputs)
        return {
            "critic_loss": self.head.loss(outputs, target).mean(),
            "q_mean": q.mean(),
            "q_max": q.max(),
            "td_error": (q - target).abs().mean(),
        }

    @torch.no_grad()
    def _td_target(self, batch: Batch) -> Tensor:
        """``y = r + discount * (min over M random target critics of Q(s', a') - [alpha * log pi(a'|s')])``, (N,)."""
        next_features = batch.next_obs["features"]
        next_action, next_log_prob, _ = self.policy.sample(next_features, self.learning)
        chosen = torch.randperm(self.config.critics, generator=self.learning, device=self.device)
        outputs = self.target_critic(
            torch.cat([next_features, next_action], dim=-1), chosen[: self.config.target_subset]
        )
        next_value = self.head.value(outputs).amin(dim=0)
        if self.config.entropy_backup:
            next_value = next_value - self.log_temperature.exp() * next_log_prob
        target = batch.reward + batch.discount * next_value
        return target if self.config.q_bounds is None else target.clamp(*self.config.q_bounds)

    def _update_actor(self, batch: Batch) -> Metrics:
        """One step of the policy down ``alpha * log pi(a|s) - Q(s, a)``; differentiates critics by action only."""
        features = batch.obs["features"].detach()
        action, log_prob, std = self.policy.sample(features, self.learning)
        values = self.head.value(self.critic(torch.cat([features, action], dim=-1)))
        value = values.mean(dim=0) if self.config.actor_q == "mean" else values.amin(dim=0)
        loss = (self.log_temperature.detach().exp() * log_prob - value).mean()
        self.actor_optimiser.zero_grad()
        loss.backward(inputs=self._actor_parameters)
        self.actor_optimiser.step()
        return {
            "actor_loss": loss.detach(),
            "entropy": -log_prob.detach().mean(),
            "policy_std": std.detach().mean(),
        }

    def _update_temperature(self, entropy: Tensor) -> None:
        """One step of ``log alpha`` down ``alpha * (entropy - target_entropy)``: too little entropy raises it."""
        loss = self.log_temperature.exp() * (entropy - self.target_entropy)
        self.temperature_optimiser.zero_grad()
        loss.backward()
        self.temperature_optimiser.step()

    def policy_state(self) -> dict[str, Tensor]:
        """Return a copy of the weights that :meth:`act` needs."""
        return pack({"policy": self.policy})

    def load_policy_state(self, state: dict[str, Tensor]) -> None:
        """Act with the weights that :meth:`policy_state` gave from now on."""
        unpack({"policy": self.policy}, state)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of everything that training needs to go on: flat, contiguous, no shared storage."""
        return pack(self._parts())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave: the next updates are the same, bit for bit.

        Raises:
            UserError: if it is the state of an agent of another make.
        """
        unpack(self._parts(), state)

    def _parts(self) -> dict[str, Part]:
        return {
            "policy": self.policy,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "log_temperature": self.log_temperature,
            "critic_optimiser": self.critic_optimiser,
            "actor_optimiser": self.actor_optimiser,
            "temperature_optimiser": self.temperature_optimiser,
            "acting": self.acting,
            "learning": self.learning,
            "updates": self.updates,
        }
