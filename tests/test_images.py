"""Images are clips of one frame, and folders of images are videos."""

import numpy as np
import pytest
from PIL import Image

from tats_gym.clips import ClipConfig, ClipStream, MissingDataError, VideoReadError, list_videos, open_video
from tests.layouts import moving_frames, write_images, write_layout


def test_an_image_is_a_video_of_one_frame(tmp_path):
    frames = moving_frames(3)
    write_images(tmp_path / "a.png", frames)
    video = open_video(tmp_path / "a.png")
    assert len(video) == 1
    np.testing.assert_array_equal(video.get_batch([0, 0]), frames[[0, 0]])
    with pytest.raises(VideoReadError, match="frame 1 was asked for, it has 1"):
        video.get_batch([1])


def test_a_folder_of_images_is_a_video_in_the_order_of_their_numbers(tmp_path):
    frames = moving_frames(3, count=12)
    write_images(tmp_path / "a", frames)  # frame_10 follows frame_9
    (tmp_path / "a" / "notes.txt").write_text("not a frame")
    (tmp_path / "a" / ".hidden.png").write_bytes(b"not a frame")
    video = open_video(tmp_path / "a")
    assert len(video) == 12
    np.testing.assert_array_equal(video.get_batch([11, 2, 2, 10]), frames[[11, 2, 2, 10]])


def test_images_are_turned_as_they_are_shown(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, :, 0] = 255  # a red line at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: the line is at the right
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (shown,) = open_video(tmp_path / "a.png").get_batch([0])
    np.testing.assert_array_equal(shown, np.rot90(pixels, k=-1))


@pytest.mark.parametrize(("mode", "value", "rgb"), [("L", 90, (90, 90, 90)), ("RGBA", (9, 8, 7, 0), (9, 8, 7))])
def test_images_of_other_modes_become_rgb(tmp_path, mode, value, rgb):
    Image.new(mode, (4, 3), value).save(tmp_path / "a.png")
    assert (open_video(tmp_path / "a.png").get_batch([0]) == rgb).all()


def test_faults_of_images_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoReadError, match=r"empty: the folder holds no image \(\.jpg"):
        open_video(tmp_path / "empty")
    write_images(tmp_path / "a", moving_frames(0, count=3))
    Image.new("RGB", (4, 3)).save(tmp_path / "a" / "frame_3.png")
    with pytest.raises(VideoReadError, match=r"images differ in size: \[\(3, 4\), \(48, 64\)\]"):
        open_video(tmp_path / "a").get_batch([0, 3])
    whole = (tmp_path / "a" / "frame_1.png").read_bytes()
    (tmp_path / "a" / "frame_1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoReadError, match=r"frame_1\.png: frame 1 of 4 does not decode"):
        open_video(tmp_path / "a").get_batch([1])
    with pytest.raises(VideoReadError, match=r"none\.png: .*No such file"):
        open_video(tmp_path / "none.png").get_batch([0])


def test_about_one_in_ten_is_held_out_and_stays_so(tmp_path):
    for i in range(60):
        write_images(tmp_path / "deep" / f"{i}.png", moving_frames(i, count=1))

    def names(split):
        return {video.name for video in list_videos("images", tmp_path, split).videos}

    train, held_out = names("train"), names("validation")
    assert train | held_out == {f"deep/{i}.png" for i in range(60)}
    assert not train & held_out
    assert 1 <= len(held_out) <= 15
    (tmp_path / "deep" / "0.png").unlink()
    assert names("validation") == held_out - {"deep/0.png"}


def test_a_single_image_is_on_both_sides(tmp_path):
    write_images(tmp_path / "a.png", moving_frames(0, count=1))
    assert [len(list_videos("images", tmp_path, split)) for split in ("train", "validation")] == [1, 1]


def test_frames_give_the_clips_of_a_lossless_video(tmp_path):
    root = write_layout("frames", tmp_path / "data", train=3, validation=1)
    config = ClipConfig(data="frames", root=str(root), stride=2, crop="centre")
    stream = ClipStream(config, frames=4, size=48, seed=0)
    batch = stream.centre([0])
    number = int(stream.videos.videos[0].name.rpartition("/")[2])
    expected = moving_frames(number)[::2][:, :, 8:56]  # the largest square in the middle, of the middle window
    np.testing.assert_array_equal(batch.pixels[0].permute(1, 2, 3, 0), expected)
    stream.close()


def test_windows_of_frames_are_kept_on_the_disk(tmp_path):
    root = write_layout("frames", tmp_path / "data", train=3, validation=1)
    config = ClipConfig(data="frames", root=str(root), cache_windows=1, cache_dir=str(tmp_path / "cache"))
    stream = ClipStream(config, frames=4, size=32, seed=0)
    first = stream.take(3)
    again = ClipStream(config, frames=4, size=32, seed=0).take(3)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert list((tmp_path / "cache").rglob("*.npy"))
    stream.close()


def test_a_list_names_images_and_folders_of_frames_with_classes(tmp_path):
    write_images(tmp_path / "one.png", moving_frames(0))
    write_images(tmp_path / "many", moving_frames(1))
    (tmp_path / "train.csv").write_text("one.png 0\nmany 1\nmany 8 1\n")  # the last as VideoMAE V2 writes it
    videos = list_videos("list", tmp_path).videos
    assert [(video.path.name, video.label) for video in videos] == [("one.png", 0), ("many", 1), ("many", 1)]
    assert [len(open_video(video.path)) for video in videos] == [1, 8, 8]


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MissingDataError, match=r"images: no file there is an image \(\.jpg"):
        list_videos("images", tmp_path)
    write_images(tmp_path / "b" / "a.png", moving_frames(0))
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(MissingDataError, match="TatsMask-frames-v0 reads folders of frames, TatsMask-images-v0 single"):
        list_videos("folder", tmp_path)
