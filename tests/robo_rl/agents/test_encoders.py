import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.encoder_weights import weights_of
from robo_rl.agents.encoders import Encoder, ImageHead, PixelEncoder, make_encoder
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError
from robo_rl.training.feature_env import FeatureEnv

SIZE = 16
FRONT, WRIST = "camera.front.rgb", "camera.wrist.rgb"
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def box(*shape: int, dtype: type = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype)


def pixel_space(proprio: bool = True) -> gymnasium.spaces.Dict:
    spaces = {key: box(SIZE, SIZE, 3, dtype=np.uint8) for key in (FRONT, WRIST)}
    return gymnasium.spaces.Dict(spaces | ({"proprio": box(5)} if proprio else {}))


def map_space(variants: int, shape: tuple[int, int, int]) -> gymnasium.spaces.Dict:
    maps = gymnasium.spaces.Box(-np.inf, np.inf, (variants, *shape), np.float16)
    return gymnasium.spaces.Dict({FRONT: maps, WRIST: maps, "proprio": box(5)})


def config(**settings: object) -> SACConfig:
    return SACConfig(**({"critics": 2, "hidden": (16, 16), "random_shift": 2} | settings))


def observations(n: int, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    images = {key: torch.randint(256, (n, SIZE, SIZE, 3), generator=g, dtype=torch.uint8) for key in (FRONT, WRIST)}
    return {**images, "proprio": torch.randn(n, 5, generator=g)}


def batch(n: int, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    action = torch.rand(n, 2, generator=g) * 2 - 1
    reward, discount = torch.rand(2, n, generator=g)
    return Batch(observations(n, seed), action, reward, observations(n, seed + 100), discount)


def frozen_file(path, architecture: str = "conv", shared: bool = False) -> str:
    spec = BackboneSpec(architecture, (SIZE, SIZE))
    nets = {key: Backbone(spec, torch.Generator().manual_seed(i)) for i, key in enumerate((FRONT, WRIST))}
    weights = weights_of(nets, {})
    if shared:
        weights = replace(weights, cameras=(), tensors=nets[FRONT].net.state_dict())
    weights.save(path)
    return str(path)


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: torch.nn.Module) -> set[str]:
    return {name.split(".")[0] for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


class TestEncoder:
    def test_concatenates_vectors_in_sorted_order_as_float32(self) -> None:
        space = gymnasium.spaces.Dict({"b": box(2, dtype=np.float64), "a": box(1), "c": box(1)})
        encoder = Encoder(space)
        obs = {
            "c": torch.tensor([[4.0]]),
            "b": torch.tensor([[2.0, 3.0]], dtype=torch.float64),
            "a": torch.tensor([[1.0]]),
        }
        assert encoder.width == 4
        assert torch.equal(encoder(obs), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))

    def test_uses_only_the_named_keys(self) -> None:
        space = gymnasium.spaces.Dict({"a": box(1), "b": box(2), "image": box(8, 8, 3, dtype=np.uint8)})
        encoder = Encoder(space, ("b",))
        assert torch.equal(encoder({"b": torch.ones(3, 2)}), torch.ones(3, 2))

    @pytest.mark.parametrize(
        ("space", "keys", "says"),
        [
            (gymnasium.spaces.Dict(wrist=box(8, 8, 3, dtype=np.uint8)), (), "'wrist' is an image.*observation_keys"),
            (gymnasium.spaces.Dict(state=box(2)), ("stat",), "did you mean 'state'"),
            (gymnasium.spaces.Dict(grid=box(2, 2)), (), "'grid' is no vector"),
            (gymnasium.spaces.Dict(mode=gymnasium.spaces.Discrete(3)), (), "'mode' is no vector"),
            (box(3), (), "must be a gymnasium Dict"),
        ],
    )  # fmt: skip
    def test_refuses_what_it_cannot_learn_from(self, space: gymnasium.Space, keys: tuple[str, ...], says: str) -> None:
        with pytest.raises(UserError, match=says):
            Encoder(space, keys)


class TestPixelEncoder:
    def test_features_are_bounded_and_of_the_told_width(self) -> None:
        encoder = PixelEncoder(pixel_space(), config(), torch.Generator().manual_seed(0))
        features = encoder(observations(7))
        assert features.shape == (7, encoder.width)
        assert encoder.width == 2 * 256 + 64
        assert features.abs().max() <= 1.0  # a tanh is last
        blind = PixelEncoder(pixel_space(proprio=False), config(), torch.Generator().manual_seed(0))
        assert blind.width == 2 * 256

    @pytest.mark.parametrize("key", [FRONT, WRIST, "proprio"])
    def test_every_observation_counts(self, key: str) -> None:
        encoder = PixelEncoder(pixel_space(), config(), torch.Generator().manual_seed(0))
        one, other = observations(3), observations(3, seed=1)
        assert not torch.allclose(encoder(one), encoder({**one, key: other[key]}))

    def test_a_head_is_the_sum_over_places_that_it_says(self) -> None:
        head = ImageHead((3, 2, 4), torch.Generator().manual_seed(0))
        maps = torch.randn(5, 3, 2, 4, generator=torch.Generator().manual_seed(1))
        assert head.kernels is not None
        kernels = head.kernels.view(3, 2, 4, 8)
        expected = torch.einsum("bcxy,cxyk->bck", maps, kernels).flatten(1)
        torch.testing.assert_close(head(maps), head.out(expected))

    @pytest.mark.parametrize("share", [False, True])
    def test_cameras_share_weights_or_have_their_own(self, share: bool) -> None:
        encoder = PixelEncoder(pixel_space(), config(share_encoder=share), torch.Generator().manual_seed(0))
        assert len(encoder.backbones) == len(encoder.heads) == (1 if share else 2)
        obs = observations(3)
        obs[WRIST] = obs[FRONT]
        front, wrist = encoder(obs)[:, :256], encoder(obs)[:, 256:512]
        assert torch.equal(front, wrist) is share

    @pytest.mark.parametrize("architecture", ["conv", "keypoints"])
    def test_maps_encoded_beforehand_give_the_features_of_the_image(self, architecture: str, tmp_path) -> None:
        """Backbone inside or maps from outside: the same features, to the precision of float16."""
        file = frozen_file(tmp_path / "weights", architecture)
        direct = config(encoder="frozen", encoder_weights=file)
        inside = PixelEncoder(pixel_space(), direct, torch.Generator().manual_seed(0))
        space = map_space(3, inside.backbones[0].map_shape)
        outside = PixelEncoder(space, replace(direct, cache_features=True), torch.Generator().manual_seed(0))
        obs = observations(6)
        maps = {key: net(obs[key]) for key, net in zip(inside.cameras, inside.backbones, strict=True)}
        stored = {key: torch.stack([value, -value, 2 * value], 1).half() for key, value in maps.items()}
        torch.testing.assert_close(outside({**obs, **stored}), inside(obs), rtol=0, atol=0.02)
        assert len(outside.backbones) == 0

    def test_codes_and_vectors_are_features_as_they_are(self, tmp_path) -> None:
        file = frozen_file(tmp_path / "weights", "keypoints")
        encoder = PixelEncoder(
            pixel_space(), config(encoder="frozen", encoder_weights=file), torch.Generator().manual_seed(0)
        )
        obs = observations(6)
        codes = [net(obs[key]).flatten(1) for key, net in zip(encoder.cameras, encoder.backbones, strict=True)]
        assert torch.equal(encoder(obs), torch.cat([*codes, obs["proprio"]], dim=1))
        assert encoder.width == 64 + 64 + obs["proprio"].shape[1]
        assert not any(parameter.requires_grad for parameter in encoder.parameters())

    def test_weights_from_a_file_are_where_learning_starts(self, tmp_path) -> None:
        file = frozen_file(tmp_path / "weights", shared=True)
        encoder = PixelEncoder(pixel_space(), config(encoder_weights=file), torch.Generator().manual_seed(5))
        stored = Backbone(BackboneSpec("conv", (SIZE, SIZE)), torch.Generator().manual_seed(0))
        for net in encoder.backbones:
            assert moved(snapshot(stored.net), net.net) == set()
            assert all(parameter.requires_grad for parameter in net.parameters())

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"encoder": "frozen"}, "agent.encoder_weights: a frozen encoder needs some"),
            ({"encoder": "resnet10", "encoder_weights": "FILE"}, "the weights are of 'conv', not of 'resnet10'"),
            ({"encoder_weights": "FILE", "share_encoder": True}, "agent.share_encoder: the weights are of each camera"),
            ({"encoder": "frozen", "encoder_weights": "FILE", "cache_features": True}, "wrap the environment"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, settings: dict, says: str, tmp_path) -> None:
        file = frozen_file(tmp_path / "weights")
        settings = {key: file if value == "FILE" else value for key, value in settings.items()}
        with pytest.raises(UserError, match=says):
            PixelEncoder(pixel_space(), config(**settings), torch.Generator())

    def test_options_for_images_are_refused_where_there_is_none(self) -> None:
        vectors = gymnasium.spaces.Dict(state=box(3))
        assert isinstance(make_encoder(vectors, SACConfig(), torch.Generator()), Encoder)
        with pytest.raises(UserError, match=r"agent\.random_shift: there is no image to encode; give --obs pixels"):
            make_encoder(vectors, SACConfig(random_shift=2), torch.Generator())
        with pytest.raises(UserError, match=r"agent\.encoder: there is no image"):
            make_encoder(pixel_space(), SACConfig(encoder="resnet10", observation_keys=("proprio",)), torch.Generator())

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"cache_features": True}, "cache_features: only those of a frozen encoder"),
            ({"feature_variants": 2}, "feature_variants: there are none without"),
            ({"feature_variants": 0, "cache_features": True, "encoder": "frozen"}, r"must lie in \[1, 64\], got 0"),
            ({"random_shift": -1}, "random_shift: must lie"),
            ({"colour_jitter": 1.5}, "colour_jitter: must lie"),
        ],
    )
    def test_settings_that_cannot_work_are_refused(self, settings: dict, says: str) -> None:
        with pytest.raises(UserError, match=says):
            SACConfig(**settings)


