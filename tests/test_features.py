"""Features are the encoder's outputs, are kept, and are never taken for others."""

from dataclasses import replace

import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
from tats_gym.clips.decoder import Views
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig
from tats_gym.probe import features as module
from tats_gym.probe.features import FeatureConfig, features_of, weights_digest
from tats_gym.tokens import TokenGrid
from tests.layouts import write_layout

GRID = TokenGrid(frames=4, size=32, mask_ratio=0.5)
CONFIG = MAEConfig(embed_dim=24, depth=1, num_heads=2, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=2)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VideoEncoder(CONFIG, GRID).eval()


@pytest.fixture
def clips(tmp_path):
    return ClipConfig(data="list", root=str(write_layout("list", tmp_path / "data", train=5)), stride=1)


@pytest.fixture
def config(tmp_path):
    return FeatureConfig(batch_size=2, device="cpu", cache=str(tmp_path / "cache"), quiet=True)


def kept(config):
    return sorted(path.name for path in module.Path(config.cache).iterdir())


def test_features_are_the_mean_over_all_tokens_of_the_centre_views(encoder, clips, config):
    features = features_of(encoder, clips, config)
    stream = ClipStream(clips, frames=4, size=32, seed=0)
    expected = encoder(stream.centre(range(5)).pixels).mean(1)  # (5, D)
    torch.testing.assert_close(features.values[0], expected)
    assert features.values.dtype == torch.float32
    assert features.ids.tolist() == [[0, 1, 2, 3, 4]]
    assert features.labels.tolist() == [[0] * 5]
    assert (len(features), features.videos.classes, features.broken) == (5, ("0",), ())


def test_pools_keep_time_or_everything(encoder, clips, config):
    tokens = features_of(encoder, clips, replace(config, pool="tokens")).values[0].unflatten(1, (2, 4, 24))
    frames = features_of(encoder, clips, replace(config, pool="frames")).values[0].unflatten(1, (2, 24))
    change = features_of(encoder, clips, replace(config, pool="change")).values[0]
    mean = features_of(encoder, clips, config).values[0]
    torch.testing.assert_close(change, (tokens[:, 0] - tokens[:, 1]).abs().mean(1) / 2)
    torch.testing.assert_close(frames, tokens.mean(2))
    torch.testing.assert_close(mean, tokens.mean((1, 2)))


def test_passes_are_the_streams_own_epochs(encoder, clips, config):
    features = features_of(encoder, clips, config, passes=3, seed=7)
    batch = ClipStream(clips, frames=4, size=32, seed=7).take(15)
    torch.testing.assert_close(features.values.flatten(0, 1), encoder(batch.pixels).mean(1))
    assert features.ids.flatten().tolist() == batch.ids.tolist()
    assert not torch.equal(features.ids[0], features.ids[1]) or not torch.equal(features.ids[1], features.ids[2])


def test_fixed_views_stand_in_one_order(encoder, clips, config):
    features = features_of(encoder, clips, replace(config, batch_size=12), views=Views(2, 3))
    batch = ClipStream(clips, frames=4, size=32, seed=0).views(range(5), temporal=2, spatial=3)
    expected = encoder(batch.pixels).mean(1).unflatten(0, (5, 6)).transpose(0, 1)  # (V, N, D)
    torch.testing.assert_close(features.values, expected)
    assert features.ids.tolist() == [[0, 1, 2, 3, 4]] * 6
    with pytest.raises(ValueError, match=r"passes must be 0 for Views\(temporal=2, spatial=1\), got 1"):
        features_of(encoder, clips, config, views=Views(2, 1), passes=1)


def test_features_are_computed_once(encoder, clips, config, monkeypatch):
    first = features_of(encoder, clips, config)
    assert kept(config) == [f"list-train-{first.key}.safetensors"]
    monkeypatch.setattr(VideoEncoder, "forward", None)
    again = features_of(encoder, clips, config)
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.labels, again.labels)


def test_everything_that_features_depend_on_is_in_their_key(encoder, clips, config, tmp_path):
    keys = [features_of(encoder, clips, config).key]
    keys.append(features_of(VideoEncoder(CONFIG, GRID), clips, config).key)
    unnormed = VideoEncoder(CONFIG, GRID, norm="none")
    keys.append(features_of(unnormed, clips, config).key)
    keys.append(features_of(encoder, clips.held_out, config).key)
    keys.append(features_of(encoder, replace(clips, stride=2), config).key)
    keys.append(features_of(encoder, replace(clips, subset=2), config).key)
    keys += [features_of(encoder, clips, replace(config, **o)).key for o in ({"pool": "frames"}, {"precision": "bf16"})]
    looks = ({"passes": 1}, {"passes": 1, "seed": 1}, {"passes": 2}, {"views": Views(1, 2)}, {"views": Views(2, 1)})
    keys += [features_of(encoder, clips, config, **look).key for look in looks]
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] += 1e-3
    keys.append(features_of(encoder, clips, config).key)
    listed = tmp_path / "data" / "train.csv"
    listed.write_text(listed.read_text().replace(" 0", " 1", 1))
    keys.append(features_of(encoder, clips, config).key)
    assert len(set(keys)) == len(keys) == len(kept(config))
    unchanged = replace(clips, num_workers=1, max_broken=0.5)
    assert features_of(encoder, unchanged, replace(config, batch_size=3), seed=5).key == keys[-1]


