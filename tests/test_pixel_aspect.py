"""Videos whose pixels are not square: by default they are taken as square, else crops are those of the display."""

import logging
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest
import torch

import tats_gym
from tats_gym.clips import ClipConfig, ClipStream, VideoReadError, list_videos, open_video
from tats_gym.clips.augment import displayed_width, stored_box
from tats_gym.clips.datasets.index import read_index
from tats_gym.clips.prepare.segments import CutConfig, Segments, claim_folder
from tats_gym.clips.prepare.verify import Verification, VerifyConfig
from tats_gym.clips.readers import pixel_aspect_of
from tats_gym.datasets import DATASETS
from tests.layouts import write_images
from tests.test_readers import READERS
from tests.video_files import numbered_frames, turn, write_video

SIZE = 64
CONTAINERS = {"v.mp4": "libx264", "v.mkv": "libx264", "v.ts": "libx264", "v.avi": "mpeg4", "w.mp4": "mpeg4"}
CROPS = ["centre", "multiscale", "random_resized"]


def displayed(height, width, count=8, radius=40):
    """A bright disc with a soft edge on a slope of grey, as it is displayed: (T, H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2 + 0.5, x - width / 2 + 0.5)
    picture = 40 + 60 * (x / width) * (y / height) + 130 / (1 + np.exp((distance - radius) / 1.5))
    return np.repeat(np.repeat(picture[None, ..., None], 3, -1).round().astype(np.uint8), count, 0)


def squeezed(frames, down=1, across=1):
    """Means over blocks of pixels: what a camera with such pixels would store."""
    t, height, width, _ = frames.shape
    blocks = frames.reshape(t, height // down, down, width // across, across, 3)
    return blocks.mean((2, 4)).round().astype(np.uint8)


def clips(root, *, views=False, **settings):
    """Clips of one drawn order, or three squares across the frame."""
    config = ClipConfig(data="list", root=str(root), stride=1, **settings)
    with closing(ClipStream(config, frames=4, size=SIZE, seed=5)) as stream:
        return (stream.views([0], temporal=1, spatial=3) if views else stream.take(12)).pixels


def in_folder(root, frames, aspect, **settings):
    """A list of one such video."""
    write_video(root / "v.mp4", frames, pixel_aspect=aspect, **settings)
    (root / "train.csv").write_text("v.mp4\n")
    return root


def extents(clip):
    """Height and width of the disc in the first frame of a clip (C, T, H, W), from its second moments: 4 deviations."""
    level = np.clip(clip[0, 0].numpy().astype(float) - 130, 0, None)
    y, x = np.mgrid[: level.shape[0], : level.shape[1]]
    deviations = [
        np.sqrt((level * (axis - (level * axis).sum() / level.sum()) ** 2).sum() / level.sum()) for axis in (y, x)
    ]
    return 4 * np.array(deviations)


@pytest.mark.parametrize(
    ("aspect", "shape", "squeeze"),
    [(Fraction(2), (128, 256), {"across": 2}), (Fraction(1, 2), (256, 128), {"down": 2})],
)
def test_a_circle_on_the_display_is_a_circle_in_the_clip(tmp_path, aspect, shape, squeeze):
    frames = displayed(*shape)
    root = in_folder(tmp_path / "stretched", squeezed(frames, **squeeze), aspect)
    clip = clips(root, crop="centre", pixel_aspect="apply")[0]
    height, width = extents(clip)
    square = in_folder(tmp_path / "square", frames, None)
    assert (height, width) == pytest.approx(extents(clips(square, crop="centre")[0]), abs=0.5)  # in pixels of 64
    assert width == pytest.approx(height, abs=0.5)
    assert height == pytest.approx(40, abs=3)  # 80 of 128 pixels are 40 of 64; the soft edge counts for less
    height, width = extents(clips(root, crop="centre")[0])
    assert height / width == pytest.approx(float(aspect), rel=0.05)  # ignored: an ellipse


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("sampling", ["stride", "segments"])
def test_clips_are_those_of_the_same_picture_in_square_pixels(tmp_path, crop, sampling):
    frames = displayed(128, 256)
    square = in_folder(tmp_path / "square", frames, None)
    stretched = in_folder(tmp_path / "stretched", squeezed(frames, across=2), Fraction(2))
    settings = {"crop": crop, "sampling": sampling, "flip": True}
    expected = clips(square, **settings)
    assert torch.equal(expected, clips(square, **settings, pixel_aspect="apply"))
    found, ignored = (clips(stretched, **settings, pixel_aspect=choice) for choice in ("apply", "ignore"))
    differences = [(each.float() - expected.float()).abs().mean().item() for each in (found, ignored)]
    assert differences[0] < 2  # of 255: half the columns, and crops to the nearest of them
    assert differences[1] > 10


def test_test_views_lie_side_by_side_on_the_display(tmp_path):
    frames = displayed(128, 256)
    square = in_folder(tmp_path / "square", frames, None)
    stretched = in_folder(tmp_path / "stretched", squeezed(frames, across=2), Fraction(2))
    difference = clips(stretched, views=True, pixel_aspect="apply").float() - clips(square, views=True).float()
    assert difference.abs().mean() < 2


@pytest.mark.parametrize("settings", [{"cache_mib": 16}, {"cache_windows": 1}, {"num_workers": 1}])
def test_caches_hold_stored_pixels_and_give_both_geometries(tmp_path, settings):
    root = in_folder(tmp_path / "v", squeezed(displayed(128, 256), across=2), Fraction(2))
    settings = {**settings, "cache_dir": str(tmp_path / "windows"), "crop": "centre"}
    for choice in ("ignore", "apply", "apply", "ignore"):
        height, width = extents(clips(root, pixel_aspect=choice, **settings)[0])
        assert height / width == pytest.approx({"ignore": 2, "apply": 1}[choice], rel=0.05)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_reader_gives_the_same_clips_of_stretched_pixels(tmp_path, name, reader):
    frames = squeezed(displayed(128, 256), across=2)
    write_video(tmp_path / name, frames, codec=CONTAINERS[name], pixel_aspect=Fraction(2))
    (tmp_path / "train.csv").write_text(f"{name}\n")
    assert pixel_aspect_of(tmp_path / name, reader) == 2
    found, expected = (clips(tmp_path, reader=each, pixel_aspect="apply") for each in (reader, "auto"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("degrees", "aspect"), [(90, 0.5), (180, 2), (270, 0.5)])
def test_pixels_are_turned_with_their_video(tmp_path, degrees, aspect, reader):
    frames = squeezed(displayed(128, 256), across=2)
    root = in_folder(tmp_path, frames, Fraction(2))
    turn(root / "v.mp4", degrees)
    assert pixel_aspect_of(root / "v.mp4", reader) == aspect
    height, width = extents(clips(root, crop="centre", pixel_aspect="apply", reader=reader)[0])
    assert width == pytest.approx(height, abs=0.5)


def test_square_pixels_images_and_segments(tmp_path):
    write_video(tmp_path / "a.mp4", numbered_frames(24), pixel_aspect=Fraction(16, 11))
    assert pixel_aspect_of(tmp_path / "a.mp4#t=0.5,1") == pytest.approx(16 / 11)
    write_video(tmp_path / "a.mp4", numbered_frames(25), pixel_aspect=Fraction(12, 11))  # another file of that name
    assert pixel_aspect_of(tmp_path / "a.mp4") == pytest.approx(12 / 11)
    write_video(tmp_path / "b.mp4", numbered_frames(3))
    write_images(tmp_path / "frames", numbered_frames(3))
    assert [pixel_aspect_of(tmp_path / name) for name in ("b.mp4", "frames")] == [1, 1]


@pytest.mark.parametrize(
    ("width", "aspect", "box", "expected"),
    [
        (320, 1.0, (0, 40, 240, 240), (0, 40, 240, 240)),  # square pixels: the box itself
        (128, 2.0, (0, 64, 128, 128), (0, 32, 128, 64)),  # 256 wide: the square in the middle
        (64, 0.5, (0, 0, 32, 32), (0, 0, 32, 64)),  # 32 wide: all of it
        # PAL, 720 x 576 at 4:3: 785 wide, (785 - 576) // 2 = 104, 104 * 720 / 785 = 95.4, 680 * 720 / 785 = 623.7
        (720, 12 / 11, (0, 104, 576, 576), (0, 95, 576, 529)),
        (4, 10.0, (3, 39, 2, 1), (3, 3, 2, 1)),  # at least one column
    ],
)
def test_boxes_of_the_display_in_stored_pixels(width, aspect, box, expected):
    assert stored_box(box, displayed_width(width, aspect), width) == expected


def test_an_impossible_ratio_is_refused_where_it_is_applied(tmp_path):
    root = in_folder(tmp_path, numbered_frames(8), Fraction(20))
    assert clips(root).shape == (12, 3, 4, SIZE, SIZE)
    with pytest.raises(
        VideoReadError, match=r"v\.mp4: the width of its pixels .* must lie in \[1/10, 10\], got 20; cor"
    ):
        clips(root, views=True, pixel_aspect="apply")


def test_a_datasets_own_reader_gives_square_pixels(monkeypatch):
    own = tats_gym.Dataset(reader="m:read", video_reader="m:Reader", files="arrays", distributor="me")
    monkeypatch.setitem(DATASETS, "own", own)
    ClipConfig(data="own")
    with pytest.raises(ValueError, match="pixel_aspect must be 'ignore' for own, whose own reader gives square pixels"):
        ClipConfig(data="own", pixel_aspect="apply")


def test_a_check_counts_the_videos_whose_pixels_are_not_square(tmp_path, caplog):
    for number, aspect in enumerate((None, Fraction(12, 11), Fraction(12, 11), Fraction(2))):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(20), pixel_aspect=aspect)
    (tmp_path / "train.csv").write_text("0.mp4\n1.mp4\n2.mp4\n3.mp4\n")
    report = Verification(VerifyConfig(data="list", root=str(tmp_path), frames=4)).run()
    assert report.pixel_aspects == report.as_dict()["pixel_aspects"] == {"1.0909": 2, "2": 1}
    (line,) = (line for line in report.lines() if "not square" in line)
    assert line.startswith("pixels that are not square, width over height: 1.0909 (2), 2 (1); they are taken as square")
    assert [row.finding.pixel_aspect for row in read_index(report.index)[1]] == [1, 1.0909, 1.0909, 2]
    with caplog.at_level(logging.INFO):
        list_videos("list", tmp_path)
    assert "list train: the pixels of 3 of these videos are not square" in caplog.text
    older = report.index.read_text().replace(', "pixel_aspect": 1.0909', "").replace(', "pixel_aspect": 2.0', "")
    report.index.write_text(older)  # as it was written before
    assert [row.finding.pixel_aspect for row in read_index(report.index)[1]] == [1, None, None, None]


def test_segments_that_are_cut_have_square_pixels(tmp_path):
    video = in_folder(tmp_path, squeezed(displayed(128, 256), across=2), Fraction(2)) / "v.mp4"
    config = CutConfig(frames=8, short_side=64)
    claim_folder(tmp_path / "out", config)
    (path,) = Segments(video, tmp_path / "out", config)
    with closing(open_video(path)) as cut:
        assert cut.get_batch([0]).shape == (1, 64, 128, 3)
        height, width = extents(torch.from_numpy(cut.get_batch([0]).transpose(3, 0, 1, 2)))
    assert width == pytest.approx(height, abs=0.5)
    assert pixel_aspect_of(path) == 1
