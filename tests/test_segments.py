"""Long videos are cut into segments whose frames are the video's own."""

import re
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest

from tats_gym.clips import list_videos, open_video
from tats_gym.clips.datasets.folder_and_list import write_list
from tats_gym.clips.prepare.segments import CutConfig, Segments, claim_folder
from tests.layouts import moving_frames
from tests.runs import load_command
from tests.video_files import (
    cut,
    frame_numbers,
    noise_frames,
    numbered_frames,
    turn,
    write_video,
    write_video_after_cover,
)


@pytest.fixture(name="main")
def _main():
    return load_command("cut").main


@pytest.fixture(name="video")
def _video(tmp_path):
    """Twenty numbered frames."""
    return write_video(tmp_path / "films" / "grey.mp4", numbered_frames(20))


def arguments(video, out, *more):
    return [str(video), "--out", str(out), "--frames", "6", *map(str, more)]


def read(path):
    reader = open_video(path, "pyav")
    frames = reader.get_batch(range(len(reader)))
    reader.close()
    return frames


def numbers(out):
    """The source's frame numbers in each segment, by the segment's name."""
    return {path.name: frame_numbers(read(path)) for path in sorted(out.glob("*.webm"))}


@pytest.mark.parametrize(
    ("more", "starts"),
    [((), [0, 6, 12]), (("--stride", 4), [0, 4, 8, 12]), (("--stride", 9), [0, 9]), (("--limit", 2), [0, 6])],
)
def test_segments_hold_the_frames_of_the_video(main, video, tmp_path, capsys, more, starts):
    out = tmp_path / "out"
    assert main(arguments(video, out, *more)) == 0
    expected = {f"grey-{index:04d}.webm": list(range(start, start + 6)) for index, start in enumerate(starts)}
    assert numbers(out) == expected
    count = len(starts)
    summary = f"1 videos, {count} segments ({count} new), {6 * count} frames, {count / 2:.1f} s"
    assert summary in capsys.readouterr().out


def test_pixels_keep_their_place_and_their_colour(tmp_path):
    height, width = 48, 64
    ramp = np.zeros((4, height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width)
    ramp[..., 1] = np.linspace(0, 255, height)[:, None]
    ramp[..., 2] = 60 * np.arange(4)[:, None, None]
    video = write_video(tmp_path / "ramp.mp4", ramp)
    [path] = Segments(video, tmp_path, CutConfig(frames=4, short_side=24))
    halved = ramp.reshape(4, 24, 2, 32, 2, 3).mean((2, 4))
    assert read(path).shape == halved.shape
    assert np.abs(read(path) - halved).mean() < 4


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(720, 1280, (112, 200)), (1280, 720, (200, 112)), (405, 720, (112, 200)), (91, 64, (90, 64)), (1, 500, (2, 500))],
)
def test_the_aspect_is_kept_in_even_sizes_and_no_video_is_enlarged(height, width, expected):
    size = CutConfig().size(height, width)
    assert size == pytest.approx(expected, abs=2)
    assert all(side % 2 == 0 for side in size)


def test_the_frame_rate_is_kept(tmp_path):
    video = write_video(tmp_path / "ntsc.mp4", numbered_frames(8), fps=Fraction(30000, 1001))
    segments = Segments(video, tmp_path, CutConfig(frames=8))
    assert segments.fps == Fraction(30000, 1001)
    with av.open(str(next(iter(segments)))) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(29.97, abs=0.05)


