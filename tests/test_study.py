"""A study runs every arm with every seed once, goes on where it was stopped, and reports its results."""

import json
import math
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest

from tats_gym.agents.experiments.studies.measures import measure_study
from tats_gym.agents.experiments.studies.named import STUDIES, StudyConfig
from tats_gym.agents.experiments.studies.report import study_figure, study_table
from tats_gym.agents.experiments.studies.study import Study, run_study
from tats_gym.agents.experiments.trials.estimates import as_plain, summarise
from tats_gym.agents.experiments.trials.trial import MASKS_FILE, ROW, Trial, run_trial, run_trials
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.runs.checkpoint import latest_checkpoint
from tats_gym.runs.folder import record_resumption
from tats_gym.train.signals import StoppedError
from tests.runs import load_command, tiny_config


@pytest.fixture(name="study")
def _study(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    return Study(
        about="Does credit by mask change anything in four epochs?",
        start=replace(config, agent="random"),
        base=config,
        arms={"uniform": {"agent": "random"}, "joint, gain": {"tats.credit": "joint", "reward": "gain"}},
    )


def test_a_study_runs_every_trial_once(study, tmp_path):
    folder = tmp_path / "study"
    rows = run_study(study, folder, tmp_path / "starts", [0, 1], jobs=1)
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("uniform", 0), ("joint, gain", 0), ("uniform", 1), ("joint, gain", 1)
    ]  # fmt: skip
    assert all(row["steps"] == 32 and row["cost_s"] > 0 and len(row["shown"]) == 8 for row in rows)
    assert [row["extra_forwards"] for row in rows] == [0, 32, 0, 32]
    (run,) = (folder / "uniform" / "seed0").glob("*/metrics.jsonl")
    logged = [json.loads(line) for line in run.read_text().splitlines()]
    rates = [line["time/masks_per_s"] for line in logged if "time/masks_per_s" in line]
    assert len(rates) == 8
    assert rows[0]["masks_per_s"] == pytest.approx(8 / sum(1 / rate for rate in rates))
    assert rows[0]["peak_memory_mib"] == logged[-2]["time/peak_memory_mib"] > 100
    assert np.load(folder / "uniform" / "seed0" / MASKS_FILE).shape == (8, 1, 3)
    assert all(sum(row["shown"]) == pytest.approx(3, abs=1e-3) for row in rows)
    assert [point["step"] for point in rows[1]["curve"]] == [0, 16, 32]
    written = (folder / "joint, gain" / "seed0" / ROW).stat().st_mtime_ns
    assert run_study(study, folder, tmp_path / "starts", [0, 1], jobs=1) == rows
    assert (folder / "joint, gain" / "seed0" / ROW).stat().st_mtime_ns == written

    summary = summarise(rows, control="uniform")
    drop = [rows[1], rows[3]]
    expected = [u["error_random"] - row["error_random"] for u, row in zip((rows[0], rows[2]), drop, strict=True)]
    assert summary["joint, gain"]["error_random_drop"].values == pytest.approx(expected)
    assert "error_random_drop" not in summary["uniform"]
    assert json.loads(json.dumps(as_plain(summary)))["uniform"]["error_own"]["values"] == pytest.approx(
        [rows[0]["error_own"], rows[2]["error_own"]], abs=1e-5
    )
    lines = study_table(summary).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["arm", "uniform", "joint, gain"]
    assert [line.removeprefix("joint, ").split()[1] for line in lines] == ["seeds", "2", "2"]
    assert study_figure(rows, (2, 2, 2), "two arms").std() > 10


