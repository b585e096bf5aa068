"""How much of each token the demo's objects cover, in the very view that a stream shows."""

import numpy as np
import pytest
import torch
from einops import rearrange
from torch.nn.functional import max_pool2d

from tats_gym.agents.experiments.trials import demo_objects
from tats_gym.agents.experiments.trials.demo_objects import object_coverage
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.demo.scenes import FRAMES, HEIGHT, WIDTH, DemoClip, render_demo_clip
from tats_gym.motion import token_motion
from tats_gym.tokens import TokenGrid

SQUARE = np.s_[16:128]
"""Columns of the centre view: 112 of 144."""


def stream_of(root, grid, *, data="demo", split="validation", stride=3):
    config = ClipConfig(data=data, root=str(root), split=split, stride=stride)
    return ClipStream(config, frames=grid.frames, size=grid.size, seed=0)


def test_shares_by_hand(demo_root, monkeypatch):
    demo_objects._shares.cache_clear()
    objects, acting = np.zeros((2, FRAMES, HEIGHT, WIDTH), bool)
    objects[20, :28, 16:72] = True  # the window's first frame: half of the upper left token in one of its two frames
    objects[26, 56:, 72:128] = True  # the window's last frame: all of the lower right token
    acting[26, 56:, 72:100] = True
    objects[21] = objects[28] = True  # between the frames that are shown, and after them
    objects[:, :, :16] = objects[:, :, 128:] = True  # beside the square that is shown
    frames = np.zeros((*objects.shape, 3), np.uint8)
    scene = DemoClip(frames=frames, objects=objects, acting=acting, label=0, template="", text="", placeholders=[])
    drawn = []
    monkeypatch.setattr(demo_objects, "render_demo_clip", lambda *key: drawn.append(key) or scene)
    grid = TokenGrid(frames=4, size=112, tubelet_size=2, patch_size=56, visible=1)
    coverage = object_coverage(stream_of(demo_root, grid, stride=2), [7], grid)
    assert drawn == [("validation", 7)]
    assert coverage.objects.tolist() == [[0.25, 0, 0, 0, 0, 0, 0, 0.5]]
    assert coverage.acting.tolist() == [[0, 0, 0, 0, 0, 0, 0, 0.25]]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_at_the_videos_own_size_shares_are_means_of_the_masks(demo_root, split):
    grid = TokenGrid(frames=8, size=112, visible=4)
    ids = [5, 0]
    coverage = object_coverage(stream_of(demo_root, grid, split=split), ids, grid)
    assert (coverage.objects.shape, coverage.objects.dtype) == ((2, 4 * 7 * 7), torch.float32)
    for row, index in enumerate(ids):
        clip = render_demo_clip(split, index)
        for name in ("objects", "acting"):
            mask = getattr(clip, name)[12:36:3, :, SQUARE]  # the middle 24 of 48 frames
            tokens = rearrange(mask, "(t p0) (h p1) (w p2) -> (t h w) (p0 p1 p2)", p0=2, p1=16, p2=16)
            expected = torch.from_numpy(tokens.mean(axis=1, dtype=np.float32))
            torch.testing.assert_close(getattr(coverage, name)[row], expected)


def test_resized_shares_keep_their_mean_and_are_zero_away_from_objects(demo_root):
    grid = TokenGrid(frames=8, size=64, visible=4)
    coverage = object_coverage(stream_of(demo_root, grid), [3], grid)
    mask = torch.from_numpy(render_demo_clip("validation", 3).objects[12:36:3, :, SQUARE]).float()
    assert coverage.objects.mean().item() == pytest.approx(mask.mean().item(), abs=0.002)
    near = max_pool2d(mask, 5, stride=1, padding=2)  # a smaller picture's pixel mixes those up to 1.75 pixels away
    touched = rearrange(near, "(t p0) (h p1) (w p2) -> (t h w) (p0 p1 p2)", p0=2, p1=28, p2=28).amax(1) > 0
    assert 0 < touched.sum() < grid.num_tokens
    assert coverage.objects[0, ~touched].count_nonzero() == 0
    assert ((coverage.objects >= 0) & (coverage.objects <= 1)).all()
    assert (coverage.acting <= coverage.objects).all()


def test_the_shown_pixels_move_where_objects_are(demo_root):
    grid = TokenGrid(frames=8, size=112, visible=4)
    ids = list(range(8))  # one video of each class that moves, grows or turns an object
    stream = stream_of(demo_root, grid)
    motion = token_motion(grid.shape, stream.centre(ids).pixels)
    acting = object_coverage(stream, ids, grid).acting
    table = torch.corrcoef(torch.cat([motion, acting]))[: len(ids), len(ids) :]  # (motion of a clip, masks of a clip)
    own, others = table.diag().mean(), table[~torch.eye(len(ids), dtype=torch.bool)].mean()
    assert own > others + 0.2


def test_other_data_are_refused(clips_root):
    grid = TokenGrid(frames=4, size=32, visible=1)
    stream = stream_of(clips_root, grid, data="folder", split="train")
    with pytest.raises(ValueError, match="data must be 'demo', whose objects are known, got 'folder'"):
        object_coverage(stream, [0], grid)
