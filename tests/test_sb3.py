"""The way into Stable-Baselines3."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from tats_gym.agents import TatsPolicy
from tats_gym.envs import TokenSelectionVecEnv, TokenSelectionVectorEnv
from tests.layouts import SMALL


@pytest.fixture(name="make")
def _make(clips_root):
    made = []

    def make(num_envs=3, **settings):
        made.append(TokenSelectionVectorEnv(num_envs, data="folder", root=str(clips_root), **SMALL, **settings))
        return TokenSelectionVecEnv(made[-1])

    yield make
    for env in made:
        env.close()


def test_the_adapter_speaks_sb3(make):
    env = make()
    env.seed(4)
    observations = env.reset()
    assert observations.shape == (3, 8, 128)
    assert [info["clip"] for info in env.reset_infos] == env.vector_env.clip_buffer.clips.tolist()
    assert [info["position"] for info in env.reset_infos] == [0, 1, 2]
    observations, rewards, dones, infos = env.step(env.vector_env.action_space.sample())
    assert rewards.dtype == np.float32
    assert rewards.flags.writeable
    assert dones.all()
    assert [info["position"] for info in infos] == [0, 1, 2]
    for reward, info in zip(rewards, infos, strict=True):
        assert info["episode"]["r"] == pytest.approx(reward)
        assert info["episode"]["l"] == 1
        assert info["TimeLimit.truncated"] is False
        assert info["errors"].shape == (8,)
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.get_attr("num_envs", [0]) == [3]


def test_seeding_repeats_the_first_clips(make):
    one, two = make(), make()
    for env in (one, two):
        env.seed(9)
    np.testing.assert_array_equal(one.reset(), two.reset())


def test_refreshing_embeds_again_in_place(make):
    env = make()
    observations = env.reset()
    before = observations.copy()
    with torch.no_grad():
        env.vector_env.mae.encoder.patch_embed.proj.bias += 1
    env.refresh()
    np.testing.assert_allclose(observations, before + 1, atol=1e-5)


def test_the_wrong_kind_of_environment_is_refused(make):
    with pytest.raises(TypeError, match="expected a TokenSelectionVectorEnv"):
        TokenSelectionVecEnv(make())
    with pytest.raises(ValueError, match="autoreset_mode='same_step'"):
        make(autoreset_mode="disabled")


def test_unmodified_ppo_trains_with_our_policy(make):
    env = make(4)
    agent = PPO(TatsPolicy, env, n_steps=4, batch_size=8, n_epochs=2, learning_rate=1e-3, seed=0, device="cpu")
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    agent.learn(32)
    assert agent.num_timesteps == 32
    assert agent.policy.credit == "position"
    assert any(not torch.equal(old, new) for old, new in zip(before, agent.policy.parameters(), strict=True))
    assert len(agent.ep_info_buffer) == 32
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=8)
    assert mean < 0


def test_ppo_needs_no_more_than_policy_and_environment(make):
    agent = PPO(TatsPolicy, make(1, action="ids"), device="cpu")
    actions, _ = agent.predict(agent.env.reset())
    assert agent.env.action_space.contains(actions[0].astype(np.int64))


class MeanToken(BaseFeaturesExtractor):
    """The mean token: stock networks would flatten a million values."""

    def __init__(self, observation_space):
        super().__init__(observation_space, observation_space.shape[-1])

    def forward(self, observations):
        return observations.mean(1)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_policy_that_draws_each_index_by_itself_is_told_of_scores_with_which_it_trains(clips_root, algorithm):
    settings = {"data": "folder", "root": str(clips_root), **SMALL}
    env = gymnasium.make("TatsMask-folder-v0", **settings)
    with pytest.raises(InvalidAction, match=r"is chosen more than once; .* a score for each \(action='scores'\)"):
        algorithm("MlpPolicy", env, n_steps=64, seed=0, device="cpu").learn(64)
    env.close()
    env = gymnasium.make("TatsMask-folder-v0", action="scores", **settings)
    agent = algorithm("MlpPolicy", env, n_steps=64, seed=0, device="cpu")
    before = agent.policy.action_net.weight.clone()
    agent.learn(64)
    assert not torch.equal(before, agent.policy.action_net.weight)
    env.close()


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_stock_agents_train_on_scores(make, algorithm):
    settings = {"n_steps": 4, "batch_size": 8} if algorithm is PPO else {"learning_starts": 4, "buffer_size": 100}
    agent = algorithm(
        "MlpPolicy", make(2, action="scores"), policy_kwargs={"features_extractor_class": MeanToken}, seed=0,
        device="cpu", **settings,
    )  # fmt: skip
    agent.learn(16)
    assert agent.num_timesteps == 16


def test_our_policy_refuses_scores(make):
    with pytest.raises(TypeError, match="needs a TokenBox of observations and Subset actions"):
        PPO(TatsPolicy, make(action="scores"))
