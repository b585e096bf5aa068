"""Train a token sampler and a masked autoencoder together: python scripts/train_ppo.py --env TatsMask-demo-v0."""

import argparse
import logging
import sys
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parent.parent
# A checkout runs without being installed, and agents are found where the command is given.
sys.path[:0] = [str(ROOT), str(Path.cwd())]

import tats_gym  # noqa: E402, F401 (registers the environments)
from tats_gym.agents import check_asked_for  # noqa: E402
from tats_gym.agents.config import PRESETS, PretrainConfig, preset_for  # noqa: E402
from tats_gym.agents.training.command_line import exit_code  # noqa: E402
from tats_gym.agents.training.pretraining import PretrainingResult  # noqa: E402
from tats_gym.agents.training.resume import begin_or_resume, resume, run_config  # noqa: E402
from tats_gym.statistics import of_clips, with_interval  # noqa: E402
from tats_gym.train.distributed import Ranks, process_group  # noqa: E402

DESCRIPTION = f"""Train a token sampler and a masked autoencoder together.

On several GPUs: torchrun --nproc_per_node=8 scripts/train_ppo.py ...

--preset NAME   start from another preset than the id's own: {", ".join(PRESETS)}
--resume RUN    go on with the run in this folder, from its newest checkpoint
--folder DIR    the run's own folder: a run that is in it goes on, so that the same command can be given again"""


def main(arguments: list[str]) -> int:
    """Parse, build, train, and say where everything is."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env")
    first.add_argument("--preset")
    first.add_argument("--resume", type=Path)
    first.add_argument("--folder", type=Path)
    chosen, rest = first.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(
        lambda: _run(chosen, rest),
        "go on from the last checkpoint with --resume and the run's folder",
        "--num-envs takes fewer clips at once, --recompute and --decode-ratio need less for each; see docs/scale.md",
    )


def _run(chosen: argparse.Namespace, rest: list[str]) -> int:
    config = _config(chosen, rest)
    with process_group(config.device) as ranks:
        result = _train(chosen, config, ranks)
        if ranks.first:
            _report(result)
    return result.exit_code


def _config(chosen: argparse.Namespace, rest: list[str]) -> PretrainConfig:
    if chosen.resume:
        if chosen.env or chosen.preset or chosen.folder:
            raise ValueError("--resume goes on with the run's own --env, --preset and --folder; leave these out")
        config = _parse(rest, default=run_config(chosen.resume))
        check_asked_for(config.agent, [word.removeprefix("--agent=") for word in rest])
        return config
    return _parse(rest, default=preset_for(chosen.env or "TatsMask-demo-v0", chosen.preset))


def _train(chosen: argparse.Namespace, config: PretrainConfig, ranks: Ranks) -> PretrainingResult:
    run = resume(chosen.resume, config, ranks) if chosen.resume else begin_or_resume(chosen.folder, config, ranks)
    if ranks.first:
        print(f"run folder: {run.folder}\nwatch it:   tensorboard --logdir {run.folder}", flush=True)
    try:
        return run.run()
    finally:
        run.close()


def _parse(rest: list[str], default: PretrainConfig) -> PretrainConfig:
    return tyro.cli(PretrainConfig, args=rest, default=default, prog="train_ppo.py", description=DESCRIPTION)


def _report(result: PretrainingResult) -> None:
    scores, chance = result.scores, result.config.grid.num_visible / result.config.grid.num_tokens
    print(
        f"held-out clips, one MAE (as this run left it): error {scores.error_own:.4f} under the agent's masks, "
        f"{scores.error_random:.4f} under random ones\n"
        f"gain {with_interval(scores.gain, scores.gain_interval, '+')}, of which "
        f"{with_interval(scores.content_gain, scores.content_gain_interval, '+')} because masks fit their clips "
        f"(95 % by Student's t over {of_clips(scores.num_clips)})\n"
        f"masks of two clips share {scores.overlap:.0%} of their tokens (chance {chance:.0%}); "
        f"chosen tokens move {scores.motion_lift:.2f} times as much as all"
    )
    if result.updates == 0:
        print("the agent made no update: all of this is of an untrained one (--tats.warmup-epochs: when it begins)")
    print(f"picture:    {result.picture}\nmetrics:    {result.folder / 'metrics.jsonl'}")
    if not result.finished:
        print(f"stopped; go on with: python scripts/train_ppo.py --resume {result.folder}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
