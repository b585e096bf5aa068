"""Compare agents over seeds: python scripts/compare_agents.py --env TatsMask-demo-v0 --agents tats random."""

import argparse
import json
import logging
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import matplotlib.image
import tyro

ROOT = Path(__file__).resolve().parent.parent
# A checkout runs without being installed, and agents are found where the command is given.
sys.path[:0] = [str(ROOT), str(Path.cwd())]

from tats_gym.agents.config import PRESETS, PretrainConfig  # noqa: E402
from tats_gym.agents.experiments.comparison import Comparison, defaults_for, run_comparison, sized  # noqa: E402
from tats_gym.agents.experiments.comparison_measures import ProbePlan  # noqa: E402
from tats_gym.agents.experiments.comparison_report import as_tables, compare, comparison_figure, plain_rows  # noqa: E402
from tats_gym.agents.experiments.probe_study import DEMO_TEST, DEMO_TRAIN  # noqa: E402
from tats_gym.agents.experiments.study_report import as_plain  # noqa: E402
from tats_gym.agents.training.command_line import check_reserved, exit_code, without_paths  # noqa: E402
from tats_gym.clips.demo.files import demo_data_of  # noqa: E402
from tats_gym.files.atomic import make_folder, write_whole  # noqa: E402
from tats_gym.runs.folder import origin  # noqa: E402
from tats_gym.runs.parallel_jobs import default_jobs  # noqa: E402

INSTEAD = {"env": "--env", "agent": "--agents", "seed": "--seeds", "out": "--out"}

DESCRIPTION = f"""Compare agents over seeds: each trains an MAE with an equal number of forwards and equal K.

Numbers and picture go to --results. What was stopped goes on where it was. docs/comparison.md: what is measured.

--env ID        whose clips are used; the demo data without it
--preset NAME   start from another preset than the id's own: {", ".join(PRESETS)}"""


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Who is compared, on what, and where the results go."""

    agents: tuple[str, ...] = ("tats", "adamae", "random", "tube", "motion", "group")
    """Names of agents, or module:function of your own; with `random` among them the others are compared with it."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Every agent is trained with each."""
    forwards: int | None = None
    """Training forwards of the MAE in a run, clips times masks; None takes the preset's."""
    reference: str | None = None
    """A run whose MAE measures the masks of all agents; None takes, for each seed, that of the agent `random`."""
    probe: bool = True
    """Probe the encoders, where the clips have labels."""
    jobs: int = field(default_factory=default_jobs)
    """Runs side by side, each with its share of the cores."""
    label: str | None = None
    """Name of the data, for the names of the results; None takes the dataset's."""
    out: Path = Path("runs/comparisons")
    """Where the runs lie; what was stopped goes on from there."""
    results: Path = Path("benchmarks/results")
    """Where table, numbers and picture go."""
    base: PretrainConfig
    """What all runs have in common."""
    probing: ProbePlan
    """How encoders are probed."""


def main(arguments: list[str]) -> int:
    """Parse, run what is missing, then print, draw and write."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env", default="TatsMask-demo-v0")
    first.add_argument("--preset")
    chosen, rest = first.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def run() -> None:
        base, probing = defaults_for(chosen.env, chosen.preset)
        defaults = CompareCommand(base=base, probing=probing)
        config = tyro.cli(
            CompareCommand, args=rest, default=defaults, prog="compare_agents.py", description=DESCRIPTION
        )
        check_reserved(config.base, base, INSTEAD)
        _compare(config, arguments)

    return exit_code(run)


def _compare(config: CompareCommand, arguments: list[str]) -> None:
    make_folder(config.results)  # before hours of work
    base, probe = sized(config.base, config.forwards), config.probing if config.probe else None
    if probe and probe.root is None and base.clips.data == "demo" and base.clips.root is None:
        probe = replace(probe, root=str(demo_data_of(DEMO_TRAIN, DEMO_TEST)))
    label = config.label or base.clips.data
    comparison = Comparison(base=base, agents=config.agents, reference=config.reference, probe=probe)
    found = run_comparison(comparison, config.out / label, config.seeds, jobs=config.jobs)
    summary, grid = compare(found.rows), base.grid
    about = (
        f"{label}: {found.rows[0]['steps']:,} training forwards of the MAE, {grid.num_visible} of {grid.num_tokens} "
        f"tokens visible, {len(config.seeds)} seeds"
    )
    print("\n".join([about, "", as_tables(summary), *found.notes]))
    now = origin()
    record = {
        "about": about,
        "command": shlex.join(["python", "scripts/compare_agents.py", *without_paths(arguments)]),
        **now,
        "commits": sorted({row["commit"] for row in found.rows} | {now["commit"]}, key=str),
        "seeds": list(config.seeds),
        "jobs_side_by_side": config.jobs,
        "notes": found.notes,
        "agents": as_plain(summary),
        "rows": plain_rows(found.rows),
        "settings": without_paths(asdict(comparison)),
    }
    path = config.results / f"compare_{label}"
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    matplotlib.image.imsave(path.with_suffix(".png"), comparison_figure(summary, about))
    print(f"\nnumbers: {path}.json\npicture: {path}.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
