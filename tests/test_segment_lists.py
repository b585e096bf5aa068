"""Lists of segments: each is an item of its own in order, labels, caches, index and journal; bad lines are named."""

import csv
import json
import shutil
from contextlib import closing
from decimal import Decimal

import numpy as np
import pandas
import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, list_videos
from tats_gym.clips.caches.video_cache import VideoCache
from tats_gym.clips.datasets.folder_and_list import write_list
from tats_gym.clips.datasets.index import read_index
from tats_gym.clips.prepare.verify import Verification, VerifyConfig
from tats_gym.clips.readers import split_span
from tests.video_files import frame_numbers, numbered_frames, write_video

FPS = 12
SEGMENTS = [("long.mp4", 0, 1, 0), ("long.mp4", 1, 3, 1), ("long.mp4", 1.5, 3.25, 2), ("b c.webm", 0.5, 2, 1)]
"""Path, start and end in seconds, class; the second and the third overlap, the first has 12 frames."""
RANGES = [range(12), range(12, 36), range(18, 39), range(6, 24)]
"""The frames of each."""
TABLE = "path,start,end,label\n" + "".join(f"{','.join(map(str, row))}\n" for row in SEGMENTS)
LINES = "".join(f"{path}#t={start},{end} {label}\n" for path, start, end, label in SEGMENTS)


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "long.mp4", numbered_frames(42), fps=FPS, options={"preset": "medium", "bf": "2", "g": "12"})
    write_video(root / "b c.webm", numbered_frames(24), fps=FPS, codec="libvpx-vp9", options={"g": "8"})
    (root / "train.csv").write_text(TABLE)
    return root


@pytest.fixture(name="root")
def _root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def stream_of(root, frames=4, **settings):
    return ClipStream(ClipConfig(data="list", root=str(root), stride=2, **settings), frames=frames, size=16, seed=3)


def numbers(clips):
    """The numbers of the frames in clips (B, C, T, H, W)."""
    return [frame_numbers(clip.numpy().transpose(1, 2, 3, 0)) for clip in clips]


def times(videos):
    return [(split_span(video.path)[0].name, *map(float, split_span(video.path)[1]), video.label) for video in videos]


def test_a_table_and_lines_name_the_same_segments(root):
    table = list_videos("list", root)
    assert times(table.videos) == SEGMENTS
    assert table.classes == ("0", "1", "2")
    assert len({video.name for video in table.videos}) == 4
    (root / "train.csv").write_text(LINES.replace("b c.webm#t=0.5,2 1", '"b c.webm#t=0:00.50,00:00:02" "1"'))
    lines = list_videos("list", root)
    assert (lines, [v.name for v in lines.videos]) == (table, [v.name for v in table.videos])


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_that_pandas_wrote_is_read(root, quoting):
    odd = write_video(root / 'he said, "no".mp4', numbered_frames(24))
    rows = [*SEGMENTS, (odd.name, 0.25, 1.125, 0)]
    columns = ["label", "end", "path", "start"]
    frame = pandas.DataFrame(rows, columns=["path", "start", "end", "label"])[columns]
    frame.to_csv(root / "train.csv", index=False, quoting=quoting, lineterminator="\r\n", encoding="utf-8-sig")
    assert times(list_videos("list", root).videos) == rows


def test_times_of_epic_kitchens_are_read_and_labels_may_be_absent(root):
    (root / "train.csv").write_text("path,start,end\nlong.mp4,00:00:01.089,00:00:03.37\ngone.mp4,0,100:00:00\n")
    listed = list_videos("list", root)
    assert times(listed.videos) == [("long.mp4", 1.089, 3.37, None)]
    assert (listed.missing, listed.annotated, listed.classes) == (1, 2, ())
    (root / "train.csv").write_text("path,start,end\nlong.mp4,01:02:03.5,3723.50001\n")
    assert split_span(list_videos("list", root).videos[0].path)[1] == (Decimal("3723.5"), Decimal("3723.50001"))


