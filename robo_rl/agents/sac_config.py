"""What soft actor-critic can be told, and what cannot go together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.experts import ExpertsConfig
from robo_rl.agents.gripper import GraspConfig
from robo_rl.agents.imitation import IBRLConfig
from robo_rl.agents.optimisers import OptimiserName
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.errors import UserError

_FOR_IMAGES = (
    "encoder", "encoder_weights", "share_encoder", "cache_features", "feature_variants", "random_shift",
    "colour_jitter",
)  # fmt: skip

_SHIFT = 4  # pixels of 128, as DrQ has it for 84


@dataclass(frozen=True)
class SACConfig:
    """What soft actor-critic can be told."""

    critics: int = 10
    """Number of critics E in the ensemble."""
    target_subset: int = 2
    """Number of critics M, drawn anew for each update, whose minimum makes the target."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of critics and policy."""
    critic_hidden: tuple[int, ...] | None = None
    """Widths of the critics' hidden layers; hidden if not given."""
    critic_norm: Literal["layer", "weight", "batch", "none"] = "layer"
    """Normalisation of the critics. By layer, values stay bounded where there are no data; by batch (CrossQ), there are
    no target critics."""
    critic_dropout: float = 0.0
    """Chance of a critic's hidden unit to be left out of an update (DroQ: 0.01, with two critics)."""
    actor_layer_norm: bool = False
    """Normalise the policy's hidden layers."""
    critic_lr: float = 3e-4
    """Step size for the critics."""
    actor_lr: float = 3e-4
    """Step size for the policy."""
    temperature_lr: float = 3e-4
    """Step size for the logarithm of the temperature."""
    optimiser: OptimiserName = "adam"
    """What takes the steps: adam or adan."""
    adam_beta1: float = 0.9
    """How long Adam's mean of gradients remembers (CrossQ: 0.5)."""
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
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    """Mixture of experts in the policy (MENTOR)."""
    perturb: PerturbationConfig = field(default_factory=PerturbationConfig)
    """Perturbation of weights by how much of the policy sleeps (DrM, MENTOR)."""
    dormant_exploration: float = 0.0
    """Standard deviation that exploration keeps while all of the policy sleeps, less the more it wakes (DrM: 1, MENTOR:
    0.8)."""
    auxiliary: AuxiliaryConfig = field(default_factory=AuxiliaryConfig)
    """Loss that learns features beside the reward."""
    gripper: Literal["continuous", "discrete"] = "continuous"
    """How the gripper's entry of an action is learned: as one more continuous action, or as a choice among close, stay
    and open by a critic of its own (HIL-SERL)."""
    grasp: GraspConfig = field(default_factory=GraspConfig)
    """The critic of a discrete gripper."""
    ibrl: IBRLConfig = field(default_factory=IBRLConfig)
    """A policy cloned from the demonstrations that proposes actions (IBRL)."""
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
    feature_variants: int | None = None
    """Feature maps stored of each frame: one as it is, the others of augmented ones; each update draws one. None: 4, or
    1 where nothing is augmented."""
    random_shift: int | None = None
    """Largest random shift of an image that is learned from, pixels. None: 4, or with a frozen encoder of robo-rl
    pretrain-encoder what it was made with, since what it has not learned to bear changes what it tells."""
    colour_jitter: float = 0.0
    """Largest random change of contrast, colours and brightness of an image that is learned from, 0 to 1."""
    bfloat16: bool = False
    """Hidden layers' matrix products in bfloat16: faster where the processor can (avx512_bf16, amx_bf16, a GPU)."""
    compile: bool = False
    """Compile updates: faster after a minute or two of compilation; needs a C++ compiler (CPU) or Triton (GPU). An
    encoder of images stays as it is."""

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
        if not 0.0 <= self.critic_dropout < 1.0:
            raise UserError(f"critic_dropout must lie in [0, 1), not {self.critic_dropout}")
        if self.critic_norm == "batch" and self.critic_dropout:
            raise UserError("critic_dropout spoils the statistics of critic_norm batch: set it to 0, or norm to layer")
        if self.critic_norm == "batch" and self.tau != SACConfig.tau:
            raise UserError("tau does nothing with critic_norm batch, which has no target critics: leave it out")
        if not 0.0 <= self.adam_beta1 < 1.0:
            raise UserError(f"adam_beta1 must lie in [0, 1), not {self.adam_beta1}")
        if self.optimiser != "adam" and self.adam_beta1 != SACConfig.adam_beta1:
            raise UserError(f"adam_beta1 does nothing with optimiser {self.optimiser}: leave it out")
        if self.dormant_exploration < 0.0:
            raise UserError(f"dormant_exploration must be 0 or more, not {self.dormant_exploration}")
        if self.cache_features and self.encoder != "frozen":
            raise UserError("cache_features: only those of a frozen encoder stay the same; give --agent.encoder frozen")
        if self.feature_variants is not None and not self.cache_features:
            raise UserError("feature_variants: there are none without --agent.cache-features; leave it out")
        for name, low, high in (("feature_variants", 1, 64), ("random_shift", 0, 64), ("colour_jitter", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"{name}: must lie in [{low}, {high}], got {value}")
        if self.bfloat16 and self.critic_norm == "batch":
            raise UserError("bfloat16: batch-normalised critics have no such products; set it to False")
        if self.compile and (self.critic_norm in ("weight", "batch") or self.optimiser != "adam"):
            raise UserError(
                "compile: critic_norm weight and batch, and optimiser adan, cannot be compiled; leave it out"
            )
        if self.gripper == "continuous" and self.grasp != GraspConfig():
            raise UserError("grasp.* does nothing with gripper continuous: set gripper to discrete, or leave it out")
        if self.gripper == "discrete" and self.perturb.every:
            raise UserError("perturb: the critic of a discrete gripper is not perturbed; set gripper to continuous")
        if self.ibrl.choice != "off" and self.critic_norm == "batch":
            raise UserError("ibrl: target critics choose, and critic_norm batch has none; set norm to layer")
        if self.ibrl.choice != "off" and self.entropy_backup:
            raise UserError("ibrl: a cloned policy has no entropy to count; set entropy_backup to False")
        if self.ibrl.choice != "off" and self.auxiliary.loss != "none":
            raise UserError("ibrl: the cloned policy learns no features; set auxiliary.loss to none")
        if self.experts.count and not self.hidden:
            raise UserError("experts follow the first hidden layer: give hidden at least one width")

    @property
    def augmentation(self) -> Augmentation:
        """What is done to images before they are learned from."""
        return Augmentation(_SHIFT if self.random_shift is None else self.random_shift, self.colour_jitter)

    def set_for_images(self) -> str | None:
        """Return the name of an option that only images have a use for and that is not as it is by default."""
        return next((name for name in _FOR_IMAGES if getattr(self, name) != getattr(SACConfig, name)), None)
