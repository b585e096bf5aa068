"""Folds, test splits, odd names and the peers' lists are read, and lines that do not fit are named."""

import csv
import json
import logging
import subprocess
from pathlib import Path

import pandas
import pytest

from tats_gym.clips import Video, VideoList, list_videos
from tats_gym.clips.datasets.folder_and_list import write_list
from tests.layouts import write_layout


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, "")


def listed(*args, **kwargs):
    return [(video.path.name, video.label) for video in list_videos(*args, **kwargs).videos]


def test_ucf101_has_three_folds(tmp_path):
    write(tmp_path / "classInd.txt", "1 Jump\n2 Run\n")
    touch(tmp_path / "videos/Jump", "a.avi", "b.avi")
    touch(tmp_path / "videos/Run", "c.avi")
    for fold, (train, test) in enumerate([("a", "b"), ("b", "a"), ("b", "a")], start=1):
        write(tmp_path / f"trainlist0{fold}.txt", f"Jump/{train}.avi 1\n")
        write(tmp_path / f"testlist0{fold}.txt", f"Jump/{test}.avi\nRun/c.avi\n")
    assert listed("ucf101", tmp_path) == [("a.avi", 0)]
    assert listed("ucf101", tmp_path, fold=2) == [("b.avi", 0)]
    assert listed("ucf101", tmp_path, "validation", fold=3) == [("a.avi", 0), ("c.avi", 1)]


def test_hmdb51_has_three_folds_and_names_that_hold_anything(tmp_path):
    names = ["#1_(a)&b!_clap.avi", "a; b_clap.avi", " two  spaces_clap.avi"]
    marks = ["120", "012", "201"]  # of the folds 1, 2 and 3
    touch(tmp_path / "clap", *names)
    for fold in (1, 2, 3):
        lines = [f"{name} {mark[fold - 1]} \n" for name, mark in zip(names, marks, strict=True)]
        write(tmp_path / f"clap_test_split{fold}.txt", "".join(lines))
    names[2] = names[2].strip()  # a name cannot begin with a space in a list of lines
    touch(tmp_path / "clap", names[2])
    assert listed("hmdb51", tmp_path) == [(names[0], 0)]
    assert listed("hmdb51", tmp_path, "validation") == [(names[2], 0)]
    assert listed("hmdb51", tmp_path, "validation", fold=2) == [(names[0], 0)]
    assert listed("hmdb51", tmp_path, fold=3) == [(names[2], 0)]
    write(tmp_path / "clap_test_split1.txt", "a.avi 3\n")
    with pytest.raises(
        ValueError, match=r"clap_test_split1\.txt, line 1: expected a name and 0, 1 or 2 in each line, got 'a"
    ):
        list_videos("hmdb51", tmp_path)


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_ssv2s_test_split_has_no_labels(tmp_path, prefix):
    write(tmp_path / f"{prefix}labels.json", json.dumps({"Holding something": "0"}))
    write(tmp_path / f"{prefix}test.json", json.dumps([{"id": "9"}, {"id": "4"}]))
    touch(tmp_path, "4.webm", "9.webm")
    assert listed("ssv2", tmp_path, "test") == [("9.webm", None), ("4.webm", None)]
    assert list_videos("ssv2", tmp_path, "test").classes == ("Holding something",)