@pytest.mark.parametrize(
    ("start", "end", "rule"),
    [
        ("2", "1", "start must lie before end, got 2 s and 1 s"),
        ("2", "0:02.0", "start must lie before end, got 2 s and 2.0 s"),
        ("-1", "2", "start must be a time from the video's first frame on, .* got '-1'"),
        ("0", "nan", "end must be a time .*, in seconds or as HH:MM:SS.mmm, got 'nan'"),
        ("inf", "2", "start must be a time .* got 'inf'"),
        ("", "2", "start must be a time .* got ''"),
        ("0", "1:60", "end must be a time .* got '1:60'"),
        ("0", "1,5", None),
        ("0", "1e1", "end must be a time .* got '1e1'"),
    ],
)
@pytest.mark.parametrize("form", ["a.mp4,{},{},0\n", "a.mp4#t={},{} 0\n"])
def test_a_line_that_names_no_segment_is_named(tmp_path, start, end, rule, form):
    header = "path,start,end,label\n\n" if form.startswith("a.mp4,") else "x.mp4 0\n\n"
    (tmp_path / "train.csv").write_text(header + form.format(start, end))
    rule = rule or ("expected 4 values, for path,start,end,label, got" if "path" in header else "expected `#t=")
    with pytest.raises(ValueError, match=rf"train\.csv, line 3: {rule}.*; correct the line or leave it out"):
        list_videos("list", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,start,end,labels\na.mp4,0,1,2\n", r"train\.csv: expected the columns path,start,end or path,.*'labels'"),
        ("path,start,end,end\na.mp4,0,1,2\n", r"train\.csv: expected the columns path,start,end or path"),
        ("path,start,end,label\na.mp4,0,1,\n", r"line 2: label must be a class number of at most six digits, got ''"),
        ("path,start,end,label\na.mp4,0,1,1.0\n", r"line 2: label must be a class number .* got '1.0'"),
        ("path,start,end\n,0,1\n", r"line 2: path must name a video, got ''"),
        ("path,start,end\n\n\na.mp4,0\n", r"line 4: expected 3 values, for path,start,end, got"),
        (
            "narration_id,video_id,start_timestamp,stop_timestamp,verb_class\n",
            "segments need a header with the columns",
        ),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        list_videos("list", tmp_path)


@pytest.mark.parametrize(
    "other", ["long.mp4#t=3,3.5 0\n", "long.mp4 0\n", "./long.mp4#t=3,3.5 0\n", "link.mp4#t=3,4 0\n"]
)
def test_no_video_has_segments_on_both_sides_of_the_split(root, other):
    (root / "link.mp4").symlink_to(root / "long.mp4")
    (root / "val.csv").write_text(f"b d.webm#t=1,2 0\n{other}")
    for split in ("train", "validation"):
        with pytest.raises(
            ValueError, match=r"val\.csv: 1 videos have segments or stand in train\.csv too \('long\.mp4'"
        ):
            list_videos("list", root, split)
    (root / "test.csv").write_text((root / "val.csv").read_text())
    (root / "train.csv").write_text("b c.webm#t=1,2 0\n")
    assert len(list_videos("list", root, "validation")) == 1  # validation and test may share: neither is trained on


def test_segments_share_the_number_of_their_video(root):
    assert list_videos("list", root).sources() == [0, 0, 0, 3]
    (root / "train.csv").write_text("long.mp4\nb c.webm\nlong.mp4#t=1,2\n")
    assert list_videos("list", root).sources() == [0, 1, 0]
    (root / "train.csv").write_text("long.mp4\nb c.webm\nlong.mp4\n")  # without segments, each line is a video
    assert list_videos("list", root).sources() == [0, 1, 2]


def test_a_written_list_names_the_same_segments(root, tmp_path):
    (tmp_path / "written").mkdir()
    listed = list_videos("list", root)
    write_list(listed, tmp_path / "written/train.csv")
    assert list_videos("list", tmp_path / "written").videos == listed.videos


@pytest.mark.parametrize(
    "settings", [{}, {"cache_mib": 64}, {"cache_windows": 3}, {"num_workers": 1}, {"sampling": "segments"}]
)
def test_windows_lie_within_their_segments_and_short_ones_repeat_the_last_frame(root, tmp_path, settings):
    settings = {**settings, "cache_dir": str(tmp_path / "windows"), "crop": "centre"}
    with closing(stream_of(root, frames=8, **settings)) as stream:
        seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set(), 3: set()}
        for _ in range(2):
            batch = stream.take(40)
            for id_, label, window in zip(
                batch.ids.tolist(), batch.labels.tolist(), numbers(batch.pixels), strict=True
            ):
                assert label == SEGMENTS[id_][3]
                assert set(window) <= set(RANGES[id_])
                seen[id_].add(window[0])
                if id_ == 0 and settings.get("sampling") != "segments":
                    assert window == [0, 2, 4, 6, 8, 10, 11, 11]
        assert len(seen[1]) > 1
        again = stream.again(batch.positions.tolist())
        assert torch.equal(again.pixels, batch.pixels)


