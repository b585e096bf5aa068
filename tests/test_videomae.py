"""The masked autoencoder, against an independent implementation and by hand."""

from dataclasses import replace

import pytest
import torch

from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.masks import mask_from_ids, random_ids
from tats_gym.model.pos_embed import sinusoid
from tats_gym.model.target import normalise
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig, MaskedAutoencoder
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.maes import spelled_for, transformers_names

GRID = TokenGrid(frames=8, size=32, mask_ratio=0.75)
CONFIG = MAEConfig(embed_dim=48, depth=2, num_heads=4, decoder_embed_dim=24, decoder_depth=2, decoder_num_heads=3)


@pytest.fixture(name="mae")
def _mae():
    torch.manual_seed(0)
    mae = MaskedAutoencoder(CONFIG, GRID)
    for parameter in mae.parameters():  # biases and norms too: their place must be right
        parameter.data += 0.02 * torch.randn_like(parameter)
    return mae


def _clips(count=3):
    return torch.randint(0, 256, (count, *GRID.clip_shape), dtype=torch.uint8)


def test_predictions_and_loss_are_those_of_transformers(mae):
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=8, tubelet_size=2, hidden_size=48, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=192, decoder_hidden_size=24, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=3, decoder_intermediate_size=96, layer_norm_eps=1e-6, use_mean_pooling=False,
        norm_pix_loss=True,
    )  # fmt: skip
    theirs = transformers.VideoMAEForPreTraining(config).eval()
    weights = transformers_names(mae.state_dict())
    missing, unexpected = theirs.load_state_dict(spelled_for(theirs, weights), strict=False)
    assert not unexpected
    assert all("position" in name for name in missing), missing

    clips = _clips()
    ids = random_ids(len(clips), GRID.num_tokens, GRID.num_visible)
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = ((clips / 255 - mean) / std).transpose(1, 2)  # (B, T, C, H, W)
    with torch.no_grad():
        output = theirs(pixels, bool_masked_pos=mask_from_ids(ids, GRID.num_tokens))
        ours = mae(clips, ids)
    torch.testing.assert_close(ours.pred, output.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.errors.mean(), output.loss, atol=1e-4, rtol=1e-4)


def test_the_order_of_the_visible_tokens_does_not_matter(mae):
    clips, ids = _clips(), random_ids(3, GRID.num_tokens, GRID.num_visible)
    one, two = mae(clips, ids), mae(clips, ids.flip(1))
    torch.testing.assert_close(one.errors, two.errors, atol=1e-5, rtol=1e-4)


def test_hidden_pixels_do_not_reach_the_prediction(mae):
    clips, ids = _clips(1), torch.tensor([[0, 5, 9, 12]])
    other = GRID.cut(clips.clone())
    hidden = mask_from_ids(ids, GRID.num_tokens)[0]
    other[0, hidden] = 255 - other[0, hidden]
    torch.testing.assert_close(mae(clips, ids).pred, mae(GRID.join(other), ids).pred, atol=0, rtol=0)


def test_targets_have_mean_zero_and_deviation_one_in_each_patch_and_channel():
    patches = GRID.cut(_clips(1))
    target = normalise(patches).unflatten(-1, (-1, 3))  # (B, L, P / C, C)
    torch.testing.assert_close(target.mean(-2), torch.zeros(1, GRID.num_tokens, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(-2), torch.ones(1, GRID.num_tokens, 3), atol=1e-4, rtol=0)
    # Value 5 of the first patch in channel 1: its pixel, by hand.
    pixels = patches[0, 0].view(3, -1).float()[1] / 255
    expected = (pixels[5] - pixels.mean()) / (pixels.std() + 1e-6)
    torch.testing.assert_close(target[0, 0, 5, 1], expected, atol=1e-5, rtol=1e-5)


def test_errors_are_spread_over_the_hidden_tokens_alone(mae):
    ids = torch.tensor([[1, 2, 3, 4]])
    reconstruction = mae(_clips(1), ids)
    spread = reconstruction.spread(reconstruction.errors)
    assert spread.shape == (1, 16)
    assert (spread[0, 1:5] == 0).all()
    assert (spread[0, 5:] > 0).all()
    torch.testing.assert_close(spread.sum() / 12, reconstruction.errors.mean())


def test_embedding_adds_positions_and_carries_no_gradient(mae):
    clips = _clips(2)
    tokens = mae.embed(clips)
    assert not tokens.requires_grad
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    convolved = mae.encoder.patch_embed.proj((clips / 255 - mean) / std).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, convolved + sinusoid(16, 48), atol=1e-4, rtol=1e-4)


def test_positions_by_hand():
    table = sinusoid(3, 4)
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    angle = torch.tensor([2.0, 2.0, 2 / 100, 2 / 100])
    expected = torch.stack((angle[0].sin(), angle[1].cos(), angle[2].sin(), angle[3].cos()))
    torch.testing.assert_close(table[2], expected)


def test_learned_positions_are_weights_one_a_time_and_one_a_place():
    mae = MaskedAutoencoder(replace(CONFIG, pos_embed="learned"), GRID)  # 4 x 2 x 2 tokens
    assert mae.pos_embed.time.shape == (4, 1, 48)
    assert mae.decoder_pos_embed.place.shape == (1, 4, 24)
    torch.testing.assert_close(mae.pos_embed()[4 * 3 + 2], mae.pos_embed.time[3, 0] + mae.pos_embed.place[0, 2])
    mae(_clips(), torch.tensor([[0, 5, 9, 12]] * 3)).errors.mean().backward()
    positions = {name: p for name, p in mae.named_parameters() if "pos_embed" in name}
    assert len(positions) == 4
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in positions.values())


