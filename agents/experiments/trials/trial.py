"""Runs the trials of a study: each resumable in a folder of its own, with one row of numbers at its end."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.demo_objects import object_coverage
from tats_gym.agents.peers.fixed import FixedPolicy
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.training.command_line import differing, run_config
from tats_gym.agents.training.learning import NOT_UPDATED, updates
from tats_gym.agents.training.measures.evaluation import HeldOut, held_out_for
from tats_gym.agents.training.measures.mask_statistics import mean_lift, visible_share
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.encoders.shipped import MAE_NAMES
from tats_gym.envs.rewards import find_reward
from tats_gym.files.atomic import write_whole
from tats_gym.jobs.work_queue import name_of, share_out
from tats_gym.provenance import commit
from tats_gym.runs.metrics import pretraining_metrics, speed
from tats_gym.train.signals import StoppedError

logger = logging.getLogger(__name__)

ROW = "row.json"
PROBES = "probes.json"
"""The probes of a trial's encoder, which a comparison or a study of probes adds."""
MASKS_FILE = "masks.npy"
"""The agent's visible tokens (S, B, K) of the held-out clips at the end of a run, chosen from its own MAE's tokens."""
FINAL_MASKS = 8
"""Masks of each held-out clip in the last measurement."""
COST_INTERVAL_S = 30.0
"""Seconds from one update of a trial's cost file to the next."""


@dataclass(frozen=True)
class Trial:
    """One run of a study: an arm with a seed."""

    config: PretrainConfig
    folder: Path
    """This trial's alone; holds its runs."""


def run_trials(trials: Sequence[Trial], *, jobs: int, own_process: bool = False) -> None:
    """Run the trials that have no row yet, `jobs` at a time; with `own_process`, each in a process of its own.

    Several machines that share the folders can do this together, see `share_out`.

    Raises:
        ValueError: If a folder holds a run with other settings than its trial has now.
        WorkFailedError: If some failed; the others are done.
        StoppedError: If one was stopped; the next call resumes it.
    """
    for trial in trials:
        _check_settings(trial)
    total = sum(not _done(trial) for trial in trials)
    for trial, row in share_out(run_trial, trials, _done, jobs=jobs, own_process=own_process):
        done = total - sum(not _done(each) for each in trials)
        gain = f"gain {row['gain']:+.4f}" + (f" {NOT_UPDATED}" if row.get("updates") == 0 else "")
        logger.info("%d of %d: %s, %s, %.0f s", done, total, name_of(trial), gain, row["cost_s"])


def _done(trial: Trial) -> bool:
    return (trial.folder / ROW).is_file()


