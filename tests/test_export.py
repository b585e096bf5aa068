"""Every export, loaded by the library that it is for, gives the features that ours gives."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from timm.models.beit import Block
from torch import nn

from tats_gym.encoders.find import EncoderSource
from tats_gym.export import FORMATS, export_encoder, onnx, timm
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.encoders import CONFIG, GRID, clips_for, features, normalised, random_mae, random_source

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
READ_BACK = ("hf", "videomae", "timm", "safetensors")
HEADLESS = replace(CONFIG, num_heads=4)
"""Its heads are not as wide as the published ones: they must be told."""


@pytest.fixture(name="source")
def _source(tmp_path):
    return random_source(tmp_path / "runs", HEADLESS)


@pytest.fixture(name="finetuned")
def _finetuned(source):
    weights = {name: value for name, value in source.weights.items() if not name.startswith("encoder.norm.")}
    return replace(source, weights=weights)


@pytest.mark.parametrize("format", READ_BACK)
def test_an_export_is_found_again_with_all_that_was_recorded(source, tmp_path, format):
    files = export_encoder(source, format, tmp_path / "out")
    for path in (tmp_path / "out", next(path for path in files if path.suffix in (".safetensors", ".pth"))):
        again = EncoderSource.find(path)
        assert again.grid.clip_shape == GRID.clip_shape
        torch.testing.assert_close(features(again), features(source))
        torch.testing.assert_close(again.weights, source.weights)
        own = ("path", "kind")
        recorded = {name: value for name, value in source.origin.items() if name not in own}
        assert {name: value for name, value in again.origin.items() if name not in own} == recorded
        assert recorded["data"] == "ssv2"
    for path in files:
        assert str(tmp_path).encode() not in path.read_bytes()  # others need not know where it was made


@pytest.mark.parametrize("format", READ_BACK)
def test_a_changed_export_is_refused(source, tmp_path, format):
    files = export_encoder(source, format, tmp_path / "out")
    sums = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
    assert sums == [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    read = [path for path in files if path.suffix in (".safetensors", ".pth") or path.name == "config.json"]
    for path in read:
        whole = path.read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{path.name} does not match SHA256SUMS beside it"):
            EncoderSource.find(tmp_path / "out")
        path.write_bytes(whole)
    assert len(read) == (2 if format == "hf" else 1)


@pytest.mark.parametrize("format", READ_BACK)
def test_an_encoder_without_the_norm_travels_too(finetuned, tmp_path, format):
    export_encoder(finetuned, format, tmp_path / "out")
    again = EncoderSource.find(tmp_path / "out")
    assert not again.has_norm
    torch.testing.assert_close(features(again, "none"), features(finetuned, "none"))


# --- transformers ----------------------------------------------------------------------------------------------------


def _loaded(kind, folder, **settings):
    """Load with transformers: the model, and the names that it did not find."""
    transformers = pytest.importorskip("transformers")
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True, **settings)
    # Some releases have a bias on keys. No softmax sees it.
    return model.eval(), {name for name in info["missing_keys"] if not name.endswith("key.bias")}


def _their_tokens(model):
    with torch.no_grad():
        return model(normalised(clips_for()).transpose(1, 2)).last_hidden_state


def test_transformers_gives_the_same_features(source, tmp_path):
    export_encoder(source, "hf", tmp_path / "out")
    normed, missing = _loaded("VideoMAEModel", tmp_path / "out", use_mean_pooling=False)
    assert not missing
    torch.testing.assert_close(_their_tokens(normed), features(source), **CLOSE)
    plain, missing = _loaded("VideoMAEModel", tmp_path / "out")
    assert not missing
    torch.testing.assert_close(_their_tokens(plain), features(source, "none"), **CLOSE)


def test_transformers_classifies_the_mean_of_all_tokens(source, tmp_path):
    export_encoder(source, "hf", tmp_path / "out")
    model, missing = _loaded("VideoMAEForVideoClassification", tmp_path / "out", num_labels=5)
    assert missing == {"classifier.weight", "classifier.bias", "fc_norm.weight", "fc_norm.bias"}
    pooled = model.fc_norm(features(source, "none").mean(1))
    with torch.no_grad():
        logits = model(normalised(clips_for()).transpose(1, 2)).logits
    torch.testing.assert_close(logits, model.classifier(pooled), **CLOSE)


def test_biases_are_written_under_both_of_transformers_names(source, tmp_path):
    from safetensors.torch import load_file

    export_encoder(source, "hf", tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    stem = "videomae.encoder.layer.1.attention.attention"
    for old, new, ours in (("q_bias", "query.bias", "q_bias"), ("v_bias", "value.bias", "v_bias")):
        expected = source.weights[f"encoder.blocks.1.attn.{ours}"]
        assert torch.equal(weights[f"{stem}.{old}"], expected)
        assert torch.equal(weights[f"{stem}.{new}"], expected)


def test_transformers_prepares_frames_as_we_do(source, tmp_path):
    transformers = pytest.importorskip("transformers")
    export_encoder(source, "hf", tmp_path / "out")
    clips = clips_for()
    frames = list(clips[0].transpose(0, 1).numpy())  # T arrays (C, H, W)
    image_processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    pixels = torch.as_tensor(np.asarray(image_processor(frames, return_tensors="np")["pixel_values"]))
    torch.testing.assert_close(pixels.reshape(GRID.frames, 3, 32, 32), normalised(clips)[0].transpose(0, 1), **CLOSE)
    if hasattr(transformers, "VideoMAEVideoProcessor"):
        video_processor = transformers.AutoVideoProcessor.from_pretrained(tmp_path / "out")
        pixels = video_processor([clips[0].transpose(0, 1)], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels[0], normalised(clips)[0].transpose(0, 1), **CLOSE)


def test_the_model_card_names_the_known_facts(source, finetuned, tmp_path):
    export_encoder(source, "hf", tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    for wanted in ("| Data | ssv2 |", "| Agent that chose the visible tokens | tats |", "| Mask ratio | 0.5 |",
                   "| Epochs that the run was set to | 7 |", "| Masks seen | 50 |",
                   "2 blocks of width 128 with 4 heads", "4 frames of 32 x 32 pixels",
                   "use_mean_pooling=False"):  # fmt: skip
        assert wanted in card, wanted
    export_encoder(replace(finetuned, origin={}), "hf", tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "Nothing is recorded" in card
    assert "use_mean_pooling=False" not in card


# --- The published VideoMAE ------------------------------------------------------------------------------------------


class Finetuned(nn.Module):
    """The published fine-tuning model, as its checkpoints describe it: bare names, a norm after the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv3d(3, 128, kernel_size=(2, 16, 16), stride=(2, 16, 16))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(128, 4, qkv_bias=True, norm_layer=norm) for _ in range(2))
        self.fc_norm, self.head = nn.LayerNorm(128), nn.Linear(128, 5)


