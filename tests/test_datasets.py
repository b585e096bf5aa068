"""Each dataset is read as its owner lays it out, and missing files are named."""

import json
import logging
import os
from pathlib import Path

import pytest

from tats_gym.clips import MissingDataError, Video, data_root, list_videos
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.clips.demo.scenes import DEMO_CLASSES

SSV2_LABELS = {"Holding something": "0", "Putting something on something": "1"}
SSV2_TRAIN = [
    {"id": "7", "label": "putting a cup on a desk", "template": "Putting [something] on [something]"},
    {"id": "3", "label": "holding a pen", "template": "Holding [something]"},
]
K400_HEADER = "label,youtube_id,time_start,time_end,split\n"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def names(videos):
    return [(video.path.name, video.label) for video in videos.videos]


@pytest.mark.parametrize("prefix", ["labels/", "something-something-v2-", "labels/something-something-v2-"])
@pytest.mark.parametrize("folder", ["20bn-something-something-v2", "videos/00"])
def test_ssv2_takes_the_class_from_the_template(tmp_path, prefix, folder):
    write(tmp_path / f"{prefix}labels.json", json.dumps(SSV2_LABELS))
    write(tmp_path / f"{prefix}train.json", json.dumps(SSV2_TRAIN))
    write(tmp_path / f"{prefix}validation.json", json.dumps(SSV2_TRAIN[1:]))
    for number in ("3", "7"):
        touch(tmp_path / folder / f"{number}.webm")
    train = list_videos("ssv2", tmp_path, "train")
    assert train.classes == ("Holding something", "Putting something on something")
    assert train.videos == (
        Video(tmp_path / folder / "7.webm", 1),
        Video(tmp_path / folder / "3.webm", 0),
    )
    assert (len(train), train.missing) == (2, 0)
    assert names(list_videos("ssv2", tmp_path, "validation")) == [("3.webm", 0)]


def test_ssv2_annotations_that_do_not_fit_are_refused(tmp_path):
    labels = write(tmp_path / "labels.json", json.dumps({"Holding something": "0"}))
    train = write(tmp_path / "train.json", json.dumps(SSV2_TRAIN))
    with pytest.raises(ValueError, match=r"train\.json: the template 'Putting something on something' is not in"):
        list_videos("ssv2", tmp_path)
    train.write_text('[{"id": 3}]')
    with pytest.raises(ValueError, match="expected 'id' and 'template' in each entry, got"):
        list_videos("ssv2", tmp_path)
    train.write_text('[{"id": 3')
    with pytest.raises(ValueError, match=r"train\.json: it is not valid JSON"):
        list_videos("ssv2", tmp_path)
    labels.write_text('{"Holding something": "1"}')
    with pytest.raises(ValueError, match="expected the class numbers 0 to 0, once each"):
        list_videos("ssv2", tmp_path)
    labels.write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON dict, got list"):
        list_videos("ssv2", tmp_path)


def test_k400_is_read_by_header_and_found_by_name_or_id(tmp_path):
    write(
        tmp_path / "annotations/train.csv",
        "\ufeff" + K400_HEADER + "riding a bike,-_abcdefghi,5,15,train\nabseiling,0123456789A,27,37,train\n",
    )
    write(tmp_path / "annotations/val.csv", "split,is_cc,time_end,time_start,youtube_id,label\n"
          "validate,0,12,2,zzzzzzzzzzz,riding a bike\n")  # fmt: skip
    touch(tmp_path / "train/riding a bike/-_abcdefghi_000005_000015.mp4")
    touch(tmp_path / "train/abseiling/0123456789A.mp4")
    touch(tmp_path / "val/zzzzzzzzzzz_000002_000012.mp4")
    train = list_videos("k400", tmp_path)
    assert train.classes == ("abseiling", "riding a bike")
    assert names(train) == [("-_abcdefghi_000005_000015.mp4", 1), ("0123456789A.mp4", 0)]
    assert names(list_videos("k400", tmp_path, "validation")) == [("zzzzzzzzzzz_000002_000012.mp4", 1)]


def test_k400_without_its_header_is_refused(tmp_path):
    write(tmp_path / "train.csv", "videos/a.mp4 0\n")
    with pytest.raises(ValueError, match=r"train\.csv: expected a header with \['label', 'time_end'"):
        list_videos("k400", tmp_path)


