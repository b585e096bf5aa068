"""scripts/finetune.py as a user runs it."""

import pytest

from tats_gym.clips.demo.files import make_demo_data
from tats_gym.finetune.config import finetune_preset
from tests.runs import load_command

SMALL = [
    "--frames", "4", "--size", "32", "--batch-size", "8", "--test-batch-size", "4", "--optim.epochs", "2",
    "--optim.warmup-epochs", "1", "--eval-interval", "1", "--device", "cpu", "--quiet",
]  # fmt: skip


@pytest.fixture(name="main")
def _main():
    return load_command("finetune").main


def test_help_names_the_sources(main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for wanted in ("--encoder", "--optim.layer-decay", "--mix.cutmix", "--temporal-views", "--randaug", "Table 4"):
        assert wanted in shown, wanted
    words = " ".join(shown.replace("│", "").split())
    assert "(required unless --resume)" in words
    assert "(default: base)" not in words


def test_it_trains_tests_and_goes_on_to_more_epochs(main, tmp_path, capsys):
    root = make_demo_data(tmp_path / "demo", train=16, validation=12)
    assert main(["--encoder", "tiny", "--root", str(root), "--out", str(tmp_path / "runs"), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "test, 1 x 1 views: top-1" in shown
    assert "of 12 videos" in shown
    (folder,) = (tmp_path / "runs").iterdir()
    assert main(["--resume", str(folder), "--optim.epochs", "3", "--temporal-views", "2"]) == 0
    assert "test, 2 x 1 views: top-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --encoder must name a run, an export"),
        (
            ["--encoder", "runs/none"],
            "error: encoder must be one of tiny, small, base, large, demo, frozen, or a path that exists",
        ),
        (["--encoder", "tiny", "--env", "TatsMask-folder-v0"], "error: TatsMask-folder-v0 has no labels to learn"),
        (["--resume", "runs/none"], "error: runs/none holds no run"),
        (["--resume", "x", "--env", "TatsMask-demo-v0"], "leave these out"),
    ],
)
def test_wrong_arguments_are_named(main, capsys, arguments, message):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_an_encoder_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "encoder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert finetune_preset("TatsMask-demo-v0", "encoder").encoder == str(tmp_path / "encoder")
    assert finetune_preset("TatsMask-demo-v0", "tiny").encoder == "tiny"  # a preset