def test_data_that_are_not_there_cost_no_run(study, tmp_path):
    gone = replace(study.base, clips=replace(study.base.clips, root=str(tmp_path / "not mounted")))
    with pytest.raises(FileNotFoundError, match="not mounted"):
        run_trial(Trial(gone, tmp_path / "trial"))
    run = Pretraining(replace(study.base, out=str(tmp_path / "trial")))
    run.save()
    run.close()
    record_resumption(run.folder, gone.as_dict(), 0)
    with pytest.raises(FileNotFoundError, match="not mounted"):
        run_trial(Trial(gone, tmp_path / "trial"))
    assert latest_checkpoint(run.folder).exists()


@pytest.fixture(name="command")
def _command(tmp_path):
    """The command's main, with the folders of runs and results."""
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return lambda *words: load_command("study").main([*words, "--jobs", "1", *folders])


def test_the_command_writes_its_results_and_their_origin(study, command, tmp_path, monkeypatch, capsys):
    measures = ("hand_masks", "gradients_at_uniform")
    frozen = replace(study, base=replace(study.base, train_mae=False), measures=measures)
    monkeypatch.setattr("tats_gym.agents.experiments.studies.named.STUDIES", {"content": frozen})
    assert command("content", "--arms", "joint, gain", "--seeds", "2", "--label", "squares") == 0
    record = json.loads((tmp_path / "results" / "study_content_squares.json").read_text())
    assert list(record["arms"]) == ["joint, gain"]
    assert {"uniform", "p ~ motion"} < record["hand_masks"].keys()
    assert record["gradients_at_uniform"]["token"]["cosine"]["values"]
    assert record["seeds"] == [0, 1]
    assert record["clips"] == {"start": 32, "arm": 32}
    assert record["command"] == "tats-gym study content --seeds 2 --label squares --arms 'joint, gain'"
    assert record["commits"]
    assert record["date"]
    assert (tmp_path / "results" / "study_content_squares.png").stat().st_size > 1000
    assert "joint, gain" in capsys.readouterr().out


def test_the_command_reports_the_forwards_to_a_target_where_a_study_has_one(
    study, command, tmp_path, monkeypatch, capsys
):
    group = replace(study, base=replace(study.base, train_mae=False), target_gain=0.5)
    monkeypatch.setattr("tats_gym.agents.experiments.studies.named.STUDIES", {"content": group})
    assert command("content", "--arms", "joint, gain", "--seeds", "1") == 0
    record = json.loads((tmp_path / "results" / "study_content_folder.json").read_text())
    assert record["forwards_to"]["gain"] == 0.5
    assert list(record["forwards_to"]["arms"]) == ["joint, gain"]
    assert len(record["forwards_to"]["arms"]["joint, gain"]["forwards"]) == 1
    assert "reached 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arms", "message"),
    [
        ("content", ("marginal",), "no arm .'marginal'.; it has"),
        ("decoder", ("half decoded",), "name it among --arms too"),
        ("contents", (), "name must be one of content, .*; got 'contents'; did you mean 'content'"),
    ],
)
def test_a_study_that_cannot_be_run_is_named(name, arms, message):
    with pytest.raises(ValueError, match=message):
        _ = StudyConfig(name, arms=arms).study


def test_measures_need_no_run_of_an_arm(study, tmp_path):
    study = replace(study, base=replace(study.base, train_mae=False))
    folders = tmp_path / "study", tmp_path / "starts"
    run_study(replace(study, arms={}), *folders, [0, 1], jobs=1)
    by_hand = measure_study("hand_masks", study, *folders, [0, 1], jobs=1)
    kinds = summarise(by_hand)
    assert [row["seed"] for row in by_hand] == [0] * len(kinds) + [1] * len(kinds)
    for row in by_hand:
        assert math.isfinite(row["gain"])
        assert row["error_own"] > 0
    assert kinds["p ~ motion"]["motion_lift"].mean > kinds["uniform"]["motion_lift"].mean
    table = study_table(summarise(measure_study("gradients_at_uniform", study, *folders, [0], jobs=1)))
    assert table.splitlines()[0].split()[:5] == ["arm", "seeds", "cosine", "[95", "%]"]
    assert table.splitlines()[1].startswith("token  ")


