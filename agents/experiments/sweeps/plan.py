"""Plans a sweep before it is made: hours and disk of its runs on this machine, from a short measurement of each."""

from collections.abc import Iterator

from tats_gym.agents.experiments.sweeps.sweep import SweepCommand, sweep_trials
from tats_gym.agents.experiments.trials.plan import plan_trials


def plan_sweep(command: SweepCommand) -> Iterator[str]:
    """Yield a line for each row and column of the table, and the sums over all rows, columns and seeds.

    Raises:
        ValueError: If `sweep_trials` refuses the settings, or a run cannot be built.
    """
    sweep, seeds = command.sweep, command.seeds
    trials = sweep_trials(sweep, command.base, command.out / command.table, seeds[:1], budget=command.budget)
    configs = {(row, column): trial.config for (row, column, _), trial in trials.items()}
    yield from plan_trials((sweep.corner, "agent"), configs, len(seeds))
