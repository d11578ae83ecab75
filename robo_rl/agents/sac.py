"""Soft actor-critic with the RLPD recipe: critic ensemble, layer norm, random-subset minimum, many updates per step.

Haarnoja et al. 2018 (SAC), Chen et al. 2021 (REDQ), Ball et al. 2023 (RLPD). The algorithm is three functions:
critic, actor, temperature. Mixing demonstrations into the batch and n-step returns are the replay buffer's work.
Options are pieces of their own: docs/learner_options.md lists them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robo_rl.agents.auxiliary import AuxiliaryLearner, Features
from robo_rl.agents.compilation import Compiler
from robo_rl.agents.critic_step import Ahead, CriticStep
from robo_rl.agents.dormancy import dormant_ratio, exploration_floor
from robo_rl.agents.encoders import Encoder, PixelEncoder, make_encoder
from robo_rl.agents.ensemble import EnsembleMLP
from robo_rl.agents.gripper import GraspCritic, HybridPolicy
from robo_rl.agents.imitation import Imitation
from robo_rl.agents.networks import ActingModule, Policy, action_width
from robo_rl.agents.optimisers import make_optimiser
from robo_rl.agents.perturbation import Perturbation
from robo_rl.agents.sac_config import SACConfig
from robo_rl.agents.sac_networks import make_critic, make_head, make_policy
from robo_rl.agents.snapshot import Part, pack, unpack
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

if TYPE_CHECKING:
    import gymnasium

    from robo_rl.agents.gripper import GripperEntry
    from robo_rl.contracts.learning import Metrics, Obs


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
        gripper: what the last entry of an action is, where it is the gripper's; a discrete gripper needs it.

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
        gripper: GripperEntry | None = None,
    ) -> None:
        self.config = config = config or SACConfig()
        self.device = torch.device(device)
        self._actions = actions = action_width(action_space) - (config.gripper == "discrete")
        self.target_entropy = -0.5 * actions if config.target_entropy is None else config.target_entropy

        self.head = make_head(config, self.device)
        if config.bfloat16 and self.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise UserError(
                "bfloat16: this processor has no such products and would be many times slower; leave it out"
            )
        # Initial weights are drawn on the CPU, so that they are the same on every device.
        weights = torch.Generator().manual_seed(seed)
        encoder = make_encoder(observation_space, config, weights)
        self.encoder: Encoder | PixelEncoder | Features = encoder
        if config.auxiliary.loss != "none":
            if not isinstance(encoder, Encoder):
                raise UserError(
                    "auxiliary.loss: its views are those of vectors; leave it out where images are observed"
                )
            self.encoder = Features(encoder, config.auxiliary.width, generator=weights)
        self.augment = config.augmentation

        def new_policy(generator: torch.Generator) -> Policy:
            return make_policy(config, self.encoder, actions, generator, self.device)

        def new_critic(generator: torch.Generator) -> EnsembleMLP:
            return make_critic(config, self.encoder.width, actions, self.head, generator, self.device)

        self.policy = new_policy(weights)
        self.critic = new_critic(weights)
        self.target_critic: EnsembleMLP | None = None
        if config.critic_norm != "batch":
            self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = torch.tensor(config.initial_temperature, device=self.device).log().requires_grad_()

        own = {id(parameter) for parameter in self.encoder.parameters()}
        encoding = [p for p in encoder.parameters() if p.requires_grad]  # none of vectors; the critics' loss moves them
        self._actor_parameters = [p for p in self.policy.parameters() if id(p) not in own]
        kind, beta1 = config.optimiser, config.adam_beta1
        self.critic_optimiser = make_optimiser(
            kind, [*self.critic.parameters(), *encoding], config.critic_lr, adam_beta1=beta1
        )
        self.actor_optimiser = make_optimiser(kind, self._actor_parameters, config.actor_lr, adam_beta1=beta1)
        self.temperature_optimiser = make_optimiser(
            kind, [self.log_temperature], config.temperature_lr, adam_beta1=beta1
        )
        compiler = Compiler(self.device, wanted=config.compile)
        self.critic_step = CriticStep(
            self.critic, self.target_critic, self.head, self.critic_optimiser, self.log_temperature, config, compiler
        )
        self._sample = compiler.of(self.policy.sample, otherwise=self.policy.sample)
        self._policy_loss: Callable[..., tuple[Tensor, Tensor, Tensor]] = self._loss_of_policy
        if self.device.type != "cpu":  # there autograd's graphs keep masks as bytes, written one by one: twice as slow
            self._policy_loss = compiler.of(self._loss_of_policy, otherwise=self._loss_of_policy)

        # Acting and learning draw from streams of their own: an evaluation between updates changes nothing.
        self.acting = torch.Generator(self.device).manual_seed(seed + 1)
        self.learning = torch.Generator(self.device).manual_seed(seed + 2)
        self.updates = torch.zeros((), dtype=torch.int64)

        self.dormant_ratio: Tensor | None = None
        if config.perturb.every or config.dormant_exploration:
            self.dormant_ratio = torch.zeros((), device=self.device)
        self.auxiliary: AuxiliaryLearner | None = None
        if isinstance(self.encoder, Features):
            self.auxiliary = AuxiliaryLearner(
                self.encoder, action_width(action_space), config.auxiliary, optimiser=kind, generator=weights
            )
        self.perturbation: Perturbation | None = None
        if config.perturb.every:
            critics = [self.critic, *([] if self.target_critic is None else [self.target_critic])]
            self.perturbation = Perturbation(
                config.perturb,
                [self.policy, *critics],
                [self.actor_optimiser, self.critic_optimiser],
                lambda fresh: [new_policy(fresh), *(new_critic(fresh) for _ in critics)],
                seed=seed + 4,
            )
        self.actor: ActingModule = self.policy
        self.imitation: Imitation | None = None
        if config.ibrl.choice != "off":
            assert self.target_critic is not None  # the configuration sees to it
            self.imitation = Imitation(
                observation_space, self.policy, self.target_critic, self.head, config, seed=seed + 6
            )
            self.actor = self.imitation.proposed
        self.grasp: GraspCritic | None = None
        if config.gripper == "discrete":
            if gripper is None:
                raise UserError("agent.gripper: the actions of this environment move no gripper; leave it continuous")
            fresh = torch.Generator().manual_seed(seed + 5)
            self.grasp = GraspCritic(gripper, self.encoder.width, config, generator=fresh, device=self.device)
            self.actor = HybridPolicy(self.actor, self.grasp.network, config.grasp)

    def act(self, obs: Obs, *, explore: bool) -> Tensor:
        """Return actions (B, A) in [-1, 1], where ``obs`` is: drawn if ``explore``, otherwise the policy's mode."""
        return self.actor.act(obs, self.acting, self.least_std()) if explore else self.actor.act(obs)

    def least_std(self) -> Tensor | None:
        """Return the least standard deviation while exploring; None if it is not bounded."""
        if self.dormant_ratio is None or not self.config.dormant_exploration:
            return None
        return exploration_floor(self.dormant_ratio, self.config.dormant_exploration)

    def constants(self) -> list[Tensor]:
        """Return what is never learned of what acts: the weights of frozen encoders and of a cloned policy."""
        cloned = [] if self.imitation is None else self.imitation.proposed.cloned.parameters()
        return [*(p for p in self.policy.parameters() if not p.requires_grad), *cloned]

    def imitate(self, sample: Callable[[int], Batch], steps: int) -> Metrics:
        """Clone the policy that proposes actions, by ``steps`` gradient steps on ``sample(batch_size)``.

        Raises:
            ValueError: if none proposes.
        """
        if self.imitation is None:
            raise ValueError("nothing is imitated while config.ibrl.choice is off")
        return self.imitation.fit(sample, steps)

    def update(self, batch: Batch, utd: int) -> Metrics:
        """Update the critics ``utd`` times, each with its part of ``batch``, then policy and temperature.

        Nothing in here waits for the device. Metrics are 0-d tensors of the last update in the block.

        Raises:
            ValueError: if the batch cannot be cut into ``utd`` equal parts.
        """
        if utd < 1 or len(batch.reward) % utd:
            raise ValueError(f"a batch of {len(batch.reward)} cannot be cut into {utd} equal parts")
        metrics: Metrics = {}
        for part, ahead in self._encoded(batch, utd):
            if self.imitation is not None:
                ahead = self.imitation.proposed.look_ahead(ahead, self.learning)
            arm = part if self.grasp is None else replace(part, action=part.action[:, :-1])
            outputs, target = self.critic_step(arm, ahead, self.learning)
            if self.grasp is not None:
                metrics = self.grasp.update(part)
        metrics |= self._critic_metrics(outputs, target)
        for _ in range(self.config.actor_updates):
            actor_metrics = self._update_actor(part)
            self._update_temperature(actor_metrics["entropy"])
        self.updates += utd
        metrics |= actor_metrics | {"temperature": self.log_temperature.detach().exp()}
        if self.auxiliary is not None:
            for raw in batch.split(utd):
                metrics |= self.auxiliary.update(raw, self.learning)
        return metrics | self._stay_awake(part.obs["features"], utd)

    def remember_episode(self, episode_return: float) -> None:
        """Take note that an episode was played with the weights as they are, and came to ``episode_return``."""
        if self.perturbation is not None:
            self.perturbation.remember(episode_return)

    def _encoded(self, batch: Batch, parts: int) -> Iterator[tuple[Batch, Ahead]]:
        """Return the parts of ``batch``, observations as features; an encoder that learns sees each in its turn."""
        if not self.encoder.learns:
            encoded = self._features(batch)
            yield from zip(encoded.split(parts), self.look_ahead(encoded, parts), strict=True)
            return
        for part in batch.split(parts):
            if not part.augmented:
                obs, next_obs = (self.augment(each, self.learning) for each in (part.obs, part.next_obs))
                part = replace(part, obs=obs, next_obs=next_obs)
            encoded = self._features(part)
            yield encoded, self.look_ahead(encoded, 1)[0]

    def _features(self, batch: Batch) -> Batch:
        with torch.no_grad():
            next_features = self.encoder(batch.next_obs)
        obs = {"features": self.encoder(batch.obs)}
        if self.grasp is not None:
            obs["command"] = self.grasp.command(batch.obs)
        return replace(batch, obs=obs, next_obs={"features": next_features})

    @torch.no_grad()
    def look_ahead(self, batch: Batch, parts: int) -> list[Ahead]:
        """Draw next actions, and the M critics that are asked, for each part of a batch of features.

        The policy stands still while critics are updated, so it is asked once for all parts.
        """
        features, rows = batch.next_obs["features"], len(batch.reward) // parts
        noise, chosen = [], []
        for _ in range(parts):
            noise.append(self._noise(rows))
            chosen.append(torch.randperm(self.config.critics, generator=self.learning, device=self.device))
        action, log_prob, _ = self._sample(features, torch.cat(noise))
        inputs = torch.cat([features, action], dim=-1)
        m = self.config.target_subset
        return [
            Ahead(one, density, critics[:m])
            for one, density, critics in zip(inputs.split(rows), log_prob.split(rows), chosen, strict=True)
        ]

    def _noise(self, rows: int) -> Tensor:
        return torch.randn((rows, self._actions), generator=self.learning, device=self.device)

    def _critic_metrics(self, outputs: Tensor, target: Tensor) -> Metrics:
        q = self.head.value(outputs)
        return {
            "critic_loss": self.head.loss(outputs, target).mean(),
            "q_mean": q.mean(),
            "q_max": q.max(),
            "td_error": (q - target).abs().mean(),
        }

    def _update_actor(self, batch: Batch) -> Metrics:
        """One step of the policy down ``alpha * log pi(a|s) - Q(s, a)``; differentiates critics by action only."""
        features = batch.obs["features"].detach()
        noise = self._noise(len(features))
        masks = self.critic.draw_masks(len(features), self.learning, self.config.critics)
        self.critic.requires_grad_(False)
        loss, log_prob, std = self._policy_loss(features, noise, masks)
        self.actor_optimiser.zero_grad()
        loss.backward(inputs=self._actor_parameters)
        self.actor_optimiser.step()
        self.critic.requires_grad_(True)
        return {
            "actor_loss": loss.detach(),
            "entropy": -log_prob.detach().mean(),
            "policy_std": std.detach().mean(),
        }

    def _loss_of_policy(
        self, features: Tensor, noise: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, and of the actions drawn their log-density (N,) and standard deviations (N, A)."""
        action, log_prob, std = self.policy.sample(features, noise)
        values = self.head.value(self.critic.compute(torch.cat([features, action], dim=-1), None, masks))
        value = values.mean(dim=0) if self.config.actor_q == "mean" else values.amin(dim=0)
        loss = (self.log_temperature.detach().exp() * log_prob - value).mean()
        if self.config.experts.count:
            loss = loss + self.policy.routing_loss(features)
        return loss, log_prob, std

    def _update_temperature(self, entropy: Tensor) -> None:
        """One step of ``log alpha`` down ``alpha * (entropy - target_entropy)``: too little entropy raises it."""
        with torch.no_grad():  # the derivative of alpha * c by log alpha is alpha * c
            self.log_temperature.grad = self.log_temperature.exp() * (entropy - self.target_entropy)
        self.temperature_optimiser.step()

    def _stay_awake(self, features: Tensor, updates: int) -> Metrics:
        """Measure how much of the policy sleeps, if anything goes by it, and perturb the weights where that is due."""
        if self.dormant_ratio is None:
            return {}
        self.dormant_ratio.copy_(dormant_ratio(self.policy, features))
        if self.perturbation is not None:
            now = int(self.updates)
            self.perturbation.after_updates(now - updates, now, self.dormant_ratio)
        return {"dormant_ratio": self.dormant_ratio.clone()}

    def policy_state(self) -> dict[str, Tensor]:
        """Return a copy of the weights that :meth:`act` needs."""
        return pack(self._policy_parts())

    def load_policy_state(self, state: dict[str, Tensor]) -> None:
        """Act with the weights that :meth:`policy_state` gave from now on."""
        unpack(self._policy_parts(), state)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of everything that training needs to go on: flat, contiguous, no shared storage."""
        return pack(self._parts())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave: the next updates are the same, bit for bit.

        Raises:
            UserError: if it is the state of an agent of another make.
        """
        unpack(self._parts(), state)

    def _policy_parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {"policy": self.policy}
        if self.dormant_ratio is not None:
            parts["dormant_ratio"] = self.dormant_ratio
        if self.grasp is not None:
            parts["grasp"] = self.grasp.network
        if self.imitation is not None:  # the critics choose
            parts |= {"cloned": self.imitation.proposed.cloned, "target_critic": self.imitation.proposed.critic}
        return parts

    def _parts(self) -> dict[str, Part]:
        parts = self._policy_parts() | {
            "critic": self.critic,
            "log_temperature": self.log_temperature,
            "critic_optimiser": self.critic_optimiser,
            "actor_optimiser": self.actor_optimiser,
            "temperature_optimiser": self.temperature_optimiser,
            "acting": self.acting,
            "learning": self.learning,
            "updates": self.updates,
        }
        if self.target_critic is not None:
            parts["target_critic"] = self.target_critic
        if self.grasp is not None:
            parts |= {"grasp_target": self.grasp.target_network, "grasp_optimiser": self.grasp.optimiser}
        if self.auxiliary is not None:
            parts |= {"auxiliary": self.auxiliary.module, "auxiliary_optimiser": self.auxiliary.optimiser}
        if self.perturbation is not None:
            parts |= self.perturbation.parts()
        return parts
