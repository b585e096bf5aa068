"""The targets: their values against other implementations, their names, and the contract of one's own."""

import sys

import pytest
import torch

from tats_gym import contracts
from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.model.target import Pixels, Target, take
from tats_gym.model.videomae import MaskedAutoencoder, Reconstruction
from tats_gym.targets.table import TARGETS, build_target
from tests.encoders import CONFIG, GRID

# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "expected"), [("squared", [2.5, 4.5]), ("absolute", [1.5, 1.5])])
def test_errors_are_the_mean_distance_of_the_values(distance, expected):
    pred, target = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]]), torch.tensor([[[0.0, 4.0], [0.0, 0.0]]])
    found = Reconstruction(pred, target, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), distance)
    assert found.errors[0].tolist() == expected


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pixel", r"target must be one of .*; got 'pixel'; did you mean 'pixels'\?"),
        ("pixels:9", "target pixels takes no path, got 'pixels:9'"),
    ],
)
def test_names_that_are_none_are_answered(name, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(target=name)


def test_a_run_before_targets_predicts_pixels():
    older = PRESETS["demo"].as_dict()
    del older["target"]
    assert PretrainConfig.from_dict(older).target == "pixels"


# --- The contract, and targets of one's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_our_targets_keep_the_contract(name, demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    contracts.check_target(name)


class Broken(Target):
    """Pixels, of which a rule is broken."""

    def __init__(self, grid, change=lambda values: values, name="mine"):
        super().__init__(grid.patch_values, name)
        self.change = change

    def forward(self, patches, ids_hidden):
        return self.change(take(patches, ids_hidden).float())


def trained(grid):
    target = Broken(grid)
    target.scale = torch.nn.Parameter(torch.ones(1))
    return target


BROKEN = {
    "trained": (trained, "must keep its tensors as buffers"),
    "painted": (lambda grid: Broken(grid, name="pixels"), "must have another name than 'pixels'"),
    "narrow": (lambda grid: Broken(grid, lambda values: values[..., :5]), r"must return \(B \* G, M, width\)"),
    "of_the_batch": (lambda grid: Broken(grid, lambda values: values - values.mean()), "must not depend on the other"),
    "in_order": (lambda grid: Broken(grid, lambda values: values.sort(1).values), "in the order of the ids"),
    "random": (lambda grid: Broken(grid, torch.rand_like), "must return the same for the same clips"),
    "doubled": (lambda grid: Broken(grid, lambda values: values.double()), "must return float32"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_target_that_breaks_a_rule_is_told_which(monkeypatch, name):
    module = type(sys)("broken_targets")
    module.build, rule = BROKEN[name]
    monkeypatch.setitem(sys.modules, "broken_targets", module)
    with pytest.raises(AssertionError, match=rule):
        contracts.check_target("broken_targets:build")


def test_a_function_that_makes_no_target_is_told():
    with pytest.raises(TypeError, match=r"--target tests.own_maes:no_model must make a .*Target, got a Linear"):
        build_target("tests.own_maes:no_model", GRID, CONFIG)
    with pytest.raises(ValueError, match="there is no 'nothing' to import"):
        build_target("tests.own_maes:nothing", GRID, CONFIG)


def test_pixels_are_the_default():
    assert isinstance(MaskedAutoencoder(CONFIG, GRID).target, Pixels)
    assert PRESETS["paper-ssv2"].target == "pixels"
