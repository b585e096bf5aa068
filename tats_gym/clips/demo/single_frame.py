"""The check that a frame of a demo video does not tell its class, and that its motion does.

The same small network is trained twice on freshly rendered clips: on single frames taken at random times, and on the
differences between eight frames in order.
"""

import itertools
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.clips.demo.scenes import DEMO_CLASSES, DEMO_VERSION, FRAMES, render_demo_clip
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.provenance import origin
from tats_gym.results import results_folder
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import SEEDS, check_intervals
from tats_gym.statistics import wilson

SHOTS = 8
"""Frames taken from each clip, evenly spaced from a random first one."""


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Number of clips, length of the trainings, and the file of the result."""

    train: int = 2400
    """Clips rendered for training."""
    validation: int = 1200
    """Clips rendered for validation."""
    frame_epochs: int = 3
    """Passes over every kept frame of the training clips."""
    motion_epochs: int = 24
    """Passes over the training clips."""
    batch_size: int = 64
    """Clips in a step of the training on motion; that on single frames has four times as many frames."""
    seed: int = 0
    """Seed of weights, order, shifts and the tested frames."""
    out: Path = field(default_factory=lambda: results_folder() / "demo_single_frame.json")
    """File of the result, JSON."""

    def __post_init__(self) -> None:
        check_plain(self)
        for name in ("train", "validation", "frame_epochs", "motion_epochs", "batch_size"):
            check_intervals(self, **{name: "[1, inf)"})
        check_intervals(self, seed=SEEDS)


def shots(split: str, index: int) -> Tensor:
    """Render evenly spaced frames of one clip at half the size; uint8 (SHOTS, C, H / 2, W / 2)."""
    frames = torch.from_numpy(render_demo_clip(split, index).frames)
    step = FRAMES // SHOTS
    first = int(np.random.default_rng([index, len(split)]).integers(step))
    kept = frames[first::step].permute(0, 3, 1, 2).float()  # (SHOTS, C, H, W)
    return F.avg_pool2d(kept, 2).round().to(torch.uint8)


def render(split: str, count: int) -> tuple[Tensor, Tensor]:
    """Render the first `count` clips: shots, uint8 (count, SHOTS, C, H / 2, W / 2), and labels (count,)."""
    with ThreadPoolExecutor(2) as pool:
        clips = list(pool.map(lambda index: shots(split, index), range(count)))
    return torch.stack(clips), torch.arange(count) % len(DEMO_CLASSES)


def changes(clips: Tensor) -> Tensor:
    """Halve the differences between successive frames, around grey 128; uint8 (E, C * (SHOTS - 1), H, W)."""
    wide = clips.to(torch.int16)
    return ((wide[:, 1:] - wide[:, :-1]) // 2 + 128).to(torch.uint8).flatten(1, 2)


def network(in_channels: int) -> nn.Sequential:
    """Make four strided convolutions and a linear layer that sees where things are."""
    layers: list[nn.Module] = []
    widths = [in_channels, 16, 32, 64, 64]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(len(DEMO_CLASSES)))


def fit(inputs: Tensor, labels: Tensor, *, epochs: int, batch_size: int) -> nn.Sequential:
    """Train a network on uint8 images (E, C, H, W) with AdamW, one learning-rate cycle and small random shifts."""
    net = network(inputs.shape[1])
    net(inputs[:2] / 255)  # gives the lazy layer its size
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * math.ceil(len(inputs) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(batch_size):
            shift = torch.randint(-4, 5, (2,)).tolist()
            images = torch.roll(inputs[batch], shift, dims=(2, 3)) / 255
            loss = F.cross_entropy(net(images), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def hits(net: nn.Sequential, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image (E, C, H, W) is classified correctly; bool (E,)."""
    guesses = torch.cat([net(images / 255).argmax(1) for images in inputs.split(256)])
    return guesses == labels


def accuracy(right: Tensor, labels: Tensor) -> dict[str, object]:
    """Return the accuracy with its interval, and that of each class."""
    low, high = wilson(int(right.sum()), len(right))
    per_class = {name: round(right[labels == i].float().mean().item(), 3) for i, name in enumerate(DEMO_CLASSES)}
    return {
        "accuracy": round(right.float().mean().item(), 4),
        "interval_95": [round(low, 4), round(high, 4)],
        "per_class": per_class,
    }


def check(config: CheckConfig, command: str) -> Iterator[str]:
    """Render, train twice and write; yield a line after each, and the result.

    Args:
        config: The settings.
        command: The command line, recorded in the result.
    """
    make_folder(config.out.parent)  # before minutes of work
    torch.manual_seed(config.seed)
    train, labels = render("train", config.train)
    test, test_labels = render("validation", config.validation)
    yield f"rendered {config.train + config.validation} clips"
    frame_net = fit(
        train.flatten(0, 1),
        labels.repeat_interleave(SHOTS),
        epochs=config.frame_epochs,
        batch_size=4 * config.batch_size,
    )
    # One frame of each validation clip: the answers stay independent, and averaging over frames would show motion.
    moment = torch.randint(SHOTS, (len(test),))
    frame_hits = hits(frame_net, test[torch.arange(len(test)), moment], test_labels)
    yield f"one frame: {int(frame_hits.sum())} of {len(test)} clips are right"
    motion_net = fit(changes(train), labels, epochs=config.motion_epochs, batch_size=config.batch_size)
    motion_hits = hits(motion_net, changes(test), test_labels)
    result = {
        "about": "accuracy on unseen demo clips, from one frame at a random time and from the changes between eight",
        "chance": round(1 / len(DEMO_CLASSES), 4),
        "single_frame": accuracy(frame_hits, test_labels),
        "motion": accuracy(motion_hits, test_labels),
        "config": {name: value for name, value in asdict(config).items() if name != "out"},
        "command": command,
        "demo_version": DEMO_VERSION,
        **origin(),
    }
    text = json.dumps(result, indent=2)
    write_whole(config.out, text + "\n")
    yield text
