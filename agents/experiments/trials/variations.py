"""Settings of trials, made from those that trials share."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.registry import AGENTS
from tats_gym.agents.training.learning import rollout_steps
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.clips import ClipStream
from tats_gym.envs.rewards import find_reward
from tats_gym.messages import nearest_multiples

SHORT_RUN: dict[str, Any] = {"log_interval": 10, "keep_checkpoints": 1}
"""Settings of runs that are short and many."""
SHORT_RUN_FORWARDS = 22_400
"""Training forwards of the MAE in such a run from scratch: ten minutes of a CPU core on clips of 64 x 64."""
Changes = Mapping[str, Any]
"""Dotted names of settings to their values: {"tats.credit": "joint"}."""


def with_changes(config: PretrainConfig, changes: Changes) -> PretrainConfig:
    """Return the settings with some replaced.

    Raises:
        TypeError: If a setting does not exist.
    """
    for name, value in changes.items():
        part, _, field = name.rpartition(".")
        owner: Any = getattr(config, part) if part else config
        varied: Any = {**owner, field: value} if isinstance(owner, Mapping) else replace(owner, **{field: value})
        config = replace(config, **{part: varied}) if part else varied
    return config


def with_agent(config: PretrainConfig, agent: str) -> PretrainConfig:
    """Return the settings with another agent; without the reward's second forward if the agent makes no use of it."""
    unused = agent in AGENTS and not AGENTS[agent].uses_gain and find_reward(config.reward).needs_random_mask
    return replace(config, agent=agent, reward="neg_error" if unused else config.reward)


def with_forwards(base: PretrainConfig, forwards: int | None = None) -> PretrainConfig:
    """Return the settings for a number of training forwards of the MAE, with a K that tube masks can show too.

    Args:
        base: Without `visible`, K follows from its mask ratio, rounded to a multiple of the tubelets.
        forwards: Clips times masks of a run, a multiple of epochs * num_envs; None takes those of `base`.

    Raises:
        ValueError: If `forwards` is no such multiple; the message has the nearest ones.
    """
    grid, epochs = base.grid, base.mae_optim.epochs
    if grid.visible is None:
        tubelets = grid.shape[0]
        grid = replace(grid, visible=max(1, round(grid.num_visible / tubelets)) * tubelets)
    step = epochs * base.num_envs
    if forwards is None:
        stream = ClipStream(base.clips, frames=grid.frames, size=grid.size, seed=base.seed)
        forwards = base.steps_per_epoch(len(stream)) * step
    if forwards < 1 or forwards % step:
        raise ValueError(
            f"forwards must be a multiple of epochs * num_envs = {epochs} * {base.num_envs} = {step}, got {forwards}; "
            f"take {' or '.join(map(str, nearest_multiples(forwards, step)))}"
        )
    rollouts = forwards // base.num_envs // base.tats.n_steps
    return replace(
        base,
        grid=grid,
        epoch_masks=forwards // epochs,
        log_interval=max(1, min(base.log_interval, rollouts)),  # masks/s is read from the log
    )


def check_builds(configs: Mapping[str, PretrainConfig]) -> None:
    """Build each run once and discard it, so that settings that do not fit fail before the first of them begins.

    Args:
        configs: The settings of runs on the same clips, by the names that messages give them.

    Raises:
        ValueError: If parts do not fit, or if an agent's rollouts would train the MAE for longer than asked; one
            message names all runs that fail.
    """
    faults = []
    clip_was_read = False
    for name, config in configs.items():
        # A worker survives a file that hangs the decoder, and takes seconds to start: the first run alone needs it.
        clips = replace(config.clips, num_workers=0) if clip_was_read else config.clips
        try:
            _build(replace(config, clips=clips))
        except (ValueError, TypeError) as err:
            faults.append(f"{name}: {err}")
        else:
            clip_was_read = True
    if faults:
        raise ValueError("; ".join(["not all runs can be built with these settings", *faults]))


def _build(config: PretrainConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Pretraining(replace(config, out=folder, eval_clips=1, online_probe_clips=1, quiet=True))
        run.close()
    rollout = config.num_envs * rollout_steps(run.agent)
    if run.total_timesteps % rollout:
        raise ValueError(
            f"its rollouts take {rollout} forwards, of which the {run.total_timesteps} of a run must be a multiple, or "
            "it would train the MAE for longer than the others"
        )
