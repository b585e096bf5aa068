"""Train a token sampler and a masked autoencoder together."""

from pathlib import Path
from typing import NamedTuple

from tats_gym.agents import check_asked_for, find_agent
from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.training.command_line import as_asked, run_config
from tats_gym.commands.line.agent_options import named_agent, options_of, plain
from tats_gym.commands.line.config_file import ConfigFile
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import AGENT_HELP, ENV_HELP, PRESET_HELP, CommandLine, check_mae, show_log
from tats_gym.envs.rewards import find_reward
from tats_gym.model.protocol import find_own
from tats_gym.runs.checkpoint import has_checkpoint
from tats_gym.runs.kinds import PRETRAINING
from tats_gym.targets.table import own_target

ABOUT = f"""Train a token sampler and a masked autoencoder together.

On several GPUs: torchrun --nproc_per_node=8 -m tats_gym train ...

{ENV_HELP}
{AGENT_HELP}; --help beside it shows its own settings
{PRESET_HELP}
--resume RUN    go on with the run in this folder, from its newest checkpoint
--folder DIR    the run's own folder: a run that is in it goes on, so that the same command can be given again"""


class Options(NamedTuple):
    """The options of a training."""

    config: PretrainConfig
    """The run's settings."""
    resume: Path | None
    """Folder of the run that goes on, from its newest checkpoint."""
    folder: Path | None
    """The run's own folder, whether there is a run in it or not; None makes a new one below `config.out`."""
    dry_run: bool
    """Whether the run is only planned."""


def main(words: list[str], program: str = "tats-gym train") -> int:
    """Parse, train, and print the results and their files."""
    show_log(words)
    return exit_code(
        lambda: _train(parse(words, program)),
        "go on from the last checkpoint with --resume and the run's folder",
        "--num-envs takes fewer clips at once, --recompute and --decode-ratio need less for each; see docs/scale.md",
    )


def parse(words: list[str], program: str = "tats-gym train") -> Options:
    """Read the options from a command's words.

    Raises:
        ValueError: If options exclude each other, or there is no such environment, preset or agent.
        SystemExit: If the user asked for help, or an option is unknown or malformed, which is then printed.
    """
    line = CommandLine(words, program, ABOUT, "env", "preset", "resume", "folder", progress=True, plans=True)
    env_id, preset = line.first["env"], line.first["preset"]
    resume, folder = line.path("resume"), line.path("folder")
    # A module is imported because the user named it, never because a file of a run does.
    named_module = env_id is not None and ":" in env_id
    if line.dry_run and (resume or folder):
        raise ValueError("--dry-run plans a new run; leave --resume and --folder out")
    if resume and (preset or folder or (env_id and not named_module)):
        raise ValueError("--resume goes on with the run's own --env, --preset and --folder; leave these out")
    if resume:
        config = _settings(line, run_config(resume), from_file=True)
        if env_id not in (None, config.env):
            raise ValueError(f"--resume goes on with the run's own --env {config.env}, got {env_id}; leave it out")
    else:
        if line.file:
            _prepare(line.file, preset)
        config = _settings(line, preset_for(line.env_id, preset), from_file=line.file is not None)
    _check_parts(line, config, from_file=bool(resume or line.file))
    if config.own_mae is None:
        begun = resume or (folder if folder and has_checkpoint(folder) else None)
        check_mae(line, config, begun=run_config(begun) if begun and line.given("mae") else None)
    return Options(config, resume, folder, line.dry_run)


def _check_parts(line: CommandLine, config: PretrainConfig, *, from_file: bool) -> None:
    """Check the names of reward, MAE and target, before the imports of a training, which take seconds.

    Args:
        line: The words, and the file.
        config: The run's settings.
        from_file: Whether a file may name them; modules are imported only if the words name them too.
    """
    if from_file:
        parts = (("reward", config.reward), ("own-mae", config.own_mae or ""), ("target", own_target(config.target)))
        for kind, name in parts:
            check_asked_for(name, [word.removeprefix(f"--{kind}=") for word in line.rest], kind)
    find_reward(config.reward)
    if own_target(config.target):
        find_own(config.target, "--target")
    if config.own_mae is None:
        return
    given = [word for word in line.rest if word.startswith("--mae.")]
    if line.file and not line.file.from_run and line.file.values.get("mae"):
        given.append(f"mae in {line.file.path}")
    if given:
        raise ValueError(
            f"{given[0]} is of tats_gym's MAE, but --own-mae {config.own_mae} takes its place; leave one out"
        )
    find_own(config.own_mae, "--own-mae")


def _settings(line: CommandLine, start: PretrainConfig, *, from_file: bool) -> PretrainConfig:
    """Parse the run's settings, its agent's own among them.

    Args:
        line: The words, and the file.
        start: The settings to start from.
        from_file: Whether a file may name the agent, whose module is imported only if the words name it too.
    """
    asked, in_file = named_agent(line.rest), line.file and line.file.values.get("agent")
    agent = asked or (in_file if isinstance(in_file, str) else start.agent)
    if from_file:
        check_asked_for(agent, [asked or ""])
    if line.file and in_file not in (None, agent):
        line.file.values.pop("agent_settings", None)  # of the agent that --agent replaces
    options = options_of(agent, start, line.rest, named=bool(asked or in_file))
    config = plain(line.settings(options.kind, options.default))
    resolve_settings(config, find_agent(config.agent))
    return config


def _prepare(file: ConfigFile, preset: str | None) -> None:
    """Leave to the agent again the settings of a run that it would take by itself, as --agent may name another."""
    file.check_run(PRETRAINING)
    if not file.from_run:
        return
    if preset:
        raise ValueError(f"--preset {preset} has no effect beside {file.path}, which has every setting; leave it out")
    file.values = as_asked(PretrainConfig.from_dict(file.values)).as_dict()


def _train(options: Options) -> int:
    # These imports take seconds, which --help and a mistyped option do without.
    if options.dry_run:
        from tats_gym.agents.training.plan import plan_run

        print(plan_run(options.config).report())
        return 0
    from tats_gym.agents.training.train import train

    return train(options.config, options.resume, options.folder)
