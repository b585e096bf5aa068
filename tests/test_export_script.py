"""The export as a user calls it, and docs/export.md's code as it stands."""

import re
import shlex
import textwrap
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tats_gym.benchmarks.published import PublishedMAE
from tats_gym.export import FORMATS
from tats_gym.export.mae import MAE_FORMATS
from tats_gym.model.classifier import VideoClassifier
from tats_gym.model.encoder import VideoEncoder
from tats_gym.runs.checkpoint import load_checkpoint, save_checkpoint
from tats_gym.runs.folder import create_run
from tests.encoders import CONFIG, GRID, clips_for, normalised, random_mae, write_run
from tests.maes import IDS, MASK
from tests.runs import load_command
from tests.test_sampler_export import random_run

ROOT = Path(__file__).parent.parent
RUN = Path("runs/ssv2-tats-seed0-1")


@pytest.fixture(name="main")
def _main():
    return load_command("export").main


@pytest.fixture(name="run")
def _run(clips_root, tmp_path, monkeypatch):
    """A run under the name that the page gives it, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    RUN.parent.mkdir()
    return random_run(clips_root, tmp_path / "made").folder.rename(RUN)


def test_the_pages_python_runs_as_it_stands(main, capsys, run):
    pytest.importorskip("transformers")
    pytest.importorskip("onnxruntime")
    for format in (*FORMATS, *MAE_FORMATS, "sampler", "masks"):
        assert main([str(run), "--format", format, "--out", f"exported/{format}"]) == 0
        shown = capsys.readouterr().out
        assert "load it with, where " in shown or "load them with" in shown
        assert f"exported/{format}" in shown
    page = (ROOT / "docs" / "export.md").read_text()
    namespace = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)):
        exec(compile(block, f"docs/export.md block {number}", "exec"), namespace)
    assert namespace["tokens"].shape == (2, 8, 64)
    assert namespace["probabilities"].shape == (2, 8)
    assert namespace["row"].shape == (2, 3)


def finetuned_run(folder):
    """A fine-tuned run's folder with a checkpoint as `Finetuning.save` writes it, every weight random."""
    torch.manual_seed(0)
    model = VideoClassifier(VideoEncoder(CONFIG, GRID, norm="none"), 3, "mean")
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    run = create_run(folder, "finetuned", {"encoder": "tiny", "seed": 0})
    state = {"classifier": model.state_dict(), "mae_config": asdict(CONFIG), "grid": asdict(GRID)}
    save_checkpoint(run / "checkpoints", 50, state, keep=2)
    return run, model


def _printed(main, capsys, run, format, out, *options):
    """The lines to load an export by, as they are printed."""
    assert main([str(run), "--format", format, "--out", str(out), *options]) == 0
    _, _, after = capsys.readouterr().out.partition("load it with, where ")
    return textwrap.dedent("\n".join(line for line in after.splitlines() if line.startswith("    ")))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", ["pre-training", "fine-tuning", "fine-tuning --no-head"])
def test_the_printed_lines_give_the_features_of_the_run(main, capsys, tmp_path, kind, format):
    for package in {"hf": ["transformers"], "onnx": ["onnxruntime", "onnxscript"]}.get(format, []):
        pytest.importorskip(package)
    clips = clips_for()
    with torch.no_grad():
        if kind == "pre-training":
            mae = random_mae()
            run, expected = write_run(tmp_path / "runs", mae), mae.encoder(mae.embed(clips))
        else:
            run, model = finetuned_run(tmp_path / "runs")
            classifies = kind == "fine-tuning" and format != "timm"
            expected = model.eval()(clips) if classifies else model.video.eval()(clips)
    lines = _printed(main, capsys, run, format, tmp_path / "it's out", *kind.split()[1:])
    given = {"clips": clips, "normalised": normalised(clips), "pixel_values": normalised(clips).transpose(1, 2)}
    with torch.no_grad():
        exec(compile(lines, "the printed lines", "exec"), given)
    found = given.get("logits", given.get("tokens"))
    torch.testing.assert_close(torch.as_tensor(found), expected, atol=1e-4, rtol=1e-4)


