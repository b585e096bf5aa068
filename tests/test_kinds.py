"""Every command that is given another kind of thing than it takes names the kind, and writes over none."""

import argparse
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tats_gym.agents.trained.sampler_export import export_sampler
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import export_encoder
from tats_gym.runs.checkpoint import save_checkpoint
from tats_gym.runs.kinds import kind_of
from tests.encoders import CONFIG, GRID, random_mae
from tests.layouts import moving_frames
from tests.runs import load_command
from tests.test_export_script import finetuned_run
from tests.test_sampler_export import random_run
from tests.video_files import write_video

ENCODER, SERVING_GRAPH = "an exported or published encoder", "a graph for serving"
PRETRAINING, FINETUNING = "a pre-training run", "a fine-tuning run"
OTHER = "a file of another kind"
THINGS = {
    "pretraining": PRETRAINING,
    "pretraining/checkpoints/step-000000000000.pt": PRETRAINING,
    "finetuning": FINETUNING,
    "finetuning/checkpoints/step-000000000050.pt": FINETUNING,
    "study": "a folder of runs",
    "hf": ENCODER,
    "videomae": ENCODER,
    "timm": ENCODER,
    "safetensors/encoder.safetensors": ENCODER,
    "published.pth": ENCODER,
    "old.pth": "a torch file of another kind, or a damaged one",
    "torchexport": SERVING_GRAPH,
    "encoder.onnx": SERVING_GRAPH,
    "sampler": "an exported sampler",
    "video.mp4": "a video",
    "videos": "a folder of videos",
    "empty": "an empty folder",
    "empty.pt": "an empty file",
    "text": "a folder without a run, weights or videos",
    "text/text.txt": OTHER,
    "nowhere": "not there",
}
"""Path of a thing to its kind."""
TRAIN = ["--env", "TatsMask-folder-v0", "--device", "cpu", "--frames", "4", "--size", "32", "--visible", "3",
         "--stride", "1", "--num-workers", "0", "--root", "videos"]  # fmt: skip
OLD = "a torch file of another kind, or a damaged one"
TAKES_RUNS = {
    "train --resume": (PRETRAINING,),
    "finetune --resume": (FINETUNING,),
    "report": (PRETRAINING,),
}
TAKES = TAKES_RUNS | {
    "train --init-mae": (PRETRAINING, FINETUNING, ENCODER, OLD),
    "finetune --encoder": (PRETRAINING, FINETUNING, ENCODER, OLD),
    "probe --encoder": (PRETRAINING, FINETUNING, ENCODER, OLD),
    "export --format hf --out new": (PRETRAINING, FINETUNING, ENCODER, OLD),
    "export --format sampler --out new": (PRETRAINING,),
    "visualize": (PRETRAINING,),
    "visualize --compare": (PRETRAINING,),
}
"""Command to the kinds that it takes."""
MORE = {
    "train --init-mae": TRAIN,
    "finetune --encoder": ["--root", "demo"],
    "visualize --compare": ["pretraining"],
}


@pytest.fixture(scope="module", name="root")
def _root(clips_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("things")
    run = random_run(clips_root, root / "made")
    run.folder.rename(root / "pretraining")
    finetuned_run(root / "made")[0].rename(root / "finetuning")
    random_run(clips_root, root / "study" / "tats" / "seed0")
    published = random_mae().state_dict()
    torch.save({"model": published, "args": argparse.Namespace(lr=1.0)}, root / "published.pth")
    torch.save({"model": published}, root / "old.pth", _use_new_zipfile_serialization=False)
    source = replace(EncoderSource.find(root / "published.pth"), grid=GRID)
    for format in ("hf", "videomae", "timm", "safetensors", "torchexport"):
        export_encoder(source, format, root / format)
    (root / "encoder.onnx").write_bytes(b"graph")
    export_sampler(root / "pretraining", root / "sampler")
    write_video(root / "video.mp4", moving_frames(0))
    write_video(root / "videos" / "deep" / "a.mp4", moving_frames(0))
    (root / "empty").mkdir()
    (root / "text").mkdir()
    (root / "empty.pt").touch()
    (root / "text" / "text.txt").write_text("some words\n")
    return root


def _answer(command, capsys):
    script, *arguments = command
    main = load_command(script).main
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    return code, re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)


@pytest.mark.parametrize("thing", THINGS)
def test_the_kind_at_a_path_is_known(root, thing):
    assert kind_of(root / thing).name == THINGS[thing]


@pytest.mark.parametrize("command", TAKES)
def test_a_command_names_the_kind_it_was_given_and_the_kind_it_takes(root, monkeypatch, capsys, command):
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    script, *options = command.split()
    others = [thing for thing, what in THINGS.items() if what not in TAKES[command]]
    assert len(others) > len(THINGS) // 3
    for thing in others:
        if script == "export" or options in ([], ["--compare"]):
            given = [*MORE.get(command, []), *options[-1:], thing] if "--compare" in options else [thing, *options]
        else:
            given = [*options, thing, *MORE.get(command, [])]
        code, answer = _answer([script, *given], capsys)
        assert code == 1, (thing, answer)
        assert thing in answer
        assert "Errno" not in answer, answer
        if thing not in ("nowhere", "old.pth", "text", "text/text.txt"):  # not there, or not known to any command
            within_a_run = command in TAKES_RUNS and "checkpoints" in thing
            assert ("; its run is" if within_a_run else THINGS[thing]) in answer, answer
            assert "half-written" not in answer, answer
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(("thing", "use"), [
    ("pretraining", "tats-gym train takes it with --resume"),
    ("finetuning", "tats-gym finetune takes it with --resume"),
    ("hf", "--encoder of tats-gym finetune"), ("study", "name one of them: 'tats/seed0/folder-tats-seed0-1'"),
])  # fmt: skip
def test_the_way_out_is_named(root, monkeypatch, capsys, thing, use):
    monkeypatch.chdir(root)
    script = "finetune" if thing == "pretraining" else "train"
    code, answer = _answer([script, "--resume", thing], capsys)
    assert code == 1
    assert use in answer


