"""Damaged weights and descriptions of encoders are refused with the fault, and not half believed."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.weight_files import DESCRIPTION, read_json
from tats_gym.runs.checkpoint import CheckpointError
from tests.fuzz.weights import GRID, HF_CONFIG, make_encoders


@pytest.fixture(name="root")
def _root(tmp_path):
    make_encoders(tmp_path)
    for path in ("run", "hf", "encoder.safetensors", "published.pth"):
        EncoderSource.find(tmp_path / path, num_heads=2, source_grid=GRID).build(norm="encoder")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 1.5}, r"num_attention_heads must be a whole number above 0, got 1\.5"),
        ({"num_attention_heads": 3}, "num_heads must divide embed_dim, got 3 and 16"),
        ({"num_frames": "2"}, "num_frames must be a whole number above 0, got '2'"),
        ({"num_frames": True}, "num_frames must be a whole number above 0, got True"),
        ({"num_frames": 2**40}, "a clip must have at most 1048576 tokens, by its recorded geometry it has"),
        ({"image_size": None}, "image_size must be a whole number above 0, got None"),
        ({"image_size": [16, 8]}, r"clips must be square, got image_size \[16, 8\]"),
        ({"image_size": [[], []]}, r"image_size must be a whole number above 0, got \[\]"),
        ({"model_type": ["a" * 10_000]}, "its config.json says model_type .{1,200}, not 'videomae'"),
    ],
)
def test_a_hugging_face_folder_that_says_something_odd_is_refused(root, change, message):
    (root / "hf/config.json").write_text(json.dumps(HF_CONFIG | change))
    with pytest.raises(CheckpointError, match=f"no encoder in .*hf: {message}"):
        EncoderSource.find(root / "hf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mae_config": [1]}, "mae must be an object with the fields of MAEConfig, got"),
        ({"mae_config": {"embed_dim": "16"}}, "mae.embed_dim must be a whole number, got '16'"),
        (
            {"mae_config": {"depth": 2**30, "embed_dim": 16, "num_heads": 2}},
            "depth is recorded as 1073741824, its .* 1",
        ),
        ({"config": 5}, "its part 'config' must be an object, got 5"),
        ({"config": {"clips": []}}, r"its part 'clips' must be an object, got \[\]"),
        ({"mae": {1: torch.zeros(1)}}, "its part 'mae' must be an object, got"),
        ({"mae": {"encoder.norm.weight": "x"}}, "'encoder.norm.weight' in its part 'mae' must be a tensor, got 'x'"),
    ],
)
def test_a_run_whose_parts_are_others_is_refused(root, change, message):
    path = root / "run/checkpoints/step-000000000050.pt"
    state = torch.load(path)
    torch.save(state | change, path)
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(root / "run")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(root, value):
    path = root / "encoder.safetensors"
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
        metadata = file.metadata()
    weights["encoder.norm.weight"][3] = value
    save_file(weights, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"encoder\.norm\.weight holds numbers that are not finite"):
        EncoderSource.find(path)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"config": {"embed_dim": 32, "num_heads": 2}}', "embed_dim is recorded as 32, its weights have 16"),
        ('{"origin": []}', r"its part 'origin' must be an object, got \[\]"),
    ],
)
def test_a_description_that_is_damaged_is_refused(root, description, message):
    path = root / "encoder.safetensors"
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
    save_file(weights, path, metadata={DESCRIPTION: description})
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(path)


@pytest.mark.parametrize(
    "weight_map", [[], {"a": 1}, {"a": "../hf/model.safetensors"}, {"a": "gone.safetensors"}, {"a": "x" * 5000}]
)
def test_an_index_of_shards_that_leads_nowhere_is_refused(root, weight_map):
    (root / "hf/model.safetensors").rename(root / "model.safetensors")
    (root / "hf/model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"must say under 'weight_map'|which is missing there"):
        EncoderSource.find(root / "hf")


def test_names_that_are_no_text_are_no_weights(root):
    state = torch.load(root / "published.pth")
    torch.save({"model": state["model"] | {7: torch.zeros(1)}}, root / "published.pth")
    EncoderSource.find(root / "published.pth", num_heads=2, source_grid=GRID)


def test_json_that_is_nested_too_deep_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"not a JSON file: .*config\.json: .*nested too deeply"):
        read_json(tmp_path / "config.json")
