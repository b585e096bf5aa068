"""Loading a file runs no code in it: crafted files in the place of all that are read, and the calls that could."""

import ast
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tats_gym.agents.trained.sampler_export import load_sampler
from tats_gym.agents.training.resume import resume
from tats_gym.clips.caches.window_cache import WindowCache
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.mae import MAESource
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tats_gym.runs.folder import begin_run
from tests.runs import load_command, tiny_config
from tests.test_checkpoint import Crafted

ROOT = Path(__file__).parent.parent
PACKAGES = ("tats_gym", "envs", "agents", "scripts", "benchmarks")


def _as_torch(content, path):
    torch.save({"model": content, "mae": content, "config": content}, path)


def _as_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def _as_legacy_torch(content, path):
    torch.save({"model": content}, path, _use_new_zipfile_serialization=False)


WRITERS = (_as_torch, _as_pickle, _as_legacy_torch)
LOADERS = {
    "a checkpoint": ("step-000000000001.pt", lambda path: load_checkpoint(path)),
    "a run's checkpoint": ("step-000000000001.pt", lambda path: load_checkpoint(path.parent)),
    "a run that goes on": ("step-000000000001.pt", lambda path: resume(path.parent)),
    "an MAE to start from": ("step-000000000001.pt", lambda path: MAESource.find(str(path))),
    "a published encoder": ("checkpoint.pth", lambda path: EncoderSource.find(path)),
    "a transformers folder": ("pytorch_model.bin", lambda path: EncoderSource.find(path.parent)),
    "an exported encoder": ("encoder.safetensors", lambda path: EncoderSource.find(path)),
    "an exported sampler": ("sampler.safetensors", lambda path: load_sampler(path)),
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("what", LOADERS)
def test_a_crafted_file_is_refused_and_runs_no_code(clips_root, tmp_path, what, write):
    name, load = LOADERS[what]
    folder = tmp_path / "made"
    begin_run(folder, tiny_config(clips_root, tmp_path).as_dict())
    write(Crafted(tmp_path / "it ran"), folder / name)
    with pytest.raises(CheckpointError):
        load(folder / name)
    assert not (tmp_path / "it ran").exists()


def test_the_crafted_file_would_run_where_it_is_trusted(tmp_path):
    _as_torch(Crafted(tmp_path / "it ran"), tmp_path / "file.pt")
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "it ran").exists()


def test_a_kept_window_that_is_a_pickle_is_decoded_again(tmp_path):
    video = tmp_path / "video.mp4"
    video.write_bytes(b"x")
    cache = WindowCache(tmp_path / "windows", 1, 4, 1, "auto")
    window = np.zeros((4, 8, 8, 3), np.uint8)
    cache.get(video, 0, lambda where: window)
    kept = next(path for path in (tmp_path / "windows").rglob("*") if path.is_file())
    np.save(kept, np.array([Crafted(tmp_path / "it ran")], dtype=object), allow_pickle=True)
    assert np.array_equal(cache.get(video, 0, lambda where: window + 1), window + 1)
    assert not (tmp_path / "it ran").exists()


RUNS_CODE = {
    "eval", "exec", "pickle.load", "pickle.Unpickler", "marshal.loads", "marshal.load", "shelve.open", "joblib.load",
    "yaml.load", "torch.jit.load", "torch.hub.load", "dill.loads", "cloudpickle.loads", "load_from_zip_file",
}  # fmt: skip
TRUSTED = {("tats_gym/jobs/parallel.py", "pickle.loads")}  # of objects it has just pickled itself


def _calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            settings = {each.arg: ast.unparse(each.value) for each in node.keywords}
            yield ast.unparse(node.func), settings


def test_no_code_of_ours_loads_a_file_in_a_way_that_could_run_it():
    found, loads = set(), 0
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            for name, settings in _calls(path):
                if name in RUNS_CODE or (name == "pickle.loads" and (place, name) not in TRUSTED):
                    found.add((place, name))
                if name == "torch.load":
                    loads += 1
                    found |= {(place, name)} if settings.get("weights_only") != "True" else set()
                if name == "np.load":
                    found |= {(place, name)} if settings.get("allow_pickle", "False") != "False" else set()
    assert not found
    assert loads == 1


@pytest.mark.parametrize("script", ["train", "visualize", "report"])
def test_a_module_that_a_run_names_is_not_imported(clips_root, tmp_path, monkeypatch, capsys, script):
    folder, config = tmp_path / "run", tiny_config(clips_root, tmp_path, agent="crafted:build").as_dict()
    begin_run(folder, config)
    save_checkpoint(folder / "checkpoints", 8, {"config": config, "step": 8, "mae": {}, "agent": {}}, keep=2)
    (tmp_path / "crafted.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'it ran')!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "crafted", raising=False)
    command = {
        "train": ["--resume", folder],
        "visualize": [folder],
        "report": [folder, "--out", tmp_path / "a"],
    }
    code = load_command(script).main([str(word) for word in command[script]])
    assert not (tmp_path / "it ran").exists()
    if script == "report":
        assert "--agent crafted:build" in (tmp_path / "a").read_text()
        return
    assert code == 1
    assert "give --agent crafted:build to allow it" in capsys.readouterr().err
    code = load_command(script).main([str(word) for word in (*command[script], "--agent", "crafted:build")])
    assert code == 1
    assert (tmp_path / "it ran").exists()
