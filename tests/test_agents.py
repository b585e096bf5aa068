"""The table of agents, and what each must be able to do: beat uniform masks where the best mask is known."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents import AGENTS, TATS, TatsPolicy, find_agent
from agents.config import PRESETS, PretrainConfig
from agents.fixed import ConstantMasks, RandomMasks
from tests.toy import BEST_ERROR, UNIFORM_ERROR, toy_env


def _error(agent, env):
    """Mean error over 16 fresh steps of the agent's own masks."""
    vector_env = env.vector_env
    rewards = []
    for _ in range(16):
        with torch.no_grad():
            ids = agent.policy._predict(vector_env.observe())
        rewards.append(-vector_env.step_tensors(ids).rewards.mean().item())
    return np.mean(rewards)


@pytest.mark.parametrize("credit", ["token", "position", "joint"])
def test_tats_learns_to_show_what_is_hard(clips_root, credit):
    env = toy_env(clips_root)
    agent = TATS(
        "TatsPolicy", env, seed=0, learning_rate=3e-3, credit=credit, policy_coef=1, vf_coef=0.5, ent_coef=0.01,
        device="cpu",
    )  # fmt: skip
    assert _error(agent, env) == pytest.approx(UNIFORM_ERROR, abs=0.02)
    agent.learn(16 * 60)
    assert _error(agent, env) < UNIFORM_ERROR - 0.7 * (UNIFORM_ERROR - BEST_ERROR)
    env.close()


def test_unmodified_ppo_learns_it_too(clips_root):
    env = toy_env(clips_root)
    agent = PPO(TatsPolicy, env, seed=0, learning_rate=3e-3, n_steps=1, batch_size=16, n_epochs=1, device="cpu")
    agent.learn(16 * 60)
    assert _error(agent, env) < UNIFORM_ERROR - 0.7 * (UNIFORM_ERROR - BEST_ERROR)
    env.close()


def test_a_reward_of_the_other_sign_teaches_the_opposite(clips_root):
    env = toy_env(clips_root, reward="error")
    agent = TATS("TatsPolicy", env, seed=0, learning_rate=3e-3, credit="position", policy_coef=1, device="cpu")
    agent.learn(16 * 60)
    assert -_error(agent, env) > UNIFORM_ERROR + 0.05  # the reward is +error here
    env.close()


def test_the_constant_control_masks_every_clip_alike(clips_root):
    env = toy_env(clips_root)
    agent, other = ConstantMasks(env, seed=0), ConstantMasks(env, seed=1)
    agent.learn(16 * 2)
    chosen, others = (each.policy._predict(env.vector_env.observe()) for each in (agent, other))
    assert (chosen == chosen[0]).all()
    assert len(set(chosen[0].tolist())) == 8
    assert not torch.equal(chosen, others)
    outcome = env.vector_env.step_tensors(agent.unlearned_ids(env.vector_env))
    assert not outcome.mask[:, chosen[0]].any()
    env.close()


def test_random_masks_stay_uniform(clips_root):
    env = toy_env(clips_root)
    agent = RandomMasks(env, seed=0)
    agent.learn(16 * 4)
    assert agent.num_timesteps == 64
    assert _error(agent, env) == pytest.approx(UNIFORM_ERROR, abs=0.02)
    env.close()


@pytest.mark.parametrize("name", AGENTS)
def test_equal_seeds_train_equal_agents(clips_root, name):
    def train():
        env = toy_env(clips_root, num_envs=4)
        config = PretrainConfig(num_envs=4, device="cpu")
        agent = find_agent(name)(env, config)
        agent.learn(16)
        env.close()
        with torch.no_grad():
            torch.manual_seed(0)
            chosen = agent.policy._predict(env.vector_env.observe())
        return [parameter.detach().clone() for parameter in agent.policy.parameters()], chosen

    (one, chosen), (two, again) = train(), train()
    assert torch.equal(chosen, again)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one, two, strict=True))


def build_for_test(env, config):
    return RandomMasks(env, seed=config.seed)


def test_an_agent_is_found_by_name_and_by_path():
    assert find_agent("tats").__name__ == "build_tats"
    assert find_agent("tests.test_agents:build_for_test").__name__ == "build_for_test"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tatts", "did you mean 'tats'"),
        ("no_such_module:build", "there is no 'build' to import from 'no_such_module'"),
        ("agents.tats:bulid", "there is no 'bulid'"),
    ],
)
def test_unknown_agents_are_named(name, message):
    with pytest.raises(ValueError, match=message):
        find_agent(name)


def test_the_paper_presets_hold_its_tables():
    for data, stride in (("ssv2", 2), ("k400", 4), ("ucf101", 2), ("hmdb51", 2)):
        preset = PRESETS[f"paper-{data}"]
        assert (preset.num_envs, preset.clips.stride, preset.clips.crop) == (32, stride, "multiscale")
        assert (preset.grid.num_tokens, preset.grid.num_visible) == (1568, 78)
        optim, tats = preset.mae_optim, preset.tats
        assert (optim.base_lr, optim.betas, optim.warmup_epochs) == (1.5e-4, (0.9, 0.95), 40)
        assert (tats.learning_rate, tats.warmup_epochs, tats.n_steps) == (1.5e-6, 10, 1)
        assert (tats.policy_coef, tats.vf_coef, tats.ent_coef) == (1e-4, 1e-4, 1e-4)
        assert (preset.sampler.temperature, preset.sampler.positions) == (1, "tokens")
        assert preset.mae.pos_embed == "sinusoid"
        assert (preset.mae.embed_dim, preset.mae.depth, preset.mae.decoder_depth) == (768, 12, 4)
    assert PRESETS["paper-ssv2"].mae_optim.epochs == 800
