"""Sweep what the paper's supplement swept: python scripts/sweep.py table2|table3|table6 --env ID --budget N.

Every cell is one run in a folder of its own below --out; what was stopped goes on. The same command may be given on
many machines that share --out: each takes the cells that no other has in hand.
"""

import argparse
import json
import logging
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

# A checkout runs without being installed, and agents are found where the command is given.
sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path.cwd())]

from tats_gym.agents.config import PRESETS, PretrainConfig  # noqa: E402
from tats_gym.agents.experiments.comparison import defaults_for  # noqa: E402
from tats_gym.agents.experiments.comparison_measures import ProbePlan  # noqa: E402
from tats_gym.agents.experiments.paper_tables import SWEEPS  # noqa: E402
from tats_gym.agents.experiments.probe_study import DEMO_TEST, DEMO_TRAIN  # noqa: E402
from tats_gym.agents.experiments.study_report import rounded  # noqa: E402
from tats_gym.agents.experiments.sweep import Swept, as_table, estimates, planned, run_sweep  # noqa: E402
from tats_gym.agents.training.command_line import check_reserved, exit_code, without_paths  # noqa: E402
from tats_gym.clips.demo.files import demo_data_of  # noqa: E402
from tats_gym.files.atomic import make_folder, write_whole  # noqa: E402
from tats_gym.runs.folder import origin  # noqa: E402
from tats_gym.runs.parallel_jobs import default_jobs  # noqa: E402

INSTEAD = {"env": "--env", "agent": "the table's", "seed": "--seeds", "out": "--out", "epoch_clips": "--budget"}

DESCRIPTION = f"""Sweep what the paper's supplement swept, and print its table beside the paper's figures.

table2: m_o and k. table3: c1, c2, c3. table6: mask ratio and agent, by linear probing. What was stopped goes on. The
same command may be given on many machines that share --out: each takes the cells that no other has in hand.

--env ID        whose clips are used; the demo data without it
--preset NAME   start from another preset than the id's own: {", ".join(PRESETS)}"""


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """What to sweep, and where the results go."""

    table: Annotated[Literal["table2", "table3", "table6"], tyro.conf.Positional]
    """Of the supplement."""
    budget: int | None = None
    """Training forwards of the MAE in a run, clips times masks; None takes the preset's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Every cell is run with each."""
    jobs: int = field(default_factory=default_jobs)
    """Cells side by side, each in a process of its own with its share of the cores."""
    label: str | None = None
    """Name of the data, for the names of the results; None takes the dataset's."""
    out: Path = Path("runs/sweeps")
    """Where the runs lie; many machines may share it."""
    results: Path = Path("benchmarks/results")
    """Where table and numbers go."""
    base: PretrainConfig
    """What all runs have in common, but for what is swept."""
    probing: ProbePlan
    """How encoders are probed."""


def main(arguments: list[str]) -> int:
    """Parse, run what is missing, then print and write."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env", default="TatsMask-demo-v0")
    first.add_argument("--preset")
    chosen, rest = first.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def run() -> None:
        base, probing = defaults_for(chosen.env, chosen.preset)
        defaults = SweepCommand(table="table2", base=base, probing=probing)
        config = tyro.cli(SweepCommand, args=rest, default=defaults, prog="sweep.py", description=DESCRIPTION)
        swept = dict.fromkeys(SWEEPS[config.table].settings, f"{config.table}'s own")
        check_reserved(config.base, base, swept | INSTEAD)
        _sweep(config, arguments)

    return exit_code(run)


def _sweep(config: SweepCommand, arguments: list[str]) -> None:
    make_folder(config.results)  # before hours of work
    sweep, data, probing = SWEEPS[config.table], config.base.clips.data, config.probing
    if data == "demo" and config.base.clips.root is None and probing.root is None:
        probing = replace(probing, root=str(demo_data_of(DEMO_TRAIN, DEMO_TEST)))
    label = config.label or data
    folder = config.out / f"{config.table}-{label}"
    cells = planned(sweep, config.base, folder, config.seeds, budget=config.budget)
    swept = run_sweep(sweep, cells, probing, jobs=config.jobs)
    found = estimates(sweep, swept)
    about = f"{config.table}, {label}: {sweep.about}; {_in_common(config, swept)}"
    table = as_table(sweep, found, data)
    print(f"{about}\n\n{table}")
    record = {
        "about": about,
        "command": shlex.join(["python", "scripts/sweep.py", *without_paths(arguments)]),
        **origin(),
        "commits": sorted({each.values["commit"] for each in swept}, key=str),
        "seeds": list(config.seeds),
        "rows": sweep.rows,
        "settings": without_paths({"base": config.base.as_dict(), "probing": asdict(probing)}),
        "runs_s": round(sum(each.values["cost_s"] for each in swept)),
        "jobs_side_by_side": config.jobs,
        "table": table.splitlines(),
        "cells": [
            {"row": row, "column": column, **rounded({name: vars(each) for name, each in measures.items()})}
            for (row, column), measures in found.items()
        ],
    }
    path = config.results / f"sweep_{config.table}_{label}.json"
    write_whole(path, json.dumps(record, indent=1) + "\n")
    print(f"\nnumbers: {path}")


def _in_common(config: SweepCommand, swept: list[Swept]) -> str:
    steps = sorted({each.values["steps"] for each in swept})
    said = f"{len(config.seeds)} seeds, {' or '.join(f'{number:,}' for number in steps)} training forwards a run"
    tats = config.base.tats
    if "tats.credit" in SWEEPS[config.table].settings:
        return said
    return f"{said}, credit {tats.credit}, c1 c2 c3 {tats.policy_coef:g} {tats.vf_coef:g} {tats.ent_coef:g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
