"""Gives the lines of Python that load each export."""

import shlex
from pathlib import Path

from tats_gym.encoders.find import EncoderSource
from tats_gym.export.writers import Format

LOADING: dict[Format, str] = {
    "hf": """\
from transformers import VideoMAEModel
model = VideoMAEModel.from_pretrained({out!r}{pooling})
tokens = model(pixel_values).last_hidden_state""",
    "videomae": """\
from tats_gym.encoders.find import EncoderSource
tokens = EncoderSource.find({file!r}).build(norm={norm!r}).eval()(clips)""",
    "timm": """\
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import timm
tokens = timm.build(EncoderSource.find({out!r}), norm={norm!r}).eval().forward_features(normalised)""",
    "safetensors": """\
from tats_gym.encoders.find import EncoderSource
tokens = EncoderSource.find({out!r}).build(norm={norm!r}).eval()(clips)""",
    "onnx": """\
import onnxruntime
(tokens,) = onnxruntime.InferenceSession({file!r}).run(["tokens"], {{"clips": clips.numpy()}})""",
    "torchexport": """\
import torch
tokens = torch.export.load({file!r}).module()(clips)""",
}
"""Each computes tokens (B, L, D), after the last norm of pre-training if the encoder has it."""
OF_CLASSIFIER = (
    "from tats_gym.encoders.find import EncoderSource\n"
    "logits = EncoderSource.find({file!r}).build_classifier().eval()(clips)"
)
CLASSIFYING: dict[Format, str] = LOADING | {
    "hf": """\
from transformers import VideoMAEForVideoClassification
logits = VideoMAEForVideoClassification.from_pretrained({out!r})(pixel_values).logits""",
    "videomae": OF_CLASSIFIER,
    "safetensors": OF_CLASSIFIER,
    "onnx": LOADING["onnx"].replace("tokens", "logits"),
    "torchexport": LOADING["torchexport"].replace("tokens", "logits"),
}
"""Each computes logits (B, classes); timm's, which has no classifier, tokens."""

RAW = "clips (B, C, T, H, W) are uint8 in [0, 255]"
INPUTS: dict[Format, str] = {
    "hf": "pixel_values (B, T, C, H, W) are normalised as preprocessor_config.json says",
    "timm": "normalised (B, C, T, H, W) are clips normalised by ImageNet's mean and std",
}
"""Inputs of formats that do not take `RAW`."""

FINETUNING: dict[Format, str] = {
    "hf": "VideoMAEForVideoClassification.from_pretrained({out!r}, num_labels=...)",
    "videomae": "run_class_finetuning.py --finetune {path}",
    "timm": 'timm.build(EncoderSource.find({out!r}), norm="none", num_classes=...)',
}
"""Code that fine-tunes the export, in libraries that train."""
APPLYING: dict[Format, str] = {
    "hf": 'pipeline("video-classification", model={out!r})("video.mp4")',
    "videomae": "run_class_finetuning.py --eval --finetune {path}",
    "safetensors": "tats-gym predict VIDEO --classifier {path}",
}
"""Code that applies an exported classifier to videos."""


def loading(source: EncoderSource, format: Format, files: list[Path]) -> str:
    """Return the lines that load an export and compute tokens or logits, with their inputs, and a hint for its use.

    Args:
        source: The exported encoder.
        format: Its format.
        files: Its files, from `export_encoder`.
    """
    names = {
        "out": str(files[0].parent),
        "file": str(files[0]),
        "path": shlex.quote(str(files[0])),
        "norm": "encoder" if source.has_norm else "none",
        "pooling": ", use_mean_pooling=False" if source.has_norm else "",
    }
    lines = [f"load it with, where {INPUTS.get(format, RAW)}:"]
    code = CLASSIFYING if source.head else LOADING
    lines += [f"    {line}" for line in code[format].format(**names).splitlines()]
    if source.head and format in APPLYING:
        lines.append(f"apply it with: {APPLYING[format].format(**names)}")
    elif format in FINETUNING:
        lines.append(f"fine-tune it with: {FINETUNING[format].format(**names)}")
    return "\n".join(lines)
