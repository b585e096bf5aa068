"""Builds SB3's SAC and TD3, unmodified, with per-token networks and a replay buffer of clip positions."""

from typing import Any, TypeVar

import numpy as np
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.schedule import warmup_timesteps
from tats_gym.agents.stock.policies import TokenSACPolicy, TokenTD3Policy
from tats_gym.agents.stock.replay import ClipReplayBuffer
from tats_gym.envs.sb3 import TokenSelectionVecEnv

Algorithm = TypeVar("Algorithm", bound=OffPolicyAlgorithm)


def build_sac(env: TokenSelectionVecEnv, config: PretrainConfig) -> SAC:
    """Make SB3's SAC."""
    agent = SAC(TokenSACPolicy, env, **off_policy_settings(env, config), **entropy_settings(env, config))
    return with_replay(agent, env)


def build_td3(env: TokenSelectionVecEnv, config: PretrainConfig) -> TD3:
    """Make SB3's TD3, which explores by Gaussian noise on its scores."""
    std = np.full(env.vector_env.grid.num_tokens, config.off_policy.action_noise)
    noise = NormalActionNoise(np.zeros_like(std), std)
    return with_replay(TD3(TokenTD3Policy, env, action_noise=noise, **off_policy_settings(env, config)), env)


def off_policy_settings(env: TokenSelectionVecEnv, config: PretrainConfig) -> dict[str, Any]:
    """Return the arguments common to the off-policy algorithms."""
    off_policy = config.off_policy
    return {
        "learning_rate": off_policy.learning_rate,
        "buffer_size": off_policy.buffer_size,
        "batch_size": off_policy.batch_size,
        "learning_starts": max(off_policy.learning_starts, warmup_timesteps(env, config)),
        "train_freq": off_policy.train_freq,
        "gradient_steps": off_policy.gradient_steps,
        "replay_buffer_class": ClipReplayBuffer,
        "policy_kwargs": {"sampler": config.sampler, "precision": config.precision},
        "seed": config.seed,
        "device": env.vector_env.device,
    }


def entropy_settings(env: TokenSelectionVecEnv, config: PretrainConfig) -> dict[str, Any]:
    """Return SAC's and TQC's arguments for the entropy of the scores.

    The settings are for one token, since log-probabilities sum over L tokens and one token is about 1 / L of the error.
    """
    num_tokens = env.vector_env.grid.num_tokens
    return {
        "ent_coef": f"auto_{config.off_policy.ent_coef / num_tokens}",
        "target_entropy": config.off_policy.target_entropy * num_tokens,
    }


def with_replay(agent: Algorithm, env: TokenSelectionVecEnv) -> Algorithm:
    """Attach the environment to the agent's replay buffer and return the agent."""
    assert isinstance(agent.replay_buffer, ClipReplayBuffer)
    agent.replay_buffer.attach(env.vector_env)
    return agent
