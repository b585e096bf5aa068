"""Settings come back from plain values unchanged, and a wrong one is named with its rule and value."""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from tats_gym.agents.config import PRESETS, OffPolicyConfig, PretrainConfig
from tats_gym.finetune.config import FinetuneConfig, FinetuneOptimConfig
from tats_gym.model.videomae import MAEConfig
from tats_gym.settings.config_io import from_plain


@dataclass(frozen=True, kw_only=True)
class Part:
    rate: float = 0.5
    pair: tuple[float, float] = (0.0, 1.0)
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Whole:
    count: int
    kind: Literal["a", "b"] = "a"
    switch: bool = False
    limit: int | None = None
    part: Part = field(default_factory=Part)


def test_lists_become_tuples_and_missing_fields_have_their_defaults():
    values = {"count": 3, "limit": None, "part": {"rate": 1, "pair": [1, 2.5], "names": ["x", "y"]}}
    assert from_plain(Whole, values) == Whole(count=3, part=Part(rate=1, pair=(1, 2.5), names=("x", "y")))
    assert from_plain(Whole, {"count": 3, "part": Part(rate=2)}) == Whole(count=3, part=Part(rate=2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"count": "3"}, TypeError, "^count must be a whole number, got '3'$"),
        ({"count": 3.0}, TypeError, "^count must be a whole number, got 3.0$"),
        ({"count": True}, TypeError, "^count must be a whole number, got True$"),
        ({"count": 2**63}, ValueError, "^count must lie within 64 bits, got 9223372036854775808$"),
        ({"kind": "c"}, ValueError, "^kind must be one of a, b; got 'c'$"),
        ({"kind": ["a"]}, ValueError, r"^kind must be one of a, b; got \['a'\]"),
        ({"switch": 1}, TypeError, "^switch must be true or false, got 1$"),
        ({"limit": ""}, TypeError, "^limit must be a whole number, got ''$"),
        ({"part": []}, TypeError, r"^part must be an object with the fields of Part, got \[\]$"),
        ({"part": {"rate": None}}, TypeError, r"^part\.rate must be a number, got None$"),
        ({"part": {"rate": float("nan")}}, ValueError, r"^part\.rate must be finite, got nan$"),
        ({"part": {"rate": float("inf")}}, ValueError, r"^part\.rate must be finite, got inf$"),
        ({"part": {"rate": -1}}, ValueError, "^rate must not be negative, got -1$"),
        ({"part": {"pair": [1]}}, ValueError, r"^part\.pair must have 2 values, got \[1\]$"),
        ({"part": {"pair": 1}}, TypeError, r"^part\.pair must be a list, got 1$"),
        ({"part": {"names": ["x", 1]}}, TypeError, r"^part\.names\[1\] must be text, got 1$"),
        ({"cuont": 3}, TypeError, "^Whole has no field 'cuont'; did you mean 'count'\\?$"),
        ({"part": {"": 0}}, TypeError, "^part has no field ''$"),
    ],
)
def test_values_that_do_not_fit_are_named(change, error, message):
    with pytest.raises(error, match=message):
        from_plain(Whole, {"count": 3} | change)


@pytest.mark.parametrize(("values", "message"), [({}, "Whole lacks count"), (None, "Whole must be an object .* None")])
def test_a_whole_that_does_not_fit_is_named(values, message):
    with pytest.raises(TypeError, match=message):
        from_plain(Whole, values)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back(name):
    assert PretrainConfig.from_dict(json.loads(json.dumps(PRESETS[name].as_dict()))) == PRESETS[name]


def test_a_recipe_of_fine_tuning_comes_back_and_is_checked():
    config = FinetuneConfig(encoder="tiny", temporal_views=5)
    values = json.loads(json.dumps(config.as_dict()))
    assert FinetuneConfig.from_dict(values) == config
    with pytest.raises(TypeError, match=r"optim\.betas must be a list, got None"):
        FinetuneConfig.from_dict(values | {"optim": {"betas": None}})
    with pytest.raises(TypeError, match="FinetuneConfig lacks encoder"):
        FinetuneConfig.from_dict({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": "32"}, "num_envs must be a whole number, got '32'"),
        ({"tats": {"learning_rate": float("nan")}}, r"tats\.learning_rate must be finite, got nan"),
        ({"mae_optim": None}, "mae_optim must be an object with the fields of MAEOptimConfig, got None"),
        ({"decode_ratio": 0}, r"decode_ratio must lie in \(0, 1\], got 0"),
        ({"seed": 5_000_000_000}, r"seed must lie in \[0, 2\*\*32\), got 5000000000"),
        ({"masks_per_clip": 0}, "masks_per_clip must be at least 1, got 0"),
        ({"mae": {"depth": -1}}, "depth must not be negative, got -1"),
        ({"sampler": {"head_dim": 0}}, "head_dim must be at least 1, got 0"),
    ],
)
def test_settings_of_a_run_that_do_not_fit_are_named(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PretrainConfig.from_dict(PRESETS["demo"].as_dict() | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_checkpoint_hours": math.inf}, "keep_checkpoint_hours must be finite, got inf"),
        ({"seed": 2**63}, "seed must lie within 64 bits, got 9223372036854775808"),
        ({"num_envs": "32"}, "num_envs must be a whole number, got '32'"),
    ],
)
def test_values_that_could_not_be_read_back_are_no_settings_in_the_first_place(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        replace(PRESETS["demo"], **change)
    with pytest.raises(ValueError, match="base_lr must be finite, got inf"):
        FinetuneConfig(encoder="tiny", optim=FinetuneOptimConfig(base_lr=math.inf))


def test_an_encoder_s_blocks_have_a_width():
    with pytest.raises(ValueError, match="mlp_ratio must be positive, got 0"):
        MAEConfig(mlp_ratio=0)


def test_a_part_of_the_settings_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="target_entropy must be finite, got -inf"):
        OffPolicyConfig(target_entropy=-math.inf)
