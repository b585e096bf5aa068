"""Skipped steps and ended runs where gradients are not finite: one optimiser at a time, and two processes."""

import copy
import logging
import math
import os
import re
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest
import torch

from tats_gym.agents.config import PretrainConfig
from tats_gym.finetune.config import FinetuneConfig
from tats_gym.train.nonfinite import WAY_OUT, GradientGuard, NonFiniteError, check_finite
from tests.test_mae_training import _loss, _optimizer

ROOT = Path(__file__).parent.parent
OPTIMIZERS = {
    "fused AdamW": lambda parameters: torch.optim.AdamW(parameters, weight_decay=0.1, fused=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, weight_decay=0.1),
    "Adam": torch.optim.Adam,
    "RMSprop": torch.optim.RMSprop,
    "SGD": lambda parameters: torch.optim.SGD(parameters, momentum=0.9, weight_decay=0.1),
}


def _everything(module, optimizer):
    """Weights, and the optimiser's state of each: moments and step counts."""
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return [torch.as_tensor(value).clone() for value in (*module.parameters(), *kept)]


def _same(one, two):
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _step(module, optimizer, bad=1.0):
    """Step on a finite loss; the gradient of one number becomes `bad` times itself."""
    optimizer.zero_grad()
    module(torch.ones(2, 3)).square().sum().backward()
    module.weight.grad[0, 0] *= bad
    optimizer.step()


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e38])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_with_such_a_gradient_leaves_everything_to_the_bit(name, bad, caplog):
    module = torch.nn.Linear(3, 4)
    optimizer = OPTIMIZERS[name](module.parameters())
    guard = GradientGuard("toy", optimizer, lambda: "optimiser step 7")
    _step(module, optimizer)
    before = _everything(module, optimizer)
    with caplog.at_level(logging.WARNING):
        _step(module, optimizer, bad)
    assert _same(before, _everything(module, optimizer))
    found = "nan" if math.isnan(bad) else "inf"
    (message,) = caplog.messages
    assert message.startswith(f"the norm of the toy's gradients is {found} at optimiser step 7, which is skipped: 1 so")
    assert (guard.skipped, guard.in_a_row) == (1, 1)
    _step(module, optimizer)
    assert not _same(before, _everything(module, optimizer))
    assert (guard.skipped, guard.in_a_row) == (1, 0)


def test_the_norm_is_that_of_all_gradients():
    module = torch.nn.Linear(3, 4)
    optimizer = torch.optim.SGD(module.parameters())
    guard = GradientGuard("toy", optimizer, lambda: "")
    _step(module, optimizer)
    squares = sum(number**2 for parameter in module.parameters() for number in parameter.grad.flatten().tolist())
    assert guard.norm == pytest.approx(math.sqrt(squares), rel=1e-6)
    norm = guard.norm
    _step(module, optimizer, math.nan)
    assert guard.norm == norm


def test_the_tenth_in_a_row_ends_the_run_and_changes_no_weight():
    module = torch.nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(module.parameters())
    guard = GradientGuard("toy", optimizer, lambda: "optimiser step 12")
    _step(module, optimizer)
    before = _everything(module, optimizer)
    for _ in range(4):
        _step(module, optimizer, math.inf)
    again = GradientGuard("toy", torch.optim.AdamW(module.parameters()), lambda: "")
    again.load_state_dict(guard.state_dict())
    assert (again.skipped, again.in_a_row) == (4, 4)
    for _ in range(5):
        _step(module, optimizer, math.inf)
    with pytest.raises(
        NonFiniteError, match=r"is inf at optimiser step 12, and 10 steps in a row were skipped. Resume"
    ):
        _step(module, optimizer, math.inf)
    assert _same(before, _everything(module, optimizer))


def test_the_first_number_that_is_not_finite_is_named():
    check_finite("a value", [[1.0, 2.0], [3.0, 4.0]], "step 3")
    check_finite("a value", [], "step 3")
    with pytest.raises(NonFiniteError, match=r"a value is -inf at step 3; no weight was changed by it\. Resume from"):
        check_finite("a value", [[1.0, 2.0], [-math.inf, math.nan]], "step 3")


def test_the_way_out_names_options_that_there_are():
    named = re.findall(r"--([a-z.-]+)", WAY_OUT)
    assert len(named) == 4
    for option in named:
        config = FinetuneConfig(encoder="tiny") if option.startswith("optim.") else PretrainConfig()
        attrgetter(option.replace("-", "_"))(config)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mae_goes_on_after_a_step_that_was_left_out_and_its_schedule_too(accumulate):
    mae, optimizer = _optimizer(accumulate=accumulate)
    for _ in range(accumulate):
        optimizer.step(_loss(mae))
    before = _everything(mae, optimizer.adamw)
    handle = mae.mask_token.register_hook(lambda gradient: gradient * math.inf)
    optimizer.step(_loss(mae))
    handle.remove()  # with two losses for a step, the second has a finite gradient
    for _ in range(accumulate - 1):
        optimizer.step(_loss(mae))
    assert _same(before, _everything(mae, optimizer.adamw))
    assert (optimizer.steps, optimizer.guard.skipped) == (2, 1)
    again = _optimizer(accumulate=accumulate)[1]
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert (again.steps, again.guard.skipped, again.guard.in_a_row) == (2, 1, 1)
    for _ in range(accumulate):
        optimizer.step(_loss(mae))
    assert not _same(before, _everything(mae, optimizer.adamw))
    assert {float(state["step"]) for state in optimizer.adamw.state.values()} == {2.0}


def test_a_state_of_before_steps_were_counted_is_taken():
    _, optimizer = _optimizer()
    state = optimizer.state_dict()
    del state["guard"]
    optimizer.load_state_dict(state)
    assert optimizer.guard.skipped == 0


TWO_PROCESSES = """
import torch
from tats_gym.train.distributed import gather, process_group, parallel
from tats_gym.model.optim import MAEOptimConfig
from tats_gym.train.optimizer import ScheduledAdamW
torch.set_num_threads(1)
with process_group("cpu") as ranks:
    for sharded in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        network = parallel(model)
        config = MAEOptimConfig(epochs=9, warmup_epochs=0, accumulate=2, shard_state=sharded)
        optimizer = ScheduledAdamW(
            "toy", [{"params": [each]} for each in model.parameters()], config,
            batch_size=2, steps_per_epoch=9, module=network,
        )
        def overflow(gradient):  # in the second process, in the first half of the third step
            bad = ranks.rank == 1 and (optimizer.steps, optimizer._accumulated) == (2, 0)
            return gradient * float("inf") if bad else gradient
        model[0].weight.register_hook(overflow)
        weights = []
        for step in range(8):
            optimizer.step(network(torch.full((2, 3), 1.0 + ranks.rank + step)).square().mean())
            if step % 2:
                weights.append(torch.cat([each.detach().flatten() for each in model.parameters()]).clone())
        assert torch.equal(weights[1], weights[2])
        assert not torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[2], weights[3])
        whole = optimizer.state_dict()
        assert (optimizer.steps, whole["guard"]) == (4, {"skipped": 1, "in_a_row": 0})
        steps = [float(each["step"]) for each in whole["adamw"]["state"].values()] if ranks.first else [3.0]
        assert set(steps) == {3.0}, steps
        everywhere = gather((optimizer.guard.skipped, optimizer.guard.norm, weights[-1].tolist()))
        assert everywhere[0] == everywhere[1]
"""


def test_all_processes_leave_out_the_step_that_one_of_them_had_to(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the norm of the toy's gradients is") == 4, done.stderr
