"""The demo videos: frozen pixels, fair classes, and a folder that readers of Something-Something understand."""

import hashlib
import json
import logging
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tats_gym.clips.demo import files
from tats_gym.clips.demo.drawing import SPRITE_SIZE, paste, place
from tats_gym.clips.demo.files import demo_root, make_demo_data
from tats_gym.clips.demo.scenes import DEMO_CLASSES, FRAMES, HEIGHT, MOTIONS, WIDTH, _Scene, render_demo_clip
from tests.video_files import decode

FROZEN = "3d1ef5bf88be2afe1bdc3ce7cd6875c439200c9eb332d190d111963e713843ba"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=12, validation=4)


def test_the_generator_is_frozen():
    digest = hashlib.sha256()
    for split in ("train", "validation"):
        for index in (0, 3, 4, 7, 8, 11, 12_345):
            clip = render_demo_clip(split, index)
            digest.update(clip.frames.tobytes() + clip.acting.tobytes() + clip.objects.tobytes())
            digest.update(f"{clip.label} {clip.template} {clip.text} {clip.placeholders}".encode())
    assert digest.hexdigest() == FROZEN


def test_a_clip_is_a_function_of_split_and_index():
    first, again = render_demo_clip("train", 5), render_demo_clip("train", 5)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.frames.shape == (48, 112, 144, 3)
    assert first.frames.dtype == np.uint8
    for other in (render_demo_clip("validation", 5), render_demo_clip("train", 17)):
        assert np.abs(first.frames.astype(int) - other.frames).mean() > 10


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="split must be one of train, validation; got 'test'"):
        render_demo_clip("test", 0)
    with pytest.raises(ValueError, match="index must be at least 0, got -1"):
        render_demo_clip("train", -1)


def test_templates_and_texts_agree():
    clip = render_demo_clip("train", 10)
    assert clip.template == DEMO_CLASSES[10] == "Moving [something] and [something] away from each other"
    assert clip.text == "moving {} and {} away from each other".format(*clip.placeholders)


def test_objects_cover_part_of_the_frame_and_the_acting_ones_fewer():
    clips = [render_demo_clip("validation", index) for index in range(24)]
    covered = [clip.objects.mean() for clip in clips]
    assert min(covered) > 0.01
    assert max(covered) < 0.20
    assert 0.04 < np.mean(covered) < 0.10
    assert 0.01 < np.mean([clip.acting.mean() for clip in clips]) < 0.05
    assert not any((clip.acting & ~clip.objects).any() for clip in clips)


def test_only_objects_move():
    for index in range(12):
        clip = render_demo_clip("validation", index)
        # Where no object is near in either frame, as even its soft edge would show.
        near = F.max_pool2d(torch.from_numpy(clip.objects).float(), 5, stride=1, padding=2).bool().numpy()
        still = ~(near[1:] | near[:-1])
        assert still.mean() > 0.75
        # All but those of objects that are less than half opaque, which no mask has.
        assert (clip.frames[1:] == clip.frames[:-1])[still].mean() > 0.97
        assert (clip.frames[1:] != clip.frames[:-1]).any()


def centre(mask):
    rows, cols = np.nonzero(mask)
    return cols.mean(), rows.mean()


@pytest.mark.parametrize(("label", "axis", "sign"), [(0, 0, 1), (1, 0, -1), (2, 1, 1), (3, 1, -1)])
def test_the_labelled_object_moves_the_labelled_way(label, axis, sign):
    travelled = []
    for index in range(label, label + 60, 12):
        acting = render_demo_clip("train", index).acting
        if acting[0].any() and acting[-1].any():
            travelled.append(sign * (centre(acting[-1])[axis] - centre(acting[0])[axis]))
    assert len(travelled) >= 3
    assert min(travelled) > 30  # pixels


@pytest.mark.parametrize(("label", "sign"), [(4, 1), (5, -1), (8, 1), (9, -1)])
def test_the_labelled_object_grows_or_appears(label, sign):
    gained = []
    for index in range(label, label + 60, 12):
        acting = render_demo_clip("train", index).acting
        gained.append(sign * (int(acting[-1].sum()) - int(acting[0].sum())))
    assert np.median(gained) > 100  # pixels


def test_objects_turn_clockwise_on_the_screen_as_their_angle_rises():
    """A bar's right end, which is the lighter one, must come to lie at the bottom after a quarter turn."""
    image = np.zeros((SPRITE_SIZE, SPRITE_SIZE, 4), np.uint8)
    image[40:56, 48:90] = 255
    still = {"x": np.full(2, 32.0), "y": np.full(2, 32.0), "radius": np.full(2, 20.0), "presence": np.ones(2)}
    frames, owners = np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 64, 64), np.uint8)
    paste(place(image, angle=np.array([0, np.pi / 2]), **still), frames, owners, 1)
    assert frames[0, 32, 45].tolist() == [254, 254, 254]
    assert frames[0, 45, 32].tolist() == [0, 0, 0]
    assert frames[1, 45, 32].tolist() == [254, 254, 254]
    assert frames[1, 32, 45].tolist() == [0, 0, 0]
    np.testing.assert_allclose(centre(owners[0]), (31.5 + 9.4, 31.5), atol=0.6)
    np.testing.assert_allclose(centre(owners[1]), (31.5, 31.5 + 9.4), atol=0.6)


