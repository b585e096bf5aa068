"""Compare masks on the benchmark's tasks: tats-gym bench tube --tasks demo-05 demo-10."""

from tats_gym.agents import AGENTS
from tats_gym.agents.experiments.bench.bench import BenchCommand, plan_bench, report_bench
from tats_gym.agents.experiments.bench.tasks import TASKS
from tats_gym.commands.line.agent_options import refuse_agent_options
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log

ABOUT = f"""Compare masks, fixed or learned, on tasks that are the same for every method, at equal cost.

    tats-gym bench random_ratio my_agents.linear:build --tasks demo-05 demo-10
    tats-gym bench --page

The agent random runs along as the control. Every method and task has a file of its own below --results; --page writes
the leaderboard from them. A stopped benchmark continues by the same command, which may be given on several machines
that share --out.

METHODS         names of agents, or module:function of your own: {", ".join(AGENTS)}

TASKS           {"; ".join(f"{name}: {task.about}" for name, task in TASKS.items())}"""


def main(words: list[str], program: str = "tats-gym bench") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _bench(words, program))


def _bench(words: list[str], program: str) -> None:
    line = CommandLine(words, program, ABOUT, plans=True)
    refuse_agent_options(line.rest)
    command = line.settings(BenchCommand)
    for text in plan_bench(command) if line.dry_run else report_bench(command):
        print(text)
