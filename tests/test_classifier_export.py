"""A fine-tuned classifier in the libraries that it is exported for, and classifiers of theirs read by ours."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.head import HeadConfig
from tats_gym.export import export_encoder
from tats_gym.runs.checkpoint import CheckpointError
from tests.encoders import GRID, clips_for, normalised
from tests.test_export_script import finetuned_run
from tests.video_files import noise_frames, write_video

NAMES = ("left", "right", "up")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(name="source")
def _source(tmp_path):
    run, _ = finetuned_run(tmp_path / "runs")
    source = EncoderSource.find(run)
    config = HeadConfig(classes=NAMES, stride=3, sampling="segments", temporal_views=4, spatial_views=1)
    return replace(source, head=replace(source.head, config=config))


@torch.no_grad()
def _logits(source, clips):
    return source.build_classifier().eval()(clips)


@pytest.mark.parametrize("format", ["hf", "videomae", "safetensors"])
def test_an_exported_classifier_is_found_again_with_its_classes_and_views(source, tmp_path, format):
    export_encoder(source, format, tmp_path / "out")
    again = EncoderSource.find(tmp_path / "out")
    assert again.head.config == source.head.config
    assert torch.equal(_logits(again, clips_for()), _logits(source, clips_for()))


@pytest.mark.parametrize("pool", ["frames", "tokens"])
def test_a_head_of_another_pool_leaves_in_our_formats_alone(source, tmp_path, pool):
    width = {"frames": 2, "tokens": 8}[pool] * 128
    weights = {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width),
               "head.weight": torch.randn(3, width), "head.bias": torch.zeros(3)}  # fmt: skip
    other = replace(source, head=replace(source.head, weights=weights, config=HeadConfig(pool=pool)))
    for format in ("hf", "videomae"):
        with pytest.raises(ValueError, match=f"pool 'mean' alone, but this one's is '{pool}'; --no-head leaves"):
            export_encoder(other, format, tmp_path / format)
    export_encoder(other, "safetensors", tmp_path / "out")
    again = EncoderSource.find(tmp_path / "out")
    assert torch.equal(_logits(again, clips_for()), _logits(other, clips_for()))


# --- transformers ----------------------------------------------------------------------------------------------------


def test_transformers_gives_our_logits_and_names(source, tmp_path):
    transformers = pytest.importorskip("transformers")
    export_encoder(source, "hf", tmp_path / "out")
    model, report = transformers.VideoMAEForVideoClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert tuple(model.config.id2label[number] for number in range(3)) == NAMES
    assert model.config.label2id == {"left": 0, "right": 1, "up": 2}
    with torch.no_grad():
        theirs = model.eval()(normalised(clips_for()).transpose(1, 2)).logits
    torch.testing.assert_close(theirs, _logits(source, clips_for()), **CLOSE)


@pytest.fixture(name="video")
def _video(tmp_path):
    """A lossless video of as many frames as a clip has, in a clip's size: every reader sees the same pixels."""
    return write_video(tmp_path / "video.mkv", noise_frames(4, 32, 32), codec="ffv1", pix_fmt="bgr0", options={})


def test_the_pipeline_of_transformers_gives_our_probabilities(source, tmp_path, video):
    transformers = pytest.importorskip("transformers")
    export_encoder(source, "hf", tmp_path / "out")
    (tmp_path / "val.csv").write_text(f"{video} 0\n")
    clips = ClipConfig(data="list", root=str(tmp_path), split="validation", stride=1)
    ours = _logits(source, ClipStream(clips, frames=4, size=32, seed=0).centre([0]).pixels).softmax(1)[0]
    assert ours.max() - ours.min() > 0.05
    pipeline = transformers.pipeline("video-classification", model=str(tmp_path / "out"))
    by_video_processor = pipeline(noise_frames(4, 32, 32))  # which decodes files by torchcodec alone
    pipeline.video_processor = None
    for found in (by_video_processor, pipeline(str(video))):
        assert {each["label"] for each in found} == set(NAMES)
        for each in found:
            assert each["score"] == pytest.approx(ours[NAMES.index(each["label"])].item(), abs=1e-4)


def test_a_classifier_of_transformers_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, layer_norm_eps=1e-6, use_mean_pooling=True,
        id2label={0: "walk", 1: "run", 2: "sit", 3: "lie"},
    )  # fmt: skip
    model = transformers.VideoMAEForVideoClassification(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "theirs")
    source = EncoderSource.find(tmp_path / "theirs")
    assert source.head.config == HeadConfig(classes=("walk", "run", "sit", "lie"))
    with torch.no_grad():
        theirs = model(normalised(clips_for()).transpose(1, 2)).logits
    torch.testing.assert_close(_logits(source, clips_for()), theirs, **CLOSE)
    settings = json.loads((tmp_path / "theirs" / "config.json").read_text())
    names = {str(number): f"LABEL_{number}" for number in range(4)}
    for labels, classes in ((names, ()), ({}, ())):
        (tmp_path / "theirs" / "config.json").write_text(json.dumps(settings | {"id2label": labels}))
        assert EncoderSource.find(tmp_path / "theirs").head.config.classes == classes
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(settings | {"id2label": {"0": "walk", "1": "run"}}))
    with pytest.raises(CheckpointError, match="it names 2 classes, but its classifier has 4"):
        EncoderSource.find(tmp_path / "theirs")


