"""The paper's sweeps: their trials, their tables, and several processes that share one folder."""

import json
import math
import shutil
import threading
from dataclasses import replace

import filelock
import pytest

from tats_gym.agents.config import PRESETS
from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.sweeps import sweep as sweep_module
from tats_gym.agents.experiments.sweeps.paper_tables import SWEEPS
from tats_gym.agents.experiments.sweeps.sweep import Swept, estimates, sweep_table, sweep_trials
from tats_gym.agents.experiments.trials import trial as trials_module
from tats_gym.agents.experiments.trials.trial import Trial, run_trials
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.jobs import work_queue
from tats_gym.jobs.work_queue import WorkFailedError, lock
from tats_gym.statistics import estimate
from tests.runs import load_command, tiny_config, words_of


@pytest.mark.parametrize("name", SWEEPS)
def test_every_trial_can_be_made_and_has_the_papers_figures_beside_it(name, tmp_path):
    sweep = SWEEPS[name]
    base = PRESETS["paper-ucf101"]
    trials = sweep_trials(sweep, base, tmp_path, [0, 1], budget=32_000)
    assert len(trials) == {"table2": 9, "table3": 8, "table6": 9}[name] * 2
    assert len({trial.folder for trial in trials.values()}) == len(trials)
    for (row, column, seed), trial in trials.items():
        assert trial.config.seed == seed
        assert trial.config.agent == sweep.agents[column]
        assert trial.config.grid.num_visible % 8 == 0
        assert trial.config.epoch_masks * trial.config.mae_optim.epochs == 32_000
        assert all(published[row][column] for published in sweep.published.values())


def test_without_a_budget_a_run_is_as_long_as_its_preset_in_whole_rollouts_of_every_row(clips_root, tmp_path):
    base = with_changes(PRESETS["folder"], {"clips.root": str(clips_root), "epoch_masks": 1616})
    lengths = {}
    for table in ("table2", "table3"):
        trials = sweep_trials(SWEEPS[table], base, tmp_path, [0], budget=None)
        (lengths[table],) = {trial.config.epoch_masks * 125 for trial in trials.values()}
    assert lengths == {"table2": 208_000, "table3": 204_000}  # 202,000 rounded up to multiples of 8,000 and 4,000


def test_rows_hold_the_settings_of_their_names(tmp_path):
    base = with_changes(PRESETS["folder"], {"grid.size": 96})
    two, three, six = (sweep_trials(SWEEPS[f"table{n}"], base, tmp_path, [0], budget=16_000) for n in (2, 3, 6))
    tats = two["(50, 25)", "TATS", 0].config
    assert (tats.tats.warmup_epochs, tats.tats.n_steps, tats.mae_optim.epochs) == (50, 25, 125)
    assert tats.mae_optim.warmup_epochs == 12  # the preset's share
    tats = three["(1e-5, 1e-4, 1e-4)", "TATS", 0].config.tats
    assert (tats.policy_coef, tats.vf_coef, tats.ent_coef, tats.credit) == (1e-5, 1e-4, 1e-4, "token")
    assert six["0.90", "VideoMAE (tube)", 0].config.agent == "tube"
    assert six["0.90", "VideoMAE (tube)", 0].config.reward == "neg_error"
    assert SWEEPS["table6"].published["hmdb51"]["0.95"]["TATS"] == "23.50/52.28"
    assert SWEEPS["table2"].published["hmdb51"]["(100, 1)"]["TATS"] == ".9291"


def test_the_table_has_the_papers_layout_with_intervals_and_a_star_at_the_best():
    sweep = SWEEPS["table6"]
    swept = [
        Swept(row, column, {"logistic": 10.0 * r + c + seed, "logistic_top5": 50.0 + seed})
        for r, row in enumerate(sweep.rows)
        for c, column in enumerate(sweep.agents)
        for seed in (0, 1, 2)
    ]
    found = estimates(sweep, swept)
    assert found["0.90", "AdaMAE"]["logistic"] == estimate([11.0, 12.0, 13.0])
    head, *lines = sweep_table(sweep, found, "ssv2").splitlines()
    assert head.split("  ")[0] == "mask ratio"
    assert [line.split()[0] for line in lines] == ["0.85", "0.90", "0.95"]
    assert "12.00 [9.52, 14.48] n 3" in lines[1]
    assert [line.count("*") for line in lines] == [0, 0, 1]
    assert lines[2].rstrip().endswith("13.39/31.88")
    assert sweep_table(sweep, found, "demo").splitlines()[0].count("paper, ") == 12


