"""The environment without video gives what the plain one gives for the same clips, masks and MAE."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

import tats_gym
from tats_gym.agents import TatsPolicy
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.tats import TATS, TatsConfig
from tats_gym.datasets import DATASETS, Dataset
from tats_gym.encoders.shipped import SHIPPED
from tats_gym.envs import FrozenTokenSelectionVectorEnv, TokenSelectionVecEnv, TokenSelectionVectorEnv
from tats_gym.masks import random_ids, weighted_ids
from tats_gym.model.errors import expected_errors
from tats_gym.model.target import Target, take
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.registration import FROZEN_ENV
from tests.layouts import SMALL
from tests.own_maes import Means

CLOSE = {"atol": 1e-6, "rtol": 1e-6}
GROUP = TatsConfig(
    learning_rate=2e-3, credit="position", normalize_advantage=True, policy_coef=1.0, vf_coef=0.0, ent_coef=0.05
)


@pytest.fixture(name="folder")
def _folder(clips_root):
    return {**SMALL, "data": "folder", "root": str(clips_root)}


def both(num_envs, **settings):
    """Make the environment and the plain one, with the same settings."""
    return FrozenTokenSelectionVectorEnv(num_envs, **settings), TokenSelectionVectorEnv(num_envs, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reward": "gain"},
        {"action": "scores"},
        {"masks_per_clip": 2},
        {"decode_ratio": 0.4},
        {"visible_spread": 0.5},
        {"precision": "bf16"},
        {"autoreset_mode": "next_step"},
        {"autoreset_mode": "disabled"},
    ],
    ids=str,
)
def test_steps_equal_those_of_the_plain_environment_on_the_same_clips(folder, settings):
    envs = both(4, **folder, **settings)
    ids = [3, 0] if "masks_per_clip" in settings else [3, 0, 3, 1]
    envs[0].action_space.seed(0)
    for _ in range(2):
        actions, outcomes = envs[0].action_space.sample(), []
        for env in envs:
            torch.manual_seed(0)  # draws the share of the tokens that are decoded
            observations, infos = env.reset(seed=5, options={"clips": ids})
            following = env.step(actions)
            done = following[4].get("final_info", following[4])
            outcomes.append((observations, following[1], done["errors"], infos["clips"], done["clips"]))
        for ours, theirs in zip(*outcomes, strict=True):
            np.testing.assert_allclose(ours, theirs, **CLOSE)
    for env in envs:
        env.close()


def test_a_drawn_number_of_visible_tokens_is_that_of_the_plain_environment(folder):
    envs = both(4, visible_spread=0.5, **folder)
    numbers = []
    for env in envs:
        env.reset(seed=3)
        outcomes = [env.step_tensors(torch.arange(5).expand(4, 5)) for _ in range(8)]
        numbers.append([8 - int(outcome.predicted[0].sum()) for outcome in outcomes])
        env.close()
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0])) > 1
    assert set(numbers[0]) <= {1, 2, 3, 4, 5}  # 3, and half of it, rounded, more or less


def test_observations_are_the_maes_embeddings_and_each_has_its_own_memory(folder):
    env, plain = both(4, masks_per_clip=2, **folder)
    tokens, infos = env.reset(seed=1)
    clips = plain.clip_buffer.stream.centre(infos["clips"][::2].tolist()).pixels
    np.testing.assert_allclose(tokens, plain.mae.embed(clips).numpy().repeat(2, axis=0), **CLOSE)
    assert env.observe().shape == (2, 8, 128)
    tokens[:] = 0
    assert env.reset(seed=1)[0].any()
    for each in (env, plain):
        each.close()


class MeanAndDifference(Target):
    """A token's mean and its difference from the clip's, which takes all patches, in absolute differences."""

    def __init__(self):
        super().__init__(2, "mean and difference", distance="absolute")

    def forward(self, patches, ids_hidden):
        means = patches.float().mean(-1, keepdim=True) / 255  # (B, L, 1)
        both_values = torch.cat((means, means.mean(1, keepdim=True) - means), -1)
        return take(both_values, ids_hidden)


@pytest.mark.parametrize("target", [None, MeanAndDifference()], ids=["pixels", "means"])
def test_another_mae_gives_other_tokens_and_errors_at_once(folder, target):
    envs = both(2, **folder)
    torch.manual_seed(4)
    other = MaskedAutoencoder(MAE_PRESETS["tiny"], envs[0].grid, target)
    before = envs[0].reset(options={"clips": [1, 2]})[0]
    rewards = []
    for env in envs:
        env.attach(other)
        tokens, _ = env.reset(options={"clips": [1, 2]})
        assert np.abs(tokens - before).max() > 0.01
        rewards.append(env.step(np.array([[0, 1, 2], [3, 4, 5]]))[1])
        env.close()
    np.testing.assert_allclose(*rewards, **CLOSE)


def test_a_step_reads_no_pixels(folder, monkeypatch):
    env = FrozenTokenSelectionVectorEnv(2, **folder)
    env.reset(seed=0)
    monkeypatch.setattr(type(env.grid), "cut", None)
    monkeypatch.setattr(type(env.clip_buffer.stream), "views", None)
    env.step(env.action_space.sample())
    env.close()


def test_an_mae_that_changes_is_refused(folder):
    env = FrozenTokenSelectionVectorEnv(2, **folder)
    env.reset(seed=0)
    env.keep_graph = True
    with pytest.raises(gymnasium.error.Error, match="keep_graph needs an MAE that is trained"):
        env.step(env.action_space.sample())
    with pytest.raises(TypeError, match="needs tats_gym's MaskedAutoencoder, got Means"):
        env.attach(Means(env.grid))
    env.close()


def test_the_ids_are_known_to_gymnasium_and_refused_by_the_joint_training():
    for env_id in (FROZEN_ENV, "TatsMaskScores-frozen-v0"):
        assert env_id not in tats_gym.env_ids()
        with pytest.raises(ValueError, match=f"env names {env_id}, whose MAE stays as it is.* --env TatsMask-demo-v0"):
            PretrainConfig(env=env_id)
    assert gymnasium.spec("TatsMaskScores-frozen-v0").kwargs == {
        **gymnasium.spec(FROZEN_ENV).kwargs,
        "action": "scores",
    }
    with pytest.raises(ValueError, match="the id TatsMask-frozen-v0 is taken"):
        tats_gym.register_dataset("frozen", Dataset(reader="a:b", files="", distributor=""))
    assert "frozen" not in DATASETS


@pytest.fixture(name="held_out")
def _held_out(demo_root):
    """The demo's 96 held-out clips, each in one environment, rewarded by the gain over random masks."""
    settings = {"root": str(demo_root), "split": "validation", "reward": "gain", "device": "cpu"}
    env = gymnasium.make_vec(FROZEN_ENV, num_envs=96, **settings).unwrapped
    env.restart(seed=0, options={"clips": list(range(96))})
    yield env
    env.close()


