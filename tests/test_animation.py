"""Pictures of masks that move."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tats_gym.figures.animation import _panels, mask_animation, write_gif, write_mp4
from tats_gym.figures.masks import ClipMasks, add_scale, draw
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, visible=3)


@pytest.fixture(scope="module", name="pictures")
def _pictures():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8, generator=generator)
    mae = MaskedAutoencoder(MAE_PRESETS["tiny"], GRID)
    with torch.no_grad():
        seen = [
            ClipMasks(name, mae(clips, torch.tensor([ids] * 2)), torch.full((2, 8), 1 / 8))
            for name, ids in (("tats", [0, 1, 2]), ("random", [5, 6, 7]))
        ]
    return mask_animation(GRID, clips, seen, clip=1, title="a clip")


def test_every_frame_is_a_picture_of_its_own_with_even_sides(pictures):
    assert pictures.dtype == np.uint8
    assert len(pictures) == 4
    assert all(side % 2 == 0 for side in pictures.shape[1:3])
    assert all((pictures[frame] != pictures[frame - 1]).any() for frame in range(1, 4))


@pytest.mark.parametrize(("agents", "down", "across"), [(1, 1, 5), (2, 2, 4), (3, 2, 5)])
def test_panels_are_of_one_size_and_do_not_overlap(agents, down, across):
    count = 5 + 2 * (agents - 1)
    figure, axes = _panels(count, "a clip", 80)
    for axis in axes:
        axis.set_title("reconstruction,\ntats\n(true mean and\ndeviation)", fontsize=8)
        add_scale(axis, draw(axis, np.zeros((3, 3)), 0.375))
    figure.canvas.draw()
    boxes = [axis.get_tightbbox() for axis in axes] + [figure.texts[0].get_window_extent()]
    assert len({(round(axis.bbox.width), round(axis.bbox.height)) for axis in axes}) == 1
    assert figure.axes[0].get_gridspec().get_geometry() == (down, across)
    for number, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_a_gif_plays_all_pictures_again_and_again(pictures, tmp_path):
    write_gif(tmp_path / "a.gif", pictures, 5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4
        assert gif.info["loop"] == 0
        assert gif.info["duration"] == 200
        assert gif.size == pictures.shape[2:0:-1]
        for frame, picture in enumerate(pictures):
            gif.seek(frame)
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - picture).mean() < 8


def test_an_mp4_holds_the_pictures(pictures, tmp_path):
    write_mp4(tmp_path / "a.mp4", pictures, 5)
    with av.open(tmp_path / "a.mp4") as container:
        assert container.streams.video[0].average_rate == 5
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.astype(int) - picture).mean() < 8
