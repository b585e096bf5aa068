"""Tests of the encoder without the rest of the masked autoencoder."""

import pytest
import torch

from tats_gym.model.encoder import VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, mask_ratio=0.5)
CONFIG = MAEConfig(embed_dim=24, depth=2, num_heads=2, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=2)


@pytest.fixture
def mae():
    torch.manual_seed(0)
    return MaskedAutoencoder(CONFIG, GRID).eval()


@pytest.fixture
def clips():
    return torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_it_encodes_all_tokens_as_the_autoencoder_would(mae, clips):
    encoder = VideoEncoder(CONFIG, GRID).eval()
    load_encoder_weights(encoder, encoder_weights(mae.state_dict()))
    torch.testing.assert_close(encoder(clips), mae.encoder(mae.embed(clips)))


def test_without_the_norm_features_are_those_before_it(mae, clips):
    encoder = VideoEncoder(CONFIG, GRID, norm="none").eval()
    load_encoder_weights(encoder, encoder_weights(mae.state_dict()))
    torch.testing.assert_close(mae.encoder.norm(encoder(clips)), mae.encoder(mae.embed(clips)))


def test_positions_that_were_learned_come_along(clips):
    config = MAEConfig(**{**vars(CONFIG), "pos_embed": "learned"})
    mae = MaskedAutoencoder(config, GRID).eval()
    encoder = VideoEncoder(config, GRID).eval()
    load_encoder_weights(encoder, encoder_weights(mae.state_dict()))
    torch.testing.assert_close(encoder(clips), mae.encoder(mae.embed(clips)))


def test_pixels_may_come_as_floats(mae, clips):
    encoder = VideoEncoder(CONFIG, GRID).eval()
    torch.testing.assert_close(encoder(clips), encoder(clips.float()))


def test_drop_path_acts_in_training_alone(clips):
    encoder = VideoEncoder(CONFIG, GRID, drop_path=0.9)
    assert encoder.encoder.blocks[0].drop_path.__class__.__name__ == "Identity"
    assert encoder.encoder.blocks[1].drop_path.drop_prob == 0.9
    assert not torch.equal(encoder(clips), encoder(clips))
    encoder.eval()
    assert torch.equal(encoder(clips), encoder(clips))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"drop_path must lie in \[0, 1\), got 1"):
        VideoEncoder(CONFIG, GRID, drop_path=1.0)
    with pytest.raises(ValueError, match="norm must be one of encoder, none; got 'last'"):
        VideoEncoder(CONFIG, GRID, norm="last")
