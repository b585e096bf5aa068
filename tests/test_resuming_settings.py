"""The settings with which a run goes on: its own, those that may change, those that may not."""

import json
from dataclasses import replace

import pytest

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.run_report.page import report
from tats_gym.agents.training.command_line import run_config
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import begin_or_resume, resume
from tats_gym.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from tats_gym.runs.folder import read_config
from tats_gym.runs.kinds import PRETRAINING
from tats_gym.train.distributed import Ranks
from tests.runs import tiny_config, train


def test_settings_changed_where_a_run_goes_on_are_named_and_kept(clips_root, tmp_path, caplog):
    _, result = train(tiny_config(clips_root, tmp_path))
    latest_checkpoint(result.folder).unlink()
    path, config = result.folder / "config.json", run_config(result.folder)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"versions": record["versions"] | {"torch": "1.0.0"}}))
    resume(result.folder).close()
    resume(result.folder, replace(config, grid=replace(config.grid, visible=5))).close()
    resume(result.folder).close()
    torch_now = record["versions"]["torch"]
    assert [f"versions.torch '1.0.0' -> '{torch_now}'" in caplog.messages[0], len(caplog.messages)] == [True, 2]
    assert "goes on from step 24 with other settings or software: grid.visible " in caplog.messages[1]
    kept = json.loads(path.read_text())
    assert [each["step"] for each in kept["resumed"]] == [24, 24, 24]
    assert kept["resumed"][0]["changed"] == {"versions.torch": ["1.0.0", torch_now]}
    assert kept["resumed"][1]["changed"] == {"grid.visible": [config.grid.visible, 5]}
    assert kept["resumed"][2]["changed"] == {}
    assert kept["config"]["grid"]["visible"] == 5
    assert {name: kept[name] for name in ("seed", "started")} == {name: record[name] for name in ("seed", "started")}
    assert "changed at step 24" in report([result.folder])


def test_a_run_does_not_go_on_under_another_seed(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    _, result = train(config)
    with pytest.raises(
        ValueError, match=r"has the seed 0 and goes on with it, got 7; give that one, or another folder"
    ):
        begin_or_resume(result.folder, replace(config, seed=7), Ranks.alone("cpu"))
    resume(result.folder).close()  # no process holds it


def test_settings_that_are_gone_are_taken_from_the_checkpoint(clips_root, tmp_path, caplog):
    _, result = train(tiny_config(clips_root, tmp_path))
    config = run_config(result.folder)
    latest_checkpoint(result.folder).unlink()
    (result.folder / "config.json").unlink()
    again = resume(result.folder)
    assert again.config == config
    assert again.run().finished
    again.close()
    assert "the settings are those of the newest checkpoint" in caplog.messages[0]
    assert run_config(result.folder) == config
    assert report([result.folder])


def test_going_on_with_other_networks_is_refused(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    _, result = train(config)
    with pytest.raises(
        CheckpointError, match=r"other networks .*\(mae\.depth 1 -> 2\): [^\n]*Missing key[^\n]{1,150}$"
    ):
        resume(result.folder, replace(config, mae=replace(config.mae, depth=2)))
    with pytest.raises(CheckpointError, match="leave the sizes and the agent as they were"):
        resume(result.folder, replace(config, sampler=replace(config.sampler, critic="separate")))
    state = load_checkpoint(result.folder)
    del state["mae"]["mask_token"]
    save_checkpoint(result.folder / "checkpoints", state["step"], state, keep=2)
    with pytest.raises(CheckpointError, match=r'\(no setting differs\): [^\n]*Missing key[^\n]* "mask_token"'):
        resume(result.folder)


def test_settings_survive_the_run_folder(clips_root, tmp_path):
    run = Pretraining(tiny_config(clips_root, tmp_path))
    run.close()
    assert PretrainConfig.from_dict(read_config(run.folder, PRETRAINING)) == run.config
    with pytest.raises(FileNotFoundError, match="did you mean"):
        read_config(run.folder.parent / "folder-tats-seed0-11", PRETRAINING)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        resume(tmp_path / "nothing", run.config)
    assert not (tmp_path / "nothing").exists()