class TestLearning:
    @pytest.mark.parametrize("encoder", ["conv", "resnet10"])
    def test_the_critic_s_loss_moves_the_encoder_and_the_actor_s_does_not(self, encoder: str) -> None:
        sac = SAC(pixel_space(), ACTIONS, config(encoder=encoder))
        part = next(sac._encoded(batch(8), 1))
        before, critic, policy = snapshot(sac.encoder), snapshot(sac.critic), snapshot(sac.policy)
        sac.critic_step(*part, sac.learning)
        assert moved(before, sac.encoder) == {"backbones", "heads", "proprio"}
        assert moved(policy, sac.policy) == {"encoder"}
        assert moved(critic, sac.critic)
        before, policy = snapshot(sac.encoder), snapshot(sac.policy)
        sac._update_actor(part[0])
        assert moved(before, sac.encoder) == set()
        assert moved(policy, sac.policy) == {"layers", "output"}

    def test_each_part_is_encoded_by_the_encoder_of_its_turn(self) -> None:
        sac = SAC(pixel_space(), ACTIONS, config(random_shift=0, critic_lr=0.1))
        data, seen = batch(16), []
        for part in sac._encoded(data, 2):
            seen.append(part[0].obs["features"].detach().clone())
            sac.critic_step(*part, sac.learning)
        first = SAC(pixel_space(), ACTIONS, config(random_shift=0)).encoder
        halves = data.split(2)
        torch.testing.assert_close(seen[0], first(halves[0].obs))
        assert not torch.allclose(seen[1], first(halves[1].obs), atol=1e-3)

    def test_the_target_is_no_way_for_the_encoder_to_learn(self) -> None:
        sac = SAC(pixel_space(), ACTIONS, config())
        part, ahead = next(sac._encoded(batch(8), 1))
        assert not ahead.inputs.requires_grad
        assert part.obs["features"].requires_grad
        assert not part.next_obs["features"].requires_grad

    @pytest.mark.parametrize("cached", [False, True])
    def test_a_frozen_backbone_never_changes(self, cached: bool, tmp_path) -> None:
        settings = config(encoder="frozen", encoder_weights=frozen_file(tmp_path / "weights"), cache_features=cached)
        nets = {
            FRONT: Backbone(BackboneSpec("conv", (SIZE, SIZE))),
            WRIST: Backbone(BackboneSpec("conv", (SIZE, SIZE))),
        }
        data, space = batch(16), pixel_space()
        if cached:
            wrapped = FeatureEnv(Still(), nets, Augmentation(2), variants=2)
            space = wrapped.observation_space
            data = replace(data, obs={**data.obs, **wrapped.encode(data.obs)})
            data = replace(data, next_obs={**data.next_obs, **wrapped.encode(data.next_obs)})
        sac = SAC(space, ACTIONS, settings)
        before = snapshot(sac.encoder), {key: snapshot(net) for key, net in nets.items()}
        for _ in range(3):
            sac.update(data, utd=2)
        assert moved(before[0], sac.encoder) == {"heads", "proprio"}
        assert all(moved(before[1][key], net) == set() for key, net in nets.items())

    def test_augmentation_is_on_the_learning_stream_and_acting_sees_the_image_as_it_is(self) -> None:
        shifted, still = SAC(pixel_space(), ACTIONS, config()), SAC(pixel_space(), ACTIONS, config(random_shift=0))
        obs = observations(4)
        assert torch.equal(shifted.act(obs, explore=False), still.act(obs, explore=False))
        a, b = (next(sac._encoded(batch(8), 1))[0].obs["features"] for sac in (shifted, still))
        assert not torch.allclose(a, b, atol=1e-3)

    def test_goes_on_bit_for_bit_after_save_and_load(self, tmp_path) -> None:
        sac, other = SAC(pixel_space(), ACTIONS, config()), SAC(pixel_space(), ACTIONS, config(), seed=7)
        sac.update(batch(16), utd=2)
        other.update(batch(16, seed=5), utd=1)
        save_file(sac.state_dict(), tmp_path / "agent.safetensors")
        other.load_state_dict(load_file(tmp_path / "agent.safetensors"))
        for i in range(2):
            sac.update(batch(16, seed=10 + i), utd=2)
            other.update(batch(16, seed=10 + i), utd=2)
        state, again = sac.state_dict(), other.state_dict()
        assert state.keys() == again.keys()
        assert [key for key in state if not torch.equal(state[key], again[key])] == []
        assert any(key.startswith("policy.encoder.backbones") for key in state)

    def test_policy_state_is_enough_to_act(self) -> None:
        sac, other = SAC(pixel_space(), ACTIONS, config()), SAC(pixel_space(), ACTIONS, config(), seed=1)
        obs = observations(4)
        assert not torch.equal(sac.act(obs, explore=False), other.act(obs, explore=False))
        other.load_policy_state(copy.deepcopy(sac.policy_state()))
        assert torch.equal(sac.act(obs, explore=False), other.act(obs, explore=False))


class Still:
    """The spaces of an environment."""

    num_envs, device, horizon = 1, torch.device("cpu"), 1
    observation_space, action_space = pixel_space(), ACTIONS
