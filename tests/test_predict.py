"""tats-gym predict: the classes of any videos, from runs and exports."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tats_gym.clips.readers import open_video
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.head import HeadConfig
from tats_gym.encoders.mae import SHIPPED
from tats_gym.export import export_encoder
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint
from tests.runs import load_command
from tests.test_export_script import finetuned_run
from tests.video_files import moving_texture, noise_frames, write_video

CLASSES = ["left", "right", "up"]


@pytest.fixture(name="main")
def _main():
    return load_command("predict").main


@pytest.fixture(name="run")
def _run(tmp_path):
    """A fine-tuned run tested on 2 x 3 views at stride 1, and its classifier."""
    run, model = finetuned_run(tmp_path / "runs")
    path = latest_checkpoint(run)
    settings = {"pool": "mean", "temporal_views": 2, "spatial_views": 3, "clips": {"stride": 1, "sampling": "stride"}}
    torch.save({**load_checkpoint(path), "classes": CLASSES, "config": settings}, path)
    return run, model.eval()


@pytest.fixture(name="videos")
def _videos(tmp_path):
    """Lossless videos of 7 frames of 32 x 64: the views are their first and last four frames, in three squares."""
    options = {"codec": "ffv1", "pix_fmt": "bgr0", "options": {}}
    videos = tmp_path / "videos"
    return [
        write_video(videos / "a.mkv", noise_frames(7, 32, 64), **options),
        write_video(videos / "deep" / "b c.mkv", moving_texture(7, 32, 64), **options),
    ]


@torch.no_grad()
def _by_hand(model, path):
    """The mean probabilities of six views, cut by hand."""
    frames = open_video(path, "pyav").get_batch(range(7))
    views = [frames[start : start + 4, :, left : left + 32] for start in (0, 3) for left in (0, 16, 32)]
    clips = torch.from_numpy(np.stack(views)).permute(0, 4, 1, 2, 3)
    return model(clips).softmax(1).mean(0)


def _json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_probabilities_are_the_mean_over_the_views_of_the_runs_test(main, capsys, run, videos):
    folder, model = run
    assert main([str(videos[0].parent), "--classifier", str(folder), "--json", "--device", "cpu"]) == 0
    found = _json_lines(capsys.readouterr().out)
    assert [each["video"] for each in found] == list(map(str, videos))
    for each, video in zip(found, videos, strict=True):
        expected = dict(zip(CLASSES, _by_hand(model, video).tolist(), strict=True))
        assert [row["class"] for row in each["top"]] == sorted(expected, key=expected.get, reverse=True)
        assert {row["class"]: row["probability"] for row in each["top"]} == pytest.approx(expected, abs=1e-5)


def test_hidden_files_and_those_of_hidden_folders_are_not_predicted(main, capsys, run, videos):
    folder = videos[0].parent
    for hidden in (folder / ".cache" / "c.mkv", folder / "deep" / ".d.mkv"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(videos[0].read_bytes())
    assert main([str(folder), "--classifier", str(run[0]), "--json", "--device", "cpu"]) == 0
    assert [each["video"] for each in _json_lines(capsys.readouterr().out)] == list(map(str, videos))


@pytest.mark.parametrize("format", ["hf", "videomae", "safetensors"])
def test_an_export_predicts_as_its_run(main, capsys, run, videos, tmp_path, format):
    folder, _ = run
    export_encoder(EncoderSource.find(folder), format, tmp_path / "out")
    answers = []
    for classifier in (folder, tmp_path / "out"):
        assert main([*map(str, videos), "--classifier", str(classifier), "--json", "--device", "cpu"]) == 0
        answers.append(_json_lines(capsys.readouterr().out))
    assert answers[0] == answers[1]


def test_the_top_classes_are_printed_and_broken_videos_named_and_counted(main, capsys, run, videos, tmp_path):
    folder, model = run
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    arguments = ["--classifier", str(folder), "--top", "1", "--device", "cpu"]
    assert main([str(videos[0]), str(broken), str(videos[1]), *arguments]) == 0
    shown = capsys.readouterr()
    best = [_by_hand(model, video).max(0) for video in videos]
    lines = [f"{each.values.item():8.2%}  {CLASSES[each.indices]}" for each in best]
    assert shown.out.splitlines() == [
        str(videos[0]), lines[0], f"{broken}: cannot be read", str(videos[1]), lines[1],
    ]  # fmt: skip
    assert f"1 of 3 videos could not be read: {broken}" in shown.err
    assert main([str(broken), *arguments]) == 1
    assert "error: none of the 1 videos could be read" in capsys.readouterr().err


def test_crops_are_resized_as_in_the_runs_test(main, capsys, run, tmp_path):
    folder, model = run
    path = latest_checkpoint(folder)
    state = load_checkpoint(path)
    state["config"]["clips"] |= {"antialias": False}
    torch.save(state, path)
    fine = 255 * np.random.default_rng(0).integers(2, size=(4, 32, 32, 3), dtype=np.uint8)
    frames = fine.repeat(2, axis=1).repeat(2, axis=2)  # to half the size, the nearest four pixels are alike
    video = write_video(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0", options={})
    assert main([str(video), "--classifier", str(folder), "--json", "--device", "cpu"]) == 0
    (found,) = _json_lines(capsys.readouterr().out)
    with torch.no_grad():
        expected = model(torch.from_numpy(fine).permute(3, 0, 1, 2)[None]).softmax(1)[0]
    for row in found["top"]:
        assert row["probability"] == pytest.approx(expected[CLASSES.index(row["class"])].item(), abs=1e-5)


def test_published_classifiers_see_published_views(main, capsys, run, videos, tmp_path):
    folder, model = run
    source = EncoderSource.find(folder)
    assert not source.head.config.published_views
    published = replace(source, head=replace(source.head, config=HeadConfig(stride=2)))
    export_encoder(published, "hf", tmp_path / "out")
    assert main([str(videos[0]), "--classifier", str(tmp_path / "out"), "--json", "--device", "cpu"]) == 0
    (found,) = _json_lines(capsys.readouterr().out)
    frames = open_video(videos[0], "pyav").get_batch([0, 2, 4, 6])  # all that every second frame gives, in both windows
    views = [frames[:, :, left : left + 32] for left in (0, 16, 32)]
    with torch.no_grad():
        expected = model(torch.from_numpy(np.stack(views)).permute(0, 4, 1, 2, 3)).softmax(1).mean(0)
    for row in found["top"]:
        assert row["probability"] == pytest.approx(expected[int(row["class"])].item(), abs=1e-5)


def test_views_can_be_asked_for(main, capsys, run, videos):
    folder, model = run
    views = ["--temporal-views", "1", "--spatial-views", "1", "--stride", "2"]
    assert main([str(videos[0]), "--classifier", str(folder), "--json", "--device", "cpu", *views]) == 0
    (found,) = _json_lines(capsys.readouterr().out)
    frames = open_video(videos[0], "pyav").get_batch([0, 2, 4, 6])[:, :, 16:48]
    with torch.no_grad():
        expected = model(torch.from_numpy(frames).permute(3, 0, 1, 2)[None]).softmax(1)[0]
    for row in found["top"]:
        assert row["probability"] == pytest.approx(expected[CLASSES.index(row["class"])].item(), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "--classifier", "RUN"], "error: nowhere.mp4: there is no such file or folder"),
        (["empty", "--classifier", "RUN"], "error: no file below empty is a video"),
        (["--classifier", "RUN"], "error: videos must name at least one file or folder, got none"),
        (["VIDEO", "--classifier", "nowhere"], "error: classifier must be a path that exists, got 'nowhere'"),
        (["VIDEO", "--classifier", "MAE"], "error: there is no classifier in .*; name a fine-tuned run"),
    ],
)
def test_wrong_arguments_are_named(main, capsys, run, videos, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    names = {"RUN": str(run[0]), "VIDEO": str(videos[0]), "MAE": str(SHIPPED["demo"])}
    assert main([names.get(word, word) for word in arguments]) == 1
    assert re.search(message, capsys.readouterr().err)
