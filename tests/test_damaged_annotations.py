"""Annotations that a hand, a cut download or another program damaged are refused by file and line, never half read."""

import pytest

from tats_gym.clips import MissingDataError, list_videos
from tats_gym.files.text import parse_json, read_text
from tats_gym.messages import brief
from tests.fuzz.annotations import make_layout

ROW = '{"id": "0", "template": "Run [something]"}'
KINETICS = "label,youtube_id,time_start,time_end\n"


@pytest.mark.parametrize(
    ("data", "file", "content", "message"),
    [
        ("ssv2", "labels.json", '{"Run something": 0.5}', r"expected a class and its number, .*'Run something': 0\.5"),
        ("ssv2", "labels.json", '{"Run something": null}', "expected a class and its number, .*: None"),
        ("ssv2", "labels.json", '{"Run something": Infinity}', "expected a class and its number, .*: inf"),
        ("ssv2", "labels.json", '{"Run something": true}', "expected a class and its number, .*: True"),
        ("ssv2", "labels.json", '{" ": "0"}', "expected a class and its number, .* got ' ': '0'"),
        ("ssv2", "train.json", '[{"id": "0", "template": 3}]', "expected 'id' and 'template' in each entry"),
        ("ssv2", "train.json", '[{"id": NaN, "template": "Run [something]"}]', "expected 'id' and .* got .*nan"),
        ("ssv2", "train.json", '[{"id": "", "template": "Run [something]"}]', "expected 'id' and 'template'"),
        ("ssv2", "train.json", f"[{ROW}, {ROW.replace('Run', 'Jump high')}]", "'0' has the class 1, and further on 0"),
        ("ssv2", "train.json", "[" * 100_000, "nested too deeply"),
        ("ssv2", "train.json", f'[{ROW}, "\udcff"]', "line 1: it is not UTF-8"),
        ("k400", "train.csv", KINETICS + "Run,a,inf,10\n", "line 2: expected times in seconds, .* got 'inf'"),
        ("k400", "train.csv", KINETICS + "Run,a,-1,10\n", "line 2: expected times in seconds, .* got '-1'"),
        ("k400", "train.csv", KINETICS + "throwing, catching,a,0,10\n", "line 2: expected 4 columns"),
        ("k400", "train.csv", KINETICS + "Run,,0,10\n", "line 2: expected a value for each of"),
        ("k400", "train.csv", KINETICS + "Run,a,0,10\nJump,a,0,10\n", "'a_000000_000010' has the class 1, and further"),
        ("k400", "train.csv", KINETICS + f"Run,{'a' * 200_000},0,10\n", r"line \d: it is not comma-separated text"),
        ("k400", "train.csv", "label," + KINETICS + "Jump,Run,a,0,10\n", "expected a header with .* each column once"),
        ("k400", "train.csv", KINETICS + "\udcff,a,0,10\n", "line 2: it is not UTF-8"),
        ("ucf101", "classInd.txt", "1 Jump\n2\n", "line 2: expected `number class`.* got '2'"),
        ("ucf101", "classInd.txt", "1 Jump\n2 Jump\n", "line 2: expected `number class`, another class in each"),
        ("ucf101", "classInd.txt", "1 Jump\n3 Run\n", "expected the class numbers 1 to 2, once each"),
        ("ucf101", "trainlist01.txt", "Run/v_1.avi 1\n", "line 1: expected .* and perhaps 2, the number of Run in"),
        ("ucf101", "trainlist01.txt", "Run/v_1.avi 2 2\n", "line 1: expected .* and perhaps 2"),
        ("ucf101", "trainlist01.txt", "Run/v_\udcff.avi 2\n", "line 1: it is not UTF-8"),
        ("hmdb51", "Run_test_split1.txt", "a.avi 1\nb.avi 1\na.avi 2\n", r"line 3: 'a\.avi' has 2 here and 1 above"),
        ("hmdb51", "Run_test_split1.txt", "a.avi 1\n\udcff 1\n", "line 2: it is not UTF-8"),
        ("list", "train.csv", "a.mp4 " + "9" * 5000, r"line 1: expected `path label`, or .* got 'a.*999\.\.\.999"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, data, file, content, message):
    make_layout(data, tmp_path)
    (tmp_path / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        list_videos(data, tmp_path)
    assert type(caught.value) is ValueError
    assert file in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_classes_are_numbered_as_their_list_says_in_any_order(tmp_path):
    make_layout("ucf101", tmp_path)
    before = list_videos("ucf101", tmp_path)
    (tmp_path / "classInd.txt").write_text("2\tRun\n1\tJump\n")
    assert list_videos("ucf101", tmp_path) == before


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "b/" * 3000 + "a.mp4", "a\0.mp4"])
def test_a_name_that_no_disk_takes_is_a_missing_video(tmp_path, name):
    make_layout("list", tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write(f"{name} 0\n")
    assert list_videos("list", tmp_path).missing == 1


@pytest.mark.parametrize(("data", "file"), [("list", "train.csv"), ("ucf101", "trainlist01.txt")])
def test_annotations_without_a_video_say_so(tmp_path, data, file):
    make_layout(data, tmp_path)
    (tmp_path / file).write_text("\n")
    with pytest.raises(MissingDataError, match="the annotations of train name no video"):
        list_videos(data, tmp_path)


def test_a_list_of_ones_own_may_give_a_video_two_classes_which_is_said(tmp_path, caplog):
    make_layout("list", tmp_path)
    (tmp_path / "train.csv").write_text("a class/clip 1.mp4 1\n" * 2)
    assert [video.label for video in list_videos("list", tmp_path).videos] == [1, 1]
    assert not any("each line counts" in message for message in caplog.messages)
    caplog.clear()
    (tmp_path / "train.csv").write_text("a class/clip 1.mp4 1\na class/clip 1.mp4 0\n")
    assert [video.label for video in list_videos("list", tmp_path).videos] == [1, 0]
    assert "'a class/clip 1.mp4' has the class 1, and further on 0; each line counts" in caplog.messages[0]


def test_text_is_read_with_or_without_a_mark_and_json_by_its_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n\xff\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: it is not UTF-8 \(invalid start byte\)"):
        read_text(path)
    assert read_text(path, any_bytes=True) == "a\n\udcff\n"
    with pytest.raises(ValueError, match=r"a\.json, line 3: it is not valid JSON \(Expecting value"):
        parse_json("[1,", "a.json, line 3")


def test_long_values_are_shortened_in_messages():
    assert brief({"a": [1, "b"]}) == "{'a': [1, 'b']}"
    assert len(brief("x" * 10_000)) == 160
    assert len(brief([["x" * 1000] * 100] * 100)) < 12_000
