"""Kills a training at random instants, continues it, and compares its results: python -m tests.soak.kills.

The training is the very script, in a process that was forked from this one: importing takes longer than training.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro

from tats_gym.agents import find_agent
from tats_gym.files.atomic import write_whole
from tats_gym.provenance import origin
from tats_gym.runs import checkpoint
from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.runs.metrics import read_metrics
from tats_gym.train.signals import INTERRUPTED, PREEMPTED
from tests.layouts import write_layout
from tests.runs import load_command
from tests.soak import command
from tests.soak.census import tree

IN_A_SAVE = "SIGKILL while a checkpoint is written"
SIGNALS = {
    "SIGKILL": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "SIGUSR1, then SIGTERM": [signal.SIGUSR1, signal.SIGTERM],
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
}
"""Ways in which a training is ended, beside the one above."""
KILLED, ASKED = ("SIGKILL", IN_A_SAVE), tuple(SIGNALS)[1:]
CODES = {signal.SIGTERM: PREEMPTED, signal.SIGUSR1: PREEMPTED, signal.SIGINT: INTERRUPTED}
MEASURED = ("step", "mae/loss", "mae/learning_rate", "rollout/reward", "held_out/gain", "held_out/error_random")
"""Metrics that must be the same. SB3 logs an update with the next rollout, so that of a last one may be missing."""

LOGGED_LATER = ("sac", "td3", "tqc")
"""Agents whose lines SB3 writes a step later, which may be after the end."""


@dataclass(frozen=True, kw_only=True)
class KillConfig:
    """Trainings that are killed again and again."""

    kills: int = 30
    """How often, in all; with SIGKILL alone, half of them while a checkpoint is written. As many again are asked
    to, by SIGTERM, SIGUSR1 with SIGTERM after it, Ctrl-C and two of these."""
    agent: str = "tats"
    """The agent, which chooses the tokens."""
    workers: int = 0
    """Processes that decode."""
    seed: int = 0
    """Of the instants."""
    out: Path | None = None
    """Where the record is written, as JSON."""


class Killing:
    """One training that is killed until it has come to its end, and one that is not.

    Args:
        folder: Where both go.
        config: Names the agent, and gives the seed of the instants.
    """

    def __init__(self, folder: Path, config: KillConfig) -> None:
        torch.set_num_threads(1)  # so that a forked process can go on, and sums have one order
        self._folder, self._config, self._rng = folder, config, random.Random(config.seed)
        self._clips = write_layout("folder", folder / "clips", train=8, validation=2)
        self._main: Callable[[list[str]], int] = load_command("train").main
        find_agent(config.agent)  # its module, and with the optimiser those of PyTorch, are then in every fork
        torch.optim.AdamW([torch.zeros(1)])
        self.ends: Counter[str] = Counter()
        """How often the training was ended, in each way."""
        self.wrong: list[str] = []
        """A broken promise."""
        start = time.monotonic()
        assert self._go_on("whole", lambda: None) == 0
        self._duration_s = time.monotonic() - start
        self._longest = 0.6

    def until(self, kills: int, ends: tuple[str, ...]) -> None:
        """Kill trainings until so many have been, each to its end, and compare each with the one left alone."""
        run, made = 0, 0
        while made < kills:
            run += 1
            name = f"{'killed' if ends == KILLED else 'asked'}-{run}"
            while True:
                end = self._rng.choice(ends) if made < kills else None
                code = self._one(name, end)
                if code == 0:
                    break
                if end is None:  # it was left alone
                    self.wrong.append(f"{name} ended with {code}")
                    return
                self.ends[str(end)] += 1
                made += 1
            self._compare(name)

    def _one(self, name: str, end: str | None) -> int:
        """Let it go on until it is ended in this way, or has come to its end."""
        if end is None:
            return self._go_on(name, lambda: None)
        if end == IN_A_SAVE:
            number, instant = self._rng.randrange(1, 6), self._rng.random()
            code, first = self._go_on(name, lambda: _die_in_save(number, instant)), signal.SIGKILL
        else:
            first = SIGNALS[end][0]
            code = self._go_on(name, lambda: None, SIGNALS[end])
        if code not in (0, CODES.get(first), -first):  # the last where it came before the script's own code
            self.wrong.append(f"{end} ended {name} with {code}")
        return code

    def _go_on(self, name: str, prepare: Callable[[], None], signals: list[signal.Signals] | None = None) -> int:
        """Begin or go on with a training in a process of its own; return its exit code, or minus the signal."""
        process = os.fork()
        if not process:
            os._exit(self._train(name, prepare))
        others: list[psutil.Process] = []
        if signals:
            time.sleep(self._rng.uniform(0.0, self._duration_s * self._longest))
            others = tree(psutil.Process(process))[1:]
            for number in signals:
                os.kill(process, number)
                time.sleep(self._rng.uniform(0.0, 0.1))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        _, alive = psutil.wait_procs(others, timeout=20)
        self.wrong += [f"{each.name()} {each.pid} outlived {name}" for each in alive]
        return code

    def _train(self, name: str, prepare: Callable[[], None]) -> int:
        settings = {
            "env": "TatsMask-folder-v0", "root": self._clips, "folder": self._folder / name, "device": "cpu",
            "stride": 1, "frames": 4, "size": 32, "visible": 3, "num-workers": self._config.workers,
            "agent": self._config.agent, "num-envs": 4,
            "mae.embed-dim": 64, "mae.depth": 1, "mae.num-heads": 1, "mae.decoder-embed-dim": 32,
            "mae.decoder-depth": 1, "mae.decoder-num-heads": 1, "mae-optim.epochs": 20, "tats.warmup-epochs": 4,
            "epoch-masks": 8, "eval-interval": 80, "eval-clips": 2, "eval-masks": 1, "log-interval": 1,
            "checkpoint-interval": 16, "off-policy.learning-starts": 40,
        }  # fmt: skip
        with (self._folder / f"{name}.log").open("a") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            prepare()
            try:
                return self._main(["--quiet", *(f"--{key}={value}" for key, value in settings.items())])
            except KeyboardInterrupt:  # before the script looks after signals, or after
                return INTERRUPTED
            except BaseException as err:
                print(f"Traceback: {err!r}")
                return 99
            finally:
                sys.stdout.flush()
                sys.stderr.flush()

    def _compare(self, name: str) -> None:
        one, other = (load_checkpoint(self._folder / each) for each in ("whole", name))
        self.wrong += [f"{name}: {place} differs" for place in differences(one, other)]
        both = [read_metrics(self._folder / each) for each in ("whole", name)]
        rows = [[{key: row.get(key) for key in MEASURED} for row in each] for each in both]
        again = [row for number, row in enumerate(rows[1]) if row in rows[0] and row not in rows[1][:number]]
        # A measurement made when the run was ended, and again when it went on, is an extra row.
        if again != rows[0] and self._config.agent not in LOGGED_LATER:
            self.wrong.append(f"{name}: other metrics")
        if "Traceback" in (self._folder / f"{name}.log").read_text():
            self.wrong.append(f"{name}: a traceback")
        left = [path.name for path in (self._folder / name / "checkpoints").iterdir() if path.suffix != ".pt"]
        self.wrong += [f"{name}: {each} was left" for each in left]


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Name the places where two states are not the same to the bit; settings say where a run lies, and may differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [each for key in one for each in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
        return [] if same else [place]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [each for i, (a, b) in enumerate(pairs) for each in differences(a, b, f"{place}/{i}")]
    return [] if one == other else [place]


def _die_in_save(number: int, instant: float) -> None:
    """Have this process killed within its so manieth checkpoint: while it is written, before or after it is renamed."""
    save, saves = torch.save, 0

    def save_some(state: Any, file: Any) -> None:
        nonlocal saves
        saves += 1
        save(state, file)
        if saves != number:
            return
        if instant < 0.8:
            file.truncate(int(file.tell() * instant / 0.8))
        file.flush()
        if instant < 0.9:
            os.kill(os.getpid(), signal.SIGKILL)
        checkpoint._delete_old = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # after the rename

    checkpoint.torch.save = save_some


def kill(config: KillConfig) -> int:
    """Kill, print the record, and return 0 if all went on to the very same weights."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        killing = Killing(Path(folder), config)
        killing.until(config.kills, KILLED)
        killing.until(config.kills, ASKED)
    record = {
        "command": command("tests.soak.kills"),
        **origin(),
        "settings": {name: value for name, value in asdict(config).items() if name != "out"},
        "ends": killing.ends,
        "seconds": round(time.monotonic() - start),
        "failures": killing.wrong,
    }
    text = json.dumps(record, indent=1)
    print(text)
    if config.out is not None:
        write_whole(config.out, text + "\n")
    return 1 if killing.wrong else 0


if __name__ == "__main__":
    sys.exit(kill(tyro.cli(KillConfig, prog="python -m tests.soak.kills", description=__doc__)))
