"""A run's plan beside the run itself: its masks, measurements and checkpoints, and its speed on a clock of our own."""

from dataclasses import replace

import pytest

from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.sweeps import plan as sweep_plan
from tats_gym.agents.experiments.sweeps.sweep import SweepCommand
from tats_gym.agents.experiments.trials import plan as trials_plan
from tats_gym.agents.training import plan as plan_module
from tats_gym.agents.training.plan import Phase, RunPlan, plan_run
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.runs.metrics import read_metrics
from tats_gym.tokens import TokenGrid
from tests.runs import tiny_config


class _Clock:
    """A clock that goes on by two seconds with each step of an environment, and by seven with each measurement."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self._slow(monkeypatch, TokenSelectionVectorEnv, "step_tensors", 2.0)
        self._slow(monkeypatch, plan_module.HeldOut, "measure", 7.0)
        monkeypatch.setattr(plan_module.time, "perf_counter", lambda: self.now)

    def _slow(self, monkeypatch, owner, name, seconds):
        real = getattr(owner, name)

        def slow(*args, **kwargs):
            self.now += seconds
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)


def test_a_plan_agrees_with_its_run(clips_root, tmp_path, monkeypatch):
    config = replace(tiny_config(clips_root, tmp_path / "runs"), eval_clips=2)
    run = Pretraining(config)
    run.run()
    run.close()
    measured = [row for row in read_metrics(run.folder) if "held_out/gain" in row]
    kept = sorted((run.folder / "checkpoints").iterdir())
    _Clock(monkeypatch)
    plan = plan_run(config)
    assert [(phase.masks, phase.masks_per_s) for phase in plan.phases] == [(8, 2.0), (24, 2.0)]  # 4 masks in 2 s
    assert plan.measurements == len(measured)
    assert plan.measurement_s == 7.0
    assert (plan.masks_per_s, plan.rollout_masks) == (2.0, 4)
    assert plan.hours == pytest.approx((32 / 2 + 3 * 7) / 3600)
    assert plan.checkpoints == len(kept)
    assert plan.checkpoint_bytes == pytest.approx(kept[-1].stat().st_size, rel=0.02)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.folder.name]


@pytest.mark.parametrize(("agent", "masks"), [("random", [32]), ("adamae", [32]), ("sac", [8, 24])])
def test_only_agents_that_wait_have_a_part_before_they_learn(agent, masks, clips_root, tmp_path):
    config = replace(tiny_config(clips_root, tmp_path), agent=agent)
    assert [phase.masks for phase in plan_run(config).phases] == masks


def test_a_plan_adds_its_parts_up():
    config = replace(tiny_config("clips", "runs"), keep_checkpoints=3, keep_checkpoint_hours=2.0)
    phases = tuple(Phase(name=name, masks=3600 * 40, masks_per_s=20.0, wait_share=0.25) for name in ("first", "then"))
    plan = RunPlan(
        config=config,
        phases=phases,
        measurements=9,
        measurement_s=400.0,
        peak_memory_mib=512.0,
        checkpoint_bytes=2**28,
        rollout_masks=32,
    )
    assert plan.hours == 2 + 2 + 1
    assert plan.checkpoints == 3 + 2
    assert plan.disk_bytes == 5 * 2**28
    report = plan.report()
    assert "first: 144,000 masks at 20.00 a second, 25% of the time waiting for clips: 2.0 h" in report
    assert "time:   5.0 h\nmemory: 0.5 GiB\ndisk:   1.25 GiB, 5 checkpoints of 256 MiB" in report


def test_a_sweep_s_plan_adds_up_its_runs_over_seeds(clips_root, tmp_path, monkeypatch):
    planned = []

    def plan_in_hours(config):
        planned.append((config.agent, config.grid.mask_ratio, config.seed))
        phase = Phase(name="the whole run", masks=7200, masks_per_s=1.0 + (config.agent == "tube"), wait_share=0.0)
        return RunPlan(
            config=replace(config, keep_checkpoints=1), phases=(phase,), measurements=0, measurement_s=0.0,
            peak_memory_mib=0.0, checkpoint_bytes=2**29, rollout_masks=32,
        )  # fmt: skip

    monkeypatch.setattr(trials_plan, "plan_run", plan_in_hours)
    base = replace(tiny_config(clips_root, tmp_path), grid=TokenGrid(frames=4, size=128))
    command = SweepCommand(table="table6", seeds=(3, 4), out=tmp_path, base=base, probing=ProbePlan())
    *_, table, total = sweep_plan.plan_sweep(command)
    assert {agent for agent, *_ in planned} == {"tube", "adamae", "tats"}
    assert {ratio for _, ratio, _ in planned} == {0.85, 0.9, 0.95}
    assert {seed for *_, seed in planned} == {3}
    assert len(planned) == len(table.splitlines()) - 1 == 9
    assert "9 runs of 2 seeds, one after the other on this machine: 30.0 h, 9.0 GiB" in total  # 2 x (3 x 1 + 6 x 2) h
    assert list(tmp_path.iterdir()) == []
