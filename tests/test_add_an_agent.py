"""docs/agents.md's agents, as a package that is built and installed, found by entry point and by path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.runs.folder import read_record
from tests.packages import FILES, install
from tests.runs import load_command

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(name="installed", scope="module")
def _installed(tmp_path_factory):
    """The folder in which the page's package is installed."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    page = (ROOT / "docs" / "agents.md").read_text()
    files = dict(FILES.findall(page))
    assert list(files) == ["my_agents/detail.py", "my_agents/linear.py", "pyproject.toml"]
    install(files, source, target)
    return target


@pytest.mark.parametrize(("agent", "masks_per_clip"), [("detail", 1), ("my_agents.linear:build", 2)])
def test_an_agent_of_another_package_trains_by_name_and_by_path(
    installed, clips_root, tmp_path, monkeypatch, agent, masks_per_clip
):
    for name in [name for name in sys.modules if name.startswith("my_agents")]:  # those that the page's test imported
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(installed)
    arguments = (
        f"--env TatsMask-folder-v0 --agent {agent} --root {clips_root} --stride 1 --num-workers 0 --num-envs 4 "
        f"--epoch-masks 16 --mae-optim.epochs 2 --mae-optim.warmup-epochs 1 --eval-clips 2 --eval-masks 1 --quiet "
        f"--device cpu --out {tmp_path}"
    )
    own = [] if agent == "detail" else ["--agent-settings.temperature", "0.5"]
    assert load_command("train").main([*arguments.split(), *own]) == 0
    module = sys.modules["my_agents.detail" if agent == "detail" else "my_agents.linear"]
    assert Path(module.__file__).is_relative_to(installed)
    (run,) = tmp_path.iterdir()
    assert run.name == f"folder-{agent.replace(':', '.')}-seed0-1"
    settings = read_record(run)["config"]
    assert (settings["masks_per_clip"], settings["action"]) == (masks_per_clip, "ids")
    assert settings["agent_settings"] == ({} if agent == "detail" else {"learning_rate": 0.001, "temperature": 0.5})
    loaded = SavedRun.read(run).agent(PretrainConfig.from_dict(settings).clips, device="cpu")
    assert agent == "detail" or loaded.policy.temperature == 0.5
    more = [] if agent == "detail" else ["--agent", agent]
    assert load_command("train").main(["--resume", str(run), *more, "--mae-optim.epochs", "3"]) == 0
    assert read_record(run)["config"]["agent_settings"] == settings["agent_settings"]


def test_the_pages_agent_keeps_the_contract_where_its_package_is_installed(installed, demo_root):
    code = "from tats_gym.contracts import check_agent\ncheck_agent('linear', temperature=0.5)\n"
    places = {"PYTHONPATH": str(installed), "TATS_GYM_DATA": str(demo_root.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
