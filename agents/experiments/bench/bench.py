"""The benchmark of masks: runs methods on tasks beside the control `random`, and writes a file for each."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tats_gym.agents import find_agent
from tats_gym.agents.experiments.bench.budget import Budget, forwards_within
from tats_gym.agents.experiments.bench.measures import coordinates, headroom
from tats_gym.agents.experiments.bench.page import leaderboard_page, results_tables
from tats_gym.agents.experiments.bench.result import (
    Result,
    estimates_of,
    not_entered,
    read_leaderboard,
    values_of,
    write_result,
)
from tats_gym.agents.experiments.bench.tasks import SEEDS, TASKS, TaskName
from tats_gym.agents.experiments.comparison.compare import (
    CONTROL,
    Comparison,
    check,
    file_name,
    run_comparison,
    with_demo_set,
)
from tats_gym.agents.experiments.studies.report import with_headroom_share
from tats_gym.agents.experiments.trials.estimates import Row
from tats_gym.agents.experiments.trials.plan import plan_trials
from tats_gym.agents.experiments.trials.trial import latest_run
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.training.command_line import differing
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.jobs.parallel import default_jobs
from tats_gym.messages import check_choice
from tats_gym.results import origin_of, results_folder
from tats_gym.settings.config_io import check_plain, from_plain
from tats_gym.settings.intervals import check_intervals

OWN_CLIPS = "clips"
"""The task that takes a folder of the user's."""


def leaderboard_folder() -> Path:
    """Return the folder of the leaderboard: benchmarks/leaderboard in a checkout, else leaderboard."""
    return results_folder().parent / "leaderboard"


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """The methods and tasks, their seeds and budget, and where the results go."""

    methods: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of agents, or module:function of your own."""
    tasks: tuple[TaskName, ...] = ("demo-05", "demo-10")
    """The tasks; games-05 and games-10 need tats-gym[atari], clips a --root."""
    seeds: tuple[int, ...] = SEEDS
    """Every method is trained with each; an entry of the leaderboard with these."""
    forwards: int | None = None
    """Training forwards of the MAE in a run, clips times masks; None takes the task's."""
    seconds: float | None = None
    """Seconds of training in a run instead, as whole epochs, by a short measurement of each agent's speed here."""
    root: str | None = None
    """Folder of the videos of the task clips."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel runs; each takes its share of the cores."""
    out: Path = Path("runs/bench")
    """Folder of the runs; stopped ones resume there, and several machines can share it."""
    results: Path = field(default_factory=leaderboard_folder)
    """Folder of the results, TASK/METHOD.json. Results that are no entries of the leaderboard need another folder."""
    page: bool = False
    """Write the leaderboard's page from its files, and run nothing."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, jobs="[1, inf)", forwards="[1, inf)", seconds="(0, inf)")
        if self.page == bool(self.methods):
            raise ValueError(f"name methods to run, or give --page alone, got {self.methods} and page {self.page}")
        if len({*self.methods}) < len(self.methods) or len({*self.tasks}) < len(self.tasks):
            raise ValueError(f"methods and tasks must each be named once, got {self.methods} and {self.tasks}")
        if self.forwards and self.seconds:
            raise ValueError("--forwards and --seconds are both budgets; leave one out")
        for task in self.tasks:
            check_choice("tasks", task, tuple(TASKS))
            if (task == OWN_CLIPS) != (self.root is not None):
                raise ValueError(
                    f"--root is the folder of the task {OWN_CLIPS}, and of no other, got {self.root} and {task}"
                )
            obstacle = None if self.page else not_entered(task, self.seeds, self.forwards, self.seconds)
            if obstacle and self.results.absolute() == leaderboard_folder().absolute():
                raise ValueError(f"{obstacle}; name another folder than the leaderboard's by --results")

    @property
    def agents(self) -> tuple[str, ...]:
        """The control, and the methods."""
        return tuple(dict.fromkeys((CONTROL, *self.methods)))

    def folder(self, task: str) -> Path:
        """Return the folder of a task's runs: another one for each version and budget."""
        version = f"{task}-v{TASKS[task].version}"
        budget = f"-{self.forwards}" if self.forwards else f"-{self.seconds:g}s" if self.seconds else ""
        return self.out / f"{version}{budget}"

    def comparison(self, task: str) -> Comparison:
        """Return the comparison of the methods and the control on a task.

        Raises:
            ValueError: If `with_forwards` refuses the budget.
            WorkFailedError: If an agent's speed cannot be measured.
        """
        record, folder = TASKS[task], self.folder(task)
        base = record.settings(self.forwards, self.root)
        comparison = Comparison(base=base, agents=self.agents, reference=record.reference, probe=record.probe)
        if self.seconds is None:
            return comparison
        budgets = [
            Budget(comparison.config_of(agent), self.seconds, folder / file_name(agent) / "budget")
            for agent in self.agents
        ]
        forwards = forwards_within(budgets, jobs=self.jobs)
        return replace(comparison, forwards=dict(zip(self.agents, forwards, strict=True)))

    def words(self, method: str, task: str) -> str:
        """Return the command line that makes one result."""
        words = ["tats-gym", "bench", method, "--tasks", task, "--seeds", *map(str, self.seeds)]
        words += ["--forwards", str(self.forwards)] if self.forwards else []
        words += ["--seconds", f"{self.seconds:g}"] if self.seconds else []
        words += ["--root", "FOLDER"] if self.root else []
        return shlex.join(words)