def test_k400_headers_vary_and_times_are_checked(tmp_path, caplog):
    write(tmp_path / "kinetics_train.csv", "label,youtube_id,time_start,time_end,split,is_cc,url\n"
          '"throwing, catching",_-bcdefghij,0,10,train,0,x\n"abseiling",--cdefghijk,5.0,15.0,train,1,y\n')  # fmt: skip
    touch(tmp_path / "train/throwing, catching", "_-bcdefghij_000000_000010_x264.mp4")
    assert listed("k400", tmp_path) == [("_-bcdefghij_000000_000010_x264.mp4", 1)]
    assert list_videos("k400", tmp_path).missing == 1
    assert "--cdefghijk_000005_000015" in caplog.messages[0]
    assert caplog.records[0].levelno == logging.WARNING
    touch(tmp_path / "elsewhere", "--cdefghijk.mp4")
    write(tmp_path / "test.csv", "label,youtube_id,time_start,time_end,split\nabseiling,--cdefghijk,5,15,test\n")
    assert listed("k400", tmp_path, "test") == [("--cdefghijk.mp4", 0)]
    write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\n--cdefghijk,5,15,test\n")
    assert listed("k400", tmp_path, "test") == [("--cdefghijk.mp4", None)]
    write(tmp_path / "val.csv", "label,youtube_id,time_start,time_end\nabseiling,--cdefghijk,5,end\n")
    with pytest.raises(ValueError, match=r"val\.csv, line 2: expected times in seconds"):
        list_videos("k400", tmp_path, "validation")
    write(tmp_path / "val.csv", "label,youtube_id,time_start,time_end\nabseiling,--cdefghijk\n")
    with pytest.raises(ValueError, match=r"val\.csv, line 2: expected 4 columns"):
        list_videos("k400", tmp_path, "validation")
    write(tmp_path / "val.csv", "label,youtube_id,time_start,time_end\nknitting,--cdefghijk,5,15\n")
    with pytest.raises(ValueError, match=r"val\.csv, line 2: 'knitting' is not a class of .*kinetics_train\.csv"):
        list_videos("k400", tmp_path, "validation")


def test_a_list_is_parsed_from_the_right(tmp_path):
    root = tmp_path / "lists"
    touch(root, "videos/riding a bike 2/a b.mp4", "c.avi")
    touch(tmp_path, "elsewhere 7/d.webm")
    lines = ["videos/riding a bike 2/a b.mp4 4", "c.avi\t0", "", f"{tmp_path}/elsewhere 7/d.webm 2\r", "gone.mp4 1"]
    write(root / "train.csv", "\n".join(lines))
    write(root / "val.csv", "c.avi 6\n")
    train = list_videos("list", root)
    assert [(video.path, video.label) for video in train.videos] == [
        (root / "videos/riding a bike 2/a b.mp4", 4),
        (root / "c.avi", 0),
        (tmp_path / "elsewhere 7/d.webm", 2),
    ]
    assert train.missing == 1
    assert train.classes == tuple("0123456")  # of all the lists
    assert list_videos("list", root, "validation").classes == train.classes


ODD = ["plain.mp4", "a b.mp4", 'he said "no".mp4', '"quoted" twice "x".mp4', '"', "tab\tin.mp4", "it's, 3.mp4", "end 7"]
"""Names that a list has to quote, and some that it has not."""


def written_by_pandas(path, rows, **settings):
    pandas.DataFrame(rows).to_csv(path, sep=" ", header=False, index=False, **settings)


def written_by_csv(path, rows, **settings):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=" ", **settings).writerows(rows)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("writes", [written_by_pandas, written_by_csv])
def test_a_list_that_pandas_or_csv_wrote_is_read(tmp_path, writes, quoting):
    touch(tmp_path / "videos 2", *ODD)
    rows = [(f"videos 2/{name}", label) for label, name in enumerate(ODD)]
    writes(tmp_path / "train.csv", rows, quoting=quoting)
    found = list_videos("list", tmp_path)
    assert [(video.path, video.label) for video in found.videos] == [(tmp_path / name, label) for name, label in rows]
    assert found.missing == 0
    unlabelled = [(name,) for name, _ in rows if name.endswith(".mp4")]
    writes(tmp_path / "test.csv", unlabelled, quoting=quoting)
    assert [(video.path,) for video in list_videos("list", tmp_path, "test").videos] == [
        (tmp_path / name,) for (name,) in unlabelled
    ]


def test_pandas_reads_the_lists_that_are_written(tmp_path):
    touch(tmp_path / "videos 2", *ODD)
    videos = tuple(Video(tmp_path / "videos 2" / name, label) for label, name in enumerate(ODD))
    write_list(VideoList(videos, tuple("01234567"), 0), tmp_path / "train.csv")
    read = pandas.read_csv(tmp_path / "train.csv", delimiter=" ", header=None)
    assert list(read.itertuples(index=False, name=None)) == [(str(video.path), video.label) for video in videos]
    assert list_videos("list", tmp_path).videos == videos
    plain = VideoList(tuple(Video(video.path, None) for video in videos[:3]), (), 0)
    write_list(plain, tmp_path / "test.csv")
    read = pandas.read_csv(tmp_path / "test.csv", delimiter=" ", header=None)
    assert read[0].tolist() == [str(video.path) for video in plain.videos]
    assert list_videos("list", tmp_path, "test").videos == plain.videos


