"""Fine-tune an encoder on labelled videos: tats-gym finetune --encoder RUN --env TatsMask-ssv2-v0."""

from pathlib import Path

from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import ENV_HELP, CommandLine, show_log
from tats_gym.finetune.config import FinetuneConfig, finetune_preset
from tats_gym.finetune.resume import begin_or_resume, resume, run_config
from tats_gym.finetune.testing import run_test
from tats_gym.runs.kinds import FINETUNING
from tats_gym.train.distributed import Ranks, process_group

ABOUT = f"""Fine-tune an encoder on labelled videos, and test it.

On several GPUs: torchrun --nproc_per_node=8 -m tats_gym finetune ...

{ENV_HELP}
--test-only     test a fine-tuned run, its export or a published fine-tuned file as --encoder, without training
--resume RUN    continue the run in this folder from its newest checkpoint
--folder DIR    folder of the run; a run in it is continued, so that the same command serves for restarts"""


def main(words: list[str], program: str = "tats-gym finetune") -> int:
    """Parse, build, train, test, and print the results and their files."""
    show_log(words)
    return exit_code(
        lambda: _finetune(words, program),
        "go on from the last checkpoint with --resume and the run's folder",
        "--batch-size and --test-batch-size take fewer clips at once; --optim.accumulate makes up for it",
    )


def _finetune(words: list[str], program: str) -> int:
    line = CommandLine(words, program, ABOUT, "env", "encoder", "resume", "folder", progress=True)
    config = _config(line)
    with process_group(config.device) as ranks:
        return _train(config, line.path("resume"), line.path("folder"), ranks)


def _config(line: CommandLine) -> FinetuneConfig:
    env_id, encoder, resumed = line.first["env"], line.first["encoder"], line.path("resume")
    if resumed:
        if env_id or encoder or line.first["folder"]:
            raise ValueError("--resume goes on with the run's own --env, --encoder and --folder; leave these out")
        config = line.settings(FinetuneConfig, run_config(resumed))
        if config.test_only:
            raise ValueError(
                f"--test-only tests the classifier of --encoder: give --encoder {resumed} --test-only, without --resume"
            )
        return config
    if line.file:
        line.file.check_run(FINETUNING)
    if not encoder and not line.asks_for_help():
        raise ValueError("--encoder must name a run, an export, a checkpoint, or a preset to start from scratch")
    return line.settings(FinetuneConfig, finetune_preset(line.env_id, encoder or "base"))


def _train(config: FinetuneConfig, resumed: Path | None, folder: Path | None, ranks: Ranks) -> int:
    if config.test_only:
        result = run_test(config, ranks, folder)
        if ranks.first:
            print(result.summary(config))
        return result.exit_code
    run = resume(resumed, config, ranks) if resumed else begin_or_resume(folder, config, ranks)
    if ranks.first:
        print(f"run folder: {run.folder}\nwatch it:   tensorboard --logdir {run.folder}", flush=True)
    try:
        result = run.run()
    finally:
        run.close()
    if ranks.first:
        print(result.summary(config))
    return result.exit_code
