"""Ids that Gymnasium knows once the package is imported."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import tats_gym
from tats_gym.registration import FROZEN_ENV

ROOT = Path(__file__).parent.parent


def test_importing_registers_them_all():
    names = ("ssv2", "k400", "ucf101", "hmdb51", "list", "demo", "folder", "atari", "images", "frames")
    assert {f"TatsMask-{data}-v0" for data in names} == set(tats_gym.env_ids())
    for env_id in (*tats_gym.env_ids(), FROZEN_ENV):
        spec = gymnasium.spec(env_id)
        assert spec.max_episode_steps is None
        assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()).kwargs == spec.kwargs


def test_the_module_prefix_imports_it(clips_root):
    code = (
        "import gymnasium, sys;"
        f"env = gymnasium.make('tats_gym:TatsMask-folder-v0', root={str(clips_root)!r}, device='cpu');"
        "observation, info = env.reset(seed=0); print(observation.shape); env.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(512, 128)", done.stderr


def test_an_unknown_id_is_answered_with_the_nearest():
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean: `TatsMask-ssv2`"):
        gymnasium.make("TatsMask-ssv3-v0")
