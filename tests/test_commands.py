"""The program `tats-gym`: its commands, their names, and mistyped ones."""

import re
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tats_gym.commands import COMMANDS, main
from tats_gym.commands.menu import overview

ROOT = Path(__file__).parent.parent


def test_the_package_declares_the_program():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert declared == {"tats-gym": "tats_gym.commands:main"}


def test_every_command_is_a_module_and_every_script_runs_one():
    for name in COMMANDS:
        assert import_module(f"tats_gym.commands.{name.replace('-', '_')}").__doc__
    run = [re.search(r'run\("([\w-]+)", sys\.argv\[1:\], program="(\w+\.py)"\)', path.read_text())
           for path in (ROOT / "scripts").glob("*.py")]  # fmt: skip
    assert len(run) == 15
    assert {each[1] for each in run} <= COMMANDS.keys()
    assert {each[2] for each in run} == {path.name for path in (ROOT / "scripts").glob("*.py")}


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_the_help_lists_every_command(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    shown = capsys.readouterr()
    assert ended.value.code == (0 if words else 2)
    text = shown.out if words else shown.err
    assert set(re.findall(r"^  ([\w-]+) ", text, re.MULTILINE)) == COMMANDS.keys()


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_help_keeps_to_the_width_of_the_terminal(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert shutil.get_terminal_size().columns == width
    lines = overview("tats-gym", "About.", COMMANDS).splitlines()[2:]
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == " ".join(["About.", *(f"{name} {COMMANDS[name]}" for name in COMMANDS)]).split()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["trian", "--env", "x"], "error: tats-gym has no command 'trian'; did you mean 'train'?\n"),
        (["benchmrak"], "error: tats-gym has no command 'benchmrak'; did you mean 'benchmark'?\n"),
        (["--env", "x"], "error: tats-gym has no command '--env'; tats-gym --help lists them\n"),
        (["prepare", "verfy"], "error: tats-gym prepare has no command 'verfy'; did you mean 'verify'?\n"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest_one(capsys, words, answer):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err == answer


def test_a_command_names_itself_in_its_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "list", "--help"])
    assert ended.value.code == 0
    assert "usage: tats-gym prepare list [-h]" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"tats-gym {declared}\n"
