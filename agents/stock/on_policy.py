"""Builds SB3's PPO and A2C, unmodified, with the sampler of TATS: rewards per mask, NumPy rollouts."""

from typing import Any

from stable_baselines3 import A2C, PPO

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import TatsPolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv


def build_ppo(env: TokenSelectionVecEnv, config: PretrainConfig) -> PPO:
    """Make SB3's PPO with its own loss coefficients and normalised advantages."""
    tats = config.tats
    return PPO(
        TatsPolicy,
        env,
        n_epochs=tats.n_epochs,
        batch_size=normalised_batch_size(config),
        clip_range=tats.clip_range,
        **on_policy_settings(env, config),
    )


def build_a2c(env: TokenSelectionVecEnv, config: PretrainConfig) -> A2C:
    """Make SB3's A2C with AdamW."""
    return A2C(TatsPolicy, env, use_rms_prop=False, **on_policy_settings(env, config))


def normalised_batch_size(config: PretrainConfig) -> int:
    """Return the number of masks in a minibatch, over which advantages are normalised; by default the whole rollout.

    Raises:
        ValueError: If it is 1.
    """
    tats = config.tats
    batch_size = tats.batch_size or tats.n_steps * config.num_envs
    if batch_size < 2:
        raise ValueError(
            f"--agent {config.agent} normalises advantages over a minibatch: it needs 2 masks, got {batch_size} "
            f"(num_envs {config.num_envs}, tats.n_steps {tats.n_steps}); raise one of these"
        )
    return batch_size


def on_policy_settings(env: TokenSelectionVecEnv, config: PretrainConfig) -> dict[str, Any]:
    """Return the arguments common to the on-policy algorithms."""
    return {
        "learning_rate": config.tats.learning_rate,
        "n_steps": config.tats.n_steps,
        "policy_kwargs": {"sampler": config.sampler, "precision": config.precision},
        "seed": config.seed,
        "device": env.vector_env.device,
    }
