"""The length of an epoch and of the warm-up, and the MAE's learning rate, as builders of agents need them."""

from collections.abc import Callable

from tats_gym.agents.config import PretrainConfig
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.train.optimizer import LearningRate


def steps_per_epoch(env: TokenSelectionVecEnv, config: PretrainConfig) -> int:
    """Return the number of environment steps in an epoch."""
    return config.steps_per_epoch(len(env.vector_env.clip_buffer.stream), env.vector_env.config.shard[1])


def batch_size(env: TokenSelectionVecEnv) -> int:
    """Return the number of masks in an environment step, over all ranks."""
    return env.num_envs * env.vector_env.config.shard[1]


def warmup_timesteps(env: TokenSelectionVecEnv, config: PretrainConfig) -> int:
    """Return the number of masks before the sampler learns."""
    return config.tats.warmup_epochs * steps_per_epoch(env, config) * batch_size(env)


def mae_rate(env: TokenSelectionVecEnv, config: PretrainConfig) -> Callable[[float], float]:
    """Return the MAE's learning rate as SB3 asks for it, by the share of the training that is left."""
    optim, epoch = config.mae_optim, steps_per_epoch(env, config)
    rate = LearningRate(optim, batch_size=batch_size(env), steps_per_epoch=epoch)
    steps = optim.epochs * epoch
    return lambda left: rate.at(max(0, round((1 - left) * steps) - 1) // optim.accumulate)
