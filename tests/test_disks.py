"""A disk that is full, or read-only: a clear error, and the last checkpoint is there as it was."""

import subprocess
from contextlib import contextmanager

import pytest
import torch

from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.runs.checkpoint import load_checkpoint
from tests.runs import load_command, tiny_config
from tests.soak.kills import differences
from tests.test_sampler_export import random_run

MIB = 2**20


@contextmanager
def _disk(folder, size_mib):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("only who may mount a file system can fill one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path):
    with path.open("wb") as file:
        while True:
            file.write(bytes(MIB // 16))
            file.flush()


@pytest.fixture(name="whole", scope="module")
def _whole(clips_root, tmp_path_factory):
    run = Pretraining(tiny_config(clips_root, tmp_path_factory.mktemp("whole")))
    folder = run.run().folder
    run.close()
    return load_checkpoint(folder)


@pytest.fixture(name="train", scope="module")
def _train():
    return load_command("train").main


def test_a_disk_that_fills_up_costs_the_work_since_the_last_checkpoint(clips_root, tmp_path, whole, monkeypatch):
    with _disk(tmp_path / "disk", 20) as disk:
        run = Pretraining(tiny_config(clips_root, disk, eval_interval=10_000))
        save, filler = run.save, disk / "others' files"

        def save_while_others_write():
            if run.agent.num_timesteps == 24:
                with pytest.raises(OSError, match="No space left"):
                    _fill(filler)
            save()

        monkeypatch.setattr(run, "save", save_while_others_write)
        with pytest.raises(OSError, match=r"No space left|step-000000000024\.pt could not be written; the disk may be"):
            run.run()
        run.close()
        files = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
        assert files == ["step-000000000008.pt", "step-000000000016.pt"]
        filler.unlink()
        again = resume(run.folder)
        assert again.run().finished
        again.close()
        assert differences(load_checkpoint(run.folder)["mae"], whole["mae"]) == []


def test_a_read_only_folder_is_named(clips_root, tmp_path, train, capsys, whole):
    with _disk(tmp_path / "disk", 20) as disk:
        run = Pretraining(tiny_config(clips_root, disk))
        run.run()
        run.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for command in (["--resume", str(run.folder)], ["--folder", str(disk / "other"), "--root", str(clips_root),
                                                        "--env", "TatsMask-folder-v0"]):  # fmt: skip
            assert train([*command, "--quiet", "--device", "cpu"]) == 1
            shown = capsys.readouterr().err
            assert "Read-only file system" in shown
            assert str(disk) in shown
            assert "Traceback" not in shown
        assert torch.equal(load_checkpoint(run.folder)["mae"]["mask_token"], whole["mae"]["mask_token"])


@pytest.mark.parametrize("format", ["safetensors", "videomae", "hf", "timm", "torchexport", "sampler"])
def test_an_export_that_finds_no_room_leaves_no_file(clips_root, tmp_path, capsys, format):
    run = random_run(clips_root, tmp_path).folder
    with _disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(OSError, match="No space left"):
            _fill(disk / "others' files")
        assert load_command("export").main([str(run), "--format", format, "--out", str(disk / "out")]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("error: ")
        assert "No space left" in shown or "the disk may be full" in shown
        assert [path.name for path in disk.iterdir()] == ["others' files"]
