"""Ids, and the check that `agents` and `envs` are ours."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import tats_gym
from tats_gym import siblings

ROOT = Path(__file__).parent.parent


def test_importing_registers_them_all():
    names = ("ssv2", "k400", "ucf101", "hmdb51", "list", "demo", "folder")
    assert {f"TatsMask-{data}-v0" for data in names} == set(tats_gym.ENV_IDS)
    for env_id in tats_gym.ENV_IDS:
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
    assert done.stdout.strip() == "(72, 128)", done.stderr


def test_an_unknown_id_is_answered_with_the_nearest():
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean: `TatsMask-ssv2`"):
        gymnasium.make("TatsMask-ssv3-v0")


def test_another_package_of_the_same_name_is_named(tmp_path):
    intruder = tmp_path / "agents"
    intruder.mkdir()
    (intruder / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import tats_gym"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"{intruder / '__init__.py'} is in the way" in done.stderr


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(siblings, "SIBLINGS", ("agents", "not_a_package_of_ours"))
    with pytest.raises(ImportError, match="'not_a_package_of_ours', which is not importable"):
        siblings.check_siblings()
