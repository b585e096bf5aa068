"""Pictures of masks: what is drawn where."""

import numpy as np
import torch

from tats_gym.figures import _grey_out, _repaint, mask_figure
from tats_gym.mae import MAE_PRESETS, MaskedAutoencoder, Reconstruction
from tats_gym.masks import hidden_ids, mask_from_ids
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, visible=3)


def _perfect(clips):
    """A reconstruction whose prediction is the target."""
    mae = MaskedAutoencoder(MAE_PRESETS["tiny"], GRID)
    mask = mask_from_ids(torch.tensor([[0, 3, 6]]).expand(len(clips), -1), 8)
    ids = hidden_ids(mask, 5)
    target = mae.target(GRID.cut(clips).gather(1, ids[..., None].expand(-1, -1, GRID.patch_values)))
    return Reconstruction(target.clone(), target, ids, mask)


def test_a_perfect_prediction_repaints_the_clip():
    clips = torch.randint(0, 256, (2, *GRID.clip_shape), dtype=torch.uint8)
    painted = _repaint(GRID, clips[1:], _perfect(clips), 1)
    difference = (painted.int() - clips[1:].int()).abs()
    assert difference.max() <= 1
    worse = _perfect(clips)
    worse.pred[1] += 1.0  # one deviation brighter
    shifted = _repaint(GRID, clips[1:], worse, 1).float() - clips[1:].float()
    hidden = GRID.cut(shifted)[0, worse.ids_hidden[1]]
    assert hidden.mean() > 30
    assert GRID.cut(shifted)[0, [0, 3, 6]].abs().max() == 0


def test_hidden_tokens_are_grey_and_visible_ones_untouched():
    clips = torch.randint(0, 100, (1, *GRID.clip_shape), dtype=torch.uint8)
    mask = mask_from_ids(torch.tensor([[0, 3, 6]]), 8)
    tokens = GRID.cut(_grey_out(GRID, clips, mask[0]))[0]
    assert (tokens[mask[0]] == 128).all()
    assert torch.equal(tokens[~mask[0]], GRID.cut(clips)[0, ~mask[0]])


def test_the_figure_has_a_column_a_step_and_a_row_more_with_probabilities():
    clips = torch.randint(0, 256, (2, *GRID.clip_shape), dtype=torch.uint8)
    plain = mask_figure(GRID, clips, _perfect(clips))
    fuller = mask_figure(GRID, clips, _perfect(clips), probabilities=torch.full((2, 8), 1 / 8))
    assert plain.dtype == fuller.dtype == np.uint8
    assert plain.shape[1] == fuller.shape[1]
    assert fuller.shape[0] - plain.shape[0] == 100
    other = mask_figure(GRID, clips, _perfect(clips), clip=1)
    assert (plain != other).any()


def test_a_clip_of_which_nothing_is_hidden_is_drawn_too():
    clips = torch.randint(0, 256, (1, *GRID.clip_shape), dtype=torch.uint8)
    mae = MaskedAutoencoder(MAE_PRESETS["tiny"], GRID)
    assert mask_figure(GRID, clips, mae.unmasked(clips)).ndim == 3
