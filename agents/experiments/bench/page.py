"""The leaderboard as a page in Markdown: the tasks, what may be compared, and a table of every task's results."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jinja2

from tats_gym.agents.experiments.bench.columns import COLUMNS, TABLES
from tats_gym.agents.experiments.bench.result import Result
from tats_gym.agents.experiments.bench.tasks import SEEDS, TASKS, Task
from tats_gym.agents.experiments.comparison.compare import file_name
from tats_gym.agents.experiments.comparison.report import ARROWS, Measure, as_number, as_text
from tats_gym.statistics import Estimate

TEMPLATE = Path(__file__).with_name("page.md.j2")


def leaderboard_page(results: Sequence[Result]) -> str:
    """Return the page of these entries, as `read_leaderboard` returns them."""
    sections = [
        {"title": f"{name}, version {task.version}", "text": _section(name, results)}
        for name, task in TASKS.items()
        if task.entered
    ]
    seeds = f"{SEEDS[0]} to {SEEDS[-1]}"
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined, trim_blocks=True)
    page: str = template.render(tasks="\n".join(_tasks_table()), seeds=seeds, sections=sections)
    return page.rstrip() + "\n"


def _tasks_table() -> Iterator[str]:
    yield "| task | version | data | visible tokens | forwards | held-out clips | gains are measured by | ordered by |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, task in TASKS.items():
        config = task.settings()
        grid, reference = config.grid, f"the MAE `{task.reference}`" if task.reference else "that of `random`"
        yield (
            f"| `{name}` | {task.version} | {task.about} | {grid.num_visible} of {grid.num_tokens} | "
            f"{task.forwards:,} | {config.eval_clips} | {reference} | {COLUMNS[task.ranked_by].title} |"
        )


def _section(name: str, results: Sequence[Result]) -> str:
    own = [result for result in results if result.task == name]
    if not own:
        return f"No entries yet: `tats-gym bench METHOD --tasks {name}` makes one."
    return "\n\n".join([results_tables(own), "\n".join(_origins(own))])


def results_tables(results: Sequence[Result]) -> str:
    """Return the tables of results of one task in Markdown, the best method first."""
    task = TASKS[results[0].task]
    summaries = {result.method: result.summary for result in ranked(task, results)}
    head = f"Ordered by {COLUMNS[task.ranked_by].title}."
    return "\n\n".join(
        [head, *("\n".join(_table(*table, summaries)) for table in TABLES.items() if _has(table[1], summaries))]
    )


def ranked(task: Task, results: Sequence[Result]) -> list[Result]:
    """Return results in the order of the task's measure, the best first."""
    sign = 1 if COLUMNS[task.ranked_by].better == "lower" else -1
    return sorted(results, key=lambda result: (sign * result.summary[task.ranked_by].mean, result.method))


Summaries = Mapping[str, Mapping[str, Estimate]]


def _has(measures: Mapping[str, Measure], summaries: Summaries) -> bool:
    return any(name in summary for name in measures for summary in summaries.values())


def _table(title: str, measures: Mapping[str, Measure], summaries: Summaries) -> Iterator[str]:
    names = [name for name in measures if _has({name: measures[name]}, summaries)]
    heads = [measures[name].title + ARROWS[measures[name].better] for name in names]
    yield f"**{title}**"
    yield ""
    yield f"| method | seeds | {' | '.join(heads)} |"
    yield "|---" * (2 + len(names)) + "|"
    for method, summary in summaries.items():
        seeds = len(next(iter(summary.values())).values)
        cells = [_cell(summary[name], measures[name]) if name in summary else "" for name in names]
        yield f"| `{method}` | {seeds} | {' | '.join(cells)} |"


def _cell(found: Estimate, measure: Measure) -> str:
    detectable = as_number(found.detectable, measure) if measure.deciding else ""
    return as_text(found, measure) + (f" ({detectable})" if detectable else "")


def _origins(results: Sequence[Result]) -> Iterator[str]:
    yield "**The origin**"
    yield ""
    yield "| method | its own settings | machine | runs at a time | date | commit | numbers |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        settings = ", ".join(f"`{name} {value}`" for name, value in result.settings.items())
        machine = (
            ", ".join(result.machine.get("gpus", [])) or f"{result.machine['cores']} x {result.machine['processor']}"
        )
        path = Path("../benchmarks/leaderboard", result.task, f"{file_name(result.method)}.json")
        yield (
            f"| `{result.method}` | {settings} | {machine} | {result.jobs_side_by_side} | {result.date} | "
            f"{_short(result.commit)} | [JSON]({path}) |"
        )


def _short(commit: str | None) -> str:
    """Return the first seven digits of a commit, with the mark of a checkout that had changed."""
    return "" if commit is None else commit[:7] + ("-dirty" if commit.endswith("-dirty") else "")