def test_quotation_marks_that_quote_no_path_belong_to_it(tmp_path):
    names = ['"a" b.mp4', 'c "d".mp4', '"e.mp4']
    touch(tmp_path, *names)
    write(tmp_path / "train.csv", "".join(f"{name} {label}\n" for label, name in enumerate(names)))
    assert listed("list", tmp_path) == [(name, label) for label, name in enumerate(names)]


def test_a_list_may_have_no_labels(tmp_path):
    touch(tmp_path, "a 1.mp4", "b.MP4")
    write(tmp_path / "test.csv", "a 1.mp4\nb.MP4\n")
    assert listed("list", tmp_path, "test") == [("a 1.mp4", None), ("b.MP4", None)]
    assert list_videos("list", tmp_path, "test").classes == ()


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ("path label\na.mp4 1\n", 1),
        ("a.mp4 1\n\nb.mp4\n", 3),
        ("a.mp4 1\nb.mp4 -1\n", 2),
        ("a.mp4 1\nb.mp4 1.5\n", 2),
        ("a.mp4 1\nb.mp4 1234567\n", 2),
        ("a.mp4 -1\n", 1),
        ("a.mp4,1\n", 1),
        ("3\n", 1),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path, lines, number):
    write(tmp_path / "train.csv", lines)
    with pytest.raises(ValueError, match=rf"train\.csv, line {number}: expected `path label`"):
        list_videos("list", tmp_path)


@pytest.mark.parametrize("data", ["ssv2", "hmdb51", "folder"])
def test_an_exported_list_reads_as_before(tmp_path, data):
    root = write_layout(data, tmp_path / "data", train=3, validation=1)
    for split, name in (("train", "train.csv"), ("validation", "val.csv")):
        write_list(list_videos(data, root, split), tmp_path / name)
        assert list_videos("list", tmp_path, split).videos == list_videos(data, root, split).videos
    assert [path.name for path in tmp_path.glob("*.csv")] == [
        path.name for path in tmp_path.iterdir() if path.is_file()
    ]


def test_a_list_cannot_hold_line_breaks(tmp_path):
    touch(tmp_path / "data", "a\nb.mp4")
    with pytest.raises(ValueError, match="cannot hold a path with a line break"):
        write_list(list_videos("folder", tmp_path / "data"), tmp_path / "train.csv")
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize(
    ("lines", "way_out"),
    [
        (
            "label,youtube_id,time_start,time_end,split\nabseiling,-3B32lodo2M,59,69,train\n",
            "TatsMask-k400-v0 reads it",
        ),
        ("abseiling,-3B32lodo2M,59,69,train\n", "TatsMask-k400-v0 reads it"),
        ("a.mp4,3\nb.mp4,1\n", r"put a space in the place of the comma: sed"),
        ("a b.mp4 0\nc.mp4,1\n", r"put a space in the place of the comma: sed"),
        ("path,label,split\na.mp4,3,train\n", "write the path and the class number alone"),
        ("some words\n", "got 'some words'$"),
    ],
)
def test_lists_of_other_forms_are_answered_with_the_way_out(tmp_path, lines, way_out):
    (tmp_path / "train.csv").write_text(lines)
    with pytest.raises(ValueError, match=way_out):
        list_videos("list", tmp_path)


def test_the_command_that_is_named_for_commas_makes_a_list_that_is_read(tmp_path):
    (tmp_path / "a b.mp4").touch()
    (tmp_path / "train.csv").write_text("a b.mp4,3\n")
    with pytest.raises(ValueError, match="sed") as caught:
        list_videos("list", tmp_path)
    command = str(caught.value).partition("comma: ")[2].replace("LIST", "train.csv")
    run = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    (tmp_path / "train.csv").write_text(run.stdout)
    assert [(video.name, video.label) for video in list_videos("list", tmp_path).videos] == [("a b.mp4", 3)]
