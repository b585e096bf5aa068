"""The benchmark of masks: methods beside their control on small tasks, with the numbers by hand or by enumeration."""

import json
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from tats_gym.agents.experiments.bench import bench, budget
from tats_gym.agents.experiments.bench.budget import Budget, forwards_within
from tats_gym.agents.experiments.bench.result import read_result_file
from tats_gym.agents.experiments.bench.tasks import TASKS, Task
from tats_gym.agents.experiments.comparison.compare import run_comparison
from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.trials import plan as trials_plan
from tats_gym.agents.experiments.trials.trial import latest_run
from tats_gym.agents.training.plan import Phase, RunPlan
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.games.atari import atari_config, make_atari_data
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.jobs.work_queue import WorkFailedError
from tats_gym.probe import AttentiveProbeConfig, KnnConfig, LogisticConfig, ProbeConfig
from tats_gym.tokens import TokenGrid
from tests.layouts import write_two_classes
from tests.runs import load_command, tiny_config

pytestmark = pytest.mark.long

PROBE = ProbePlan(
    attentive=True,
    config=ProbeConfig(
        logistic=LogisticConfig(strengths=(0.1,)), knn=KnnConfig(k=3), attentive=AttentiveProbeConfig(epochs=1)
    ),
)


@pytest.fixture(name="script", scope="module")
def _script():
    return load_command("bench")


@pytest.fixture(name="tiny", scope="module")
def _tiny(tmp_path_factory):
    """A task of clips with two classes, whose reference is the MAE of `random`."""
    root = write_two_classes(tmp_path_factory.mktemp("labelled"))
    clips = ClipConfig(data="list", root=str(root), stride=1)
    base = tiny_config(root, "unused", env="TatsMask-list-v0", clips=clips)
    return Task(about="two classes", base=base, forwards=32, probe=PROBE, ranked_by="reference_gain", version=3)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(name="words", scope="module")
def _words(folder):
    return ["constant", "random", "--tasks", "demo-10", "--seeds", "3", "4", "--jobs", "1",
            "--out", str(folder / "runs"), "--results", str(folder / "results")]  # fmt: skip