def test_test_views_lie_within_their_segments(root):
    with closing(stream_of(root)) as stream:
        views = numbers(stream.views([1, 2], temporal=3).pixels)
    # 24 frames from 12 on and 21 from 18 on; a window of 4 frames, 2 apart, starts at 0, 8, 16 or at 0, 6, 13
    assert views == [[first, first + 2, first + 4, first + 6] for first in (12, 20, 28, 18, 24, 31)]


def test_segments_of_one_file_never_share_a_place_in_a_cache(root):
    cache = VideoCache(64, "auto")
    paths = [video.path for video in list_videos("list", root).videos]
    for path, frames in zip(paths, RANGES, strict=True):
        assert frame_numbers(cache.open(path).get_batch(range(len(frames)))) == list(frames)
    size = 32 * 64 * 3
    assert cache._free_bytes == 64 * 2**20 - size * sum(map(len, RANGES))
    for path, frames in zip(paths, RANGES, strict=True):
        kept = cache.open(path)
        assert kept is cache.open(path)
        assert frame_numbers(kept.get_batch(range(len(kept)))) == list(frames)


def test_an_index_counts_segments_and_leaves_out_those_outside_of_their_video(root):
    (root / "train.csv").write_text(TABLE + "long.mp4,3,9,1\ngone.mp4,0,1,2\nlong.mp4,0,2.5,0\n")
    check = Verification(VerifyConfig(data="list", root=str(root), frames=8, stride=2))
    partial = check.index.with_name(f"{check.index.name}.partial")
    findings = iter(check)
    for _ in range(3):
        next(findings)
    findings.close()  # as if it had been killed
    assert len(partial.read_text().splitlines()) == 4
    check = Verification(VerifyConfig(data="list", root=str(root), frames=8, stride=2))
    assert (check.resumed, len(check)) == (3, 3)
    report = check.run()
    assert (report.ok, report.short, len(report.broken), report.header.missing) == (4, 1, 1, 1)
    (broken,) = report.broken.items()
    assert broken == (
        "long.mp4#t=3,9",
        "the segment does not fit its video: it must end by the last frame, which is shown at 3.417 s; correct it or "
        "leave it out",
    )
    rows = read_index(check.index)[1]
    assert [row.finding.frames for row in rows if row.finding.usable] == [12, 24, 21, 18, 30]
    indexed, listed = list_videos("list", root), list_videos("list", root, index="none")
    assert indexed.broken == 1
    assert times(indexed.videos) == [*SEGMENTS, ("long.mp4", 0, 2.5, 0)]
    assert [v for v in listed.videos if "3,9" not in v.name] == list(indexed.videos)


def test_the_journal_names_the_segment_and_a_resumed_run_replaces_the_same(root, tmp_path):
    (root / "train.csv").write_text(TABLE + "long.mp4,3,9,2\n")
    journal = tmp_path / "replaced_clips.jsonl"
    with closing(stream_of(root, max_broken=1.0)) as stream:
        stream.keep_journal(journal)
        batch = stream.take(20)
        assert dict(stream.broken) == {str(root / "long.mp4#t=3,9"): 4}
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {line["video"] for line in lines} == {str(root / "long.mp4#t=3,9")}
    assert not set(batch.ids.tolist()) & {4}
    with closing(stream_of(root, max_broken=1.0)) as stream:
        stream.keep_journal(journal)
        resumed = stream.take(20)
        assert torch.equal(resumed.ids, batch.ids)
        np.testing.assert_array_equal(resumed.pixels, batch.pixels)
        assert not stream.broken  # known from the journal: the segment was not opened again
