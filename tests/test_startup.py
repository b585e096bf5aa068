"""Modules that an import or an answered command leaves out, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    "timm", "torchvision", "scipy", "matplotlib", "av", "decord", "torchcodec", "pandas", "jinja2", "sympy", "onnx",
    "transformers", "sklearn", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.onnx",
)  # fmt: skip
"""Packages that a command needs for its work, not for its answer."""
COMMAND = """
import runpy, sys
sys.argv = {words!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("\\n" + " ".join(sys.modules))
"""


def _modules(program):
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    return done, set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_registers_the_ids_without_torch():
    program = """
import sys, gymnasium, tats_gym
assert "TatsMask-ssv2-v0" in gymnasium.registry
assert tats_gym.TokenGrid(size=48, mask_ratio=0.8).num_tokens == 72
print(" ".join(sys.modules))
"""
    done, modules = _modules(program)
    assert done.returncode == 0, done.stderr
    assert {"tats_gym.tokens", "gymnasium"} <= modules
    assert not modules & {"torch", "stable_baselines3", "tyro", *HEAVY}


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["--help"], 0, "--mae-optim.base-lr"),
        (["--num-env", "4"], 2, "--num-envs"),
        (["--agent", "tatts"], 1, "got 'tatts'; did you mean 'tats'?"),
    ],
)
def test_an_answer_leaves_the_heavy_packages_out(words, code, answer):
    done, modules = _modules(COMMAND.format(words=["scripts/train_ppo.py", *words]))
    assert done.returncode == code
    assert answer in done.stdout + done.stderr
    assert "tats_gym.agents.config" in modules
    assert not modules & {"tats_gym.agents.training.pretraining", *HEAVY}


def test_a_training_does_without_timm_and_torchvision():
    program = 'import sys, tats_gym.agents.training.train, tats_gym.agents.builders\nprint(" ".join(sys.modules))'
    done, modules = _modules(program)
    assert done.returncode == 0, done.stderr
    assert {"tats_gym.agents.training.pretraining", "tats_gym.agents.adamae", "matplotlib"} <= modules
    assert not modules & {"timm", "torchvision"}
