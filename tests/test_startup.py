"""Modules that an import or an answered command leaves out, in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tats_gym.agents import AGENTS

ROOT = Path(__file__).parent.parent
HEAVY = (
    "timm", "torchvision", "scipy", "matplotlib", "av", "decord", "torchcodec", "pandas", "jinja2", "sympy", "onnx",
    "transformers", "sklearn", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.onnx",
)  # fmt: skip
"""Packages that a command needs for its work, not for its answer."""
ANSWERS = """
import runpy, sys
from contextlib import redirect_stderr
script, program = ("scripts/train_ppo.py", runpy.run_path), ("tats_gym", runpy.run_module)
for (name, start), words in [
    (script, ["--help"]),
    (script, ["--num-env", "4"]),
    (script, ["--agent", "tatts"]),
    (program, ["train", "--help"]),
    (program, ["train", "--num-env", "4"]),
    (program, ["train", "--agent", "tatts"]),
]:
    sys.argv = [name, *words]
    try:
        with redirect_stderr(sys.stdout):
            start(name, run_name="__main__")
    except SystemExit as ended:
        print("\\nended with", ended.code)
print(" ".join(sys.modules))
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
    assert {"tats_gym.tokens", "tats_gym.registration", "gymnasium"} <= modules
    rooms = {f"tats_gym.{room}" for room in ("clips", "envs", "agents", "model")}
    assert not modules & {"torch", "stable_baselines3", "tyro", *HEAVY, *rooms}


def test_an_answer_leaves_the_heavy_packages_and_the_agents_out():
    done, modules = _modules(ANSWERS)
    assert done.returncode == 0, done.stderr
    *parts, _ = re.split(r"\nended with (\d+)\n", done.stdout)
    answers, codes = parts[::2], parts[1::2]
    assert codes == ["0", "2", "1"] * 2
    wanted = ("--mae-optim.base-lr", "--num-envs", "got 'tatts'; did you mean 'tats'?")
    for answer, words in zip(answers, wanted * 2, strict=True):
        assert words in answer
    assert "tats_gym.agents.config" in modules
    agents = {agent.builder.partition(":")[0] for agent in AGENTS.values()}
    assert "tats_gym.agents.builders" in agents
    assert not modules & {"tats_gym.agents.training.pretraining", *agents, *HEAVY}


@pytest.mark.parametrize("words", [["--help"], ["trian"]])
def test_the_program_lists_its_commands_without_torch(words):
    program = f"""
import sys
from tats_gym.commands import main
try:
    main({words})
except SystemExit as ended:
    print("ended with", ended.code)
print(" ".join(sys.modules))
"""
    done, modules = _modules(program)
    assert f"ended with {0 if words == ['--help'] else 2}" in done.stdout
    assert not modules & {"torch", "stable_baselines3", "tyro", *HEAVY}


def test_a_training_does_without_timm_and_torchvision():
    program = 'import sys, tats_gym.agents.training.train, tats_gym.agents.peers.adamae\nprint(" ".join(sys.modules))'
    done, modules = _modules(program)
    assert done.returncode == 0, done.stderr
    assert {"tats_gym.agents.training.pretraining", "tats_gym.agents.peers.adamae", "matplotlib"} <= modules
    assert not modules & {"timm", "torchvision"}