def _check_settings(trial: Trial) -> None:
    runs = sorted(trial.folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    if not runs:
        return
    before, now = run_config(runs[-1].parent), resolve_settings(trial.config, find_agent(trial.config.agent))
    if now.init_mae is not None:
        now = replace(now, mae=before.mae)  # a run records the sizes of the MAE that it starts from
    if other := differing([_portable(before), _portable(now)]):
        changes = ", ".join(f"{name} {values[0]!r}, now {values[1]!r}" for name, values in other.items())
        raise ValueError(
            f"{trial.folder} holds a run with other settings than are asked for now ({changes}); "
            "choose another --out, or delete it"
        )


def _portable(config: PretrainConfig) -> PretrainConfig:
    """Return the settings without those that may differ when a study moves to another folder or machine: its paths."""
    clips = replace(config.clips, root=None, index=None, num_workers=0, cache_mib=0, cache_windows=0, cache_dir=None)
    return replace(config, clips=clips, init_mae=config.init_mae if config.init_mae in MAE_NAMES else None)


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train one trial, resuming an earlier run of it, and write its row.

    Raises:
        StoppedError: If the run was stopped; the next call resumes it.
    """
    started = time.perf_counter()
    run = _open(trial)
    try:
        with _cost_counter(trial.folder / "cost.json", started) as spent:
            result = run.run()
            if not result.finished:
                raise StoppedError(f"{trial.folder} was stopped; run the study again to go on", result.exit_code)
            row, masks = _row(run)
            row["cost_s"] = round(spent(), 1)
    finally:
        run.close()
    np.save(trial.folder / MASKS_FILE, masks)
    write_whole(trial.folder / ROW, json.dumps(row))
    return row


@contextmanager
def _cost_counter(path: Path, started: float) -> Iterator[Callable[[], float]]:
    """Count the seconds spent on a trial over all its runs, and write them regularly, since processes are killed."""
    before: float = json.loads(path.read_text()) if path.is_file() else 0.0
    over = threading.Event()

    def spent() -> float:
        return before + time.perf_counter() - started

    def keep() -> None:
        while not over.wait(COST_INTERVAL_S):
            write_whole(path, json.dumps(spent()))

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield spent
    finally:
        over.set()
        keeper.join()
        write_whole(path, json.dumps(spent()))


def read_row(folder: Path) -> dict[str, Any]:
    """Read the row that `run_trial` wrote."""
    row: dict[str, Any] = json.loads((folder / ROW).read_text())
    if "clips_per_s" in row:  # of an older version
        row["masks_per_s"] = row.pop("clips_per_s")
    return row


def latest_run(folder: Path) -> Path:
    """Return the newest run below a trial's folder.

    Raises:
        FileNotFoundError: If there is none with a checkpoint.
    """
    checkpoints = sorted(folder.glob("*/checkpoints/step-*.pt"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise FileNotFoundError(f"{folder} holds no run with a checkpoint")
    return checkpoints[-1].parent.parent


def _open(trial: Trial) -> Pretraining:
    try:
        run = latest_run(trial.folder)
    except FileNotFoundError:
        shutil.rmtree(trial.folder, ignore_errors=True)  # a run that ended before its first checkpoint
        return Pretraining(replace(trial.config, out=str(trial.folder), quiet=True))
    asked = replace(resolve_settings(trial.config, find_agent(trial.config.agent)), out=str(trial.folder), quiet=True)
    return resume(run, asked)  # on another machine the clips may lie elsewhere


def _row(run: Pretraining) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Measure a finished run with more masks a clip than its curve: return its row, and visible tokens (S, B, K)."""
    config = run.config
    held_out = held_out_for(config, run.mae, num_masks=FINAL_MASKS)
    metrics, state = held_out.measure(run.agent.policy)
    ids_keep = held_out.ids_keep(run.agent.policy)
    visible = visible_share(ids_keep, config.grid.num_tokens)
    logged = pretraining_metrics(run.folder)
    row = {
        "seed": config.seed,
        "commit": commit(),
        "steps": run.agent.num_timesteps,
        "updates": updates(run.agent),
        "mae_steps": run.optimizer.steps,
        **asdict(metrics),
        **({} if state is None else asdict(state)),
        **object_lifts(held_out, ids_keep),
        "shown": [round(share, 4) for share in visible.tolist()],
        **speed(logged),
        "extra_forwards": run.agent.num_timesteps * _forwards_beside(run),
        "curve": list(_curve(logged)),
    }
    return row, ids_keep.numpy()


def _forwards_beside(run: Pretraining) -> int:
    """Return the number of further forwards for a mask: for the reward (in the warm-up too), choice and learning."""
    policy, agent = run.agent.policy, run.agent
    chosen_by = policy.forwards if isinstance(policy, FixedPolicy) else 0
    chosen_by += agent.extra_forwards if isinstance(agent, TokenRollouts) else 0
    return int(find_reward(run.config.reward).needs_random_mask) + chosen_by


def object_lifts(held_out: HeldOut, ids_keep: torch.Tensor) -> dict[str, float]:
    """Return the demo objects' coverage of the chosen tokens (S, B, K) over that of all tokens: 1 is chance."""
    if held_out.stream.config.data != "demo":
        return {}
    objects, acting = object_coverage(held_out.stream, held_out.ids, held_out.mae.grid)
    return {"object_lift": mean_lift(objects, ids_keep), "acting_lift": mean_lift(acting, ids_keep)}


CURVE_MEASURES = ("error_own", "error_random", "gain", "logit_deviation", "never_chosen", "motion_lift")


def _curve(logged: Sequence[Mapping[str, float]]) -> Iterator[dict[str, float]]:
    """Yield the measurements on held-out clips, their names without prefixes."""
    for line in logged:
        row = {name.rpartition("/")[2]: value for name, value in line.items()}
        if "gain" in row:
            yield {"step": row["step"], **{name: row[name] for name in CURVE_MEASURES if name in row}}
