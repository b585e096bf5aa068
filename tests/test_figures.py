"""Pictures of masks: their rows, colours and positions."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tats_gym.figures.masks import (
    ClipMasks,
    Scales,
    _grey_out,
    _repaint,
    choice_figure,
    figure_rows,
    mask_figure,
    sharp_dpi,
)
from tats_gym.figures.titles import write_title
from tats_gym.masks import hidden_ids, mask_from_ids
from tats_gym.model.target import normalise
from tats_gym.model.videomae import Reconstruction, unmasked
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, visible=3)


def _perfect(clips):
    """A reconstruction whose prediction is the target."""
    mask = mask_from_ids(torch.tensor([[0, 3, 6]]).expand(len(clips), -1), 8)
    ids = hidden_ids(mask, 5)
    target = normalise(GRID.cut(clips).gather(1, ids[..., None].expand(-1, -1, GRID.patch_values)))
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


def _seen(clips, *, probabilities=None, worse=0.0, name="tats"):
    found = _perfect(clips)
    found.pred.add_(worse)
    return ClipMasks(name, found, probabilities)


@pytest.fixture(name="clips")
def _clips():
    return torch.randint(0, 256, (2, *GRID.clip_shape), dtype=torch.uint8)


def test_the_figure_has_a_column_a_step_and_a_row_more_with_probabilities(clips):
    plain = mask_figure(GRID, clips, [_seen(clips)])
    fuller = mask_figure(GRID, clips, [_seen(clips, probabilities=torch.full((2, 8), 1 / 8))])
    assert plain.dtype == fuller.dtype == np.uint8
    assert plain.shape[1] == fuller.shape[1]
    assert fuller.shape[0] - plain.shape[0] == 100
    other = mask_figure(GRID, clips, [_seen(clips)], clip=1)
    assert (plain != other).any()


def test_a_figure_has_eight_columns_at_most():
    grid = TokenGrid(frames=20, size=16, visible=3)
    clips = torch.zeros(1, *grid.clip_shape, dtype=torch.uint8)
    found = unmasked(grid, clips)
    assert mask_figure(grid, clips, [ClipMasks("tats", found)]).shape[1] == 990


def test_agents_that_are_compared_have_an_error_and_a_mask_each_on_one_scale(clips):
    first, second = _seen(clips, worse=1.0), _seen(clips, worse=2.0, name="random")
    scales = Scales.of([first, second])
    drawn = figure_rows(GRID, clips, [first, second], 1, scales)
    assert [row.label.split("\n")[0] for row in drawn] == [
        "frames", "reconstruction,", "error,", "visible tokens,", "error,", "visible tokens,"
    ]  # fmt: skip
    errors = [row for row in drawn if row.top is not None]
    assert [row.label.split("\n")[1:] for row in errors] == [["tats", "(mean 1.000)"], ["random", "(mean 4.000)"]]
    assert errors[0].top == errors[1].top == pytest.approx(4)
    assert np.isnan(errors[1].images).sum() == 3
    assert np.nanmax(errors[0].images) == pytest.approx(1, abs=1e-5)


def test_an_agents_name_has_as_many_lines_as_it_needs(clips):
    seen = [_seen(clips), _seen(clips, name="my_agents.linear:linear (2)")]
    label = figure_rows(GRID, clips, seen, 0, Scales(1.0, 2.0))[-1].label
    assert label.split("\n") == ["visible tokens,", "my_agents.linear:", "linear (2)"]


@pytest.mark.parametrize(
    ("error", "end"), [(0.3, 0.375), (1.0, 1.0), (1.0005, 1.0), (1.04, 1.5), (1.6, 2.0), (9.1, 12.0)]
)
def test_colours_end_at_round_numbers(clips, error, end):
    assert Scales.of([_seen(clips, worse=error**0.5)]).error == pytest.approx(end)


@pytest.mark.parametrize(("size", "dpi"), [(48, 100), (224, 246.4), (384, 250)])
def test_a_sharp_figure_shows_every_pixel_and_a_small_one_loses_no_line(size, dpi):
    grid = TokenGrid(frames=2, size=size, visible=1)
    clips = torch.zeros(1, *grid.clip_shape, dtype=torch.uint8)
    clips[..., ::2] = 255  # stripes of one pixel
    seen = [ClipMasks("tats", unmasked(grid, clips))]
    assert sharp_dpi(grid) == pytest.approx(dpi)

    def line(dots):
        """The middle of the first panel, away from its edges."""
        picture = mask_figure(grid, clips, seen, dpi=dots)
        return picture[int(1.0 * dots), int(1.4 * dots) : int(2.0 * dots), 0].astype(int)

    if size < 250:
        assert set(line(sharp_dpi(grid)).tolist()) == {0, 255}
    if size > 100:
        assert 100 < line(100).min() <= line(100).max() < 155


def test_probabilities_are_relative_to_uniform_and_their_scale_reaches_two(clips):
    seen = _seen(clips, probabilities=torch.tensor([[0.125] * 8, [0.5] + [0.5 / 7] * 7]))
    assert seen.relative(1)[0] == pytest.approx(4)
    assert Scales.of([_seen(clips)]).probability == 2
    assert 3 < Scales.of([seen]).probability <= 4
    (row,) = (
        row for row in figure_rows(GRID, clips, [seen], 0, Scales(1.0, 4.0)) if row.label.startswith("probability")
    )
    assert row.images == pytest.approx(np.ones((2, 2, 2)))


def test_a_part_that_was_not_decoded_has_no_error(clips):
    found = _perfect(clips)
    part = Reconstruction(found.pred[:, 1:], found.target[:, 1:], found.ids_hidden[:, 1:], found.mask)
    errors = ClipMasks("tats", part).errors(0)
    assert errors.isnan().tolist() == [True, True, False, True, False, False, True, False]


def test_every_frame_has_its_picture_and_its_tubelets_map(clips):
    seen = _seen(clips, probabilities=torch.rand(2, 8))
    coarse, fine = (figure_rows(GRID, clips, [seen], 0, Scales(1.0, 2.0), every_frame=every) for every in (False, True))
    for one, other in zip(coarse, fine, strict=True):
        assert (len(one.images), len(other.images)) == (2, 4)
        assert np.array_equal(one.images, other.images[::2], equal_nan=True)
    assert np.array_equal(fine[0].images[1], clips[0, :, 1].permute(1, 2, 0))


def test_a_clip_without_hidden_tokens_is_drawn_too(clips):
    assert mask_figure(GRID, clips, [ClipMasks("agent", unmasked(GRID, clips))]).ndim == 3


@pytest.mark.parametrize("width", [390 / 100, 9.9])
@pytest.mark.parametrize("name", ["cost $5 and $6_x", "a" * 200, "moving \udcff something " * 10, "short"])
def test_a_title_stays_as_it_is_and_within_its_picture(width, name):
    figure = Figure(figsize=(width, 4), dpi=100)
    FigureCanvasAgg(figure).draw()
    write_title(figure, f"Time runs from left to right; 78 of 1568 tokens visible: {name}")
    figure.canvas.draw()
    (title,) = figure.texts
    box = title.get_window_extent()
    assert box.x0 > 0
    assert box.x1 < 100 * width
    assert box.height < 60
    text = title.get_text().replace("\n", " ")
    assert "1568 tokens visible:" in text
    assert not title.get_parse_math()
    assert "\udcff" not in text


def test_text_beside_the_chosen_places_keeps_from_the_edge():
    picture = choice_figure(TokenGrid(frames=4, size=32, visible=3), torch.rand(8), title="after 32 clips")
    for edge in (picture[:, :8], picture[:, -8:]):
        assert (edge == 255).all()