def test_the_norm_alone_may_differ(encoder):
    """Same weights otherwise: an encoder without its norm has another digest."""
    unnormed = VideoEncoder(CONFIG, GRID, norm="none")
    unnormed.load_state_dict({k: v for k, v in encoder.state_dict().items() if not k.startswith("encoder.norm.")})
    assert weights_digest(unnormed) != weights_digest(encoder)


def test_features_made_before_an_interruption_are_not_made_again(encoder, clips, config, monkeypatch):
    whole = features_of(encoder, clips, replace(config, cache=f"{config.cache}2"), passes=2)
    monkeypatch.setattr(module, "PART_CLIPS", 4)
    forward, calls = VideoEncoder.forward, []

    def interrupted(self, pixels):
        calls.append(len(pixels))
        if sum(calls) > 6:
            raise KeyboardInterrupt
        return forward(self, pixels)

    monkeypatch.setattr(VideoEncoder, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features_of(encoder, clips, config, passes=2)
    assert calls == [2, 2, 2, 2]
    assert [name.endswith(".parts") for name in kept(config)] == [True]
    seen = []
    monkeypatch.setattr(VideoEncoder, "forward", lambda self, pixels: seen.append(len(pixels)) or forward(self, pixels))
    features = features_of(encoder, clips, config, passes=2)
    assert sum(seen) == 10 - 4
    torch.testing.assert_close(features.values, whole.values)
    assert torch.equal(features.ids, whole.ids)
    assert len(kept(config)) == 1


def test_broken_videos_are_left_out_and_named(encoder, clips, config, tmp_path):
    broken = tmp_path / "data" / "a class" / "clip 2.mp4"
    broken.write_bytes(b"no video")
    for _ in range(2):  # computed, then read
        features = features_of(encoder, replace(clips, max_broken=0.2), config)
        assert features.broken == (str(broken),)
        assert features.ids.tolist() == [[0, 1, 3, 4]]
    drawn = features_of(encoder, replace(clips, max_broken=0.2), config, passes=2)
    assert drawn.broken == (str(broken),)
    assert drawn.values.shape == (2, 5, 24)
    assert 2 not in drawn.ids
    with pytest.raises(VideoReadError, match=r"1 of 5 videos could not be read, more than max_broken 0\.1; .*clip 2"):
        features_of(encoder, replace(clips, stride=2), config)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1] + bytes([content[-1] ^ 64]),
        lambda content: content[:-9],
        lambda content: content.replace(b"[2,5,24]", b"[5,2,24]"),
        lambda content: content.replace(b"broken", b"brokem"),
    ],
)
def test_damaged_features_are_computed_again_which_is_said(encoder, clips, config, caplog, damage):
    whole = features_of(encoder, clips, config, passes=2)
    (path,) = module.Path(config.cache).iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    for _ in range(2):
        again = features_of(encoder, clips, config, passes=2)
        assert torch.equal(again.values, whole.values)
        assert torch.equal(again.ids, whole.ids)
    assert ["it is computed again" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("place", [0, 4])
def test_a_part_may_be_lost_as_a_whole(encoder, clips, config, tmp_path, monkeypatch, place):
    monkeypatch.setattr(module, "PART_CLIPS", 1)
    (tmp_path / "data" / "a class" / f"clip {place}.mp4").write_bytes(b"no video")
    features = features_of(encoder, replace(clips, max_broken=0.2), config)
    assert features.ids.tolist() == [[each for each in range(5) if each != place]]


def test_a_split_without_a_readable_video_has_no_features(encoder, clips, config, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_CLIPS", 2)
    for path in (tmp_path / "data").rglob("*.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(VideoReadError, match="5 of 5 videos could not be read"):
        features_of(encoder, replace(clips, max_broken=1), config)


def test_bad_settings_are_named(encoder, clips, config):
    with pytest.raises(ValueError, match=r"pool must be one of .*; got 'max'"):
        FeatureConfig(pool="max")
    with pytest.raises(ValueError, match="passes must not be negative, got -1"):
        features_of(encoder, clips, config, passes=-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        FeatureConfig(batch_size=0)
    with pytest.raises(ValueError, match="repeats must be 1 for features, got 2"):
        features_of(encoder, replace(clips, repeats=2), config)
    with torch.no_grad():
        encoder.encoder.patch_embed.proj.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"encoder.patch_embed.proj.bias is not finite"):
        features_of(encoder, clips, config)
