"""The wheel as it is installed: one name at top level, a program, and a project with `agents` and `envs` of its own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

FOLDERS = ("tats_gym", "agents", "envs", "benchmarks")
ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"

PROJECT = {
    "envs/__init__.py": "MASK_RATIO = 0.625",
    "agents/__init__.py": "",
    "agents/own.py": """
        from tats_gym.agents import FixedMasks
        from tats_gym.agents.peers.fixed import RandomPolicy

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
                epoch_masks=8, eval_clips=2, eval_masks=1,
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
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [UV, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, source]
    subprocess.run(command, check=True, capture_output=True, timeout=300)  # of the source archive that it makes first
    return next(out.glob("*.whl"))


def test_it_claims_one_name_at_top_level_and_holds_every_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"tats_gym", "tats_gym-0.1.0.dist-info"}
    tracked = subprocess.run(
        ["git", "ls-files", *FOLDERS, ":!benchmarks/results", ":!benchmarks/NOTES.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    files = {name if name.startswith("tats_gym/") else f"tats_gym/{name}" for name in tracked}
    links = {f"tats_gym/{name}" for name in FOLDERS[1:]}
    assert links < files
    assert files - links == {name for name in names if "dist-info" not in name}


def test_it_trains_reports_and_exports_from_an_empty_folder(wheel, demo_root, tmp_path):
    fresh, here = tmp_path / "fresh", tmp_path / "here"
    here.mkdir()
    venv.create(fresh)
    command = [UV, "pip", "install", "--offline", "--no-deps", "--python", fresh / "bin" / "python", wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (packages,) = fresh.glob("lib/*/site-packages")
    (packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # where this checkout is no path

    def tats_gym(*words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [fresh / "bin" / "tats-gym", *words], cwd=here, env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = tats_gym(
        "train", "--env", "TatsMask-demo-v0", "--root", demo_root, "--num-workers", "1", "--device", "cpu",
        "--num-envs", "8", "--epoch-masks", "16", "--mae-optim.epochs", "2", "--eval-clips", "2", "--eval-masks", "1",
    )  # fmt: skip
    assert "run folder: runs/demo-group-seed0-1\n" in shown
    record = json.loads((here / "runs" / "demo-group-seed0-1" / "config.json").read_text())
    assert record["command"][0] == str(fresh / "bin" / "tats-gym")
    assert record["commit"] is None  # of the package that ran, which lies in no checkout
    assert record["config"]["init_mae"] == "demo"
    assert tats_gym("report", "runs/demo-group-seed0-1").startswith("report: report.html (")
    assert "tats-gym train --env TatsMask-demo-v0" in (here / "report.html").read_text()
    assert "encoder.safetensors" in tats_gym(
        "export", "runs/demo-group-seed0-1", "--format", "safetensors", "--out", "exported"
    )
    assert {path.name for path in here.iterdir()} == {"runs", "report.html", "exported"}
    assert "CPU seconds until" in tats_gym("benchmark", "--help")


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
        ["True", "tats_gym.agents.peers.fixed"],
    ]
    assert Path(told[-1][1]) == project / "agents" / "own.py"
