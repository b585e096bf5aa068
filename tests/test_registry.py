"""Agents are imported by name, and those of the user's own from where the command is given."""

import subprocess
import sys

from tats_gym.agents import AGENTS

FIND = "import sys\nfrom tats_gym.agents import find_agent\nprint(find_agent(sys.argv[1])(2, 3))\n"
BUILD = "def build(env, config):\n    return add(env, config)\n"
LOADED = "import sys, tats_gym.agents\nprint(*(name for name in sys.argv[1:] if name in sys.modules))\n"


def _run(command, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_module_of_the_working_directory_is_found_by_a_command_of_another_folder(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "ours_alone.py").write_text("from beside_it import add\n\n" + BUILD)
    (here / "beside_it.py").write_text("def add(one, other):\n    return one + other\n")
    (there / "command.py").write_text(FIND)
    assert _run(there / "command.py", "ours_alone:build", cwd=here) == "5"


def test_no_agents_module_is_imported_before_it_is_named(tmp_path):
    modules = sorted({agent.builder.partition(":")[0] for agent in AGENTS.values()})
    assert "tats_gym.agents.builders" in modules
    (tmp_path / "command.py").write_text(LOADED)
    assert _run(tmp_path / "command.py", "tats_gym.agents", *modules, cwd=tmp_path) == "tats_gym.agents"
