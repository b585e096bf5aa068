"""Agents of the user's own are imported from where the command is given."""

import subprocess
import sys

FIND = "import sys\nfrom tats_gym.agents import find_agent\nprint(find_agent(sys.argv[1])(2, 3))\n"
BUILD = "def build(env, config):\n    return add(env, config)\n"


def test_a_module_of_the_working_directory_is_found_by_a_command_of_another_folder(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "ours_alone.py").write_text("from beside_it import add\n\n" + BUILD)
    (here / "beside_it.py").write_text("def add(one, other):\n    return one + other\n")
    (there / "command.py").write_text(FIND)
    done = subprocess.run(
        [sys.executable, there / "command.py", "ours_alone:build"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "5"
