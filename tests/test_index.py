"""An index stands for the folder and its annotations, and one that does not fit is refused by line."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tats_gym.clips import MissingDataError, list_videos
from tats_gym.clips.datasets.index import Finding, Header, Row, index_name, read_index, write_index
from tats_gym.clips.datasets.layout import Part
from tats_gym.clips.datasets.subsets import choose_subset
from tats_gym.clips.demo.files import make_demo_data

HEADER = Header(
    data="ucf101", split="train", fold=1, subset=None, subset_seed=0, classes=("Jump", "Run"), annotated=9, missing=4,
    videos=5, frames=16, stride=2,
)  # fmt: skip
OK = Finding(frames=40, fps=25.0, width=320, height=240, status="ok")
ROWS = [
    Row("Jump/a.avi", "Jump/a.avi", 0, OK),
    Row("Run/b.avi", "Run/b.avi", 1, replace(OK, frames=20, status="short")),
    Row("Run/cut.avi", "Run/cut.avi", 1, Finding(status="broken", cause="the file is empty")),
    Row("/elsewhere/\udcffc.avi", "Run/c.avi", 1, OK),
    Row("Jump/d.avi", "Jump/d.avi", 0, OK),
]
NAME = "tats-gym-ucf101-train.jsonl"


def put(folder: Path, header: Header = HEADER, rows: list[Row] = ROWS) -> Path:
    path = folder / index_name(header.data, header.part)
    write_index(path, replace(header, videos=len(rows)), rows)
    return path


def test_an_index_is_told_once_however_often_it_is_read(tmp_path, caplog):
    path = put(tmp_path)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            list_videos("ucf101", tmp_path)
    assert caplog.messages == [f"ucf101 train: 4 videos, and 1 that cannot be used, in {path}"]


def test_a_written_index_is_read_back(tmp_path):
    assert read_index(put(tmp_path)) == (HEADER, ROWS)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert index_name("hmdb51", Part("validation", 3)) == "tats-gym-hmdb51-validation-fold3.jsonl"


def test_the_roots_index_stands_for_the_folder(tmp_path):
    put(tmp_path)  # there is neither a video nor an annotation
    videos = list_videos("ucf101", tmp_path)
    assert [(str(video.path), video.label) for video in videos.videos] == [
        (str(tmp_path / "Jump/a.avi"), 0),
        (str(tmp_path / "Run/b.avi"), 1),
        ("/elsewhere/\udcffc.avi", 1),
        (str(tmp_path / "Jump/d.avi"), 0),
    ]
    assert videos.classes == HEADER.classes
    assert (videos.annotated, videos.missing, videos.broken) == (9, 4, 1)
    with pytest.raises(MissingDataError, match=r"there is no classInd\.txt"):
        list_videos("ucf101", tmp_path, index="none")


def test_an_index_may_lie_elsewhere(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "indices").mkdir()
    path = put(tmp_path / "indices")
    for index in (path, str(path), tmp_path / "indices"):
        videos = list_videos("ucf101", tmp_path / "root", index=index)
        assert videos.videos[0].path == tmp_path / "root/Jump/a.avi"
    with pytest.raises(FileNotFoundError, match=r"index: there is no file .*tats-gym-ucf101-train-fold2\.jsonl;"):
        list_videos("ucf101", tmp_path / "root", fold=2, index=tmp_path / "indices")
    with pytest.raises(FileNotFoundError, match=r"index: there is no file .*other\.jsonl; tats-gym prepare verify"):
        list_videos("ucf101", tmp_path / "root", index=str(tmp_path / "other.jsonl"))
    with pytest.raises(MissingDataError, match="the folder does not exist"):
        list_videos("ucf101", tmp_path / "nowhere", index=path)


def test_a_subset_is_chosen_within_a_whole_index_as_without_one(tmp_path):
    rows = [Row(f"x/{i}.avi", f"Jump/{i}.avi", i % 2, OK) for i in range(20)]
    rows[5] = rows[5]._replace(finding=Finding(status="broken", cause="cut"))
    put(tmp_path, HEADER, rows)
    whole = list_videos("ucf101", tmp_path).videos
    assert len(whole) == 19
    assert set(list_videos("ucf101", tmp_path, subset=3).videos) <= set(whole)
    assert len(list_videos("ucf101", tmp_path, subset=10).videos) == 19  # broken ones are not replaced
    sound = [row for row in rows if row.finding.status == "ok"]
    put(tmp_path, HEADER, sound)
    expected = choose_subset(list_videos("ucf101", tmp_path).videos, 0.3, 7)
    assert list_videos("ucf101", tmp_path, subset=0.3, subset_seed=7).videos == tuple(expected)


def test_an_index_of_a_subset_is_taken_or_refused(tmp_path, caplog):
    put(tmp_path, replace(HEADER, subset=0.5, subset_seed=3))
    with caplog.at_level(logging.INFO):
        assert len(list_videos("ucf101", tmp_path)) == 4
    assert "holds the subset 0.5 with seed 3, which is taken" in caplog.text
    assert len(list_videos("ucf101", tmp_path, subset=0.5, subset_seed=3)) == 4
    for subset, seed in ((0.2, 3), (0.5, 0)):
        with pytest.raises(
            ValueError, match=rf"is of the subset 0\.5 with seed 3, but the subset {subset} with seed {seed} is asked"
        ):
            list_videos("ucf101", tmp_path, subset=subset, subset_seed=seed)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"data": "ssv2"}, "line 1: expected an index of ucf101 train, fold 1, got ssv2 train, fold 1"),
        (1, {"split": "validation"}, "line 1: expected an index of .*, got ucf101 validation, fold 1"),
        (1, {"fold": 2}, "line 1: expected an index of .*, got ucf101 train, fold 2"),
        (1, {"format": 2}, "line 1: format must be 1, got 2; verify the data again"),
        (1, {"videos": 6}, "its header promises 6 videos, but 5 lines follow"),
        (3, {"status": "fine"}, "line 3: status must be one of ok, short, broken, misplaced; got 'fine'; verify"),
        (3, {"frames": "40"}, "line 3: frames must be a whole number, got '40'; verify the data again"),
        (3, {"fps": float("nan")}, "line 3: fps must be finite, got nan"),
        (1, {"subset": [[]]}, "line 1: subset must be a number, got .*; verify the data again"),
        (1, {"annotated": "x"}, "line 1: annotated must be a whole number, got 'x'"),
        (1, {"missing": -1}, "line 1: annotated and missing must not be negative, got 9 and -1"),
        (1, {"classes": ["Jump", "Jump"]}, "line 1: expected classes with a name each, got .*"),
        (1, {"classes": ["Jump", 1]}, r"line 1: classes\[1\] must be text, got 1"),
        (3, {"label": None}, "some of its videos have a class and others none"),
        (4, {"label": True}, r"line 4: label must lie in \[0, 2\), got True"),
        (3, {"path": None}, "line 3: expected a path"),
        (4, {"label": 2}, r"line 4: label must lie in \[0, 2\), got 2"),
        (4, {"label": "1"}, r"line 4: label must lie in \[0, 2\), got '1'"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, line, change, message):
    path = put(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | change)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=f"{NAME}(, |: ){message}"):
        list_videos("ucf101", tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[1:], "line 1: expected a header, but it lacks"),
        (lambda lines: [], "line 1: expected a header, but it lacks"),
        (lambda lines: lines[:3], "its header promises 5 videos, but 2 lines follow"),
        (lambda lines: [*lines[:3], lines[3][:40]], "line 4: it is not valid JSON"),
        (lambda lines: [*lines[:3], "[" * 100_000], "line 4: it is not valid JSON .*too deep"),
        (lambda lines: [*lines[:3], "[]"], "line 4: expected a JSON object, got"),
        (lambda lines: [*lines[:3], "{}"], "line 4: expected a video, but it lacks"),
    ],
)
def test_a_damaged_index_is_named_by_line(tmp_path, damage, message):
    path = put(tmp_path)
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=f"{NAME}(, |: ){message}"):
        list_videos("ucf101", tmp_path)


def test_an_index_without_a_usable_video_is_no_dataset(tmp_path):
    put(tmp_path, HEADER, ROWS[2:3])
    with pytest.raises(MissingDataError, match="says that none of its 1 videos can be used"):
        list_videos("ucf101", tmp_path)


def test_the_demo_takes_an_index_too(tmp_path):
    root = make_demo_data(tmp_path / "demo", train=2, validation=1)
    header = replace(HEADER, data="demo", classes=("Moving",), annotated=2, missing=0)
    put(root, header, [Row("20bn-something-something-v2/100001.webm", "100001", 0, OK)])
    assert [video.path.name for video in list_videos("demo", root).videos] == ["100001.webm"]
    assert len(list_videos("demo", root, index="none")) == 2
