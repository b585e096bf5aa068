"""The report of a comparison: its tables and picture on rows made by hand, and its script."""

import json
import math
import re
from functools import partial

import numpy as np
import pytest

from tats_gym.agents.experiments.comparison.compare import run_comparison
from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.comparison.report import compare, comparison_figure, comparison_tables, plain_rows
from tests.runs import load_command, tiny_config


def rows_by_hand(seeds=(0, 1)):
    rows = []
    for seed in seeds:
        shared = {"seed": seed, "extra_forwards": 0, "cost_s": 1000.0, "masks_per_s": 10.0, "shown": [0.5]}
        rows.append({"agent": "random", "error_random": 0.5 + seed, "error_own": 0.5, "logistic": 0.25, **shared})
        drop = 0.1 * (seed + 1)
        mine = {"error_random": 0.5 + seed - drop, "error_own": 0.3, "logistic": 0.5, "logit_deviation": math.nan}
        rows.append({"agent": "mine", **mine, **shared})
    return rows


def test_tables_show_means_intervals_and_detectable_differences():
    """Drops of .1 and .2: mean .15, interval +- 12.706 * .05, detectable (12.706 + 1.376) * .05."""
    tables = comparison_tables(compare(rows_by_hand())).split("\n\n")
    title, head, random, mine = tables[0].splitlines()
    assert title == "Errors of reconstruction"
    assert head.split()[:2] == ["agent", "seeds"]
    assert "+0.1500 [-0.4853, +0.7853]  0.7041" in mine
    assert random.split()[:4] == ["random", "2", "0.500", "1.0000"]  # .5 and 1.5
    assert random.split()[4:] == ["[-5.3531,", "7.3531]"]
    assert mine.split()[:3] == ["mine", "2", "0.300"]
    probed = [line.split()[:4] for line in tables[1].splitlines()[2:]]
    assert probed == [["random", "2", "25.0"], ["mine", "2", "50.0", "+25.0"]]
    assert "1,000" in tables[3]
    assert [table.splitlines()[0] for table in tables[1:4]] == [
        "Probes of the frozen encoder: top-1, per cent", "The sampler's distribution", "The cost"
    ]  # fmt: skip


def test_one_seed_has_no_interval():
    tables = comparison_tables(compare(rows_by_hand(seeds=(0,))))
    assert "mine    1      0.300" in tables
    assert "nan" not in tables
    assert tables.count("[") == 1  # the legend's
    json.dumps(plain_rows(rows_by_hand()), allow_nan=False)
    assert "shown" not in plain_rows(rows_by_hand())[0]


def test_the_picture_has_a_panel_for_each_measure():
    small = comparison_figure(compare(rows_by_hand()), "two agents")
    one = comparison_figure(compare(rows_by_hand(seeds=(0,))), "one seed")
    assert small.dtype == np.uint8
    assert small.shape == one.shape
    assert (small != one).any()
    more = [{**row, "reference_gain": 0.1} for row in rows_by_hand()]
    assert comparison_figure(compare(more), "a fourth error").shape[1] > small.shape[1]
    less = [{name: value for name, value in row.items() if name != "logistic"} for row in rows_by_hand()]
    assert comparison_figure(compare(less), "no probes").shape[0] < small.shape[0]


# --- The script ------------------------------------------------------------------------------------------------------


@pytest.fixture(name="script", scope="module")
def _script():
    return load_command("compare")


def test_the_script_writes_its_results_and_their_origin(script, clips_root, tmp_path, monkeypatch, capsys):
    config = tiny_config(clips_root, "runs")
    monkeypatch.setattr(script, "defaults_for", lambda env, preset: (config, ProbePlan()))
    in_this_process = partial(run_comparison, own_process=False)
    monkeypatch.setattr("tats_gym.agents.experiments.comparison.report.run_comparison", in_this_process)
    arguments = ["--agents", "random", "constant", "--seeds", "3", "4", "--forwards", "32", "--label", "squares"]
    arguments += ["--jobs", "1", "--out", str(tmp_path / "runs"), f"--results={tmp_path / 'results'}"]
    assert script.main(["--env", "TatsMask-folder-v0", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "squares: 32 training forwards of the MAE, 3 of 8 tokens visible, 2 seeds" in shown
    assert "no probes: the clips have no labels" in shown
    text = (tmp_path / "results" / "compare_squares.json").read_text()
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert str(clips_root) not in text
    assert record["command"] == (
        "tats-gym compare --env TatsMask-folder-v0 --agents random constant --seeds 3 4 --forwards 32 "
        "--label squares --jobs 1 --out FOLDER --results=FOLDER"
    )
    assert [(row["agent"], row["seed"]) for row in record["rows"]] == [
        ("random", 3), ("constant", 3), ("random", 4), ("constant", 4)
    ]  # fmt: skip
    assert record["agents"]["constant"]["reference_gain"]["values"] == pytest.approx(
        [record["rows"][1]["reference_gain"], record["rows"][3]["reference_gain"]]
    )
    assert record["jobs_side_by_side"] == 1
    assert record["settings"]["base"]["grid"]["visible"] == 3
    assert {"commits", "date", "machine", "versions"} < record.keys()
    assert (tmp_path / "results" / "compare_squares.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "TatsMask-ssv3-v0"], "--env must be one of .*did you mean 'TatsMask-ssv2-v0'"),
        (["--agents", "random", "tatts", "--no-probe"], "must be one of .*did you mean 'tats'"),
        (["--base.agent", "random"], "--base.agent is not to be given here, got 'random'; use --agents"),
        (["--forwards", "100"], "forwards must be a multiple of epochs"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(script, capsys, arguments, message):
    assert script.main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_help_names_the_settings(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for wanted in ("--env ID", "--preset NAME", "--agents", "--visible", "--root", "--base.tats.credit", "--no-probe"):
        assert wanted in shown, wanted
