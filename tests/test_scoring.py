"""Counting how often a classifier is right."""

import matplotlib.image
import pytest
import torch
from scipy.stats import binomtest

from tats_gym.probe.scoring import Tally, accuracy_of, confusion_picture

CPU = torch.device("cpu")
CLASSES = tuple("abcdefg")


def _accuracy():
    tally = Tally(7, CPU)
    probabilities = torch.tensor(
        [
            [0.9, 0.05, 0.01, 0.01, 0.01, 0.01, 0.01],  # a, taken for a
            [0.5, 0.2, 0.1, 0.08, 0.07, 0.03, 0.02],  # b, taken for a, second
            [0.5, 0.2, 0.1, 0.08, 0.07, 0.03, 0.02],  # g, taken for a, last of seven
        ]
    )
    tally.add(probabilities[:2], torch.tensor([0, 1]))
    tally.add(probabilities[2:], torch.tensor([6]))
    tally.add_broken(1)
    return tally.accuracy()


def test_counts_by_hand():
    accuracy = _accuracy()
    assert accuracy.videos == 4
    assert accuracy.top1 == pytest.approx(1 / 4)
    assert accuracy.top5 == pytest.approx(2 / 4)
    assert accuracy.confusion[0, 0] == accuracy.confusion[1, 0] == accuracy.confusion[6, 0] == 1
    assert accuracy.confusion.sum() == 3
    rows = accuracy.by_class(CLASSES)
    assert rows[0] == {"class": "a", "videos": 1, "right": 1, "taken_for": None}
    assert rows[6] == {"class": "g", "videos": 1, "right": 0, "taken_for": "a"}
    assert accuracy.as_dict(CLASSES)["broken"] == 1


def test_five_classes_have_no_top5():
    tally = Tally(5, CPU)
    tally.add(torch.eye(5), torch.arange(5))
    assert tally.accuracy().top1 == 1
    assert tally.accuracy().top5 is None


def test_the_confusion_is_drawn(tmp_path):
    path = confusion_picture(_accuracy(), CLASSES, tmp_path / "pictures" / "confusion.png")
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.05


def test_ties_go_to_the_lower_class_and_the_interval_is_wilsons():
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2], [0.0, 0.9, 0.1]])
    found = accuracy_of(scores, torch.tensor([0, 2, 1, 0]))
    assert found.top1 == 0.5
    assert found.share_by_class(("a", "b", "c")) == {"a": 0.5, "b": 0.0, "c": 1.0}
    expected = binomtest(2, 4).proportion_ci(0.95, method="wilson")
    assert found.top1_interval == pytest.approx((expected.low, expected.high))


def test_top5_of_six_classes_leaves_one_out():
    found = accuracy_of(torch.arange(6.0).repeat(2, 1), torch.tensor([0, 1]))
    assert (found.top1, found.top5) == (0.0, 0.5)
    assert set(found.share_by_class(tuple("abcdef"))) == {"a", "b"}


def test_probabilities_and_labels_must_fit():
    with pytest.raises(ValueError, match=r"7 probabilities for each of 2 labels, got \(3, 7\)"):
        Tally(7, CPU).add(torch.zeros(3, 7), torch.zeros(2, dtype=torch.int64))
