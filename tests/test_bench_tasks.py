"""The tasks of the benchmark as they are fixed, and the command's answers to bad arguments."""

import re

import pytest

from tats_gym.agents.experiments.bench.bench import BenchCommand
from tats_gym.agents.experiments.bench.tasks import SEEDS, TASKS
from tests.runs import load_command, words_of


@pytest.fixture(name="script", scope="module")
def _script():
    return load_command("bench")


@pytest.mark.parametrize(
    ("name", "env", "visible", "reference"),
    [
        ("demo-05", "TatsMask-demo-v0", 24, "demo"),
        ("demo-10", "TatsMask-demo-v0", 48, "demo"),
        ("games-05", "TatsMask-atari-v0", 24, None),
        ("games-10", "TatsMask-atari-v0", 48, None),
    ],
)
def test_a_task_that_changes_is_a_new_version(name, env, visible, reference):
    """The numbers of version 1; who changes one raises the version of the task and the numbers here."""
    task = TASKS[name]
    config = task.settings()
    assert (task.version, task.forwards, task.reference, SEEDS) == (1, 22_400, reference, (0, 1, 2, 3, 4))
    grid = config.grid
    assert (config.env, grid.frames, grid.size, grid.num_visible, grid.num_tokens) == (env, 16, 64, visible, 512)
    assert (config.num_envs, config.mae_optim.epochs, config.epoch_masks, config.init_mae) == (32, 10, 2240, None)
    assert (config.mae_optim.base_lr, config.mae_optim.min_lr, config.mae_optim.warmup_epochs) == (0.016, 0.0032, 1)
    assert (config.mae.embed_dim, config.mae.depth, config.mae.num_heads) == (128, 3, 4)
    assert (config.mae.decoder_embed_dim, config.mae.decoder_depth, config.mae.decoder_num_heads) == (64, 2, 2)
    assert (config.eval_clips, config.eval_interval, config.decode_ratio) == (96, 22_400, 1.0)
    assert (config.target, config.reward, config.train_mae) == ("pixels", "neg_error", True)
    if reference:
        attentive = task.probe.config.attentive
        assert (task.probe.pool, task.probe.attentive, attentive.batch_size, attentive.epochs) == (
            "change",
            True,
            64,
            10,
        )
    assert task.coordinates == (reference is None)


BAD = [
    ([], r"name methods to run, or give --page alone, got \(\) and page False"),
    (["tube", "--page"], "name methods to run, or give --page alone"),
    (["tube", "tube"], "must each be named once"),
    (["tube", "--seeds", "0", "1"], "seeds must be 0 1 2 3 4, .*got 0 1; name another folder .* by --results"),
    (["tube", "--forwards", "640"], "the budget must be the task's 22400 forwards, got 640 forwards; name another"),
    (["tube", "--seconds", "60"], "the budget must be the task's 22400 forwards, got 60 seconds"),
    (["tube", "--seconds", "60", "--forwards", "640"], "both budgets; leave one out"),
    (["tube", "--tasks", "clips"], "--root is the folder of the task clips"),
    (["tube", "--root", "videos"], "--root is the folder of the task clips, and of no other"),
    (["tube", "--tasks", "clips", "--root", "videos"], "clips has no leaderboard, since its clips are yours"),
    (["tubes", "--tasks", "demo-10"], "--agent must be one of .*did you mean 'tube'"),
    (["tube", "--forwards", "100", "--results", "OUT"], "forwards must be a multiple of epochs"),
    (["tube", "--jobs", "0"], "jobs must be at least 1"),
    (["tube", "--agent-settings.blocks", "long"], "--agent-settings.blocks is not to be given here"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_arguments_are_answered_without_a_traceback(script, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    words = [str(tmp_path) if word == "OUT" else word for word in words]
    said = words_of(script.main, words, capsys, codes=(1, 2))
    assert re.search(message, said), said


def test_help_names_the_tasks(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for wanted in (*TASKS, "--tasks", "--seconds", "--page", "--dry-run", "--results"):
        assert wanted in shown, wanted


def test_runs_of_other_budgets_lie_elsewhere(tmp_path):
    def folder(**settings):
        return BenchCommand(methods=("tube",), out=tmp_path, results=tmp_path, **settings).folder("demo-10").name

    assert [folder(), folder(forwards=640), folder(seconds=60.0)] == ["demo-10-v1", "demo-10-v1-640", "demo-10-v1-60s"]