def test_a_run_that_ended_in_nan_takes_no_star_from_the_others():
    sweep = SWEEPS["table3"]
    swept = [Swept(row, "TATS", {"error_own": math.nan if row == "(1e-3, 1e-4, 1e-4)" else 0.5}) for row in sweep.rows]
    _, *lines = sweep_table(sweep, estimates(sweep, swept), "ucf101").splitlines()
    assert [" *" in line for line in lines] == ["nan" not in line for line in lines]
    assert "0.5000 *" in lines[0]


def test_a_measure_that_no_cell_has_gets_no_column_and_one_that_some_have_is_left_empty():
    sweep = SWEEPS["table6"]
    swept = [Swept(row, column, {"logistic": 1.0}) for row in sweep.rows for column in sweep.agents]
    head, *lines = sweep_table(sweep, estimates(sweep, swept), "ssv2").splitlines()
    assert (len(lines), head.count("top-1"), head.count("top-5"), head.count("attentive")) == (3, 3, 0, 0)
    swept = [
        replace(each, values={"logistic": 1.0, "attentive": 2.0}) if each.row == "0.85" else each for each in swept
    ]
    head, *lines = sweep_table(sweep, estimates(sweep, swept), "ssv2").splitlines()
    assert head.count("attentive top-1") == 3
    assert ["2.00" in line for line in lines] == [True, False, False]


@pytest.fixture(name="trial")
def _trial(clips_root, tmp_path):
    return Trial(replace(tiny_config(clips_root, tmp_path), agent="random"), tmp_path / "arm" / "seed0")


def test_a_trial_in_the_hands_of_another_is_waited_for_and_taken_over_when_it_lets_go(trial, monkeypatch):
    monkeypatch.setattr(work_queue, "POLL_S", 0.02)
    taken = filelock.FileLock(lock(trial.folder).lock_file, thread_local=False)
    taken.acquire()
    seen = []

    def release():
        seen.append((trial.folder / "row.json").exists())
        taken.release()

    timer = threading.Timer(1.0, release)
    timer.start()
    run_trials([trial], jobs=1)
    assert seen == [False]
    assert (trial.folder / "row.json").is_file()
    with pytest.raises(filelock.Timeout), lock(trial.folder), lock(trial.folder).acquire(blocking=False):
        pass


def test_cells_that_another_machine_did_meanwhile_are_not_repeated(trial, tmp_path, monkeypatch):
    other = replace(trial, folder=tmp_path / "arm" / "seed1")
    ran = []

    def run_trial(trial):
        for each in (trial.folder, other.folder):  # the other machine ends its trial while this one runs its own
            each.mkdir(parents=True, exist_ok=True)
            (each / "row.json").write_text('{"gain": 0, "cost_s": 1}')
        ran.append(trial.folder.name)
        return {"gain": 0.0, "cost_s": 1.0}

    monkeypatch.setattr(trials_module, "run_trial", run_trial)
    run_trials([trial, other], jobs=1)
    assert ran == ["seed0"]


def test_failing_runs_do_not_keep_the_others_from_being_done(trial, tmp_path, monkeypatch):
    others = [replace(trial, folder=tmp_path / "arm" / f"seed{seed}") for seed in (1, 2)]

    def run_trial(each):
        if each == others[0]:
            raise ValueError("a loss that is not finite")
        each.folder.mkdir(parents=True, exist_ok=True)
        row = {"gain": 0.0, "cost_s": 1.0}
        (each.folder / "row.json").write_text(json.dumps(row))
        return row

    monkeypatch.setattr(trials_module, "run_trial", run_trial)
    with pytest.raises(WorkFailedError, match=r"1 of 3 failed, the others are done; .*seed1: ValueError: a loss that"):
        run_trials([trial, *others], jobs=1)
    assert (others[1].folder / "row.json").is_file()