# --- the published VideoMAE ------------------------------------------------------------------------------------------


class PublishedAttention(nn.Module):
    """Attention with the published names: biases of queries and values alone."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        q, k, v = ((x @ self.qkv.weight.T + bias).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)).unbind(0)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class PublishedBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        norm = partial(nn.LayerNorm, width, eps=1e-6)
        self.norm1, self.attn, self.norm2 = norm(), PublishedAttention(width, heads), norm()
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class PublishedClassifier(nn.Module):
    """The published classifier after its description: names, mean pool, norm and head; positions are not stored."""

    def __init__(self, classes, width=128, depth=2, heads=2):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, width, (2, 16, 16), (2, 16, 16))})
        self.blocks = nn.ModuleList(PublishedBlock(width, heads) for _ in range(depth))
        self.fc_norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)
        angle = np.arange(8)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
        table = np.where(np.arange(width) % 2, np.cos(angle), np.sin(angle))
        self.positions = torch.tensor(table, dtype=torch.float32)

    def forward(self, pixels):
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.fc_norm(x.mean(1)))


def test_the_published_layout_is_loaded_strictly_and_gives_our_logits(source, tmp_path):
    (file,) = export_encoder(source, "videomae", tmp_path / "out")
    assert file.name == "classifier.pth"
    model = PublishedClassifier(3).eval()
    model.load_state_dict(torch.load(file, weights_only=True)["model"])
    with torch.no_grad():
        torch.testing.assert_close(model(normalised(clips_for())), _logits(source, clips_for()), **CLOSE)


@pytest.mark.parametrize("key", ["model", "module"])
def test_a_published_classifier_is_read(tmp_path, key):
    torch.manual_seed(0)
    model = PublishedClassifier(5).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    torch.save({key: model.state_dict(), "epoch": 3}, tmp_path / "published.pth")
    source = EncoderSource.find(tmp_path / "published.pth", source_grid=GRID, num_heads=2)
    assert source.head.config == HeadConfig(stride=2, sampling="stride", temporal_views=2, spatial_views=3)
    with torch.no_grad():
        torch.testing.assert_close(_logits(source, clips_for()), model(normalised(clips_for())), **CLOSE)


# --- serving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_serving_graphs_give_logits(source, tmp_path, batch):
    onnxruntime = pytest.importorskip("onnxruntime")
    clips = clips_for(count=batch)
    (file,) = export_encoder(source, "onnx", tmp_path / "onnx")
    (logits,) = onnxruntime.InferenceSession(file).run(["logits"], {"clips": clips.numpy()})
    torch.testing.assert_close(torch.as_tensor(logits), _logits(source, clips), **CLOSE)
    (file,) = export_encoder(source, "torchexport", tmp_path / "torchexport")
    assert file.name == "classifier.pt2"
    torch.testing.assert_close(torch.export.load(file).module()(clips), _logits(source, clips))


# --- heads -----------------------------------------------------------------------------------------------------------


def test_logits_follow_the_names_of_a_dataset(source, caplog):
    ordered = replace(source, head=source.head.ordered(("up", "left", "right")))
    assert torch.equal(_logits(ordered, clips_for()), _logits(source, clips_for())[:, [2, 0, 1]])
    assert not caplog.records
    by_number = replace(source, head=source.head.ordered(("0", "1", "2")))
    assert torch.equal(_logits(by_number, clips_for()), _logits(source, clips_for()))
    assert "have other names than the dataset's ('left', '0'): taking them by number" in caplog.text
    with pytest.raises(ValueError, match=r"classifier's 3 classes \('left', ...\), got 2 \('up', ...\)"):
        source.head.ordered(("up", "down"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fc_norm.weight", torch.ones(64), r"fc_norm.weight must have the shape \(128,\), got \(64,\)"),
        ("head.bias", torch.full((3,), torch.nan), "head.bias holds numbers that are not finite"),
        ("head.weight", torch.ones(3, 128, 1), r"head.weight must have the shape \(3, 128\)"),
    ],
)
def test_a_damaged_head_is_refused(source, tmp_path, name, value, message):
    export_encoder(source, "videomae", tmp_path / "out")
    state = torch.load(tmp_path / "out" / "classifier.pth", weights_only=True)
    state["model"][name] = value
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(tmp_path / "damaged.pth")


def test_an_encoder_alone_is_no_classifier(source, tmp_path):
    export_encoder(replace(source, head=None), "safetensors", tmp_path / "out")
    assert "head.weight" not in load_file(tmp_path / "out" / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"there is no classifier in .*fc_norm.weight.* name a fine-tuned run"):
        EncoderSource.find(tmp_path / "out").build_classifier()
