"""Agents are compared at equal cost: every number by hand or by a plain loop, and each is measured once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tats_gym.agents.experiments.comparison import measures
from tats_gym.agents.experiments.comparison.compare import Comparison, defaults_for, run_comparison
from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.comparison.report import compare, comparison_tables
from tats_gym.agents.experiments.trials.trial import MASKS_FILE, latest_run
from tats_gym.agents.experiments.trials.variations import with_forwards
from tats_gym.agents.training.resume import resume
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.masks import random_ids
from tats_gym.model.encoder import VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.probe import AttentiveProbeConfig, KnnConfig, LogisticConfig, ProbeConfig, fit_knn
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint
from tests.layouts import write_two_classes
from tests.runs import tiny_config

PROBE = ProbePlan(config=ProbeConfig(logistic=LogisticConfig(strengths=(0.1,)), knn=KnnConfig(k=3)))


def refuse(env, config):
    raise ValueError(f"visible must be a multiple of 5, got {config.grid.num_visible}")


@pytest.fixture(scope="module", name="base")
def _base(tmp_path_factory):
    root = write_two_classes(tmp_path_factory.mktemp("labelled"))
    clips = ClipConfig(data="list", root=str(root), stride=1)
    config = tiny_config(root, tmp_path_factory.mktemp("unused"), env="TatsMask-list-v0", clips=clips, reward="gain")
    return with_forwards(replace(config, tats=replace(config.tats, credit="joint")), 32)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module", name="found")
def _found(base, folder):
    comparison = Comparison(base=base, agents=("random", "tats"), probe=PROBE)
    return run_comparison(comparison, folder, [0, 1], jobs=1, own_process=False)


def held_out_clips(base):
    stream = ClipStream(base.clips.held_out, frames=4, size=32, seed=0)
    return stream.centre([0, 3]).pixels  # two of the four, evenly spaced


def test_every_agent_has_a_row_for_every_seed_at_equal_cost(found):
    assert [(row["agent"], row["seed"]) for row in found.rows] == [
        ("random", 0), ("tats", 0), ("random", 1), ("tats", 1)
    ]  # fmt: skip
    assert {row["steps"] for row in found.rows} == {32}
    assert [row["extra_forwards"] for row in found.rows] == [0, 32, 0, 32]  # uniform masks need no reward
    assert found.notes == []


def test_differences_are_paired_by_seed(found):
    summary = compare(found.rows)
    rows = {(row["agent"], row["seed"]): row for row in found.rows}
    for name, measure, sign in (("error_random_drop", "error_random", -1), ("knn_rise", "knn", 1)):
        by_hand = [sign * (rows["tats", seed][measure] - rows["random", seed][measure]) for seed in (0, 1)]
        assert summary["tats"][name].values == pytest.approx(by_hand)
        assert name not in summary["random"]
    assert summary["random"]["reference_gain"].mean == pytest.approx(
        (rows["random", 0]["gain"] + rows["random", 1]["gain"]) / 2, abs=1e-6
    )


def test_masks_are_chosen_through_the_own_mae_and_measured_by_the_random_agents(found, base, folder):
    run = resume(latest_run(folder / "tats" / "seed1"))
    run.close()
    clips = held_out_clips(base)
    torch.manual_seed(2)  # a seed of its own, next to the run's
    with torch.no_grad():
        chosen = [run.agent.policy._predict(run.mae.embed(clips).float()) for _ in range(8)]
    assert np.array_equal(np.load(folder / "tats" / "seed1" / MASKS_FILE), torch.stack(chosen))

    reference = build_mae(MAESource.find(str(latest_run(folder / "random" / "seed1"))), base.grid, seed=0)
    generator = torch.Generator().manual_seed(1)
    uniform = [random_ids(2, 8, base.grid.num_visible, generator=generator) for _ in range(8)]
    own, for_others, random = 0.0, 0.0, 0.0
    with torch.no_grad():
        for draw in range(8):
            for clip in range(2):
                own += reference(clips[clip : clip + 1], chosen[draw][clip : clip + 1]).errors.mean().item() / 16
                other = chosen[draw][1 - clip : 2 - clip]
                for_others += reference(clips[clip : clip + 1], other).errors.mean().item() / 16
                random += reference(clips[clip : clip + 1], uniform[draw][clip : clip + 1]).errors.mean().item() / 16
    row = found.rows[3]
    assert row["reference_gain"] == pytest.approx(random - own, abs=1e-6)
    assert row["reference_content_gain"] == pytest.approx(for_others - own, abs=1e-6)
    assert row["reference_error"] == pytest.approx(own, abs=1e-6)
    assert row["gain"] != row["reference_gain"]


def test_the_encoder_that_a_run_ended_with_is_probed(found, base, folder):
    encoder = VideoEncoder(base.mae, base.grid).eval()
    load_encoder_weights(encoder, encoder_weights(load_checkpoint(latest_run(folder / "tats" / "seed0"))["mae"]))
    splits = []
    for part in (base.clips, base.clips.held_out):
        stream = ClipStream(part, frames=4, size=32, seed=0)
        with torch.no_grad():
            splits.append(encoder(stream.centre(range(len(stream))).pixels).mean(1))
    train, test = splits
    model = fit_knn(train, torch.arange(8) % 2, 2, PROBE.config.knn)
    right = model.probabilities(test).argmax(1) == torch.arange(4) % 2
    assert found.rows[1]["knn"] == right.double().mean()
    assert (found.rows[1]["chance"], found.rows[1]["knn_k"]) == (0.5, PROBE.config.knn.k)
    assert not list(folder.rglob("*.safetensors"))


def test_finished_runs_are_not_repeated(found, base, folder, monkeypatch):
    for name in (
        "tats_gym.agents.experiments.trials.trial.run_trial",
        "tats_gym.agents.experiments.comparison.measures.held_out_for",
    ):
        monkeypatch.setattr(name, None)
    monkeypatch.setattr("tats_gym.agents.experiments.comparison.measures.evaluate", None)
    comparison = Comparison(base=base, agents=("random", "tats"), probe=PROBE)
    assert run_comparison(comparison, folder, [0, 1], jobs=1, own_process=False) == found


def test_without_random_a_reference_can_be_named(found, base, folder):
    comparison = Comparison(base=base, agents=("tats",))
    alone = run_comparison(comparison, folder, [1], jobs=1, own_process=False)
    assert alone.notes == [
        "no differences to 'random': it is not among the agents",
        "no gain under one MAE: name 'random' among the agents, or give a --reference",
        "no probes: not asked for",
    ]
    assert "reference_gain" not in alone.rows[0]
    tables = comparison_tables(compare(alone.rows))
    assert "gain under one MAE" not in tables
    assert "k-NN" not in tables

    named = replace(comparison, reference=str(latest_run(folder / "random" / "seed1")))
    again = run_comparison(named, folder, [1], jobs=1, own_process=False)
    assert again.rows[0]["reference_gain"] == pytest.approx(found.rows[3]["reference_gain"], abs=1e-6)
    other = replace(comparison, reference=str(latest_run(folder / "tats" / "seed1")))
    own = run_comparison(other, folder, [1], jobs=1, own_process=False)
    assert own.rows[0]["reference_gain"] == pytest.approx(found.rows[3]["gain"], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": ("random", "tatts")}, "must be one of .*did you mean 'tats'"),
        ({"agents": ("random", f"{__name__}:refuse")}, f"{__name__}:refuse: visible must be a multiple of 5, got 3"),
        ({"reference": "tiny"}, "must be a trained MAE, got 'tiny', a preset with untrained weights"),
        ({"reference": "runs/nowhere"}, "got 'runs/nowhere'"),
    ],
)
def test_agents_that_cannot_be_compared_are_named_before_any_run(base, tmp_path, changes, message):
    comparison = replace(Comparison(base=base, agents=("random",)), **changes)
    with pytest.raises(ValueError, match=message):
        run_comparison(comparison, tmp_path / "runs", [0], jobs=1, own_process=False)
    assert not (tmp_path / "runs").exists()


def test_probes_that_cannot_be_made_are_named_before_any_run(base, tmp_path):
    root = write_two_classes(tmp_path / "clips", train=2, validation=2)
    clips = replace(base.clips, data="list", root=str(root))
    comparison = Comparison(base=replace(base, clips=clips), agents=("random",), probe=ProbePlan())
    with pytest.raises(ValueError, match=r"every class has a single training video.*--no-probe"):
        run_comparison(comparison, tmp_path / "runs", [0], jobs=1, own_process=False)
    assert not (tmp_path / "runs").exists()


def test_a_reference_of_another_geometry_is_refused(base, folder, found, tmp_path):
    grid = replace(base.grid, frames=8, tubelet_size=4)
    comparison = Comparison(
        base=replace(base, grid=grid), agents=("random",), reference=str(latest_run(folder / "random" / "seed0"))
    )
    with pytest.raises(CheckpointError, match=r"random/seed0/.* must have the shape .* for TokenGrid\(frames=8"):
        run_comparison(comparison, tmp_path / "runs", [0], jobs=1, own_process=False)


def test_rollouts_that_would_train_an_mae_for_longer_are_refused(base, tmp_path):
    longer = replace(base, tats=replace(base.tats, n_steps=3))
    with pytest.raises(
        ValueError, match="random: its rollouts take 12 forwards, of which the 32 of a run must be a multiple"
    ):
        run_comparison(Comparison(base=longer, agents=("random",)), tmp_path / "runs", [0], jobs=1, own_process=False)


def test_an_agent_can_have_a_budget_of_its_own(base):
    comparison = Comparison(base=base, agents=("random", "tats"), forwards={"tats": 16})
    lengths = [comparison.config_of(agent).epoch_masks for agent in comparison.agents]
    assert lengths == [8, 4]  # 32 and 16 forwards in 4 epochs


def test_agents_are_named_once():
    base, _ = defaults_for("TatsMask-demo-v0")
    for agents in ((), ("random", "random")):
        with pytest.raises(ValueError, match="agents must be at least one, each named once"):
            Comparison(base=base, agents=agents)


def test_k_fits_tubes_and_forwards_are_a_whole_number_of_epochs():
    demo, plan = defaults_for("TatsMask-demo-v0")
    base = with_forwards(demo, 16_000)
    assert (base.grid.num_visible, base.grid.num_tokens, base.epoch_masks) == (48, 512, 1600)  # of 51
    assert (plan.pool, plan.config.knn.centre) == ("change", True)
    paper = with_forwards(defaults_for("TatsMask-ssv2-v0")[0], 64 * 800 * 10)
    assert paper.grid.num_visible == 80  # of 1568; tubes of 8
    assert with_forwards(replace(demo, grid=replace(demo.grid, visible=17)), 320).grid.num_visible == 17
    assert with_forwards(demo, 1600).log_interval == 5
    assert with_forwards(demo, 320).epoch_masks == 32
    with pytest.raises(ValueError, match=r"epochs \* num_envs = 10 \* 32 = 320, got 400; take 320 or 640"):
        with_forwards(demo, 400)
    with pytest.raises(ValueError, match=r"got 100; take 320$"):
        with_forwards(demo, 100)


def test_forwards_that_are_not_named_are_those_of_the_settings(base):
    config = replace(base, epoch_masks=None)  # eight clips, twice four at a time
    assert with_forwards(config).epoch_masks == 8


def test_the_attentive_probe_is_asked_for_and_kept_results_of_the_others_stay_valid():
    plain, more = ProbePlan(), ProbePlan(attentive=True)
    assert (plain.methods, more.methods) == (("logistic", "knn"), ("logistic", "knn", "attentive"))
    assert measures._inputs(plain).keys() == {
        "root",
        "pool",
        "norm",
        "config",
        "measures",
    }  # as before there was this probe
    assert measures._inputs(plain)["config"].keys() == {"logistic", "sgd", "knn"}
    assert measures._inputs(more)["config"]["attentive"]["epochs"] == 20
    other = ProbePlan(attentive=True, config=ProbeConfig(attentive=AttentiveProbeConfig(epochs=3)))
    assert measures._inputs(other) != measures._inputs(more) != measures._inputs(plain)