def test_the_printed_lines_give_the_sampler_of_the_run(main, capsys, clips_root, tmp_path):
    run = random_run(clips_root, tmp_path / "made")
    clips = clips_for(run.config.grid, count=3)
    given = {"clips": clips}
    exec(compile(_printed(main, capsys, run.folder, "sampler", tmp_path / "out"), "the printed lines", "exec"), given)
    theirs = run.agent.policy.get_distribution(run.mae.embed(clips)).distribution
    assert torch.equal(given["ids"], theirs.mode)


@pytest.mark.parametrize("format", MAE_FORMATS)
def test_the_printed_lines_give_the_predictions_of_the_run(main, capsys, clips_root, tmp_path, format):
    if format == "mae-hf":
        pytest.importorskip("transformers")
    mae, clips = random_mae(), clips_for()
    shown = _printed(main, capsys, write_run(tmp_path / "runs", mae), format, tmp_path / "it's out")
    model = PublishedMAE(CONFIG, GRID, fused=True)
    given = {"clips": clips, "ids_keep": IDS, "pixel_values": normalised(clips).transpose(1, 2), "mask": MASK}
    with torch.no_grad():
        exec(compile(shown, "the printed lines", "exec"), given | {"model": model}, given)
        expected = mae(clips, IDS).pred
        found = {
            "mae": lambda: given["reconstruction"].pred,
            "mae-hf": lambda: given["output"].logits,
            "mae-videomae": lambda: model.reconstruct(model.embed(normalised(clips)), MASK),
        }[format]()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("format", MAE_FORMATS)
def test_the_printed_command_trains_with_the_mae_of_the_run(main, capsys, clips_root, tmp_path, format):
    run = write_run(tmp_path / "runs", random_mae())
    assert main([str(run), "--format", format, "--out", str(tmp_path / "it's out")]) == 0
    program, command, *words = shlex.split(re.search(r"train with it: (.*)", capsys.readouterr().out)[1])
    assert (program, command) == ("tats-gym", "train")
    small = ["--env", "TatsMask-folder-v0", "--root", str(clips_root), "--frames", "4", "--size", "32", "--patch-size",
             "16", "--visible", "3", "--stride", "1", "--num-workers", "0", "--device", "cpu", "--agent", "random",
             "--no-train-mae", "--num-envs", "4", "--epoch-masks", "4", "--eval-clips", "2", "--eval-masks", "1",
             "--mae-optim.epochs", "1", "--mae-optim.warmup-epochs", "0"]  # fmt: skip
    assert load_command(command).main([*words, *small, "--folder", str(tmp_path / "trained")]) == 0
    trained = load_checkpoint(tmp_path / "trained")["mae"]
    assert all(torch.equal(trained[name], value) for name, value in random_mae().state_dict().items())


def test_the_printed_lines_give_the_masks_of_the_run(main, capsys, clips_root, tmp_path):
    run = random_run(clips_root, tmp_path / "made")
    assert main([str(run.folder), "--format", "masks", "--out", str(tmp_path / "it's out")]) == 0
    _, _, lines = capsys.readouterr().out.partition("load them with:\n")
    given = {}
    exec(compile(textwrap.dedent(lines), "the printed lines", "exec"), given)
    names = given["masks"].names
    assert names
    assert given["masks"][names[0]].shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["runs/ssv2-tats-seed0-2", "--format", "hf"],
            "a path that exists; got 'runs/ssv2-tats-seed0-2'; did you mean",
        ),
        (
            ["runs", "--format", "hf"],
            "no encoder in runs: .* a folder of runs, .* name one of them: 'ssv2-tats-seed0-1'",
        ),
        (["nothing", "--format", "sampler"], "no checkpoint at nothing"),
        ([str(RUN), "--format", "hf", "--out", "."], r"\. must be a new or an empty folder"),
        ([str(RUN), "--format", "tim"], "(?s)tim"),
        (["base", "--format", "hf"], "the preset 'base' needs a grid and a seed"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(main, capsys, run, arguments, message):
    try:
        code = main([*arguments, *([] if "--out" in arguments else ["--out", "new"])])
    except SystemExit as ended:  # how the command line's own parser leaves
        code = ended.code
    assert code in (1, 2)
    shown = capsys.readouterr()
    answer = re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)
    assert re.search(message, answer), answer
    assert not Path("new").exists()
