"""Exports for serving without PyTorch: one ONNX graph from pixels to tokens or logits."""

from importlib.util import find_spec
from pathlib import Path

import torch

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION
from tats_gym.export.torchexport import BATCH, INPUT, traced

REQUIRED = ("onnx", "onnxscript")


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.onnx or classifier.onnx, weights included."""
    missing = [package for package in REQUIRED if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"format onnx needs {' and '.join(missing)}: pip install 'tats-gym[onnx]'")
    output = "tokens" if source.head is None else "logits"
    graph = torch.onnx.export(
        traced(source), dynamo=True, input_names=[INPUT], output_names=[output], dynamic_shapes=BATCH, verbose=False
    )
    assert graph is not None
    graph.model.metadata_props[DESCRIPTION] = describe(source)
    graph.save(folder / f"{source.part}.onnx", external_data=False)