def test_the_published_fine_tuning_misses_the_classifier_alone(source, tmp_path):
    (path,) = export_encoder(source, "videomae", tmp_path / "out")
    contents = torch.load(path, weights_only=True)
    assert all(name.startswith("encoder.") for name in contents["model"])
    bare = {name.removeprefix("encoder."): value for name, value in contents["model"].items()}
    model = Finetuned()
    missing, unused = model.load_state_dict(bare, strict=False)
    assert set(missing) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert set(unused) == {"norm.weight", "norm.bias"}
    with torch.no_grad():
        tokens = model.patch_embed.proj(normalised(clips_for())).flatten(2).transpose(1, 2) + source.pos_embed()
        for block in model.blocks:
            tokens = block(tokens)
    torch.testing.assert_close(tokens, features(source, "none"), **CLOSE)


# --- timm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["sinusoid", "learned", "interpolated"])
def test_timm_gives_the_same_features(tmp_path, positions):
    grid = TokenGrid(frames=8, size=48, mask_ratio=0.5) if positions == "interpolated" else GRID
    config = replace(HEADLESS, pos_embed="learned" if positions == "learned" else "sinusoid")
    run = random_source(tmp_path / "runs", config).origin["path"]
    source = EncoderSource.find(run, grid, interpolate=True)
    export_encoder(source, "timm", tmp_path / "out")
    again = EncoderSource.find(tmp_path / "out")
    assert again.config.pos_embed == ("sinusoid" if positions == "sinusoid" else "table")
    clips = clips_for(grid)
    for norm in ("encoder", "none"):
        model = timm.build(again, norm=norm).eval().double()
        expected = source.build(norm=norm).eval().double()(clips.double())
        torch.testing.assert_close(model.forward_features(normalised(clips.double())), expected, atol=1e-6, rtol=1e-6)
        pooled = expected.mean(1)
        if norm == "none":
            pooled = nn.functional.layer_norm(pooled, pooled.shape[-1:], eps=1e-6)
        torch.testing.assert_close(model(normalised(clips.double())), pooled, atol=1e-6, rtol=1e-6)


