"""Several processes that pre-train together: the same as one with their batch, going on, a process that is killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.train.distributed import Ranks
from tests.ranks import DIES, train
from tests.runs import tiny_config

ROOT = Path(__file__).parent.parent
ALONE = Ranks(0, 1, torch.device("cpu"))
pytestmark = pytest.mark.long


def _launch(clips_root, out, *words, script="ranks", restarts=0, **variables):
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return subprocess.run(
        [sys.executable, *several, f"tests/{script}.py", str(clips_root), str(out), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _train_alone(clips_root, folder, dtype, **optim):
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with pytest.MonkeyPatch.context() as patch:
            train(clips_root, folder, 8, ALONE, patch.setattr, **optim)
    finally:
        torch.set_default_dtype(torch.float32)
    return folder


@pytest.fixture(scope="module", name="alone")
def _alone(clips_root, tmp_path_factory):
    return _train_alone(clips_root, tmp_path_factory.mktemp("alone") / "float64", "float64")


@pytest.fixture(scope="module", name="both")
def _both(clips_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    done = _launch(clips_root, out, "4", "float64", "{}", "float32", '{"accumulate": 2}')
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module", name="killed")
def _killed(clips_root, tmp_path_factory):
    """A training of which one process was killed, so that all started again; `left` is its folder at that moment."""
    out = tmp_path_factory.mktemp("killed")
    done = _launch(clips_root, out, "4", "float64", '{"shard_state": true}', restarts=1, **{DIES: "2"})
    assert done.returncode == 0, done.stderr
    return out


def _check_same_weights(one, two):
    states = [load_checkpoint(folder) for folder in (one, two)]
    assert [state["step"] for state in states] == [32, 32]
    weights = [{**state["mae"], **state["agent"]["policy"]} for state in states]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-10, rtol=0)


def test_two_processes_have_the_weights_of_one_with_twice_the_batch(alone, both):
    _check_same_weights(alone, both / "float64")
    files = [each / "metrics.jsonl" for each in (alone, both / "float64")]
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    for name in ("mae/loss", "rollout/reward", "held_out/gain", "time/broken_videos"):
        logged = [[row[name] for row in each if name in row] for each in rows]
        assert len(logged[0]) >= 3
        assert logged[0] == pytest.approx(logged[1], abs=1e-9)


def test_gradients_in_float32_are_those_of_one_process(clips_root, both, tmp_path):
    alone = _train_alone(clips_root, tmp_path, "float32", accumulate=2)
    one, two = (torch.load(folder / "gradients.pt") for folder in (alone, both / "float32"))
    for part in ("mae", "sampler"):
        first = one[part][0]  # of the MAE summed over two steps
        assert first.norm() > 0
        assert (two[part][0] - first).norm() < 1e-5 * first.norm()


def test_a_run_of_two_processes_goes_on_in_one(clips_root, alone, killed, tmp_path):
    left = shutil.copytree(killed / "left", tmp_path / "left")
    assert load_checkpoint(left)["step"] == 16
    _check_same_weights(alone, _train_alone(clips_root, left, "float64"))


def test_after_a_process_was_killed_all_start_again_where_they_were(alone, killed):
    _check_same_weights(alone, killed / "float64")


def test_two_processes_of_every_agent_that_learns_end_with_the_same_weights(clips_root, tmp_path):
    agents = ["tats", "group", "grpo", "gumbel", "adamae", "loss_predictor"]
    done = _launch(clips_root, tmp_path, *agents, script="ranks_agents")
    assert done.returncode == 0, done.stderr


def test_an_agent_that_trains_in_one_process_is_refused_in_several(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, agent="ppo")
    with pytest.raises(ValueError, match="--agent ppo trains in one process, got 2; agents that"):
        Pretraining(config, ranks=Ranks(0, 2, torch.device("cpu")))
