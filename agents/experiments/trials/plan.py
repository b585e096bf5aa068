"""Plans trials before they are run: hours and disk on this machine, from a short measurement of each."""

from collections.abc import Iterator, Mapping

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.training.plan import plan_run
from tats_gym.results import aligned


def plan_trials(head: tuple[str, str], configs: Mapping[tuple[str, str], PretrainConfig], seeds: int) -> Iterator[str]:
    """Yield a line for each run that was measured, their table, and the sums over all runs and seeds.

    Runs that are done already are counted too; probes are not measured.

    Args:
        head: Heads of the columns with the two parts of the runs' names.
        configs: Name of each run to its settings.
        seeds: Number of seeds with which each is run.

    Raises:
        ValueError: If a run cannot be built.
    """
    lines = [[*head, "masks", "hours a run", "GiB a run"]]
    hours = disk = 0.0
    for name, config in configs.items():
        plan = plan_run(config)
        masks, gib = sum(phase.masks for phase in plan.phases), plan.disk_bytes / 2**30
        lines.append([*name, f"{masks:,}", f"{plan.hours:,.2f}", f"{gib:.2f}"])
        hours += plan.hours * seeds
        disk += gib * seeds
        yield f"measured {', '.join(name)}: {plan.hours:,.2f} h a run"
    yield "\n".join(aligned(lines))
    yield (
        f"{len(configs)} runs of {seeds} seeds, one after the other on this machine: {hours:,.1f} h, "
        f"{disk:,.1f} GiB; n machines that share --out need about an n-th of the hours"
    )