def test_a_trial_goes_on_where_clips_lie_elsewhere_and_no_setting_changes_unseen(trial, clips_root, tmp_path):
    run_trials([trial], jobs=1)
    row = json.loads((trial.folder / "row.json").read_text())
    (trial.folder / "row.json").unlink()
    shutil.copytree(clips_root, tmp_path / "elsewhere")
    moved = with_changes(trial.config, {"clips.root": str(tmp_path / "elsewhere"), "clips.cache_mib": 1})
    run_trials([replace(trial, config=moved)], jobs=1)
    again = json.loads((trial.folder / "row.json").read_text())
    assert again["error_own"] == row["error_own"]
    assert again["cost_s"] > row["cost_s"]
    (run,) = trial.folder.glob("*/checkpoints")
    shutil.rmtree(run)
    other = with_changes(trial.config, {"grid.visible": 4})
    with pytest.raises(ValueError, match=r"other settings than are asked for now \(grid.visible 3, now 4\)"):
        run_trials([replace(trial, config=other)], jobs=1)


@pytest.fixture(scope="module", name="script")
def _script():
    return load_command("sweep")


def test_the_script_prints_and_writes_the_table(script, clips_root, tmp_path, monkeypatch, capsys):
    sweep = SWEEPS["table2"]
    rows = {name: sweep.rows[name] for name in ("(0, 1)", "(1, 1)")}
    monkeypatch.setitem(SWEEPS, "table2", replace(sweep, rows=rows, epochs=2))
    tiny = with_changes(tiny_config(clips_root, tmp_path), {"epoch_masks": None, "grid.visible": 2, "seed": 0})
    monkeypatch.setattr(script, "defaults_for", lambda env, preset: (tiny, ProbePlan()))
    monkeypatch.setattr(sweep_module, "with_demo_set", lambda *_: pytest.fail("this table has no probes"))
    arguments = ["table2", "--env", "TatsMask-folder-v0", "--budget", "16", "--seeds", "3", "--jobs", "2",
                 "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]  # fmt: skip
    assert script.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "(0, 1)" in printed
    assert ".8051" in printed
    record = json.loads((tmp_path / "results" / "sweep_table2_folder.json").read_text())
    assert record["command"].startswith("tats-gym sweep table2 --env TatsMask-folder-v0 --budget 16 ")
    assert str(tmp_path) not in record["command"]
    assert [cell["row"] for cell in record["cells"]] == list(rows)
    assert len(record["cells"][0]["error_own"]["values"]) == 1
    assert record["seeds"] == [3]
    assert record["settings"]["base"]["clips"]["root"] == "FOLDER"
    assert record["runs_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table2", "--budget", "100"], "--budget must be a multiple of 8000, 125 epochs of 32 masks a step and whole"),
        (["table2", "--budget", "12000"], "rollouts in every row, got 12000; take 8000 or 16000"),
        (["table6", "--base.agent", "random"], "--base.agent is not to be given here, got 'random'; use the table's"),
        (
            ["table6", "--size", "48", "--patch-size", "16"],
            "rows 0.85 and 0.90 would both show 8 of 72 tokens, a multiple of the 8 tubelets; take larger",
        ),
        (
            ["table3", "--base.tats.ent-coef", "1"],
            "--base.tats.ent-coef is not to be given here, got 1.0; use table3's",
        ),
        (["table6", "--visible", "8"], "--visible is not to be given here, got 8; use table6's own"),
        (["table2", "--base.mae-optim.epochs", "5"], "--base.mae-optim.epochs is not to be given here, got 5; use"),
        (
            ["table6", "--env", "TatsMask-folder-v0", "--root", "{clips}", "--size", "80"],
            "-folder-v0 have no classes; ",
        ),
    ],
)
def test_settings_that_cannot_be_swept_are_named_before_any_run(
    script, clips_root, tmp_path, capsys, arguments, message
):
    arguments = [each.format(clips=clips_root) for each in arguments]
    assert script.main([*arguments, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize("option", ["jobs", "budget"])
def test_numbers_are_checked_before_any_clip_is_drawn(script, tmp_path, monkeypatch, capsys, option):
    monkeypatch.setenv("TATS_GYM_DATA", str(tmp_path))
    told = words_of(script.main, ["table6", f"--{option}", "0"], capsys, codes={2})
    assert f"{option} must be at least 1, got 0" in told
    assert not list(tmp_path.iterdir())
