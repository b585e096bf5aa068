"""The attentive probe: a learned query over all tokens of a frozen encoder."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.decoder import Views
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig
from tats_gym.probe import (
    AttentiveClassifier,
    AttentiveProbeConfig,
    LogisticConfig,
    ProbeConfig,
    draw_classifier,
    evaluate,
    fit_attentive_probe,
    fit_logistic,
)
from tats_gym.probe.features import FeatureConfig, features_of
from tats_gym.tokens import TokenGrid
from tests.layouts import write_two_classes

CLASSES, TOKENS, WIDTH = 4, 12, 16


def test_parameters_are_counted_by_hand():
    network = AttentiveClassifier(width=8, num_heads=2, num_classes=3)
    mlp = 8 * 32 + 32 + 32 * 8 + 8
    by_hand = {"query": 8, "norm1": 16, "q": 72, "kv": 144, "proj": 72, "norm2": 16, "mlp": mlp, "head": 27}
    counted = dict.fromkeys(by_hand, 0)
    for name, value in network.named_parameters():
        counted[name.split(".")[0]] += value.numel()
    assert counted == by_hand
    assert sum(by_hand.values()) == 907
    assert network(torch.zeros(5, 7, 8)).shape == (5, 3)
    decaying, still = network.groups()
    assert sum(value.numel() for value in decaying["params"]) == 8 + 64 + 128 + 64 + 256 + 256 + 24
    assert still["weight_decay"] == 0
    assert len(decaying["params"]) + len(still["params"]) == len(list(network.parameters()))


def test_it_is_torchs_attention_of_one_query_an_mlp_and_a_linear_layer():
    torch.manual_seed(0)
    network = AttentiveClassifier(width=8, num_heads=2, num_classes=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    attention.load_state_dict(
        {
            "in_proj_weight": torch.cat((network.q.weight, network.kv.weight)),
            "in_proj_bias": torch.cat((network.q.bias, network.kv.bias)),
            "out_proj.weight": network.proj.weight,
            "out_proj.bias": network.proj.bias,
        }
    )
    tokens = torch.randn(5, 7, 8)
    normed, query = network.norm1(tokens), network.query.expand(5, -1, -1)
    pooled = query + attention(query, normed, normed)[0]
    hidden = F.gelu(F.linear(network.norm2(pooled), network.mlp.fc1.weight, network.mlp.fc1.bias))
    pooled = pooled + F.linear(hidden, network.mlp.fc2.weight, network.mlp.fc2.bias)
    torch.testing.assert_close(network(tokens), network.head(pooled[:, 0]))


def _one_marked(count, seed):
    """Tokens that look like every class equally often; the marked one, at a random place, tells the clip's class."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.arange(TOKENS) % CLASSES  # the mean over tokens holds each class three times, whatever the label
    order = torch.stack([torch.randperm(TOKENS, generator=generator) for _ in range(count)])
    kinds, place = looks[order], torch.randint(TOKENS, (count,), generator=generator)
    tokens = 0.3 * torch.randn(count, TOKENS, WIDTH, generator=generator)
    tokens += 3 * F.one_hot(kinds, WIDTH)
    tokens[torch.arange(count), place, WIDTH - 1] += 3
    return tokens, kinds[torch.arange(count), place]


def _fit(tokens, labels, config, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def batches():
        for rows in torch.randperm(len(tokens), generator=generator).split(config.batch_size):
            yield tokens[rows], labels[rows]

    network = draw_classifier(WIDTH, 4, CLASSES, seed=seed)
    fit_attentive_probe(network, batches, config, count=len(tokens))
    return network.probabilities


def test_it_finds_a_class_that_one_token_tells_and_the_mean_does_not():
    (tokens, labels), (others, wanted) = _one_marked(600, 0), _one_marked(400, 1)
    before = torch.random.get_rng_state()
    probabilities, again = (
        _fit(tokens, labels, AttentiveProbeConfig(epochs=30, batch_size=32, learning_rate=1e-2)) for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(probabilities(others), again(others))
    assert (probabilities(others).argmax(1) == wanted).double().mean() > 0.95

    linear = fit_logistic(tokens.mean(1), labels, torch.arange(600), CLASSES, LogisticConfig())
    right = (linear.probabilities(others.mean(1)).argmax(1) == wanted).double().mean()
    assert abs(right - 1 / CLASSES) < 3 * math.sqrt(0.25 * 0.75 / 400)  # chance


@pytest.fixture(name="probed")
def _probed(tmp_path):
    """An encoder, and the features of both splits of clips of two classes, dark and bright."""
    torch.manual_seed(0)
    sizes = MAEConfig(embed_dim=24, depth=1, num_heads=2, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=2)
    encoder = VideoEncoder(sizes, TokenGrid(frames=4, size=32, mask_ratio=0.5))
    clips = ClipConfig(data="list", root=str(write_two_classes(tmp_path / "data")), stride=1)
    settings = FeatureConfig(batch_size=3, device="cpu", cache=str(tmp_path / "cache"), quiet=True)
    train = features_of(encoder, clips, settings)
    return encoder, train, features_of(encoder, clips.held_out, settings, views=Views(2, 1))


def test_the_encoder_is_not_trained(probed):
    encoder, train, test = probed
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    config = ProbeConfig(attentive=AttentiveProbeConfig(epochs=12, batch_size=4, learning_rate=1e-2))
    found, again = (evaluate("attentive", train, test, config, seed=3) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert (found.accuracy.videos, found.num_train, found.fitted) == (4, 8, {"num_heads": 2})
    assert found.as_dict() == again.as_dict()
    assert found.accuracy.top1 == found.train_top1 == 1.0  # brightness tells the class


def test_every_epoch_has_windows_and_crops_of_its_own_and_the_test_fixed_views(probed):
    encoder, train, test = probed
    stream, twin = (ClipStream(train.tokens.clips, frames=4, size=32, seed=5) for _ in range(2))
    epochs = [list(train.tokens.train_epoch(stream, 5)) for _ in range(2)]
    assert [[len(labels) for _, labels in epoch] for epoch in epochs] == [[5, 3]] * 2
    tokens = torch.cat([tokens for epoch in epochs for tokens, _ in epoch])  # (16, L, D)
    torch.testing.assert_close(tokens, encoder(twin.take(16).pixels))
    assert not tokens.requires_grad
    assert sum(len(each) for each, _ in test.tokens.in_views()) == 8  # four clips in two views
    one, other = (torch.cat([each for each, _ in test.tokens.in_views()]) for _ in range(2))
    assert torch.equal(one, other)
    means = one.mean(1).unflatten(0, (-1, 2)).transpose(0, 1)  # (R, E, D)
    torch.testing.assert_close(means, test.values)


def test_features_without_clips_and_odd_heads_are_named(probed):
    _, train, test = probed
    with pytest.raises(ValueError, match="attentive reads the tokens of clips, and these features were made without"):
        evaluate("attentive", replace(train, tokens=None), test, ProbeConfig())
    with pytest.raises(ValueError, match="num_heads must divide the width 24 of the tokens, got 5"):
        evaluate("attentive", train, test, ProbeConfig(attentive=AttentiveProbeConfig(num_heads=5)))
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        AttentiveProbeConfig(epochs=0)
    with pytest.raises(ValueError, match="num_heads must be at least 1"):
        AttentiveProbeConfig(num_heads=0)
