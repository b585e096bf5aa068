"""Encoders, samplers and mask sets in folders as the Hub has them; what is uploaded is what lies in the folder."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file

from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.trained.mask_sets import mask_set
from tats_gym.agents.trained.sampler_export import TokenSampler, export_sampler
from tats_gym.clips import ClipStream
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import export_encoder
from tats_gym.hub import MaskSet, PretrainedEncoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.encoders import clips_for
from tests.runs import load_command, tiny_config, train

GRID = TokenGrid(frames=4, size=32, patch_size=16, tubelet_size=2, visible=3)  # 8 tokens


@pytest.fixture(name="run", scope="module")
def _run(clips_root, tmp_path_factory):
    return train(tiny_config(clips_root, tmp_path_factory.mktemp("runs")))[1].folder


def check_sums(folder):
    """Verify the folder with another program."""
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_an_encoder_comes_back_as_it_was(run, tmp_path):
    source = EncoderSource.find(run)
    encoder = PretrainedEncoder.from_pretrained(run)
    clips = clips_for(source.grid, count=2)
    expected = source.build().eval()(clips)
    assert not encoder.training
    torch.testing.assert_close(encoder(clips), expected, rtol=0, atol=0)
    for _ in range(2):  # the second time over the first
        encoder.save_pretrained(tmp_path / "hub")
    check_sums(tmp_path / "hub")
    again = PretrainedEncoder.from_pretrained(tmp_path / "hub")
    torch.testing.assert_close(again(clips), expected, rtol=0, atol=0)
    assert again.origin["data"] == "folder"
    assert "library_name: tats-gym" in (tmp_path / "hub" / "README.md").read_text()
    fresh = PretrainedEncoder.from_pretrained(tmp_path / "hub", norm="none", drop_path=0.2)
    torch.testing.assert_close(fresh(clips), source.build(norm="none").eval()(clips), rtol=0, atol=0)


def test_the_folder_is_an_export(run, tmp_path):
    source = EncoderSource.find(run)
    export_encoder(source, "safetensors", tmp_path / "export")
    PretrainedEncoder.from_pretrained(run).save_pretrained(tmp_path / "hub")
    one, other = (load_file(tmp_path / folder / "encoder.safetensors") for folder in ("export", "hub"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert EncoderSource.find(tmp_path / "hub").grid == source.grid
    PretrainedEncoder.from_pretrained(tmp_path / "export")


def test_a_sampler_comes_back_as_it_was(run, tmp_path):
    export_sampler(run, tmp_path / "export")
    sampler = TokenSampler.from_pretrained(tmp_path / "export")
    sampler.save_pretrained(tmp_path / "hub")
    check_sums(tmp_path / "hub")
    again = TokenSampler.from_pretrained(tmp_path / "hub")
    clips = clips_for(sampler.grid, count=2)
    torch.testing.assert_close(
        again.distribution(clips).token_log_prob, sampler.distribution(clips).token_log_prob, rtol=0, atol=0
    )
    assert again.origin == sampler.origin
    assert again.origin["agent"] == "tats"


def test_a_set_holds_the_masks_of_the_runs_agent(run, tmp_path):
    saved = SavedRun.read(run)
    clips = replace(saved.config.clips, split="validation")
    made = mask_set(saved, clips, seed=3, device="cpu")
    stream = ClipStream(clips, frames=saved.config.grid.frames, size=saved.config.grid.size, seed=0)
    assert made.names == tuple(video.name for video in stream.videos.videos)
    agent = saved.agent(clips, device="cpu")
    for id_, name in enumerate(made.names):
        expected, _ = agent.mask(stream.centre([id_]).pixels, seed=3)
        assert torch.equal(made[name], expected[0])
    stream.close()
    made.save_pretrained(tmp_path / "masks")
    check_sums(tmp_path / "masks")
    again = MaskSet.from_pretrained(tmp_path / "masks")
    assert torch.equal(again.ids_keep, made.ids_keep)
    assert (again.names, again.grid, again.origin) == (made.names, made.grid, made.origin)
    assert (again.origin["agent"], again.origin["split"], again.origin["view"]) == ("tats", "validation", "centre")


def test_masks_that_are_none_are_refused(tmp_path):
    good = torch.tensor([[0, 5, 2], [7, 6, 1]])
    MaskSet(["a", "b"], good, GRID, {})
    for names, ids, message in (
        (["a"], good, r"ids_keep must be 3 tokens for each of 1 names, got the shape \(2, 3\)"),
        (["a", "b"], good[:, :2], r"got the shape \(2, 2\)"),
        (["a", "b"], good.clamp(max=5), "distinct tokens"),
        (["a", "b"], good + 1, r"distinct tokens in \[0, 8\)"),
        (["a", "b"], good - 1, r"distinct tokens in \[0, 8\)"),
        (["a", "a"], good, "names must differ, got 2 with 1 different"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskSet(names, ids, GRID, {})
    with pytest.raises(CheckpointError, match=r"there is no masks\.safetensors"):
        MaskSet.from_pretrained(tmp_path)
    MaskSet(["a", "b"], good, GRID, {}).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds a 'MaskSet', load it by that class, not as PretrainedEncoder"):
        PretrainedEncoder.from_pretrained(tmp_path)
    file = tmp_path / "masks.safetensors"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        MaskSet.from_pretrained(tmp_path)


def test_the_folder_is_pushed_as_it_is(run, monkeypatch):
    sent = {}

    def upload(self, *, folder_path, repo_id, **_):
        sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}
        sent["config"] = json.loads((Path(folder_path) / "config.json").read_text())

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **_: type("Url", (), {"repo_id": repo_id}))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    PretrainedEncoder.from_pretrained(run).push_to_hub("me/encoder")
    assert sent["me/encoder"] == {"README.md", "SHA256SUMS", "config.json", "encoder.safetensors"}
    assert sent["config"] == {"library_name": "tats-gym", "holds": "PretrainedEncoder"}


def test_a_repository_is_read_where_no_folder_has_its_name(run, tmp_path, monkeypatch):
    PretrainedEncoder.from_pretrained(run).save_pretrained(tmp_path)
    asked = []

    def download(name, **place):
        asked.append((name, place["revision"]))
        return str(tmp_path)

    monkeypatch.setattr("tats_gym.hub.folder.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: str(tmp_path / "config.json"))
    PretrainedEncoder.from_pretrained("me/encoder", revision="v1")
    assert asked == [("me/encoder", "v1")]


def test_masks_are_exported_by_the_command(run, tmp_path, capsys):
    export = load_command("export").main
    assert export([str(run), "--format", "masks", "--split", "train", "--seed", "3", "--out", str(tmp_path / "m")]) == 0
    masks = MaskSet.from_pretrained(tmp_path / "m")
    saved = SavedRun.read(run)
    assert torch.equal(masks.ids_keep, mask_set(saved, saved.config.clips, seed=3).ids_keep)
    assert masks.origin["split"] == "train"
    assert "MaskSet.from_pretrained(" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        export([str(run), "--format", "timm", "--seed", "3", "--out", str(tmp_path / "t")])
    assert "seed is for format masks, got timm; leave it out" in capsys.readouterr().err