def report_bench(command: BenchCommand) -> Iterator[str]:
    """Run the missing trials of every task and write the results; yield tables, and where the results lie.

    Raises:
        ValueError: If `run_comparison` refuses a method, before the first run.
        WorkFailedError: If some runs failed; the others are done.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    if command.page:
        yield _write_page(command.results)
        return
    make_folder(command.results)  # before hours of work
    comparisons = {task: command.comparison(task) for task in command.tasks}
    for comparison in comparisons.values():
        check(comparison)
    for task, comparison in comparisons.items():
        if comparison.probe:
            comparison = replace(comparison, probe=with_demo_set(comparison.probe, comparison.base.clips))
        found = run_comparison(comparison, command.folder(task), command.seeds, jobs=command.jobs)
        rows = _measured(command, task, comparison, found.rows)
        results = [_result(command, task, comparison, rows, method) for method in command.methods]
        yield "\n".join([f"{task}: {TASKS[task].about}", "", results_tables(results), "", *found.notes])
        yield "\n".join(write_result(result, command.results) for result in results)


def _write_page(folder: Path) -> str:
    path = Path("docs" if Path("docs/index.md").is_file() else "", "leaderboard.md")
    write_whole(path, leaderboard_page(read_leaderboard(folder)))
    return f"page: {path}"


def plan_bench(command: BenchCommand) -> Iterator[str]:
    """Yield a line for each method and task, the control among them, and the sums over all seeds.

    Raises:
        ValueError: If a run cannot be built.
    """
    comparisons = {task: command.comparison(task) for task in command.tasks}
    configs = {
        (task, agent): comparison.config_of(agent)
        for task, comparison in comparisons.items()
        for agent in comparison.agents
    }
    yield from plan_trials(("task", "method"), configs, len(command.seeds))


def _measured(command: BenchCommand, task: str, comparison: Comparison, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows of a comparison with shares of the headroom, and coordinates where the task has them."""
    folder, jobs, record = command.folder(task), command.jobs, TASKS[task]
    if record.reference:
        maes = {0: record.reference}  # one search for all seeds
    else:
        maes = {seed: str(latest_run(comparison.trial_of(CONTROL, seed, folder).folder)) for seed in command.seeds}
    searched = headroom(comparison.base, maes, folder, jobs=jobs)
    shared = with_headroom_share(rows, searched, "reference_gain")
    if not record.coordinates:
        return shared
    trials = [comparison.trial_of(row["agent"], row["seed"], folder) for row in rows]
    return [{**row, **found} for row, found in zip(shared, coordinates(trials, jobs=jobs), strict=True)]


def _result(command: BenchCommand, task: str, comparison: Comparison, rows: Sequence[Row], method: str) -> Result:
    """Return the result of a method from the rows of all agents."""
    mine, control = ([row for row in rows if row["agent"] == agent] for agent in (method, CONTROL))
    values = {"rows": [values_of(row) for row in mine], "control": [values_of(row) for row in control]}
    settings = differing(
        [resolve_settings(comparison.config_of(agent), find_agent(agent)) for agent in (CONTROL, method)]
    )
    plain = {
        "method": method,
        "task": task,
        "version": TASKS[task].version,
        "seeds": command.seeds,
        "forwards": mine[0]["steps"],
        "seconds": command.seconds,
        **values,
        "estimates": estimates_of(method, values["rows"], values["control"]),
        "settings": {name: both[1] for name, both in settings.items() if name != "agent"},
        "command": command.words(method, task),
        "jobs_side_by_side": command.jobs,
        **origin_of([*mine, *control]),
    }
    return from_plain(Result, plain)