def test_a_stopped_run_goes_on_and_keeps_its_segments(main, video, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(arguments(video, out)) == 0
    whole = numbers(out)
    kept = out / "grey-0000.webm"
    before = kept.stat().st_mtime_ns
    (out / "grey-0001.webm").unlink()
    assert main(arguments(video, out)) == 0
    assert "3 segments (1 new)" in capsys.readouterr().out
    assert numbers(out) == whole
    assert kept.stat().st_mtime_ns == before
    assert main(arguments(video, out)) == 0
    assert "3 segments (0 new)" in capsys.readouterr().out


def test_a_segment_that_fails_leaves_no_file(video, tmp_path, monkeypatch):
    def fail(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("tats_gym.clips.prepare.segments.encode", fail)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(OSError, match="the disk is full"):
        list(Segments(video, out, CutConfig(frames=6)))
    assert not list(out.iterdir())


def test_videos_below_a_folder_become_a_folder_data_set(main, video, tmp_path):
    films, out = video.parent, tmp_path / "out"
    write_video(films / "deep" / "other.avi", numbered_frames(7), codec="mpeg4")
    (films / "deep" / ".hidden.mp4").write_bytes(b"not looked at")
    (films / "notes.txt").write_text("not a video")
    assert main(arguments(films, out)) == 0
    assert list(numbers(out)) == ["grey-0000.webm", "grey-0001.webm", "grey-0002.webm", "other-0000.webm"]
    listed = [video for split in ("train", "validation") for video in list_videos("folder", out, split).videos]
    assert {video.path.name for video in listed} == set(numbers(out))


def split(data, root):
    """The names of the training videos and of the held-out ones."""
    return [{video.path.name for video in list_videos(data, root, part).videos} for part in ("train", "validation")]


def films(names):
    return {re.sub(r"(-\d{4,})?\.\w+", "", name) for name in names}


@pytest.mark.parametrize("count", [2, 3, 60])
def test_the_segments_of_a_film_are_all_held_out_or_none(tmp_path, count):
    claim_folder(tmp_path / "clips", CutConfig())
    segments = {f"film {film}-{number:04d}.webm" for film in range(count) for number in (*range(9), 10_000)}
    for number, name in enumerate(sorted(segments)):
        path = tmp_path / "clips" / ("deeper" if number % 2 else "") / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "film 1.mp4").touch()  # the film itself
    train, held_out = split("folder", tmp_path)
    assert train | held_out == segments | {"film 1.mp4"}
    assert not films(train) & films(held_out)
    assert 1 <= len(films(held_out)) <= max(1, count / 5)
    before = films(held_out)
    (tmp_path / "clips" / "another-0000.webm").touch()
    if count == 60:
        assert before <= films(split("folder", tmp_path)[1])  # a film keeps its side


def test_cut_videos_are_split_by_film_and_so_are_their_lists(main, video, tmp_path, caplog):
    for name in ("b", "c"):
        shutil.copy(video, video.with_name(f"{name}.mp4"))
    out = tmp_path / "out"
    assert main(arguments(video.parent, out)) == 0
    train, held_out = split("folder", out)
    assert (len(train), len(held_out)) == (6, 3)
    assert not films(train) & films(held_out)
    for file, part in (("train.csv", "train"), ("val.csv", "validation")):
        write_list(list_videos("folder", out, part), tmp_path / file)
    assert split("list", tmp_path) == [train, held_out]
    assert "have segments in" not in caplog.text
    with (tmp_path / "val.csv").open("a") as file:
        file.write("".join((tmp_path / "train.csv").read_text().splitlines(keepends=True)[:1]))
    list_videos("list", tmp_path, "validation")
    assert f"val.csv: 1 films have segments in train.csv too ('{min(films(train))}'), which look like" in caplog.text


def test_some_segments_of_a_single_film_are_held_out_and_a_warning_says_so(tmp_path, caplog):
    claim_folder(tmp_path, CutConfig())
    for number in range(40):
        (tmp_path / f"film-{number:04d}.webm").touch()
    train, held_out = split("folder", tmp_path)
    assert len(train | held_out) == 40
    assert not train & held_out
    assert "all 40 videos are of one film: held-out clips will look like those of the training" in caplog.text
    for path in list(tmp_path.glob("film-*"))[1:]:
        path.unlink()
    train, held_out = split("folder", tmp_path)
    assert len(train) == len(held_out) == 1


def test_numbered_videos_that_were_not_cut_are_videos_of_their_own(tmp_path):
    for number in range(100):
        (tmp_path / f"clip-{number:04d}.webm").touch()
    assert 3 <= len(split("folder", tmp_path)[1]) <= 20


def test_videos_that_give_no_segment_are_named_and_passed_over(main, video, tmp_path, caplog, capsys):
    films, out = video.parent, tmp_path / "out"
    short = write_video(films / "short.mp4", numbered_frames(5))
    broken = films / "broken.mp4"
    broken.write_bytes(b"no video")
    assert main(arguments(films, out)) == 0
    assert f"{short}: skipped: a segment has 6 frames, the video has 5" in caplog.text
    assert f"{broken}: it does not decode" in caplog.text
    assert "1 videos, 3 segments" in capsys.readouterr().out
    assert main(arguments(short, tmp_path / "none")) == 1
    assert "error: no video gave a segment of 6 frames" in capsys.readouterr().err


def test_a_small_video_that_is_shown_slowly_keeps_its_frames(main, tmp_path):
    times = [10_000 * number for number in range(8)]
    video = write_video(tmp_path / "slow.mp4", moving_frames(0, count=8), times_ms=times)
    assert main(["--frames", "4", "--short-side", "16", str(video), "--out", str(tmp_path / "out")]) == 0
    assert [len(open_video(path, "pyav")) for path in sorted((tmp_path / "out").glob("*.webm"))] == [4, 4]


def test_a_video_that_breaks_off_gives_its_whole_segments(main, tmp_path, caplog, capsys):
    whole = write_video(tmp_path / "noise.avi", noise_frames(20), codec="mpeg4")
    broken = cut(whole, 0.6)
    assert main(arguments(broken, tmp_path / "out")) == 0
    found = len(numbers(tmp_path / "out"))
    assert 0 < found < 3
    assert f"{found} segments" in capsys.readouterr().out


def test_videos_that_cannot_be_cut_are_refused(main, video, tmp_path, capsys):
    def refused(*given):
        assert main([*map(str, given)]) == 1
        return capsys.readouterr().err

    films, out = video.parent, tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "paths must name at least one file or folder" in refused("--out", out)
    assert "there is no such file or folder" in refused(tmp_path / "absent", "--out", out)
    assert "is a video (.mp4" in refused(empty, "--out", out)
    assert "out must lie outside" in refused(films, "--out", films / "clips")
    write_video(films / "deep" / "grey.avi", codec="mpeg4")
    assert "would give segments of one name" in refused(films, "--out", out)
    assert not out.exists()
    assert main(arguments(video, out)) == 0
    assert "holds segments cut with" in refused(video, "--out", out, "--frames", 5)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b"null"])
def test_a_folder_whose_settings_are_damaged_is_named(tmp_path, content):
    claim_folder(tmp_path, CutConfig())
    (tmp_path / "segments.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"segments\.json: it is not valid JSON|holds segments cut with (None|\[\]), not"
    ):
        claim_folder(tmp_path, CutConfig())


@pytest.mark.parametrize(
    ("name", "value"), [("frames", 0), ("stride", 0), ("limit", 0), ("short_side", 0), ("short_side", 33)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*got {value}"):
        CutConfig(**{name: value})


def test_segments_of_a_turned_film_with_a_cover_are_upright(tmp_path):
    frames = numbered_frames(6, 64, 96)
    frames[:, :32, 48:] = 250  # the corner at the top right, which a quarter turn clockwise brings to the bottom right
    film = turn(write_video_after_cover(tmp_path / "film.mp4", frames), 90)
    segments = Segments(film, tmp_path, CutConfig(frames=6, short_side=32))
    (path,) = segments
    shown = read(path)
    assert shown.shape == (6, 48, 32, 3)
    assert shown[0, -4, -4].mean() > 230
    assert max(shown[0, y, x].mean() for y, x in ((3, 3), (3, -4), (-4, 3))) < 20