@pytest.mark.parametrize("script", ["train", "finetune"])
@pytest.mark.parametrize("thing", ["hf", "timm", "finetuning", "pretraining", "begun", "text", "study", "videos"])
def test_no_run_begins_in_a_folder_of_another_kind(root, demo_root, monkeypatch, capsys, script, thing):
    if (script, thing) in (("train", "pretraining"), ("finetune", "finetuning")):
        pytest.skip("there it goes on")
    monkeypatch.chdir(root)
    begun = root / "begun"  # a run of the other kind, before its first checkpoint
    begun.mkdir(exist_ok=True)
    other = {"encoder": "tiny"} if script == "train" else {"agent": "tats"}
    (begun / "config.json").write_text(json.dumps({"config": other}))
    (begun / "metrics.jsonl").write_text("{}\n")
    before = {path: path.read_bytes() for path in (root / thing).rglob("*") if path.is_file()}
    small = TRAIN if script == "train" else ["--encoder", "tiny", "--root", str(demo_root), "--device", "cpu"]
    code, answer = _answer([script, *small, "--folder", thing], capsys)
    assert code == 1
    assert "name another folder" in answer
    assert {path: path.read_bytes() for path in (root / thing).rglob("*") if path.is_file()} == before


WRITES = {
    "train --out": TRAIN,
    "train --folder": TRAIN,
    "finetune --out": ["--encoder", "tiny", "--root", "{demo}", "--device", "cpu"],
    "export --out": ["pretraining", "--format", "safetensors"],
    "visualize --out": ["pretraining", "--clips", "1", "--forms", "png"],
    "report --out": ["pretraining"],
    "probe --out": ["--encoder", "tiny", "--root", "{demo}"],
    "probe --cache": ["--encoder", "tiny", "--root", "{demo}", "--frames", "4", "--size", "32"],
    "cut --out": ["video.mp4", "--frames", "4"],
    "prepare --out": ["list", "--env", "TatsMask-folder-v0", "--root", "videos"],
    "prepare --index": ["verify", "--env", "TatsMask-folder-v0", "--root", "videos", "--split", "train",
                             "--num-workers", "0"],
    "compare --results": ["--agents", "random", "--seeds", "0", "--jobs", "1"],
    "sweep --results": ["table2", "--seeds", "0", "--jobs", "1"],
}  # fmt: skip
"""Option that says where something is written, to the rest of its command."""


@pytest.mark.parametrize("place", ["/proc/runs", "{text}/below"])
@pytest.mark.parametrize("option", WRITES)
def test_a_place_that_cannot_be_written_is_named_with_the_reason(root, demo_root, monkeypatch, capsys, option, place):
    monkeypatch.chdir(root)
    script, flag = option.split()
    place = place.format(text=root / "text" / "text.txt")
    command = [script, *(word.format(demo=demo_root) for word in WRITES[option]), flag, place]
    code, answer = _answer(command, capsys)
    assert code == 1
    reason = "No such file or directory" if place.startswith("/proc") else "(text.txt|it) is a file, not a folder"
    assert re.search(rf"{place.removesuffix('/below')}\S* cannot be written \(.*{reason}", answer), answer
    assert "name another place" in answer
    assert "Errno" not in answer


@pytest.mark.parametrize("command", [
    ["report", "pretraining", "--out"],
    ["probe", "--encoder", "tiny", "--out"],
    ["prepare", "list", "--env", "TatsMask-folder-v0", "--root", "videos", "--out"],
    ["prepare", "verify", "--env", "TatsMask-folder-v0", "--root", "videos", "--split", "train", "--index"],
])  # fmt: skip
@pytest.mark.parametrize("thing", ["video.mp4", "published.pth", "encoder.onnx", "hf/model.safetensors"])
def test_no_file_is_written_over_a_video_or_weights(root, monkeypatch, capsys, command, thing):
    monkeypatch.chdir(root)
    before = (root / thing).read_bytes()
    code, answer = _answer([*command, thing], capsys)
    assert code == 1
    assert f"would write over {thing}" in answer
    assert (root / thing).read_bytes() == before


def test_a_kind_is_told_without_running_code_from_a_file(tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it ran",)

    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(1)}, "x": Harmful()}, tmp_path / "a.pth")
    assert kind_of(tmp_path / "a.pth").name == ENCODER
    assert not (tmp_path / "it ran").exists()


def test_a_checkpoint_without_its_config_tells_its_kind(clips_root, tmp_path):
    run = random_run(clips_root, tmp_path)
    (run.folder / "config.json").unlink()
    assert kind_of(run.folder).name == PRETRAINING
    save_checkpoint(tmp_path / "tuned" / "checkpoints", 1, {"classifier": {}, "mae_config": asdict(CONFIG)}, keep=2)
    assert kind_of(tmp_path / "tuned").name == FINETUNING
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"tats_gym": '{"sampler": {}}'})
    assert kind_of(tmp_path / "a.safetensors").name == "an exported sampler"
