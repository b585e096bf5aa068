"""The program `tats-gym`: its commands, their names, and mistyped ones."""

import io
import logging
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from tats_gym.commands import COMMANDS, main
from tats_gym.commands.line.help_text import wrapped
from tats_gym.commands.line.menu import overview
from tats_gym.commands.line.parsing import show_log
from tats_gym.commands.train import parse as parse_training

ROOT = Path(__file__).parent.parent


def test_the_package_declares_the_program():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert declared == {"tats-gym": "tats_gym.commands:main"}


def test_every_command_is_a_module_and_every_script_runs_one():
    for name in COMMANDS:
        assert import_module(f"tats_gym.commands.{name.replace('-', '_')}").__doc__
    run = [re.search(r'run\("([\w-]+)", sys\.argv\[1:\], program="(\w+\.py)"\)', path.read_text())
           for path in (ROOT / "scripts").glob("*.py")]  # fmt: skip
    assert len(run) == 17
    assert {each[1] for each in run} <= COMMANDS.keys()
    assert {each[2] for each in run} == {path.name for path in (ROOT / "scripts").glob("*.py")}


def test_the_readme_lists_every_command_and_script():
    rows = re.findall(r"^\| (`[\w`, -]+`) \| (`.+?`) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    commands, scripts = (set(re.findall(r"`([^`]+)`", " ".join(column))) for column in zip(*rows, strict=True))
    assert commands == COMMANDS.keys()
    assert scripts == {*(path.name for path in (ROOT / "scripts").glob("*.py")), "python -m benchmarks"}


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


ALL = [[name] for name in COMMANDS if name not in ("prepare", "benchmark")] + [
    ["prepare", "verify"], ["prepare", "list"],
    *(["benchmark", name] for name in ("data", "step", "growth", "frozen", "startup")),
]  # fmt: skip


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_the_help_of_every_command_is_of_one_form_and_keeps_to_the_terminal(monkeypatch, capsys, command):
    monkeypatch.setenv("COLUMNS", "64")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert re.search(r"^--config FILE   settings to start from", shown, re.MULTILINE)
    assert re.search(r"^\W*--quiet", shown, re.MULTILINE)
    assert f"\nusage: tats-gym {' '.join(command)} [-h]" in shown
    about, _, options = shown.partition("\nusage: ")
    examples = re.findall(r"^    tats-gym .*", about, re.MULTILINE)
    lines = [*(line for line in about.splitlines() if line not in examples), *options.splitlines()[1:]]
    assert max(map(len, lines)) <= 64
    assert "scripts/" not in shown


def test_texts_are_wrapped_and_examples_are_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    text = "Some words that are\nlonger than that.\n\n    a command that is longer than that\n\n" \
           "--env ID        a choice of some\nlong-hyphenated words\n--x  one\n"  # fmt: skip
    assert wrapped(text).splitlines() == [
        "Some words that are longer",
        "than that.",
        "",
        "    a command that is longer than that",
        "",
        "--env ID        a choice of",
        "                some",
        "                long-hyphenated",
        "                words",
        "--x             one",
    ]


@pytest.mark.parametrize(("words", "times"), [(["--quiet"], False), ([], False), (["--seed", "1"], True)])
def test_quiet_leaves_warnings(monkeypatch, words, times):
    root, stream = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    monkeypatch.setattr(sys, "stderr", stream)
    show_log(words, times=times)
    logging.getLogger("tats_gym").info("it goes on")
    logging.getLogger("tats_gym").warning("it is odd")
    begin = r"\d\d:\d\d:\d\d" if times else "[A-Z]+"
    lines = [f"{begin} it is odd\n"] if words == ["--quiet"] else [f"{begin} it goes on\n", f"{begin} it is odd\n"]
    assert re.fullmatch("".join(lines), stream.getvalue())


@pytest.mark.parametrize("given", [True, False])
def test_quiet_reaches_the_progress_bar_of_a_training(given):
    assert parse_training(["--quiet"] * given).config.quiet is given


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_read_enough_is_no_error(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    program = "import sys; from tats_gym.commands import main; sys.exit(main(['report', '--help']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tats-gym {version('tats-gym')}\n"
