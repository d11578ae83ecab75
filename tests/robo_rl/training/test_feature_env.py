import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.encoder_weights import weights_of
from robo_rl.agents.sac import SACConfig
from robo_rl.contracts.learning import Step
from robo_rl.data.episodes import Episode, fill_replay
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.training.evaluation import evaluate
from robo_rl.training.feature_env import FeatureEnv, with_features

SIZE = 16
KEY = "camera.front.rgb"


def seen(point_env):
    """The point on a line, looked at by a camera."""

    class Seen(point_env):
        observation_space = gymnasium.spaces.Dict(
            {
                "proprio": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32),
                KEY: gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
            }
        )
        render_seconds = 1.5

        def observe(self):
            columns = torch.linspace(-1.5, 1.5, SIZE)
            bar = (255 * (1 - 4 * (columns - self.x[:, None]).abs()).clamp_min(0)).to(torch.uint8)
            return {"proprio": self.t[:, None] / self.horizon, KEY: bar[:, None, :, None].repeat(1, SIZE, 1, 3)}

    return Seen


class Counted(Backbone):
    """A backbone that counts the images it is given."""

    def forward(self, images):
        self.images = getattr(self, "images", 0) + len(images)
        return super().forward(images)


@pytest.fixture
def backbone():
    net = Counted(BackboneSpec("conv", (SIZE, SIZE)), torch.Generator().manual_seed(0))
    net.images = 0
    return net


@pytest.fixture
def wrapped(point_env, backbone):
    return FeatureEnv(seen(point_env)(3), {KEY: backbone}, Augmentation(2), variants=4, seed=1)


def test_maps_are_those_of_the_images(wrapped, backbone):
    obs = wrapped.reset()
    image = wrapped.env.observe()[KEY]
    assert obs[KEY].shape == (3, 4, 32, 2, 2)
    assert obs[KEY].dtype == torch.float16
    torch.testing.assert_close(obs[KEY][:, 0].float(), backbone(image), rtol=2e-3, atol=1e-3)
    drawn = torch.Generator().manual_seed(1)
    for k in range(1, 4):
        shifted = Augmentation(2).images(image, drawn)
        torch.testing.assert_close(obs[KEY][:, k].float(), backbone(shifted), rtol=2e-3, atol=1e-3)
    assert torch.equal(obs["proprio"], wrapped.env.observe()["proprio"])
    assert wrapped.observation_space[KEY].shape == (4, 32, 2, 2)
    assert wrapped.observation_space[KEY].dtype == np.float16


def test_each_frame_is_encoded_once(wrapped, backbone):
    backbone.images = 0
    wrapped.reset()
    assert backbone.images == 3 * 4
    step = wrapped.step(torch.zeros(3, 1))
    assert backbone.images == 2 * 3 * 4
    again = wrapped.reset(torch.tensor([False, True, False]))
    assert backbone.images == 2 * 3 * 4 + 4
    for row in (0, 2):
        assert torch.equal(again[KEY][row], step.obs[KEY][row])
    assert not torch.equal(again[KEY][1], step.obs[KEY][1])


def test_what_was_handed_out_stays_as_it_was(wrapped):
    obs = wrapped.reset()
    kept = obs[KEY].clone()
    wrapped.reset(torch.tensor([True, False, False]))
    wrapped.step(torch.ones(3, 1))
    assert torch.equal(obs[KEY], kept)


def test_the_rest_is_the_environment_s_inside(wrapped):
    assert wrapped.task.name == "point"
    assert wrapped.render_seconds == 1.5
    wrapped.reset()
    assert wrapped.expert_action().shape == (3, 1)
    assert not hasattr(wrapped, "compute_reward")
    wrapped.close()
    assert wrapped.env.closed


def test_the_seed_decides_starts_and_augmentation(wrapped):
    def first(seed: int) -> torch.Tensor:
        wrapped.seed(seed)
        return wrapped.reset()[KEY]

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_evaluations_take_the_same_starts_as_without(point_env, backbone):
    def drift(obs, *, explore):
        return torch.full((len(obs["proprio"]), 1), 0.5)

    plain = evaluate(seen(point_env)(2), drift, 6, seed=3)
    found = evaluate(FeatureEnv(seen(point_env)(3), {KEY: backbone}, Augmentation(), variants=1), drift, 6, seed=3)
    assert found.lengths == plain.lengths
    assert len(set(found.lengths)) > 1


