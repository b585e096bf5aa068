"""Budgets in seconds: the training forwards that an agent makes in them on this machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.stored_results import read_result, store_result
from tats_gym.agents.training.plan import plan_run
from tats_gym.files.atomic import make_folder
from tats_gym.jobs.work_queue import share_out

BUDGET = "budget.json"


@dataclass(frozen=True)
class Budget:
    """An agent's seconds of training."""

    config: PretrainConfig
    """Its settings, of the task's length."""
    seconds: float
    """Seconds of training in a run, without measurements."""
    folder: Path
    """This budget's alone; keeps the number of forwards, so that a stopped comparison goes on with the same."""


def forwards_within(budgets: Sequence[Budget], *, jobs: int) -> list[int]:
    """Return for each agent the most training forwards that its seconds allow, as whole epochs and rollouts.

    The speed is measured over a few rollouts, with as many agents side by side as in the runs.

    Args:
        budgets: One for each agent.
        jobs: Parallel measurements; each takes its share of the cores.

    Raises:
        WorkFailedError: If the seconds allow no forward in each epoch, or an agent cannot be built.
    """
    for _ in share_out(_measure, budgets, _measured, jobs=jobs, own_process=jobs > 1):
        pass
    results = [read_result(each.folder / BUDGET, _inputs(each)) for each in budgets]
    return [each["forwards"] for each in results if each is not None]


def _inputs(budget: Budget) -> dict[str, float]:
    return {"seconds": budget.seconds}


def _measured(budget: Budget) -> bool:
    return read_result(budget.folder / BUDGET, _inputs(budget)) is not None


def _measure(budget: Budget) -> int:
    config, plan = budget.config, plan_run(budget.config)
    unit = math.lcm(config.mae_optim.epochs * config.num_envs, plan.rollout_masks)
    forwards = int(budget.seconds * plan.masks_per_s / unit) * unit
    if not forwards:
        raise ValueError(
            f"--seconds must allow {config.agent} {unit} forwards, a step of each epoch, got {budget.seconds:g}; take "
            f"{math.ceil(unit / plan.masks_per_s)} or more"
        )
    make_folder(budget.folder)
    store_result(budget.folder / BUDGET, _inputs(budget), {"forwards": forwards, "forwards_per_s": plan.masks_per_s})
    return forwards