def steps(env, draw, times=16):
    """Mask every clip `times` times, by `draw` from their tokens; returns gains (times, B) and errors by token."""
    outcomes = []
    for _ in range(times):
        env.restart(options={"clips": list(range(96))})
        outcomes.append(env.step_tensors(draw(env.observe())))
    errors = [torch.where(each.predicted, each.errors, torch.nan) for each in outcomes]
    return torch.stack([each.rewards for each in outcomes]), torch.stack(errors).nanmean(0)


def test_the_shipped_mae_is_small_and_its_error_depends_on_the_mask(held_out):
    assert SHIPPED["frozen"].stat().st_size <= 300_000
    generator = torch.Generator().manual_seed(0)
    gains, errors = steps(held_out, lambda tokens: random_ids(96, 72, 8, generator=generator))
    assert errors.nanmean() < 0.5  # a patch's mean errs by 1
    assert gains.mean().abs() < 0.004
    weights = expected_errors(errors).sqrt()
    gains, _ = steps(held_out, lambda tokens: weighted_ids(weights, 8, generator=generator))
    assert gains.mean() > 0.006


@pytest.mark.parametrize("algorithm", ["tats", "ppo"])
def test_an_agent_that_is_built_by_hand_learns(held_out, demo_root, algorithm):
    masks_per_clip = 4 if algorithm == "tats" else 1
    settings = {"root": str(demo_root), "reward": "gain", "masks_per_clip": masks_per_clip, "device": "cpu"}
    env = TokenSelectionVecEnv(gymnasium.make_vec(FROZEN_ENV, num_envs=128, **settings))
    sampler = SamplerConfig(width=64, pos_embed="learned", critic="none" if algorithm == "tats" else "shared")
    shared = {"policy_kwargs": {"sampler": sampler}, "seed": 0, "device": "cpu"}
    if algorithm == "tats":
        agent = TATS("TatsPolicy", env, GROUP, baseline="group", masks_per_clip=masks_per_clip, **shared)
    else:
        agent = PPO(TatsPolicy, env, n_steps=1, batch_size=128, n_epochs=2, learning_rate=5e-3, **shared)
    agent.learn(128 * 40)
    assert steps(held_out, lambda tokens: agent.policy(tokens)[0][::masks_per_clip].long())[0].mean() > 0.006
    env.close()