def replay(env, **settings) -> ReplayBuffer:
    return ReplayBuffer(env.observation_space, env.action_space, capacity=200, num_envs=env.num_envs, **settings)


def test_replay_holds_each_frame_s_maps_once_and_gives_them_back(wrapped):
    buffer, obs, history, slots, over = replay(wrapped, n_step=1), wrapped.reset(), [], [], None
    for _ in range(12):
        if over is not None and over.any():
            obs = wrapped.reset(over)
        action = torch.full((3, 1), 0.3)
        step = wrapped.step(action)
        slots.append(buffer.add(obs, action, step))
        history.append((obs[KEY], step.obs[KEY]))
        obs, over = step.obs, step.done
    batch = buffer.gather(torch.cat(slots))
    assert torch.equal(batch.obs[KEY], torch.cat([before for before, _ in history]))
    assert batch.next_obs[KEY].dtype == torch.float16
    episodes = len(wrapped.env.started)
    assert len(buffer.state_dict()[f"frames.{KEY}"]) == 12 * 3 + episodes
    assert buffer.bytes_used < 1.02 * 200 * 4 * 32 * 2 * 2 * 2


def test_recorded_images_become_the_maps_that_acting_sees(wrapped, backbone):
    images = torch.randint(256, (6, SIZE, SIZE, 3), dtype=torch.uint8)
    flags = torch.zeros(5, dtype=torch.bool)
    obs = {KEY: images, "proprio": torch.arange(6.0)[:, None]}
    action = torch.zeros(5, 1)
    buffer = replay(wrapped, n_step=1)
    fill_replay(buffer, [wrapped.encoded(Episode(obs, action, action, torch.zeros(5), flags, flags, flags))])
    batch = buffer.gather(buffer.valid_indices())
    torch.testing.assert_close(batch.obs[KEY][:, 0].float(), backbone(images[:5]), rtol=2e-3, atol=1e-3)
    assert len(buffer.state_dict()[f"frames.{KEY}"]) == 6


def test_maps_beyond_float16_stay_finite(wrapped, backbone):
    for parameter in backbone.parameters():
        parameter.data.mul_(1e4)
    assert wrapped.reset()[KEY].isfinite().all()


def test_is_made_only_where_it_is_asked_for(point_env, backbone, tmp_path):
    env = seen(point_env)(2)
    assert with_features(env, SACConfig()) is env
    file = tmp_path / "weights"
    weights_of({KEY: backbone}, {}).save(file)
    agent = SACConfig(encoder="frozen", encoder_weights=str(file), cache_features=True, feature_variants=3)
    made = with_features(env, agent)
    assert made.observation_space[KEY].shape == (3, 32, 2, 2)
    assert with_features(env, agent, variants=1).observation_space[KEY].shape == (1, 32, 2, 2)
    torch.testing.assert_close(made.reset()[KEY][:, 0].float(), backbone(env.observe()[KEY]), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(("changes", "maps"), [({}, 4), ({"random_shift": 0}, 1), ({"colour_jitter": 0.1}, 4)])
def test_more_than_one_map_is_made_only_where_they_differ(point_env, backbone, tmp_path, changes, maps):
    file = tmp_path / "weights"
    weights_of({KEY: backbone}, {}).save(file)
    agent = SACConfig(encoder="frozen", encoder_weights=str(file), cache_features=True, **changes)
    made = with_features(seen(point_env)(2), agent)
    assert made.observation_space[KEY].shape[0] == maps


def test_a_step_is_the_one_inside_but_for_the_images(wrapped):
    wrapped.reset()
    step = wrapped.step(torch.ones(3, 1))
    assert isinstance(step, Step)
    assert torch.equal(step.info["executed_action"], torch.ones(3, 1))
    assert torch.equal(step.obs["proprio"], wrapped.env.observe()["proprio"])
