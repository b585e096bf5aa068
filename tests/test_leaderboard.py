"""The leaderboard's files have one form, and its page is the one made from them; numbers by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tats_gym.agents.experiments.bench.page import leaderboard_page
from tats_gym.agents.experiments.bench.result import (
    Result,
    estimates_of,
    read_leaderboard,
    read_result_file,
    values_of,
    write_result,
)
from tats_gym.agents.experiments.bench.tasks import TASKS
from tats_gym.agents.experiments.studies.report import with_headroom_share
from tats_gym.commands.bench import main
from tats_gym.settings.config_io import from_plain

ROOT = Path(__file__).resolve().parent.parent
LEADERBOARD = ROOT / "benchmarks" / "leaderboard"


def row(seed, **values):
    """A run's row as a comparison has it, with a headroom of .05."""
    measured = {"seed": seed, "agent": "x", "steps": 22_400, "mae_steps": 700, "error_random": 0.5, "masks_per_s": 60.0,
                "peak_memory_mib": 500.0, "extra_forwards": 0, "cost_s": 400.0, "reference_content_gain": 0.0,
                "reference_gain": 0.0, "knn": 0.125, "shown": [0.5], **values}  # fmt: skip
    return with_headroom_share([measured], {0: 0.05}, "reference_gain")[0]


def result(method, gains, task="demo-10", **changes):
    """A result with these gains in the seeds 0, 1, ...; those of the control are zero."""
    own = [values_of(row(seed, reference_gain=gain)) for seed, gain in enumerate(gains)]
    control = [values_of(row(seed)) for seed in range(len(gains))]
    rows = control if method == "random" else own
    plain = {
        "method": method,
        "task": task,
        "version": TASKS[task].version,
        "seeds": list(range(len(gains))),
        "forwards": 22_400,
        "seconds": None,
        "rows": rows,
        "control": control,
        "estimates": estimates_of(method, rows, control),
        "settings": {},
        "command": f"tats-gym bench {method} --tasks {task} --seeds 0 1 2 3 4",
        "jobs_side_by_side": 2,
        "commit": "0123456789abcdef",
        "commits": ["0123456789abcdef"],
        "date": "2026-11-29",
        "machine": {"cores": 2, "processor": "Xeon"},
        "versions": {"python": "3.11.7"},
    }
    return from_plain(Result, {**plain, **changes})


MACHINE = {"cores": 16, "processor": "Xeon", "gpus": ["an H200"]}
GAINS = (0.01, 0.02, 0.03, 0.04, 0.05)


def test_means_intervals_and_detectable_differences_are_those_by_hand():
    """Deviation sqrt(.00025) = .0158114, standard error .0070711; t of 4 degrees is 2.7764 at .975, .9410 at .8."""
    found = result("tube", GAINS).estimates
    for name in ("reference_gain", "reference_gain_rise"):
        assert found[name]["mean"] == pytest.approx(0.03)
        assert found[name]["low"] == pytest.approx(0.03 - 0.019632, abs=2e-5)
        assert found[name]["high"] == pytest.approx(0.03 + 0.019632, abs=2e-5)
        assert found[name]["detectable"] == pytest.approx((2.7764 + 0.9410) * 0.0070711, abs=2e-5)
    assert found["headroom_share"]["values"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # of .05
    assert found["headroom_share"]["mean"] == pytest.approx(0.6)
    assert found["knn_rise"]["mean"] == 0


def test_headroom_shares_are_of_the_mae_of_their_seed():
    rows = [
        {"seed": 3, "mae_steps": 5, "gain": 0.02, "reference_gain": 0.01},
        {"seed": 4, "mae_steps": 0, "gain": 0.02},
    ]
    shares = with_headroom_share(rows[:1], {3: 0.04, 4: 0.08}, "reference_gain")
    assert shares[0]["headroom_share"] == 0.25
    own = with_headroom_share(rows, {3: 0.04, 4: 0.08})
    assert "headroom_share" not in own[0]  # its own MAE was trained since the search
    assert own[1]["headroom_share"] == 0.25


def test_a_result_comes_back_from_its_file(tmp_path):
    made = result("my_agents.linear:build", GAINS, settings={"masks_per_clip": 2, "agent_settings.temperature": 0.5})
    write_result(made, tmp_path)
    path = tmp_path / "demo-10" / "my_agents.linear.build.json"
    assert read_result_file(path) == made
    assert read_leaderboard(tmp_path) == [made]


def test_values_that_are_not_finite_are_left_out():
    assert "knn" not in values_of(row(0, knn=float("nan")))
    assert values_of(row(0, error_random=0.1234567))["error_random"] == 0.12346
    assert "shown" not in values_of(row(0))


def _changed(**changes):
    return lambda plain: plain | changes


def _first_row(**changes):
    return lambda plain: plain | {"rows": [plain["rows"][0] | changes, *plain["rows"][1:]]}


def _estimate(name, **changes):
    return lambda plain: plain | {"estimates": plain["estimates"] | {name: plain["estimates"][name] | changes}}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_changed(score=1.0), TypeError, "Result has no field 'score'"),
        (lambda plain: {name: plain[name] for name in plain if name != "commit"}, TypeError, "Result lacks commit"),
        (_changed(seeds="01234"), TypeError, "seeds must be a list"),
        (_changed(task="demo-15"), ValueError, "task must be one of .*did you mean 'demo-10'"),
        (_changed(date="29.11.2026"), ValueError, "29.11.2026"),
        (_changed(machine={"cores": 2}), TypeError, "machine must have cores and processor"),
        (_changed(seeds=[0, 1, 2, 3, 5]), ValueError, "rows must have a row for each of the seeds"),
        (_changed(control=[]), ValueError, "control must have a row for each of the seeds"),
        (_first_row(steps=44_800), ValueError, "rows must have 22400 steps each"),
        (_first_row(logistic=0.5), ValueError, "rows and control must have the same measures in all seeds"),
        (_first_row(top1=0.9), TypeError, "rows have no measure top1"),
        (_first_row(knn="high"), TypeError, "rows must have a number as knn, got 'high'"),
        (_first_row(reference_gain=0.06), ValueError, "estimates must be those of the rows: reference_gain.mean"),
        (_estimate("knn", mean=0.5), ValueError, "knn.mean is 0.125, got 0.5"),
        (_estimate("knn", values=[0.125]), ValueError, "estimates must be those of the rows: knn.values"),
        (_estimate("reference_gain_rise", low=None), ValueError, "reference_gain_rise.low is 0.01"),
        (_changed(estimates={}), ValueError, "estimates must have reference_gain, by which"),
        (_changed(version=0), ValueError, "version must be 1, that of demo-10, got 0; run it anew"),
        (_changed(seconds=60.0), ValueError, "the budget must be the task's 22400 forwards, got 60 seconds"),
        (_changed(method="frame"), ValueError, "must lie at demo-10/frame.json"),
    ],
)
def test_a_file_that_is_no_entry_is_named_with_its_fault(tmp_path, change, error, message):
    write_result(result("tube", GAINS), tmp_path)
    path = tmp_path / "demo-10" / "tube.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(error, match=message) as raised:
        read_leaderboard(tmp_path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (result("tube", GAINS[:3]), "seeds must be 0 1 2 3 4, so that none are picked, got 0 1 2"),
        (result("tube", GAINS, task="clips"), "the task clips has no leaderboard"),
    ],
)
def test_results_that_are_not_entered_are_refused(tmp_path, made, message):
    write_result(made, tmp_path)
    with pytest.raises(ValueError, match=message):
        read_leaderboard(tmp_path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "demo-10").mkdir()
    (tmp_path / "demo-10" / "tube.json").write_text("{")
    with pytest.raises(ValueError, match=r"demo-10/tube\.json"):
        read_leaderboard(tmp_path)


