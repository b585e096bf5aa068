"""Runs whose agent is never updated are refused, and a result of such an agent says so."""

import os
import re
import signal
from dataclasses import replace

import pytest

from tats_gym.agents.config import OffPolicyConfig
from tats_gym.agents.experiments.run_report.page import report
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.training import pretraining
from tats_gym.agents.training.train import summary
from tats_gym.train.optimizer import ScheduledAdamW
from tests.runs import load_command, rows, tiny_config, train


def _config(clips_root, out, *, agent="tats", warmup_epochs=1, n_steps=1, learning_starts=0, **changes):
    """Four epochs of two steps of four clips."""
    config = tiny_config(clips_root, out, agent=agent, **changes)
    tats = replace(config.tats, warmup_epochs=warmup_epochs, n_steps=n_steps)
    off_policy = OffPolicyConfig(learning_starts=learning_starts, buffer_size=10, batch_size=4)
    return replace(config, tats=tats, off_policy=off_policy, eval_interval=10_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup_epochs": 3, "n_steps": 3},  # rollouts begin at steps 0, 3 and 6: after six the third learns
        {"warmup_epochs": 3, "n_steps": 4},  # at 0 and 4, both with uniform masks
        {"warmup_epochs": 4},
        {"agent": "group", "warmup_epochs": 4, "masks_per_clip": 2},
        {"agent": "adamae", "warmup_epochs": 4},  # which has no such epochs
        {"agent": "ppo", "warmup_epochs": 4},
        {"agent": "sac", "learning_starts": 31},
        {"agent": "sac", "learning_starts": 32},
        {"agent": "sac", "warmup_epochs": 4},
    ],
)
def test_settings_are_refused_where_they_would_make_no_update(clips_root, tmp_path, changes, monkeypatch):
    config = _config(clips_root, tmp_path, **changes)
    refused = False
    try:
        pretraining.Pretraining(config).close()
    except ValueError as err:
        refused = "would make no update" in str(err)
    monkeypatch.setattr(pretraining, "check_learns", lambda *_, **__: None)
    _, result = train(config)
    assert refused == (result.updates == 0)


def test_a_refusal_names_the_flags_and_its_advice_makes_a_run_that_learns(clips_root, tmp_path, capsys):
    main = load_command("train").main
    command = [
        "--env", "TatsMask-folder-v0", "--root", str(clips_root), "--out", str(tmp_path), "--frames", "4", "--size",
        "32", "--visible", "3", "--num-envs", "4", "--epoch-masks", "8", "--eval-clips", "2", "--num-workers", "0",
        "--device", "cpu", "--quiet", "--mae-optim.epochs", "5",
    ]  # fmt: skip
    assert main(command) == 1
    message = capsys.readouterr().err
    assert "masks are uniform at first, for 48 masks (--tats.warmup-epochs 6), and the run has 40" in message
    assert "(--mae-optim.epochs 5)" in message
    assert not list(tmp_path.iterdir())
    advice = re.search(r"For a short run add (.*)\n", message)
    assert advice is not None
    assert main([*command, *advice[1].split()]) == 0
    shown = capsys.readouterr().out
    assert "made no update" not in shown
    assert re.search(r"over (only \d clips: few|1 clip, so no interval)\)", shown)


def test_where_half_of_the_epochs_would_be_too_many_none_are_advised(clips_root, tmp_path):
    """Rollouts of eight steps, as many as the run has: the only one has to learn."""
    config = _config(clips_root, tmp_path, warmup_epochs=1, n_steps=8)
    with pytest.raises(ValueError, match=r"For a short run add --tats.warmup-epochs 0$"):
        pretraining.Pretraining(config)
    _, result = train(_config(clips_root, tmp_path, warmup_epochs=0, n_steps=8))
    assert result.updates == 1


def test_masks_that_are_not_learned_are_not_asked_to_learn(clips_root, tmp_path):
    _, result = train(_config(clips_root, tmp_path, agent="random", warmup_epochs=4))
    assert result.updates is None
    assert "sampler/updates" not in rows(result.folder)[-1]
    assert SavedRun.read(result.folder).agent(result.config.clips, device="cpu").name == "random"


def test_a_run_that_is_stopped_before_its_first_update_says_so_everywhere(clips_root, tmp_path, monkeypatch):
    def stop_at_first(self, loss, step=ScheduledAdamW.step):
        os.kill(os.getpid(), signal.SIGUSR1)
        step(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(ScheduledAdamW, "step", stop_at_first)
        _, result = train(_config(clips_root, tmp_path))
    assert result.updates == rows(result.folder)[-1]["sampler/updates"] == 0
    assert "the agent made no update: all of this is of an untrained one" in summary(result)
    assert report([result.folder]).count("of an agent that made no update") == 2  # gain, and gain by fitting the clip
    assert SavedRun.read(result.folder).agent(result.config.clips, device="cpu").name == "untrained tats"
