"""Plans a sweep before it is made: hours and disk of its runs on this machine, from a short measurement of each."""

from collections.abc import Iterator

from tats_gym.agents.experiments.sweeps.sweep import SweepCommand, sweep_trials
from tats_gym.agents.training.plan import plan_run
from tats_gym.results import aligned


def plan_sweep(command: SweepCommand) -> Iterator[str]:
    """Yield a line for each row and column of the table, and the sums over all rows, columns and seeds.

    Runs that are done already are counted too; probes are not measured.

    Raises:
        ValueError: If `sweep_trials` refuses the settings, or a run cannot be built.
    """
    sweep, seeds = command.sweep, command.seeds
    trials = sweep_trials(sweep, command.base, command.out / command.table, seeds[:1], budget=command.budget)
    lines = [[sweep.corner, "agent", "masks", "hours a run", "GiB a run"]]
    hours = disk = 0.0
    for (row, column, _), trial in trials.items():
        plan = plan_run(trial.config)
        masks, gib = sum(phase.masks for phase in plan.phases), plan.disk_bytes / 2**30
        lines.append([row, column, f"{masks:,}", f"{plan.hours:,.2f}", f"{gib:.2f}"])
        hours += plan.hours * len(seeds)
        disk += gib * len(seeds)
        yield f"measured {row}, {column}: {plan.hours:,.2f} h a run"
    yield "\n".join(aligned(lines))
    yield (
        f"{len(trials)} runs of {len(seeds)} seeds, one after the other on this machine: {hours:,.1f} h, "
        f"{disk:,.1f} GiB; n machines that share --out need about an n-th of the hours"
    )
