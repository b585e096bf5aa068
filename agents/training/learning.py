"""Counts an agent's updates, and rejects a run that ends before the first of them."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import FixedMasks
from tats_gym.agents.rollouts import TokenRollouts

NOT_UPDATED = "of an agent that made no update"


def updates(agent: BaseAlgorithm) -> int | None:
    """Return the number of updates that an agent has made, as SB3 counts them; None for agents that do not learn."""
    count: Any = getattr(agent, "_n_updates", None)
    return None if isinstance(agent, FixedMasks) or count is None else int(count)


def unlearned_masks(agent: BaseAlgorithm) -> int:
    """Return the number of masks of a run before its agent learns."""
    if isinstance(agent, OffPolicyAlgorithm):
        return agent.learning_starts
    return agent.warmup_timesteps if isinstance(agent, TokenRollouts) else 0


def rollout_steps(agent: BaseAlgorithm) -> int:
    """Return the number of environment steps from one round of updates to the next."""
    if isinstance(agent, OffPolicyAlgorithm):
        assert isinstance(agent.train_freq, TrainFreq)
        return agent.train_freq.frequency
    return agent.n_steps if isinstance(agent, OnPolicyAlgorithm) else 1


def check_learns(agent: BaseAlgorithm, config: PretrainConfig, *, total_timesteps: int, step_timesteps: int) -> None:
    """Reject a run that ends before its agent's first update.

    Args:
        agent: The algorithm of the run.
        config: The run's settings.
        total_timesteps: Masks of the run.
        step_timesteps: Masks in an environment step, over all ranks.

    Raises:
        TypeError: If it is no SB3 algorithm.
        ValueError: If there would be no update; the message names settings with which there is one.
    """
    if not isinstance(agent, BaseAlgorithm):
        raise TypeError(f"--agent {config.agent} must make an SB3 algorithm, got {type(agent).__name__}")
    unlearned, rollout = unlearned_masks(agent), rollout_steps(agent) * step_timesteps
    if isinstance(agent, OffPolicyAlgorithm):
        learns = _whole(total_timesteps, rollout) > unlearned
        also = f" and --off-policy.learning-starts {config.off_policy.learning_starts}"
        instead = f"--tats.warmup-epochs 0 --off-policy.learning-starts {total_timesteps // 4}"
    elif isinstance(agent, TokenRollouts):
        learns = _whole(unlearned, rollout) < total_timesteps
        epochs = config.mae_optim.epochs
        half = epochs // 2 if _whole(total_timesteps // epochs * (epochs // 2), rollout) < total_timesteps else 0
        also, instead = "", f"--tats.warmup-epochs {half}"
    else:
        return
    if not learns:
        raise ValueError(
            f"--agent {config.agent} would make no update: its masks are uniform at first, for {unlearned:,} masks "
            f"(--tats.warmup-epochs {config.tats.warmup_epochs}{also}), and the run has {total_timesteps:,} "
            f"(--mae-optim.epochs {config.mae_optim.epochs}). For a short run add {instead}"
        )


def _whole(timesteps: int, rollout: int) -> int:
    """Round a number of masks up to whole rollouts."""
    return -(-timesteps // rollout) * rollout