def test_ucf101_numbers_its_classes_from_one(tmp_path):
    write(tmp_path / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\r\n2 Archery\r\n")
    write(
        tmp_path / "ucfTrainTestlist/trainlist01.txt",
        "Archery/v_Archery_g08_c01.avi 2\r\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n",
    )
    write(tmp_path / "ucfTrainTestlist/testlist01.txt", "Archery/v_Archery_g01_c01.avi\n")
    for name in ("Archery_g08_c01", "Archery_g01_c01", "ApplyEyeMakeup_g08_c01"):
        touch(tmp_path / "UCF-101" / name.split("_")[0] / f"v_{name}.avi")
    train = list_videos("ucf101", tmp_path)
    assert train.classes == ("ApplyEyeMakeup", "Archery")
    assert names(train) == [("v_Archery_g08_c01.avi", 1), ("v_ApplyEyeMakeup_g08_c01.avi", 0)]
    assert names(list_videos("ucf101", tmp_path, "validation")) == [("v_Archery_g01_c01.avi", 1)]
    write(tmp_path / "ucfTrainTestlist/testlist01.txt", "Diving/v_Diving_g01_c01.avi\n")
    with pytest.raises(ValueError, match=r"testlist01\.txt, line 1: the class 'Diving' is not in .*classInd\.txt"):
        list_videos("ucf101", tmp_path, "validation")


def test_hmdb51_keeps_its_ugly_names_and_leaves_out_the_unused(tmp_path):
    ugly = "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi"
    worse = "Who's_(that)!;_a&b_clap_u_0.avi"
    write(tmp_path / "splits/clap_test_split1.txt", f"{ugly} 1 \n{worse} 2 \nunused_clap_0.avi 0 \n")
    write(tmp_path / "splits/brush_hair_test_split1.txt", "same.avi 1\n")
    write(tmp_path / "splits/clap_test_split2.txt", f"{ugly} 2\n")
    for name in (f"clap/{ugly}", f"clap/{worse}", "clap/same.avi", "brush_hair/brush_hair/same.avi"):
        touch(tmp_path / "hmdb51_org" / name)
    train = list_videos("hmdb51", tmp_path)
    assert train.classes == ("brush_hair", "clap")
    assert train.videos == (
        Video(tmp_path / "hmdb51_org/brush_hair/brush_hair/same.avi", 0),
        Video(tmp_path / "hmdb51_org/clap" / ugly, 1),
    )
    assert names(list_videos("hmdb51", tmp_path, "validation")) == [(worse, 1)]


def test_a_folder_is_searched_for_videos_and_split_by_name(tmp_path):
    for number in range(200):
        touch(tmp_path / f"day {number % 3}" / f"{number}.MP4")
    for name in ("notes.txt", "._1.mp4", ".trash/2.mp4", "deep/er/last.ogv"):
        touch(tmp_path / name)
    train, held_out = list_videos("folder", tmp_path, "train"), list_videos("folder", tmp_path, "validation")
    paths = [video.path for video in (*train.videos, *held_out.videos)]
    assert len(paths) == len(set(paths)) == 201
    assert 10 <= len(held_out) <= 32  # 20 expected, 4.2 deviation
    assert train.classes == ()
    assert {video.label for video in train.videos} == {None}
    assert list(train.videos) == sorted(train.videos, key=lambda video: str(video.path))
    touch(tmp_path / "new.mp4")
    assert set(held_out.videos) <= set(list_videos("folder", tmp_path, "validation").videos)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_neither_side_of_a_small_folder_is_empty(tmp_path, count):
    for number in range(count):
        touch(tmp_path / f"{number}.webm")
    train, held_out = list_videos("folder", tmp_path, "train"), list_videos("folder", tmp_path, "validation")
    assert len(held_out) == 1
    assert len(train) == count  # none of these names hashes to validation, so training keeps all


def test_the_demo_is_made_and_read_as_ssv2_is(tmp_path):
    make_demo_data(tmp_path / "demo", train=3, validation=2)
    train, held_out = (list_videos("demo", tmp_path / "demo", split) for split in ("train", "validation"))
    assert (len(train), len(held_out)) == (3, 2)
    assert len(train.classes) == len(DEMO_CLASSES)
    assert all(video.path.suffix == ".webm" and video.label is not None for video in train.videos)


def test_a_link_that_leads_back_up_is_followed_once(tmp_path):
    touch(tmp_path / "data/a.mp4")
    touch(tmp_path / "elsewhere/b.mp4")
    (tmp_path / "data/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    assert [name for name, _ in names(list_videos("folder", tmp_path / "data"))] == ["a.mp4", "b.mp4"]


def test_missing_videos_are_counted_logged_once_and_left_out(tmp_path, caplog):
    write(tmp_path / "labels.json", json.dumps(SSV2_LABELS))
    entries = [{"id": number, "template": "Holding [something]"} for number in range(7)]
    write(tmp_path / "train.json", json.dumps(entries))
    touch(tmp_path / "5.webm")
    with caplog.at_level(logging.WARNING):
        videos = list_videos("ssv2", tmp_path)
        list_videos("ssv2", tmp_path)  # as each trial of a sweep does
    assert names(videos) == [("5.webm", 0)]
    assert videos.missing == 6
    assert caplog.messages[0] == "ssv2 train: 6 of 7 videos are missing: '0', '1', '2', ..."
    (tmp_path / "5.webm").unlink()
    with pytest.raises(MissingDataError, match="none of the 7 videos of train is there"):
        list_videos("ssv2", tmp_path)


def test_classes_without_a_training_video_are_named(tmp_path, caplog):
    touch(tmp_path / "a.mp4")
    write(tmp_path / "val.csv", "a.mp4 101\n")
    write(tmp_path / "train.csv", "".join(f"a.mp4 {label}\n" for label in range(100, 108)))
    assert len(list_videos("list", tmp_path).classes) == 108
    assert (
        "list train: 100 of 108 classes have no video: '0', '1', '2', '3', '4', '5', '6', '7' and 92 more; a "
        "classifier has an output for each: number the classes from 0 without gaps, or add videos"
    ) in caplog.messages[-1]
    caplog.clear()
    list_videos("list", tmp_path, "validation")  # a small test has not every class
    for lines in ("".join(f"a.mp4 {label}\n" for label in range(8)), "a.mp4\n"):
        write(tmp_path / "train.csv", lines)
        write(tmp_path / "val.csv", lines)
        list_videos("list", tmp_path)
    assert not [message for message in caplog.messages if "class" in message and "each line" not in message]
    write(tmp_path / "labels.json", json.dumps(SSV2_LABELS))
    write(tmp_path / "train.json", json.dumps(SSV2_TRAIN))
    touch(tmp_path / "7.webm")
    list_videos("ssv2", tmp_path)
    assert "ssv2 train: 1 of 2 classes have no video: 'Holding something'; " in caplog.messages[-1]
    assert caplog.messages[-1].endswith(": complete the videos")


@pytest.mark.parametrize(
    ("data", "file", "owner"),
    [
        ("ssv2", "labels.json", "Something-Something"),
        ("k400", "train.csv", "CVDF"),
        ("ucf101", "classInd.txt", "CRCV"),
        ("hmdb51", "_test_split1.txt", "Serre lab"),
        ("list", "train.csv", "tats-gym prepare list"),
        ("folder", "video", "any folder"),
    ],
)
def test_absent_data_name_themselves_and_every_way_out(tmp_path, data, file, owner):
    touch(tmp_path / "readme.txt")
    (tmp_path / "empty").mkdir()
    for root, problem in (
        (tmp_path / "absent", "the folder does not exist"),
        (tmp_path / "empty", "the folder is empty|there is no train.csv"),
        (tmp_path, "there is no|no file there"),
    ):
        with pytest.raises(MissingDataError, match=problem) as caught:
            list_videos(data, root)
        for part in (file, owner, str(root), "--root", "TATS_GYM_DATA", "TatsMask-demo-v0"):
            assert part in str(caught.value)


def test_a_file_is_no_root(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"root must be a folder, got the file .*train\.csv"):
        list_videos("folder", touch(tmp_path / "train.csv"))


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data must be one of ssv2, .*; got 'ssv3'; did you mean 'ssv2'"):
        list_videos("ssv3", tmp_path)
    with pytest.raises(ValueError, match="ssv2's split must be one of train, validation, test; got 'val'"):
        list_videos("ssv2", tmp_path, "val")


@pytest.mark.parametrize("data", ["ucf101", "hmdb51", "folder", "demo", "atari"])
def test_data_without_a_test_split_say_which_they_have(tmp_path, data):
    with pytest.raises(ValueError, match=f"{data}'s split must be one of train, validation; got 'test'"):
        list_videos(data, tmp_path, "test")


@pytest.mark.parametrize(("data", "folds"), [("ssv2", 1), ("k400", 1), ("ucf101", 3), ("list", 1), ("demo", 1)])
def test_a_fold_that_there_is_not_is_refused(tmp_path, data, folds):
    for fold in (0, folds + 1):
        with pytest.raises(ValueError, match=rf"fold must lie in \[1, {folds}\] for {data}, got {fold}"):
            list_videos(data, tmp_path, fold=fold)


def test_the_root_is_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(tmp_path / "data"))
    assert data_root("k400", "~/k") == Path(os.path.expanduser("~/k"))
    assert data_root("k400") == tmp_path / "data/k400"
    monkeypatch.delenv("TATS_GYM_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root("k400") == tmp_path / "cache/tats_gym/k400"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root("k400") == Path("~/.cache/tats_gym/k400").expanduser()
