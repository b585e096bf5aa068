"""For serving without PyTorch: one ONNX graph from pixels to tokens."""

from importlib.util import find_spec
from pathlib import Path

import torch

from tats_gym.encoder_sources import EncoderSource, describe
from tats_gym.export.torchexport import BATCH, INPUT, OUTPUT, traced
from tats_gym.weight_files import DESCRIPTION

NEEDED = ("onnx", "onnxscript")


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.onnx, weights included."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"format onnx needs {' and '.join(missing)}: pip install 'tats-gym[onnx]'")
    graph = torch.onnx.export(
        traced(source), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=BATCH, verbose=False
    )
    assert graph is not None
    graph.model.metadata_props[DESCRIPTION] = describe(source)
    graph.save(folder / "encoder.onnx", external_data=False)
