"""Names in the tables of agents, datasets and rewards: the command line and the pages know the same."""

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import get_args

import matplotlib.image
import pytest
import tyro

from tats_gym.agents import AGENTS
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.subset_policy import Credit
from tats_gym.datasets import DATASETS
from tats_gym.envs.rewards import REWARDS

ROOT = Path(__file__).parent.parent


def _first_column(page: str, head: str) -> list[str]:
    """The names in backquotes in the first column of the tables that begin with this cell."""
    tables = (ROOT / "docs" / page).read_text().split(f"| {head} |")[1:]
    rows = [row for table in tables for row in table.split("\n\n")[0].splitlines()[2:]]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_pages_name_every_agent_and_reward():
    assert sorted(_first_column("agents.md", "`--agent`")) == sorted(AGENTS)
    assert sorted(_first_column("rewards.md", "`--reward`")) == sorted(REWARDS)


def test_the_page_names_every_form_of_credit():
    assert sorted(_first_column("rewards.md", "`--tats.credit`")) == sorted(get_args(Credit))


@pytest.mark.usefixtures("demo_root")
def test_the_picture_of_masks_has_a_row_for_every_agent_by_a_rule(tmp_path):
    text = (ROOT / "docs" / "agents.md").read_text()
    table = text[text.index("## Masks by a rule") :].split("\n\n")[3]
    zoo = runpy.run_path(str(ROOT / "docs" / "examples" / "mask_zoo.py"))
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert list(dict(zoo["ROWS"])) == [name for name in named if name != "random_ratio"]  # random tokens too
    zoo["main"](zoo["Settings"](out=tmp_path / "zoo.png", clip=0))
    drawn, kept = (matplotlib.image.imread(path) for path in (tmp_path / "zoo.png", ROOT / "docs" / "mask-zoo.png"))
    assert drawn.shape == kept.shape


def test_the_readme_names_every_dataset():
    (named,) = re.findall(r"registers TatsMask-\{(.*?)\}-v0", (ROOT / "README.md").read_text())
    assert sorted(named.split(",")) == sorted(DATASETS)


@pytest.mark.parametrize("reward", ["neg_error", "error", "gain"])
def test_the_command_line_offers_every_reward(reward):
    assert tyro.cli(PretrainConfig, args=["--reward", reward]) == replace(PretrainConfig(), reward=reward)


def test_another_reward_is_refused_with_the_choices(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(PretrainConfig, args=["--reward", "gains"])
    message = capsys.readouterr().err
    assert all(name in message for name in ("neg_error", "error", "gain"))
