"""The result of a method on a task: its form as a file, and the rules of the leaderboard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tats_gym.agents.experiments.bench.columns import ESTIMATED, VALUES
from tats_gym.agents.experiments.bench.tasks import SEEDS, TASKS
from tats_gym.agents.experiments.comparison.compare import CONTROL, file_name
from tats_gym.agents.experiments.trials.estimates import Row, as_plain, rounded, summarise
from tats_gym.files.atomic import make_folder
from tats_gym.files.text import parse_json, read_text
from tats_gym.messages import check_choice
from tats_gym.results import write_results
from tats_gym.settings.config_io import from_plain
from tats_gym.statistics import Estimate

ROUNDING = 2e-5
"""Largest difference allowed between an estimate and the one that its rounded values give."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A method on a task: every seed's values, their estimates, and their provenance."""

    method: str
    """Name of the agent, or `module:function`."""
    task: str
    """Name of the task, see `TASKS`."""
    version: int
    """The task's."""
    seeds: tuple[int, ...]
    """Seeds of the runs."""
    forwards: int
    """Training forwards of the MAE in a run."""
    seconds: float | None
    """Seconds that they were made to last on this machine; None for a budget in forwards."""
    rows: tuple[dict[str, Any], ...]
    """A row for each seed: its `VALUES`."""
    control: tuple[dict[str, Any], ...]
    """The rows of the control `random`, trained beside the method, likewise."""
    estimates: dict[str, Any]
    """Measures, and their differences to the control, over seeds: fields of `Estimate` rounded."""
    settings: dict[str, Any]
    """Settings in which the method's runs differ from the control's: those of its agent."""
    command: str
    """The command that makes this file."""
    jobs_side_by_side: int
    """Runs at a time."""
    commit: str | None
    """Commit of the report; None outside a checkout."""
    commits: tuple[str | None, ...]
    """Commits of the runs and of the report."""
    date: str
    """Day of the report."""
    machine: dict[str, Any]
    """Cores, processor and GPUs."""
    versions: dict[str, Any]
    """Versions of Python and packages."""

    def __post_init__(self) -> None:
        check_choice("task", self.task, tuple(TASKS))
        date.fromisoformat(self.date)
        if not {"cores", "processor"} <= self.machine.keys():
            raise TypeError(f"machine must have cores and processor, got {self.machine}")
        for name in ("rows", "control"):
            rows = getattr(self, name)
            if not rows or tuple(row.get("seed") for row in rows) != self.seeds or len({*self.seeds}) < len(rows):
                found = [row.get("seed") for row in rows]
                raise ValueError(
                    f"{name} must have a row for each of the seeds {self.seeds}, in their order, got {found}; run the "
                    "benchmark again"
                )
            _check_values(name, rows)
        if any(row.keys() != self.control[0].keys() for row in (*self.rows, *self.control)):
            raise ValueError("rows and control must have the same measures in all seeds")
        if any(row.get("steps") != self.forwards for row in self.rows):
            raise ValueError(f"rows must have {self.forwards} steps each, as many as forwards")
        if (ranked_by := TASKS[self.task].ranked_by) not in self.estimates:
            raise ValueError(f"estimates must have {ranked_by}, by which the methods of {self.task} are ordered")
        _check_estimates(self.estimates, estimates_of(self.method, self.rows, self.control))

    @property
    def summary(self) -> dict[str, Estimate]:
        """The estimates over seeds."""
        return _summary(self.method, self.rows, self.control)


def values_of(row: Row) -> dict[str, Any]:
    """Return the part of a run's row that a result keeps: seed, steps and the finite ones of `VALUES`, rounded."""
    kept = {name: rounded(row[name]) for name in ("seed", "steps", *VALUES) if name in row}
    return {name: value for name, value in kept.items() if value is not None}


def estimates_of(method: str, rows: Sequence[Row], control: Sequence[Row]) -> dict[str, Any]:
    """Return the estimates over seeds of a method's `values_of`, and of their differences to the control's."""
    plain: dict[str, Any] = as_plain({method: _summary(method, rows, control)})[method]
    return plain