def test_timm_takes_a_head_and_its_other_arguments(source, finetuned):
    model = timm.build(source, norm="none", num_classes=7, drop_path_rate=0.2)
    assert model(normalised(clips_for())).shape == (2, 7)
    assert model.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)
    with pytest.raises(ValueError, match="norm must be 'none'"):
        timm.build(finetuned)


# --- Serving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["encoder", "none"])
def test_a_served_graph_takes_raw_clips_of_any_batch(source, finetuned, tmp_path, norm):
    served = source if norm == "encoder" else finetuned
    (path,) = export_encoder(served, "torchexport", tmp_path / "out")
    extra = {"tats_gym.json": ""}
    graph = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["tats_gym.json"])["origin"]["data"] == "ssv2"
    encoder = served.build(norm=norm).eval()
    for count in (1, 5):
        clips = clips_for(count=count)
        torch.testing.assert_close(graph(clips), encoder(clips), **CLOSE)


def test_onnx_takes_raw_clips_of_any_batch(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    source = random_source(tmp_path / "runs", replace(HEADLESS, pos_embed="learned"))
    (path,) = export_encoder(source, "onnx", tmp_path / "out")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    encoder = source.build().eval()
    for count in (1, 5):
        clips = clips_for(count=count)
        (tokens,) = session.run(["tokens"], {"clips": clips.numpy()})
        torch.testing.assert_close(torch.from_numpy(tokens), encoder(clips).detach(), **CLOSE)
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["tats_gym"])
    assert metadata["origin"]["agent"] == "tats"


def test_onnx_names_the_missing_package(source, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda package: None if package == "onnxscript" else SimpleNamespace())
    with pytest.raises(ModuleNotFoundError, match=r"needs onnxscript: pip install 'tats-gym\[onnx\]'"):
        export_encoder(source, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- Refused exports -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["hf", "videomae"])
@pytest.mark.parametrize("kind", ["learned", "table"])
def test_layouts_of_the_sinusoid_refuse_other_positions(source, tmp_path, format, kind):
    other = replace(source, config=replace(source.config, pos_embed=kind))
    with pytest.raises(ValueError, match=rf"format {format} .* are '{kind}' .*: timm, safetensors, onnx, torchexport"):
        export_encoder(other, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["learned", "interpolated"])
def test_our_layout_holds_all_positions(tmp_path, kind):
    config = replace(HEADLESS, pos_embed="learned" if kind == "learned" else "sinusoid")
    grid = TokenGrid(frames=8, size=48, mask_ratio=0.5)
    source = EncoderSource.find(random_source(tmp_path / "runs", config).origin["path"], grid, interpolate=True)
    export_encoder(source, "safetensors", tmp_path / "out")
    again = EncoderSource.find(tmp_path / "out")
    assert (again.config, again.grid) == (source.config, source.grid)
    torch.testing.assert_close(features(again, grid=grid), features(source, grid=grid))


def test_no_file_is_written_over(source, tmp_path):
    (tmp_path / "kept").write_text("x")
    for out in (tmp_path, tmp_path / "kept"):
        with pytest.raises(FileExistsError, match="must be a new or an empty folder"):
            export_encoder(source, "safetensors", out)
    assert (tmp_path / "kept").read_text() == "x"


def test_an_unknown_format_is_answered_with_the_nearest(source, tmp_path):
    with pytest.raises(ValueError, match=r"format must be one of hf, .*; got 'tim'; did you mean 'timm'\?"):
        export_encoder(source, "tim", tmp_path / "out")
    assert len(FORMATS) == 6


def test_a_random_mae_has_biases_and_norms_that_show():
    mae = random_mae()
    assert all(parameter.std() > 0 for parameter in mae.encoder.parameters())
