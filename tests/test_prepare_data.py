"""A dataset is checked video by video, from where the last run stopped, and its lists are exported."""

import json
import logging
import re
import shutil
from pathlib import Path

import av
import pytest

from tats_gym.clips import list_videos
from tats_gym.clips.datasets.index import read_index
from tats_gym.clips.prepare import verify
from tats_gym.clips.prepare.verify import Verification, VerifyConfig
from tests.layouts import write_layout
from tests.runs import load_command
from tests.video_files import cut, noise_frames, numbered_frames, write_sound, write_video

BROKEN = {"cut.mp4", "empty.mp4", "frameless.mp4", "sound.mp4", "text.mp4"}


@pytest.fixture(name="troubled", scope="module")
def _troubled(tmp_path_factory):
    """Sound, short and broken videos of two classes, in the peers' list; a third class has none that decodes."""
    root = tmp_path_factory.mktemp("troubled")
    write_video(root / "long clip.mp4", numbered_frames(40))
    write_video(root / "odd.webm", numbered_frames(32, height=48), codec="libvpx-vp9")
    write_video(root / "short.avi", numbered_frames(9), codec="mpeg4")
    cut(write_video(root / "cut.mp4", noise_frames(20)), 0.5)
    (root / "empty.mp4").touch()
    with av.open(str(root / "frameless.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        container.start_encoding()
    write_sound(root / "sound.mp4")
    (root / "text.mp4").write_text("this is no video\n" * 100)
    lines = ["long clip.mp4 0", "odd.webm 1", "short.avi 0", *(f"{name} 2" for name in sorted(BROKEN)), "gone.mp4 1"]
    (root / "train.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(name="root")
def _root(troubled, tmp_path):
    return Path(shutil.copytree(troubled, tmp_path / "root"))


@pytest.fixture(name="main")
def _main():
    return load_command("prepare").main


def verification(root, **settings):
    return Verification(VerifyConfig(**{"data": "list", "root": str(root), **settings}))


def findings(root):
    return {row.path: row.finding for row in read_index(root / "tats-gym-list-train.jsonl")[1]}


@pytest.mark.parametrize(("reader", "num_workers"), [("auto", 0), ("pyav", 0), ("auto", 1)])
def test_every_trouble_is_found(root, reader, num_workers):
    check = verification(root, reader=reader, num_workers=num_workers)
    assert len(check) == 8
    seen = {path.name: finding.status for path, finding in check}
    assert seen == {"long clip.mp4": "ok", "odd.webm": "ok", "short.avi": "short", **dict.fromkeys(BROKEN, "broken")}
    report = check.finish()
    assert len(check) == 0
    videos = list_videos("list", root)
    assert [video.path.name for video in videos.videos] == ["long clip.mp4", "odd.webm", "short.avi"]
    assert (videos.annotated, videos.missing, videos.broken) == (9, 1, 5)
    found = findings(root)
    assert (found["odd.webm"].frames, found["odd.webm"].width, found["odd.webm"].height) == (32, 64, 48)
    assert found["odd.webm"].fps == pytest.approx(12)
    assert found["empty.mp4"].cause == "the file is empty"
    assert str(root) not in "".join(finding.cause or "" for finding in found.values())
    assert (report.ok, report.short, set(report.broken), report.usable) == (2, 1, BROKEN, 3)
    assert report.clips_per_class == (0, 1, 2)
    assert report.empty_classes == ("2",)
    assert report.num_frames == (9, 32, 40)
    assert report.sizes == {"64x32": 2, "64x48": 1}
    assert report.coverage == pytest.approx(8 / 9)
    kept = json.loads((root / "tats-gym-list-train.report.json").read_text())
    assert (kept["usable"], kept["broken"]["empty.mp4"], kept["header"]["missing"]) == (3, "the file is empty", 1)
    assert not (root / "tats-gym-list-train.jsonl.partial").exists()


def stop_after(check, count):
    for number, _ in enumerate(check, start=1):
        if number == count:
            return


def test_a_run_that_was_stopped_goes_on(root):
    check = verification(root)
    stop_after(check, 3)
    with pytest.raises(RuntimeError, match="5 videos are not checked yet"):
        check.finish()
    partial = root / "tats-gym-list-train.jsonl.partial"
    partial.write_text(partial.read_text()[:-30])  # the third line was being written
    check = verification(root)
    assert (check.resumed, len(check)) == (2, 6)
    stop_after(check, 1)
    check = verification(root)
    assert check.resumed == 3
    assert len(list(check)) == 5
    check.finish()
    resumed = findings(root)
    check = verification(root)
    assert check.resumed == 0
    list(check)
    check.finish()
    assert findings(root) == resumed


def test_a_partial_of_another_check_is_dropped(root, caplog):
    stop_after(verification(root), 3)
    with caplog.at_level(logging.WARNING):
        check = verification(root, frames=8)
    assert check.resumed == 0
    assert "belongs to another check (data, subset or window) and is discarded" in caplog.text


@pytest.mark.parametrize(
    ("line", "resumed"),
    [
        (b"", 2),
        (b"\xff\xfe\n", 2),
        (b"[" * 100_000 + b"\n", 2),
        (b'{"path": ["a"], "frames": 1, "fps": 1, "width": 1, "height": 1, "status": "ok", "cause": null}\n', 2),
        (b'{"path": "else.mp4", "frames": 1, "fps": 1, "width": 1, "height": 1, "status": "ok", "cause": null}\n', 2),
        (b'{"path": "odd.webm", "frames": "1", "fps": 1, "width": 1, "height": 1, "status": "ok", "cause": null}\n', 2),
        (None, 0),
    ],
)
def test_damaged_records_of_a_stopped_run_are_checked_again(root, line, resumed):
    stop_after(verification(root), 2)
    partial = root / "tats-gym-list-train.jsonl.partial"
    partial.write_bytes(b"" if line is None else partial.read_bytes() + line)
    check = verification(root)
    assert (check.resumed, len(check)) == (resumed, 8 - resumed)
    assert len(list(check)) == 8 - resumed
    assert check.finish().ok


def test_a_window_that_fits_is_not_short(root):
    check = verification(root, frames=4, stride=2)
    assert {path.name: finding.status for path, finding in check}["short.avi"] == "ok"


def test_a_video_that_takes_too_much_memory_is_broken(tmp_path):
    write_video(tmp_path / "large.mp4", numbered_frames(16, height=1080, width=1920))
    write_video(tmp_path / "small.mp4", numbered_frames(32))
    (tmp_path / "train.csv").write_text("large.mp4 0\nsmall.mp4 0\n")
    found = {path.name: finding for path, finding in verification(tmp_path, num_workers=1, memory_limit_mib=24)}
    assert re.search("Unable to allocate|more memory than a worker may have", found["large.mp4"].cause)
    assert found["small.mp4"].status == "ok"


def test_a_subset_is_checked_and_marked(root):
    check = verification(root, subset=1)
    assert len(check) == 3
    list(check)
    report = check.finish()
    assert (report.header.subset, report.header.annotated, report.header.videos) == (1, 9, 3)
    with pytest.raises(ValueError, match="the index is of the subset 1 with seed 0, but the subset 2"):
        list_videos("list", root, subset=2)


def test_a_video_that_two_lines_name_is_opened_once(root):
    (root / "train.csv").write_text("odd.webm 0\nodd.webm 1\n")
    check = verification(root)
    assert len(list(check)) == 1
    check.finish()
    assert [video.label for video in list_videos("list", root).videos] == [0, 1]


def test_a_place_that_cannot_be_written_is_told_at_once(root, tmp_path):
    place = tmp_path / "file/index.jsonl"
    place.parent.touch()
    with pytest.raises(PermissionError, match=r"file/index\.jsonl cannot be written .*name another place .*--index"):
        verification(root, index=str(place))


@pytest.mark.parametrize("data", ["ssv2", "k400", "ucf101", "hmdb51", "list", "folder", "frames", "atari"])
def test_the_command_checks_every_dataset(main, capsys, tmp_path, data):
    root = write_layout(data, tmp_path / data, train=2, validation=2)
    unindexed = list_videos(data, root)
    command = ["verify", "--env", f"TatsMask-{data}-v0", "--root", str(root), "--num-workers", "0"]
    assert main([*command, "--frames", "4", "--stride", "2", "--split", "train"]) == 0
    shown = capsys.readouterr().out
    assert f"{data} train: {len(unindexed)} videos annotated" in shown
    assert f"{len(unindexed)} ok, 0 shorter than 4 x 2 frames, 0 broken" in shown
    assert ("officially 168,913" in shown) == (data == "ssv2")
    (root / "train.csv").unlink(missing_ok=True)
    assert list_videos(data, root).videos == unindexed.videos


def test_the_command_puts_both_indices_into_another_folder(main, capsys, tmp_path):
    root = write_layout("ucf101", tmp_path / "data", train=2, validation=1)
    (tmp_path / "indices").mkdir()
    command = ["verify", "--env", "TatsMask-ucf101-v0", "--root", str(root), "--num-workers", "0"]
    assert main([*command, "--index", str(tmp_path / "indices")]) == 0
    assert "shorter than 16 x 2 frames" in capsys.readouterr().out  # as the environment has it
    assert len(list_videos("ucf101", root, "validation", index=tmp_path / "indices")) == 1
    assert not list(root.glob("tats-gym*"))


def test_the_command_fails_where_no_video_is_usable(main, capsys, root):
    (root / "train.csv").write_text("empty.mp4 0\n")
    command = ["--env", "TatsMask-list-v0", "--root", str(root), "--split", "train"]
    assert main(["verify", *command, "--num-workers", "0"]) == 1
    shown = capsys.readouterr()
    assert "1 broken: the file is empty: 'empty.mp4'\n" in shown.out
    assert f"report: {root / 'tats-gym-list-train.report.json'}\n" in shown.out
    assert "no video of train is usable" in shown.err


def test_the_command_is_interrupted_and_goes_on(main, capsys, monkeypatch, root):
    def run_some(function, tasks, **limits):
        yield from list(run_all(function, tasks[:2], num_workers=0))
        raise KeyboardInterrupt

    run_all = verify.run_all
    command = ["--env", "TatsMask-list-v0", "--root", str(root), "--split", "train", "--num-workers", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(verify, "run_all", run_some)
        assert main(["verify", *command]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert main(["verify", *command]) == 0
    assert "train: going on after the 2 videos of an earlier run" in capsys.readouterr().out
    assert len(findings(root)) == 8


def test_the_command_exports_a_list(main, capsys, tmp_path):
    root = write_layout("hmdb51", tmp_path / "data", train=3, validation=1)
    command = ["list", "--env", "TatsMask-hmdb51-v0", "--root", str(root), "--out", str(tmp_path / "val.csv")]
    assert main([*command, "--split", "validation"]) == 0
    assert "1 videos of 1 classes in" in capsys.readouterr().out
    assert list_videos("list", tmp_path, "validation").videos == list_videos("hmdb51", root, "validation").videos


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "TatsMask-ssv3-v0"], "--env must be one of .*did you mean 'TatsMask-ssv2-v0'"),
        (["--env", "TatsMask-ssv2-v0", "--root", "/nowhere/at/all"], "/nowhere/at/all.*TatsMask-demo-v0"),
        (
            ["--env", "TatsMask-folder-v0", "--split", "test"],
            "folder's split must be one of train, validation; got 'test'",
        ),
        (["--env", "TatsMask-ssv2-v0", "--fold", "2"], r"fold must lie in \[1, 1\] for ssv2, got 2"),
        (
            ["--env", "TatsMask-ssv2-v0", "--index", "a.jsonl"],
            "--index must be an existing folder where --split names several parts, got a.jsonl",
        ),
        (["--env", "TatsMask-ssv2-v0", "--frames", "0"], "frames must be at least 1, got 0"),
        (["--env", "TatsMask-ssv2-v0", "--subset", "1.5"], r"subset must be a share in \(0, 1\)"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(main, capsys, arguments, message):
    try:
        code = main(["verify", *arguments])
    except SystemExit as ended:  # how the command line's own parser leaves
        code = ended.code
    assert code in (1, 2)
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, shown), shown
