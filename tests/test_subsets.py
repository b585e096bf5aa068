"""A subset holds its share of every class, lies within every larger one, and minds no other videos."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tats_gym.clips import Video, list_videos
from tats_gym.clips.datasets.subsets import choose_subset

VIDEOS = [Video(Path(f"/data/{i}.mp4"), i % 3, str(i)) for i in range(60)]


def chosen(subset, seed=0, videos=VIDEOS):
    return choose_subset(videos, subset, seed)


@pytest.mark.parametrize(("subset", "each"), [(0.1, 2), (0.5, 10), (0.001, 1), (1, 1), (7.0, 7), (20, 20), (1e6, 20)])
def test_every_class_gives_its_part(subset, each):
    assert Counter(video.label for video in chosen(subset)) == {0: each, 1: each, 2: each}


def test_all_is_all():
    assert chosen(None) == VIDEOS


def test_a_smaller_subset_lies_within_a_larger_one_in_the_old_order():
    parts = [chosen(subset) for subset in (1, 0.1, 0.2, 5, 0.5, 0.9)]
    for small, large in pairwise(parts):
        assert set(small) <= set(large)
        assert large == sorted(large, key=VIDEOS.index)


def test_the_choice_minds_neither_other_videos_nor_where_they_lie():
    part = chosen(4)
    fewer = [video for video in VIDEOS if video in part or int(video.name) % 2]
    assert chosen(4, videos=fewer) == part
    moved = [Video(Path("/elsewhere") / video.name, video.label, video.name) for video in VIDEOS]
    assert [video.name for video in chosen(4, videos=moved)] == [video.name for video in part]


def test_another_seed_chooses_other_videos():
    assert chosen(0.5, seed=1) != chosen(0.5)
    # The choice itself: a change of it would change the content of published subsets.
    assert [video.name for video in chosen(1)] == ["3", "23", "52"]


def test_videos_without_labels_are_one_class():
    plain = [Video(video.path, None, video.name) for video in VIDEOS]
    assert (len(chosen(0.1, videos=plain)), len(chosen(7, videos=plain))) == (6, 7)


@pytest.mark.parametrize("subset", [0, -1, 1.5, -0.5, float("nan"), float("inf")])
def test_numbers_that_are_no_subset_are_refused(tmp_path, subset):
    with pytest.raises(ValueError, match=r"subset must be a share in \(0, 1\) or a whole number of clips a class, got"):
        list_videos("folder", tmp_path, subset=subset)


def test_a_listing_takes_a_subset(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.mp4").touch()
    everything = list_videos("folder", tmp_path).videos
    part = list_videos("folder", tmp_path, subset=5, subset_seed=3).videos
    assert part == tuple(choose_subset(everything, 5, 3))
    with pytest.raises(ValueError, match="subset_seed must not be negative, got -1"):
        list_videos("folder", tmp_path, subset=5, subset_seed=-1)