def _summary(method: str, rows: Sequence[Row], control: Sequence[Row]) -> dict[str, Estimate]:
    named = [{**row, "method": CONTROL} for row in control]
    if method != CONTROL:
        named += [{**row, "method": method} for row in rows]
    return summarise(named, CONTROL, by="method", names=ESTIMATED)[method]


def _check_values(name: str, rows: Sequence[Row]) -> None:
    for row in rows:
        if unknown := row.keys() - {"seed", "steps", *VALUES}:
            raise TypeError(f"{name} have no measure {', '.join(sorted(unknown))}")
        for measure, value in row.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must have a number as {measure}, got {value!r}")


def _check_estimates(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if given.keys() != expected.keys():
        raise ValueError(f"estimates must be of {', '.join(expected)}; got {', '.join(given)}")
    for measure, fields in expected.items():
        for field, value in fields.items():
            found = given[measure].get(field) if isinstance(given[measure], Mapping) else None
            if not _alike(found, value):
                raise ValueError(f"estimates must be those of the rows: {measure}.{field} is {value}, got {found}")


def _alike(found: Any, value: Any) -> bool:
    if isinstance(value, list | tuple):
        same = isinstance(found, list | tuple) and len(found) == len(value)
        return same and all(map(_alike, found, value))
    if value is None or not isinstance(found, int | float):
        return found is value
    return math.isclose(found, value, rel_tol=1e-6, abs_tol=ROUNDING)


# --- Files -----------------------------------------------------------------------------------------------------------


def write_result(result: Result, folder: Path) -> str:
    """Write a result below a folder, as TASK/METHOD.json, and return the line with its path."""
    make_folder(folder / result.task)
    return write_results(folder / result.task / file_name(result.method), asdict(result))


def read_result_file(path: Path) -> Result:
    """Read a result.

    Raises:
        TypeError: If a field is unknown, missing or of another type.
        ValueError: If it is not JSON, or the result contradicts itself; the message names the file.
    """
    values = parse_json(read_text(path), str(path))
    try:
        return from_plain(Result, values)
    except (TypeError, ValueError) as err:
        raise type(err)(f"{path}: {err}") from err


def read_leaderboard(folder: Path) -> list[Result]:
    """Read the entries of a leaderboard; none if there is no such folder.

    Raises:
        TypeError: If a file has an unknown or missing field, or one of another type.
        ValueError: If a file is no entry, see `check_entry`; the message names it.
    """
    entries = []
    for path in sorted(folder.glob("*/*.json")):
        result = read_result_file(path)
        if path != folder / result.task / f"{file_name(result.method)}.json":
            raise ValueError(
                f"{path} must lie at {result.task}/{file_name(result.method)}.json, as its method and task"
            )
        try:
            check_entry(result)
        except ValueError as err:
            raise ValueError(f"{path}: {err}") from err
        entries.append(result)
    return entries


def check_entry(result: Result) -> None:
    """Refuse a result that cannot stand beside the others on the leaderboard.

    Raises:
        ValueError: If it is of another version, budget or seeds than its task's, or of a task without a leaderboard.
    """
    task = TASKS[result.task]
    if result.version != task.version:
        raise ValueError(
            f"version must be {task.version}, that of {result.task}, got {result.version}; run it anew, or delete it"
        )
    if obstacle := not_entered(result.task, result.seeds, result.forwards, result.seconds):
        raise ValueError(obstacle)


def not_entered(task: str, seeds: Sequence[int], forwards: int | None, seconds: float | None) -> str | None:
    """Return why results of these settings do not belong on the leaderboard; None if they do."""
    record = TASKS[task]
    if not record.entered:
        return f"the task {task} has no leaderboard, since its clips are yours"
    if tuple(seeds) != SEEDS:
        return f"seeds must be {' '.join(map(str, SEEDS))}, so that none are picked, got {' '.join(map(str, seeds))}"
    if seconds is not None or forwards not in (None, record.forwards):
        given = f"{forwards} forwards" if seconds is None else f"{seconds:g} seconds"
        return f"the budget must be the task's {record.forwards} forwards, got {given}"
    return None