def test_an_unknown_kind_of_positions_is_refused():
    with pytest.raises(ValueError, match=r"pos_embed must be one of .*learned.*; got 'rope'"):
        MAEConfig(pos_embed="rope")


def test_vit_b_has_the_published_weights():
    with torch.device("meta"):
        mae = MaskedAutoencoder(MAE_PRESETS["base"], TokenGrid())
    shapes = {name: tuple(value.shape) for name, value in mae.state_dict().items()}
    assert shapes["encoder.patch_embed.proj.weight"] == (768, 3, 2, 16, 16)
    assert shapes["encoder.blocks.11.attn.q_bias"] == (768,)
    assert shapes["encoder.blocks.0.attn.qkv.weight"] == (2304, 768)
    assert shapes["encoder_to_decoder.weight"] == (384, 768)
    assert shapes["decoder.blocks.3.mlp.fc1.weight"] == (1536, 384)
    assert shapes["decoder.head.weight"] == (1536, 384)
    assert not any("pos_embed" in name or "k_bias" in name or "qkv.bias" in name for name in shapes)
    count = sum(parameter.numel() for parameter in mae.parameters())
    encoder = sum(parameter.numel() for parameter in mae.encoder.parameters())
    assert round(count / 1e6, 1) == 94.2
    assert round(encoder / 1e6, 1) == 86.2


def test_training_lowers_the_loss(mae):
    torch.manual_seed(0)
    clips, ids = _clips(1), torch.tensor([[0, 5, 9, 12]])
    adam = torch.optim.Adam(mae.parameters(), lr=1e-3)
    first = mae(clips, ids).errors.mean().item()
    for _ in range(60):
        adam.zero_grad()
        loss = mae(clips, ids).errors.mean()
        loss.backward()
        adam.step()
    assert loss.item() < 0.7 * first


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="num_heads must divide embed_dim, got 5 and 48"):
        MAEConfig(embed_dim=48, num_heads=5)


def test_several_masks_of_a_clip_are_as_many_clips(mae):
    clips, ids = _clips(2), random_ids(6, GRID.num_tokens, 4)
    together = mae(clips, ids)
    repeated = mae(clips.repeat_interleave(3, 0), ids)
    for ours, theirs in zip(together[:4], repeated[:4], strict=True):
        assert torch.equal(ours, theirs)


def test_a_share_of_the_hidden_tokens_is_predicted(mae):
    clips = _clips()
    ids = random_ids(3, mae.grid.num_tokens, mae.grid.num_visible)
    whole, half = mae(clips, ids), mae(clips, ids, 0.5)
    assert half.pred.shape[1] == half.target.shape[1] == round(0.5 * whole.pred.shape[1])
    assert torch.equal(half.mask, whole.mask)
    assert (half.ids_hidden.diff(dim=1) > 0).all()
    assert (half.predicted <= half.mask).all()
    assert torch.equal(whole.predicted, whole.mask)
    targets = whole.spread(whole.target[..., 0]).gather(1, half.ids_hidden)
    assert torch.equal(half.target[..., 0], targets)
    drawn = torch.stack([mae(clips, ids, 0.5).predicted for _ in range(40)])
    assert torch.equal(drawn.any(0), whole.mask)  # each has its turn, and other ones in each row
    assert not torch.equal(drawn[0, 0], drawn[0, 1])


def test_recomputed_activations_give_the_very_same_gradients(mae):
    x = torch.randn(2, 20, CONFIG.embed_dim)
    weights = {parameter.data_ptr() for parameter in mae.parameters()}

    def step():
        kept = {}

        def keep(tensor):
            if tensor.data_ptr() not in weights:
                kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        mae.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = mae.encoder(x).square().mean()
        loss.backward()
        return [parameter.grad for parameter in mae.encoder.blocks.parameters()], sum(kept.values())

    gradients, kept = step()
    mae.encoder.recompute = True
    recomputed, kept_then = step()
    assert all(torch.equal(one, two) for one, two in zip(gradients, recomputed, strict=True))
    assert kept_then < 0.3 * kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("mask_token"), "weights are missing: 'mask_token'"),
        (lambda weights: weights.update(more=torch.zeros(1)), "weights of another architecture, .*: 'more'"),
        (lambda weights: weights["mask_token"].fill_(torch.nan), "mask_token holds numbers that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_their_place(change, message):
    weights = build_mae(MAESource(CONFIG), GRID, seed=1).state_dict()
    change(weights)
    with pytest.raises(CheckpointError, match=f"runs/a: {message}"):
        build_mae(MAESource(CONFIG, weights, "runs/a"), GRID, seed=1)


def test_an_mae_is_built_without_touching_the_random_state_of_cpu_or_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs were seeded"))
    before = torch.get_rng_state()
    one, same = (build_mae(MAESource(CONFIG), GRID, seed=1).state_dict() for _ in range(2))
    other = build_mae(MAESource(CONFIG), GRID, seed=2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
