"""The layout of transformers: a VideoMAE folder with configuration, preprocessing and a model card."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.head import Head
from tats_gym.encoders.names import HF_PREFIX, hf_names
from tats_gym.encoders.weight_files import write_safetensors
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.tokens import CHANNELS

BILINEAR = 2
"""PIL's code for bilinear resampling."""

ORIGIN_TITLES = {
    "data": "Data",
    "agent": "Agent that chose the visible tokens",
    "mask_ratio": "Mask ratio",
    "epochs": "Epochs that the run was set to",
    "masks_seen": "Masks seen",
    "clips_seen": "Masks seen",  # in exports of older versions
    "seed": "Seed",
    "run": "Run",
    "commit": "Commit",
}


def write(source: EncoderSource, folder: Path) -> None:
    """Write config.json, model.safetensors, the preprocessing of frames and of videos, and README.md."""
    weights, own, how = _encoder_weights(source), {"architectures": ["VideoMAEModel"]}, _WITHOUT_NORM
    if source.head is not None:
        weights |= {name.replace("head.", "classifier."): value for name, value in source.head.weights.items()}
        own, how = _classes(source.head), _CLASSIFIER
    elif source.has_norm:
        how = _WITH_NORM
    # Without the mean over tokens, a classifier would read the first token alone.
    _write(source, folder, weights, {**own, "use_mean_pooling": True, **_config(source)}, how)


def write_mae(source: EncoderSource, folder: Path) -> None:
    """Write the same files for VideoMAEForPreTraining, from an encoder with its decoder."""
    assert source.decoder is not None
    weights = _encoder_weights(source) | hf_names(source.decoder.weights)
    # With the mean over tokens, transformers would leave the encoder's last norm out.
    own = {"architectures": ["VideoMAEForPreTraining"], "use_mean_pooling": False, "norm_pix_loss": True}
    _write(source, folder, weights, own | _config(source), _WHOLE)


def _write(source: EncoderSource, folder: Path, weights: dict[str, Tensor], config: dict[str, Any], how: str) -> None:
    write_safetensors(folder / "model.safetensors", weights, describe(source))
    contents = {
        "config.json": config,
        "preprocessor_config.json": {"image_processor_type": "VideoMAEImageProcessor", **_preprocessing(source)},
        "video_preprocessor_config.json": {"video_processor_type": "VideoMAEVideoProcessor", **_preprocessing(source)},
    }
    for name, values in contents.items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(source, how), encoding="utf-8")


def _encoder_weights(source: EncoderSource) -> dict[str, Tensor]:
    return {f"{HF_PREFIX}{name}": value for name, value in hf_names(source.weights).items()}


def _config(source: EncoderSource) -> dict[str, Any]:
    """Return the architecture under the names of VideoMAEConfig."""
    config, grid = source.config, source.grid
    return {
        "model_type": "videomae",
        "image_size": grid.size,
        "patch_size": grid.patch_size,
        "num_channels": CHANNELS,
        "num_frames": grid.frames,
        "tubelet_size": grid.tubelet_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.embed_dim * config.mlp_ratio),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "decoder_hidden_size": config.decoder_embed_dim,
        "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder_num_heads,
        "decoder_intermediate_size": round(config.decoder_embed_dim * config.mlp_ratio),
    }


def _classes(head: Head) -> dict[str, Any]:
    """Return the entries of a classifier; classes without names take those that transformers makes up."""
    names = head.config.classes or [f"LABEL_{number}" for number in range(head.num_classes)]
    return {
        "architectures": ["VideoMAEForVideoClassification"],
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def _preprocessing(source: EncoderSource) -> dict[str, Any]:
    """Return the preprocessing from frames to pixels; transformers' default mean and std are .5."""
    size = source.grid.size
    return {
        "num_frames": source.grid.frames,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }


def _card(source: EncoderSource, loading: str) -> str:
    """Write the model card, with a text about loading."""
    config, grid = source.config, source.grid
    rows = [f"| {title} | {source.origin[name]} |" for name, title in ORIGIN_TITLES.items() if name in source.origin]
    record = "\n".join(["| | |", "|---|---|", *rows]) if rows else "Nothing is recorded of how it was trained."
    classifier = (
        f"It tells {source.head.num_classes} classes apart, by the mean of all tokens."
        if source.head
        else "There is no classifier in it: the one that transformers adds is new and has to be trained."
    )
    token = f"{grid.tubelet_size} x {grid.patch_size} x {grid.patch_size}"
    return f"""---
library_name: transformers
pipeline_tag: video-classification
tags:
- videomae
- tats-gym
---

# Video {source.part}

A VideoMAE {source.part}: {config.depth} blocks of width {config.embed_dim} with {config.num_heads} heads.
Clips have {grid.frames} frames of {grid.size} x {grid.size} pixels; a token is {token}.
Position embeddings are the fixed sinusoid.
{classifier}

## How it was trained

{record}

## How to load it

{loading}
Frames are normalised by ImageNet's mean and std, as preprocessor_config.json says; clips are [B, T, C, H, W].
Biases are written under both names that releases of transformers know, so some releases report the others as
unexpected, or a `key.bias` as missing, which has no effect.
"""


_WITH_NORM = """To fine-tune, with a new norm and classifier on the mean of all tokens (`use_mean_pooling` is true):

```python
model = VideoMAEForVideoClassification.from_pretrained(folder, num_labels=174)
```

For features, with the norm that pre-training ended with, which is left out where `use_mean_pooling` is true:

```python
model = VideoMAEModel.from_pretrained(folder, use_mean_pooling=False)
```

A classifier with `use_mean_pooling=False` would read the first token alone, one corner of the first frames.
"""

_WITHOUT_NORM = """It has not the norm that pre-training ends with, as it comes from a fine-tuned model:

```python
model = VideoMAEModel.from_pretrained(folder)  # or VideoMAEForVideoClassification, num_labels=174
```
"""

_CLASSIFIER = """For the classes of a video file, and for logits of clips:

```python
classes = pipeline("video-classification", model=folder)("video.mp4")
logits = VideoMAEForVideoClassification.from_pretrained(folder)(pixel_values).logits
```

The pipeline reads one clip, whose frames are spread over the whole video.
"""

_WHOLE = """Encoder and decoder, to go on with the pre-training or to reconstruct clips:

```python
model = VideoMAEForPreTraining.from_pretrained(folder)
loss = model(pixel_values, bool_masked_pos=mask).loss  # mask (B, L) is True where a token is hidden
```

The encoder alone is `VideoMAEModel.from_pretrained(folder)`. Add `use_mean_pooling=True` for a classifier, which would
otherwise read the first token alone.
"""
