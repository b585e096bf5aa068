"""Our transformer block against timm's: initial weights, outputs and gradients are equal to the bit."""

from dataclasses import replace
from functools import partial

import pytest
import timm.models.beit
import timm.models.vision_transformer
import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from tats_gym.model.block import Block
from tats_gym.model.optim import decay_groups
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

WIDTH, HEADS = 24, 3


def videomaes(**settings):
    norm = partial(nn.LayerNorm, eps=1e-6)
    return timm.models.beit.Block(WIDTH, HEADS, qkv_bias=True, mlp_ratio=2.5, norm_layer=norm, **settings)


def adamaes():
    block = timm.models.vision_transformer.Block(WIDTH, HEADS, proj_drop=0.1, norm_layer=nn.LayerNorm)
    block.mlp.drop1 = nn.Identity()  # behind the activation, where the published block has none
    return block


PAIRS = {
    "VideoMAE's": (videomaes, partial(Block, WIDTH, HEADS, 2.5)),
    "with drop path": (partial(videomaes, drop_path=0.6), partial(Block, WIDTH, HEADS, 2.5, drop_path=0.6)),
    "AdaMAE's": (adamaes, partial(Block, WIDTH, HEADS, 4.0, qv_bias=False, dropout=0.1, eps=1e-5)),
}


def seeded(make):
    torch.manual_seed(3)
    return make()


@pytest.mark.parametrize(("make_theirs", "make_ours"), PAIRS.values(), ids=PAIRS)
def test_initial_weights_are_timms_under_names_and_order_of_timm(make_theirs, make_ours):
    theirs, ours = seeded(make_theirs).state_dict(), seeded(make_ours).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make_theirs", "make_ours"), PAIRS.values(), ids=PAIRS)
def test_outputs_and_gradients_are_timms(make_theirs, make_ours, training):
    theirs, ours = make_theirs().train(training), make_ours().train(training)
    with torch.no_grad():
        for weights in theirs.parameters():
            weights.normal_(std=0.3)  # biases too, which start at zero
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(5, 7, WIDTH)
    results = []
    for block in (theirs, ours):
        given = tokens.clone().requires_grad_()
        torch.manual_seed(4)  # of the dropped values
        out = block(given)
        out.square().sum().backward()
        results.append([out, given.grad, *(weights.grad for weights in block.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert all(gradient.abs().sum() > 0 for gradient in results[1])


def test_a_whole_branch_of_a_clip_is_dropped_or_scaled_up():
    torch.manual_seed(0)
    block = Block(WIDTH, HEADS, 4.0, drop_path=0.75)
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)  # leaves the attention's branch alone
    tokens = torch.randn(400, 2, WIDTH)
    added = block(tokens) - tokens
    full = 4 * (block.eval()(tokens) - tokens)  # 1 / (1 - .75)
    dropped = (added == 0).flatten(1).all(1)
    torch.testing.assert_close(added[~dropped], full[~dropped])
    assert 265 < dropped.sum() < 335  # 300 expected, deviation 8.7


@pytest.mark.parametrize("weight_decay", [0.05, 0.0])
@pytest.mark.parametrize("pos_embed", ["learned", "sinusoid", "table"])
def test_parameter_groups_are_timms(weight_decay, pos_embed):
    mae = MaskedAutoencoder(
        replace(MAE_PRESETS["tiny"], pos_embed=pos_embed), TokenGrid(frames=4, size=32, mask_ratio=0.5)
    )
    positions = [name for name, _ in mae.named_parameters() if "pos_embed." in name]
    theirs = param_groups_weight_decay(mae, weight_decay, no_weight_decay_list=["mask_token", *positions])
    ours = decay_groups(mae, weight_decay)
    assert [group["weight_decay"] for group in ours] == [group["weight_decay"] for group in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert [id(weights) for weights in mine["params"]] == [id(weights) for weights in other["params"]]