@pytest.mark.parametrize("motion", MOTIONS)
def test_at_a_random_moment_a_moving_number_is_distributed_as_a_frozen_one(motion):
    def pooled(moving, falling):
        rng = np.random.default_rng(3)
        scene = _Scene(rng, moving=moving, falling=falling)
        tracks = np.stack([scene.track(motion) for _ in range(4000)])  # (4000, T)
        return tracks, np.sort(tracks[np.arange(4000), rng.integers(FRAMES, size=4000)])

    frozen, still = pooled("nothing", False)
    assert np.ptp(frozen, axis=1).max() == 0
    for falling in (False, True):
        tracks, moving = pooled(motion, falling)
        assert (tracks[:, -1] - tracks[:, 0]).mean() == pytest.approx(-0.75 if falling else 0.75, abs=0.01)
        grid = np.linspace(0, 1, 101)
        difference = np.searchsorted(moving, grid) - np.searchsorted(still, grid)
        assert np.abs(difference).max() / 4000 < 0.0435  # Kolmogorov-Smirnov, two samples of 4000, level 0.001


def test_the_layout_is_that_of_something_something(root):
    classes = json.loads((root / "labels/labels.json").read_text())
    assert classes["Moving something from left to right"] == "0"
    assert sorted(map(int, classes.values())) == list(range(12))
    entries = json.loads((root / "labels/train.json").read_text())
    assert [entry["id"] for entry in entries] == [str(100_000 + i) for i in range(12)]
    assert set(entries[0]) == {"id", "label", "template", "placeholders"}
    labels = [int(classes[e["template"].replace("[", "").replace("]", "")]) for e in entries]
    assert labels == [render_demo_clip("train", i).label for i in range(12)]
    assert set(Counter(labels).values()) == {1}
    assert len(json.loads((root / "labels/validation.json").read_text())) == 4
    assert json.loads((root / "labels/test.json").read_text()) == []
    assert len(list((root / "20bn-something-something-v2").iterdir())) == 16


@pytest.mark.parametrize(("split", "index", "name"), [("train", 7, "100007"), ("validation", 2, "200002")])
def test_the_videos_show_the_rendered_frames(root, split, index, name):
    seen = decode(root / f"20bn-something-something-v2/{name}.webm")
    assert seen.shape == (FRAMES, HEIGHT, WIDTH, 3)
    drawn = render_demo_clip(split, index).frames.astype(int)
    assert np.abs(seen - drawn).mean() < 4
    assert np.abs(seen[::-1] - drawn).mean() > 1.2 * np.abs(seen - drawn).mean()


def test_the_whole_set_has_as_many_clips_of_each_class():
    assert files.TRAIN_CLIPS % len(DEMO_CLASSES) == files.VALIDATION_CLIPS % len(DEMO_CLASSES) == 0


def test_a_second_call_writes_nothing(root, monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing should be rendered")

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    monkeypatch.setattr(files, "render_demo_clip", refuse)
    assert make_demo_data(root, train=12, validation=4) == root
    assert make_demo_data(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_another_set_or_a_damaged_one_is_an_error(root, tmp_path):
    with pytest.raises(
        FileExistsError, match=r"should hold the demo set \{'train': 24\}, but holds \{'train': 12\}; choose"
    ):
        make_demo_data(root, train=24, validation=4)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"has no generator\.json"):
        make_demo_data(tmp_path, train=1, validation=1)
    small = make_demo_data(tmp_path / "small", train=1, validation=1)
    (small / "20bn-something-something-v2/100000.webm").unlink()
    with pytest.raises(FileExistsError, match="should hold 2 videos, but holds 1"):
        make_demo_data(small, train=1, validation=1)


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    written = []

    def encode_two(path, _, fps):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        path.touch()

    monkeypatch.setattr(files, "encode", encode_two)
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / "demo", train=4, validation=1, workers=1)
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_writers_keeps_the_faster_ones_set(tmp_path, monkeypatch, caplog):
    write = files._write

    def write_slowly(folder, counts, workers):
        monkeypatch.setattr(files, "_write", write)
        make_demo_data(tmp_path / "demo", train=1, validation=1)
        write(folder, counts, workers)

    monkeypatch.setattr(files, "_write", write_slowly)
    caplog.set_level(logging.INFO)
    assert make_demo_data(tmp_path / "demo", train=1, validation=1) == tmp_path / "demo"
    assert "another process wrote" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(tmp_path / "data"))
    assert demo_root() == tmp_path / "data/demo-v2"
    assert make_demo_data(train=1, validation=1) == tmp_path / "data/demo-v2"
    assert (tmp_path / "data/demo-v2/generator.json").is_file()
    monkeypatch.delenv("TATS_GYM_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert demo_root() == tmp_path / "cache/tats_gym/demo-v2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert demo_root() == tmp_path / ".cache/tats_gym/demo-v2"


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"version": 1}', b'{"version": [1]}'])
def test_a_demo_set_without_its_description_is_named(tmp_path, content):
    root = make_demo_data(tmp_path / "demo", train=1, validation=1)
    (root / "generator.json").write_bytes(content)
    with pytest.raises(FileExistsError, match=r"should hold the demo set .* but (holds|.*is not valid JSON)"):
        make_demo_data(root)
