"""A training under faults, for seconds; faults that would show after hours are found."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.soak.census import Census, growth, memory_mib
from tests.soak.soak import _failures

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
ROW = Census(0.0, 4, 100, 9, 900.0, 1800.0)


def test_a_training_lives_through_faults_and_leaves_no_process_or_file(tmp_path):
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.3", "--fault-s", "2", "--num-videos", "40"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "soak.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (tmp_path / "soak.json").exists(), done.stderr
    record = json.loads((tmp_path / "soak.json").read_text())
    assert record["failures"] == [], record["log"]
    assert done.returncode == 0
    assert record["exit_code"] == 75
    assert sum(record["faults"].values()) >= 2
    assert record["clips"] > 0


def _rows(minutes, per_minute):
    return [replace(ROW, seconds=60.0 * i, memory_mib=1800 * (1 + per_minute * i)) for i in range(minutes + 1)]


def test_growth_is_that_of_the_last_minutes_over_the_first():
    rows = _rows(60, 0.001)
    assert growth(rows, "memory_mib", settled_s=600, window_s=600) == pytest.approx(1.055 / 1.0145 - 1)
    assert growth(rows, "files", settled_s=600, window_s=600) == 0


@pytest.mark.parametrize(
    ("code", "rows", "words", "failures"),
    [
        (75, _rows(60, 0.0005), "", []),
        (75, _rows(60, 0.002), "", ["memory_mib grew by 7.9%"]),
        (1, _rows(60, 0), "Traceback (most", ["the training ended with 1, not 75", "there is a traceback in the log"]),
    ],
)
def test_faults_are_named(tmp_path, code, rows, words, failures):
    assert _failures(code, rows, set(), tmp_path, words) == failures


def test_leftovers_are_named(tmp_path):
    (tmp_path / "tmp123").touch()
    with subprocess.Popen(["sleep", "60"]) as left:
        process = psutil.Process(left.pid)
        found = _failures(75, [ROW], {process}, tmp_path, "")
        left.kill()
    assert found == [f"process {left.pid} outlived it", "tmp123 was left in the temporary folder"]
    (tmp_path / "tmp123").unlink()
    assert _failures(75, [ROW], {process}, tmp_path, "") == []


def test_memory_that_a_process_takes_and_gives_back_is_counted():
    code = "import sys\nfor line in sys.stdin: held = bytearray(b'x') * int(line); print('held', flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        found = []
        for size in (2**20, 200 * 2**20, 2**20):
            it.stdin.write(f"{size}\n")
            it.stdin.flush()
            it.stdout.readline()
            found.append(memory_mib(psutil.Process(it.pid)))
        it.stdin.close()
    assert found[1] - found[0] == pytest.approx(199, abs=5)
    assert found[2] == pytest.approx(found[0], abs=5)
