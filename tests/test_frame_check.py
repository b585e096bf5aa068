"""Readers that return wrong frames are found, and their videos left out."""

import importlib.util
from contextlib import closing

import pytest

from tats_gym.clips import list_videos, open_video
from tats_gym.clips.prepare.frame_check import returns_wrong_frames
from tests.test_prepare_data import verification
from tests.video_files import moving_texture, write_video


@pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not installed")
@pytest.mark.parametrize("times", ["", "#t=0.5,3.3"])  # whole videos, and a segment of each
def test_videos_whose_frames_a_reader_misplaces_are_left_out(tmp_path, times):
    avi, mp4 = f"b_frames.avi{times}", f"v.mp4{times}"
    write_video(tmp_path / "b_frames.avi", moving_texture(40), codec="mpeg4", options={"bf": "2"})
    write_video(tmp_path / "v.mp4", moving_texture(40), options={"bf": "2", "g": "8"})
    (tmp_path / "train.csv").write_text(f"{avi} 0\n{mp4} 0\n")
    for reader, status in (("pyav", "ok"), ("decord", "misplaced")):
        check = verification(tmp_path, reader=reader)
        assert {path.name: finding.status for path, finding in check} == {avi: status, mp4: "ok"}
        report = check.finish()
        assert any("1 misplaced: reader 'decord' returns wrong frames" in line for line in report.lines()) == (
            reader == "decord"
        )
        assert [video.path.name for video in list_videos("list", tmp_path).videos][-report.usable :] == (
            [avi, mp4] if status == "ok" else [mp4]
        )


class Shifted:
    """A reader that miscounts from one frame on."""

    def __init__(self, video, first):
        self.video, self.first, self.fps = video, first, video.fps

    def __len__(self):
        return len(self.video)

    def get_batch(self, indices):
        return self.video.get_batch([min(i + (i >= self.first), len(self) - 1) for i in indices])


@pytest.mark.parametrize(("first", "found"), [(0, True), (9, True), (100, False)])
def test_a_shift_among_the_first_frames_is_found(tmp_path, first, found):
    path = write_video(tmp_path / "v.mp4", moving_texture(120), options={"g": "8"})
    with closing(open_video(path)) as video:
        assert returns_wrong_frames(Shifted(video, first), path) == found
