"""The commands and the scripts as a user runs them."""

import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tyro

from tats_gym.train.signals import PreemptedError
from tests.runs import load_command, rows

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.long
TINY = [
    "--frames", "4", "--stride", "1", "--size", "32", "--visible", "3", "--num-envs", "4", "--epoch-masks", "8",
    "--eval-clips", "2", "--num-workers", "0", "--mae-optim.epochs", "2", "--mae-optim.warmup-epochs", "1",
    "--tats.warmup-epochs", "1", "--tats.n-steps", "1", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(name="main")
def _main():
    """The command's own main, in this process: importing torch again and again takes minutes."""
    return load_command("train").main


def test_help_shows_every_group_with_its_sources(main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for wanted in ("--preset NAME", "--resume RUN", "paper-ssv2", "--mask-ratio", "--root", "--mae-optim.base-lr",
                   "--sampler.critic", "--tats.credit", "m_o: epochs at the start"):  # fmt: skip
        assert wanted in shown, wanted


@pytest.mark.parametrize(
    ("script", "option"),
    [
        ("check_demo", "--frame-epochs"),
        ("linear_probe", "--knn.temperature"),
        ("probe_demo", "--epochs"),
        ("record_env", "--held-out"),
    ],
)
def test_other_scripts_answer_help_with_their_options(monkeypatch, capsys, script, option):
    assert _code_of(script, ["--help"], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert option in shown
    assert f"usage: {script}.py " in shown


def test_a_script_and_its_command_answer_alike_but_for_their_names(main, monkeypatch, capsys):
    assert _code_of("train_ppo", ["--num-env", "4"], monkeypatch) == 2
    by_script = capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--num-env", "4"])
    assert ended.value.code == 2
    by_command = capsys.readouterr()
    words = [(shown.out + shown.err).split() for shown in (by_script, by_command)]
    assert "train_ppo.py" in words[0]
    assert [word for word in words[0] if word != "train_ppo.py"] == [
        word for word in words[1] if word not in ("tats-gym", "train")
    ]


def _code_of(script, words, monkeypatch):
    """Run a script of this checkout in this process, and return its exit code."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
    return ended.value.code


def test_a_folder_trains_and_goes_on_from_another_place(main, monkeypatch, capsys, clips_root, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = os.path.relpath(clips_root, tmp_path)
    assert main(["--env", "TatsMask-folder-v0", "--root", root, "--out", str(tmp_path / "out"), *TINY]) == 0
    shown = capsys.readouterr()
    assert "under the agent's masks" in shown.out
    assert "masks/s" in shown.err
    folder = next((tmp_path / "out").iterdir())
    assert rows(folder)[-1]["step"] == 16
    monkeypatch.chdir(ROOT)
    assert main(["--resume", str(folder), "--mae-optim.epochs", "3"]) == 0
    assert rows(folder)[-1]["step"] == 24


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_to_the_whole_job_saves_and_says_how_to_go_on(clips_root, tmp_path, number, code):
    command = [sys.executable, "scripts/train_ppo.py", "--env", "TatsMask-folder-v0", "--root", str(clips_root),
               "--out", str(tmp_path), *TINY, "--mae-optim.epochs", "5000"]  # fmt: skip
    command[command.index("--num-workers") + 1] = "2"
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 300  # two imports of torch on a busy machine
    while not list(tmp_path.glob("*/checkpoints/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)  # as terminals and schedulers do: workers get it too
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert errors.count("saving and ending") == 1
    assert "go on with: tats-gym train --resume" in output


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "scripts").glob("*.py")))
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped; .*"),
        (PreemptedError(), 75, "stopped; .*"),
        (ValueError("it is wrong"), 1, "error: it is wrong"),
    ],
)
def test_every_script_ends_with_one_line(monkeypatch, capsys, script, error, code, message):
    def parse(*arguments, **settings):
        raise error

    monkeypatch.setattr(tyro, "cli", parse)
    words = ["verify", "--help"] if script == "prepare_data" else ["--help"]
    assert _code_of(script, words, monkeypatch) == code
    assert re.fullmatch(f"{message}\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "TatsMask-ssv3-v0"], "--env must be one of .*did you mean 'TatsMask-ssv2-v0'"),
        (["--preset", "paper-ssv"], "--preset must be one of .*did you mean 'paper-ssv2'"),
        (["--mask-ratoi", "0.9"], "(?s)mask-ratoi.*--mask-ratio"),
        (["--mask-ratio", "1.5"], "mask_ratio must lie in .0, 1., got 1.5"),
        (["--num-envs", "0"], "num_envs must be at least 1, got 0"),
        (["--frames", "15"], "frames must be a multiple of tubelet_size"),
        (["--agent", "tatts"], "--agent must be one of .*did you mean 'tats'"),
        (["--env", "TatsMask-ssv2-v0", "--root", "/nowhere/at/all"], "(?s)/nowhere/at/all.*TatsMask-demo-v0"),
        (["--resume", "/nowhere/at/all"], "/nowhere/at/all holds no run"),
        (["--resume", "runs", "--preset", "demo"], "goes on with the run's own --env, --preset and --folder"),
        (["--tats.batch-size", "0"], "batch_size must be at least 1"),
        (["--off-policy.batch-size", "0"], "batch_size must be at least 1"),
        (["--agent", "sac", "--action", "ids"], "--agent sac answers with scores, but --action ids was asked for"),
        (["--tats.credit", "tokn"], "(?s)tokn"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(main, capsys, arguments, message):
    try:
        code = main(arguments)
    except SystemExit as ended:  # how the command line's own parser leaves
        code = ended.code
    assert code in (1, 2)
    shown = capsys.readouterr()
    plain = re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)
    assert re.search(message, plain), plain