def test_a_decoder_of_a_part_is_compared_with_one_of_all_under_the_mae_of_each_arm(study, tmp_path):
    arms = {"all": {}, "half": {"decode_ratio": 0.5}}
    study = replace(study, start=None, base=study.start, arms=arms, control="all", measures=("decoded_in_part",))
    folders = tmp_path / "study", tmp_path / "starts"
    rows = run_study(study, *folders, [0, 1], jobs=1)
    assert not folders[1].exists()
    assert set(summarise(rows, study.control)["half"]) >= {"error_random_drop", "gain"}
    found = summarise(measure_study("decoded_in_part", study, *folders, [0, 1], jobs=1))
    whole, half = found["1 decoded: p ~ motion"], found["0.5 decoded: p ~ motion"]
    assert whole["gain_in_part"] == whole["gain"]
    assert whole["agreement"].values == pytest.approx([1, 1])
    assert half["gain_in_part"] != half["gain"]
    assert half["error_own"].mean != whole["error_own"].mean
    assert all(abs(value) < 0.999 for value in half["agreement"].values)


def test_a_trial_that_was_stopped_goes_on_to_the_same_end(study, tmp_path, monkeypatch):
    whole = run_trial(Trial(study.base, tmp_path / "whole"))
    trial = Trial(study.base, tmp_path / "stopped")

    def save_and_be_preempted(run, save=Pretraining.save):
        save(run)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Pretraining, "save", save_and_be_preempted)
    with pytest.raises(StoppedError, match="run the study again to go on") as stopped:
        run_trial(trial)
    assert pickle.loads(pickle.dumps(stopped.value)).exit_code == 75  # as other processes send it
    monkeypatch.undo()
    assert not (trial.folder / ROW).exists()
    resumed = run_trial(trial)
    # The cost differs, and the curve has one more measurement: that of the stop.
    apart = {"cost_s": 0, "masks_per_s": 0, "peak_memory_mib": 0, "curve": []}
    assert json.dumps(resumed | apart) == json.dumps(whole | apart)
    assert np.array_equal(np.load(trial.folder / MASKS_FILE), np.load(tmp_path / "whole" / MASKS_FILE))
    assert json.dumps(resumed["curve"][-1]) == json.dumps(whole["curve"][-1])


def test_rows_of_other_settings_are_not_taken_for_ours(study, tmp_path):
    trial = Trial(study.base, tmp_path / "trial")
    run_trials([trial], jobs=1)
    run_trials([replace(trial, config=replace(trial.config, init_mae="moved", out="elsewhere"))], jobs=1)
    for changes in ({"reward": "gain"}, {"init_mae": "demo"}):
        with pytest.raises(ValueError, match="holds a run with other settings"):
            run_trials([replace(trial, config=replace(trial.config, **changes))], jobs=1)


def test_runs_on_other_data_lie_elsewhere():
    names = [StudyConfig("content", **each).data for each in ({}, {"root": "/a/films"}, {"root": "/a", "label": "b"})]
    assert names == ["demo", "films", "b"]
    assert StudyConfig("content", root="/a/films").command.endswith("--root FOLDER --label films")


def test_settings_are_changed_by_dotted_names():
    config = with_changes(STUDIES["content"].base, {"reward": "gain", "tats.credit": "joint"})
    assert (config.reward, config.tats.credit) == ("gain", "joint")
    assert config.tats.learning_rate == STUDIES["content"].base.tats.learning_rate
    with pytest.raises(TypeError, match="credits"):
        with_changes(config, {"tats.credits": "joint"})


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_every_study_is_a_valid_run(name):
    study = STUDIES[name]
    assert study.control in study.arms if study.base.train_mae else study.control is None
    configs = [with_changes(study.base, changes) for changes in study.arms.values()]
    assert all(config not in configs[:i] for i, config in enumerate(configs))
