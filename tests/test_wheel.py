"""The wheel as it is installed: one name at top level, beside a project with `agents` and `envs` of its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"

PROJECT = {
    "envs/__init__.py": "MASK_RATIO = 0.625",
    "agents/__init__.py": "",
    "agents/own.py": """
        from tats_gym.agents import FixedMasks
        from tats_gym.agents.fixed import RandomPolicy

        def build(env, config):
            return FixedMasks(RandomPolicy, env, device=config.device, seed=config.seed)
        """,
    "train.py": """
        import sys
        from dataclasses import replace

        import agents.own
        import envs
        from tats_gym.agents.config import preset_for
        from tats_gym.agents.training.pretraining import Pretraining
        from tats_gym.tokens import TokenGrid

        clips, out, *names = sys.argv[1:]
        preset = preset_for("TatsMask-folder-v0")
        for name in names:
            config = replace(
                preset, agent=name, num_envs=4, device="cpu", quiet=True, out=out,
                epoch_clips=8, eval_clips=2, eval_masks=1,
                clips=replace(preset.clips, root=clips, stride=1, num_workers=0),
                grid=TokenGrid(frames=4, size=32, visible=round(8 * (1 - envs.MASK_RATIO))),
                mae_optim=replace(preset.mae_optim, epochs=3, warmup_epochs=1),
                tats=replace(preset.tats, warmup_epochs=1),
            )
            run = Pretraining(config)
            print("trained", run.run().finished, type(run.agent).__module__)
            run.close()
        print("own", agents.own.__file__)
        """,
}


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory):
    """The wheel of a copy of this checkout; a build leaves folders behind."""
    source, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tats_gym", "agents", "envs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [UV, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, source]
    subprocess.run(command, check=True, capture_output=True, timeout=300)  # of the source archive that it makes first
    return next(out.glob("*.whl"))


def test_it_claims_one_name_at_top_level_and_holds_every_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"tats_gym", "tats_gym-0.1.0.dist-info"}
    tracked = subprocess.run(
        ["git", "ls-files", "tats_gym", "agents", "envs"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    files = {name if name.startswith("tats_gym/") else f"tats_gym/{name}" for name in tracked}
    assert files - {"tats_gym/agents", "tats_gym/envs"} == {name for name in names if "dist-info" not in name}


def test_a_project_with_agents_and_envs_of_its_own_trains(wheel, clips_root, tmp_path):
    project, installed = tmp_path / "project", tmp_path / "installed"
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("\n".join(line.removeprefix("        ") for line in text.split("\n")))
    command = [UV, "pip", "install", "--offline", "--no-deps", "--python", sys.executable, "--target", installed, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [sys.executable, "train.py", clips_root, tmp_path / "runs", "tats", "agents.own:build"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert [line[1:] for line in told if line[0] == "trained"] == [
        ["True", "tats_gym.agents.tats"],
        ["True", "tats_gym.agents.fixed"],
    ]
    assert Path(told[-1][1]) == project / "agents" / "own.py"