@pytest.fixture(name="made", scope="module")
def _made(tiny, folder, words, script):
    """The results of the constant mask and of the control, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "demo-10", tiny)
        patch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
        assert script.main(words) == 0
        paths = sorted((folder / "results").rglob("*.json"))
        assert [path.relative_to(folder / "results").as_posix() for path in paths] == [
            "demo-10/constant.json", "demo-10/random.json"
        ]  # fmt: skip
        return {path.stem: read_result_file(path) for path in paths}


def test_a_result_tells_its_task_its_command_and_its_origin(made, folder):
    found = made["constant"]
    assert (found.method, found.task, found.version, found.seeds) == ("constant", "demo-10", 3, (3, 4))
    assert (found.forwards, found.seconds, found.jobs_side_by_side) == (32, None, 1)
    assert found.command == "tats-gym bench constant --tasks demo-10 --seeds 3 4"
    assert found.settings == {}
    assert {"cores", "processor"} <= found.machine.keys()
    assert found.versions["python"]
    assert found.commit in found.commits
    assert str(folder) not in (folder / "results" / "demo-10" / "constant.json").read_text()


def test_every_measure_stands_beside_that_of_the_control_of_the_same_seed(made):
    own, control = made["constant"].rows, made["constant"].control
    assert [row["seed"] for row in own] == [row["seed"] for row in control] == [3, 4]
    assert made["random"].rows == made["random"].control == control
    estimates = made["constant"].estimates
    for measure, difference, sign in (
        ("error_random", "error_random_drop", -1),
        ("reference_gain", "reference_gain_rise", 1),
        ("reference_content_gain", "reference_content_gain_rise", 1),
        ("headroom_share", "headroom_share_rise", 1),
        ("knn", "knn_rise", 1),
        ("logistic", "logistic_rise", 1),
        ("attentive", "attentive_rise", 1),
        ("masks_per_s", "masks_per_s_rise", 1),
        ("peak_memory_mib", "peak_memory_mib_drop", -1),
    ):
        each = [sign * (mine[measure] - its[measure]) for mine, its in zip(own, control, strict=True)]
        assert estimates[difference]["values"] == pytest.approx(each, abs=2e-5), measure
        # Student's t of one degree is 12.7062 at .975; half the distance of two values is their standard error.
        half = 12.7062 * abs(each[0] - each[1]) / 2
        assert estimates[difference]["high"] - estimates[difference]["mean"] == pytest.approx(half, abs=1e-3, rel=1e-4)
        assert difference not in made["random"].estimates


def test_the_headroom_is_that_of_the_best_of_all_masks(made, tiny, folder):
    """Eight tokens, three visible: 56 masks. The search is a lower bound, and on so few it comes near."""
    runs = folder / "runs" / "demo-10-v3"
    for row in made["constant"].rows:
        mae = build_mae(MAESource.find(str(latest_run(runs / "random" / f"seed{row['seed']}"))), tiny.base.grid, seed=0)
        stream = ClipStream(tiny.base.clips.held_out, frames=4, size=32, seed=0)
        clips = stream.centre([0, 3]).pixels  # two of four, evenly spaced
        with torch.no_grad():
            masks = torch.tensor(list(combinations(range(8), 3)))
            errors = torch.stack([mae(clips, ids.expand(2, -1)).errors.mean(1) for ids in masks])
        reference = json.loads((runs / f"reference-seed{row['seed']}.json").read_text())["result"]["constant"]
        best = reference["reference_error_random"] - errors.amin(0).mean().item()
        searched = row["reference_gain"] / row["headroom_share"]
        assert best > 0
        assert 0.8 * best < searched < best + 1e-3


def test_what_is_done_is_not_repeated(made, tiny, words, folder, script, monkeypatch):
    monkeypatch.setitem(TASKS, "demo-10", tiny)
    monkeypatch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
    for name in (
        "tats_gym.agents.experiments.trials.trial.run_trial",
        "tats_gym.agents.experiments.comparison.measures.held_out_for",
        "tats_gym.agents.experiments.comparison.measures.evaluate",
        "tats_gym.agents.experiments.bench.measures.hand_masks",
    ):
        monkeypatch.setattr(name, None)
    assert script.main(words) == 0
    again = read_result_file(folder / "results" / "demo-10" / "constant.json")
    assert again.rows == made["constant"].rows


def test_a_shipped_reference_is_searched_once_and_measures_all(made, tiny, folder, tmp_path, script, monkeypatch):
    reference = str(latest_run(folder / "runs" / "demo-10-v3" / "random" / "seed3"))
    task = replace(tiny, reference=reference, probe=None)
    monkeypatch.setitem(TASKS, "demo-10", task)
    monkeypatch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
    words = ["constant", "--tasks", "demo-10", "--seeds", "3", "4", "--jobs", "1"]
    assert script.main([*words, "--out", str(folder / "runs"), "--results", str(tmp_path)]) == 0
    found = read_result_file(tmp_path / "demo-10" / "constant.json")
    assert found.rows[0]["reference_gain"] == pytest.approx(made["constant"].rows[0]["reference_gain"], abs=1e-5)
    searched = [row["reference_gain"] / row["headroom_share"] for row in found.rows]
    assert searched[0] == pytest.approx(searched[1], rel=0.05)  # by values of five decimal places
    assert (folder / "runs" / "demo-10-v3" / "headroom-seed0.json").is_file()
    assert "knn" not in found.estimates


def test_coordinates_in_games_are_those_that_a_study_decodes(tmp_path, script, monkeypatch):
    pong = make_atari_data(tmp_path / "pong", atari_config(("Pong",), videos=4, held_out=2))
    base = tiny_config(pong, "unused")
    base = replace(base, env="TatsMask-atari-v0", clips=replace(base.clips, data="atari"))
    task = Task(about="Pong", base=base, forwards=32, coordinates=True, ranked_by="r2_attentive")
    monkeypatch.setitem(TASKS, "games-05", task)
    monkeypatch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert script.main(["random", "--tasks", "games-05", "--seeds", "0", "--jobs", "1", *folders]) == 0
    found = read_result_file(tmp_path / "results" / "games-05" / "random.json")
    stored = latest_run(tmp_path / "runs" / "games-05-v1" / "random" / "seed0") / "positions.json"
    scores = json.loads(stored.read_text())["result"]
    for decoder in ("ridge", "attentive"):
        mean = np.mean([max(0.0, each[decoder]) for each in scores.values()])
        assert found.rows[0][f"r2_{decoder}"] == pytest.approx(mean, abs=1e-5)
    assert found.estimates["r2_attentive"]["low"] is None  # one seed


def test_clips_of_the_user_stand_apart(clips_root, tmp_path, script, monkeypatch):
    base = replace(tiny_config("elsewhere", "unused"), grid=TokenGrid(frames=4, size=32, visible=2))
    monkeypatch.setitem(TASKS, "clips", replace(TASKS["clips"], base=base, forwards=32))
    monkeypatch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    words = ["tube", "--tasks", "clips", "--root", str(clips_root), "--seeds", "0", "--jobs", "1", *folders]
    assert script.main(words) == 0
    text = (tmp_path / "results" / "clips" / "tube.json").read_text()
    assert json.loads(text)["command"] == "tats-gym bench tube --tasks clips --seeds 0 --root FOLDER"
    assert str(clips_root) not in text


# --- Budgets ---------------------------------------------------------------------------------------------------------


def _plan(config, speed=2.0):
    phases = (
        Phase(name="before", masks=8, masks_per_s=speed, wait_share=0.0),
        Phase(name="then", masks=24, masks_per_s=3 * speed, wait_share=0.0),
    )
    return RunPlan(config=config, phases=phases, measurements=2, measurement_s=1800.0, peak_memory_mib=0.0,
                   checkpoint_bytes=2**28, rollout_masks=12)  # fmt: skip


def test_seconds_become_whole_epochs_and_rollouts_at_the_measured_speed(tiny, tmp_path, monkeypatch):
    """8 masks at 2 and 24 at 6 a second are 32 in 8 s, so 400 in 100 s, of which 384 = 8 x 48 are whole: 4 epochs of 4
    masks a step are 16, rollouts 12."""
    monkeypatch.setattr(budget, "plan_run", _plan)
    config = tiny.settings()
    assert forwards_within([Budget(config, 100.0, tmp_path / "one")], jobs=1) == [384]
    monkeypatch.setattr(budget, "plan_run", partial(_plan, speed=4.0))
    works = [Budget(config, 100.0, tmp_path / "one"), Budget(config, 100.0, tmp_path / "two")]
    assert forwards_within(works, jobs=1) == [384, 768]  # the first is kept
    with pytest.raises(WorkFailedError, match=r"--seconds must allow tats 48 forwards.* got 2; take 6 or more"):
        forwards_within([Budget(config, 2.0, tmp_path / "three")], jobs=1)


def test_runs_of_equal_seconds_say_so(tiny, tmp_path, script, monkeypatch):
    monkeypatch.setitem(TASKS, "demo-10", replace(tiny, probe=None))
    monkeypatch.setattr(bench, "run_comparison", partial(run_comparison, own_process=False))
    monkeypatch.setattr(bench, "forwards_within", lambda budgets, jobs: [32, 16])
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    words = ["constant", "--tasks", "demo-10", "--seeds", "3", "--seconds", "5", "--jobs", "1", *folders]
    assert script.main(words) == 0
    found = read_result_file(tmp_path / "results" / "demo-10" / "constant.json")
    assert (found.seconds, found.forwards, found.rows[0]["steps"], found.control[0]["steps"]) == (5, 16, 16, 32)
    assert found.settings["epoch_masks"] == 4
    assert found.command == "tats-gym bench constant --tasks demo-10 --seeds 3 --seconds 5"
    assert (tmp_path / "runs" / "demo-10-v3-5s" / "constant" / "seed3" / "row.json").is_file()


def test_a_dry_run_adds_up_the_hours_of_methods_control_tasks_and_seeds(tmp_path, script, monkeypatch, capsys):
    planned = []

    def plan(config):
        planned.append((config.env, config.grid.num_visible, config.agent))
        return _plan(config)

    monkeypatch.setattr(trials_plan, "plan_run", plan)
    words = ["tube", "random_ratio", "--tasks", "demo-05", "games-10", "--dry-run", "--out", str(tmp_path / "runs")]
    assert script.main(words) == 0
    demo, games = ("TatsMask-demo-v0", 24), ("TatsMask-atari-v0", 48)
    assert planned == [(*task, name) for task in (demo, games) for name in ("random", "tube", "random_ratio")]
    assert "6 runs of 5 seeds, one after the other on this machine: 30.1 h" in capsys.readouterr().out  # of 3,608 s
    assert not (tmp_path / "runs").exists()