# --- The page --------------------------------------------------------------------------------------------------------


def test_the_entries_are_valid_and_the_page_is_the_one_made_from_them():
    page = (ROOT / "docs" / "leaderboard.md").read_text()
    assert page == leaderboard_page(read_leaderboard(LEADERBOARD)), "write it anew: tats-gym bench --page"


def test_without_entries_the_page_says_how_they_come():
    page = leaderboard_page([])
    for name, task in TASKS.items():
        there = f"## {name}, version 1\n\nNo entries yet: `tats-gym bench METHOD --tasks {name}` makes one." in page
        assert there == task.entered
    assert (
        "| `demo-05` | 1 | the demo's clips, second version, 5 % of the tokens visible | 24 of 512 | 22,400 |" in page
    )


def test_methods_are_listed_from_the_best_gain_down_with_their_intervals():
    entries = [result("random", GAINS), result("tube", GAINS), result("motion", tuple(-gain for gain in GAINS))]
    page = leaderboard_page(entries)
    section = page[page.index("## demo-10") : page.index("## games-05")]
    table = section.split("**Errors of reconstruction**")[1].split("**Probes")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == ["tube", "random", "motion"]
    tube = next(line for line in table.splitlines() if line.startswith("| `tube`"))
    assert [cell.strip() for cell in tube.strip("|").split("|")] == [
        "`tube`",
        "5",
        "0.5000",
        "+0.0000 (0.0000)",
        "0.0300 [0.0104, 0.0496]",
        "+0.0300 [+0.0104, +0.0496] (0.0263)",
        "+0.0000 (0.0000)",
        "60.0 [20.7, 99.3]",  # of .05: 100 x .0104 / .05 and on
    ]
    assert "Ordered by gain under one MAE." in section
    assert "12.5" in section
    assert "R²" not in section
    assert (
        "| `tube` |  | 2 x Xeon | 2 | 2026-11-29 | 0123456 | [JSON](../benchmarks/leaderboard/demo-10/tube.json) |"
        in page
    )
    assert "No entries yet: `tats-gym bench METHOD --tasks demo-05`" in page
    changed = leaderboard_page([result("tube", GAINS, commit="0123456789abcdef-dirty", machine=MACHINE)])
    assert "| `tube` |  | an H200 | 2 | 2026-11-29 | 0123456-dirty |" in changed


def test_tables_are_rectangular():
    page = leaderboard_page([result("random", GAINS), result("tube", GAINS)])
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 1 + 4  # the tasks; errors, probes, cost and origin
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_command_writes_the_page_from_the_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A checkout\n")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    assert main(["--page"]) == 0
    assert (tmp_path / "docs" / "leaderboard.md").read_text() == leaderboard_page([])
    entry = result("tube", GAINS)
    write_result(entry, tmp_path / "benchmarks" / "leaderboard")
    assert main(["--page"]) == 0
    assert (tmp_path / "docs" / "leaderboard.md").read_text() == leaderboard_page([entry])
    assert capsys.readouterr().out.splitlines()[-1] == "page: docs/leaderboard.md"
    write_result(replace(entry, version=0), tmp_path / "benchmarks" / "leaderboard")
    assert main(["--page"]) == 1
    assert "version must be 1" in capsys.readouterr().err
