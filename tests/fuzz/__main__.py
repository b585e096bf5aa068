"""The whole campaign: `python -m tests.fuzz`, or `make fuzz`. Ends with 1 where anything is wrong."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tats_gym.provenance import origin
from tats_gym.runs.progress import progress_bar
from tests.fuzz.campaign import DEATH, TIME_OUT, Judge, Result, run
from tests.fuzz.minimise import fault_of, once_each, save, smaller
from tests.fuzz.target import READ
from tests.fuzz.targets import TARGETS, shares

KEPT, LARGEST = 3, 4096
"""Inputs of each target that are kept, and bytes of the largest."""


def main() -> int:
    """Judge as many damaged inputs as asked for, keep those that show a fault, and record the outcomes."""
    asked = options()
    targets = [target for target in TARGETS if target.name in asked.only]
    counts = shares(targets, asked.inputs)
    about, result, start = origin(), Result(), time.monotonic()
    memory = Path("/dev/shm")  # where files cost least, if there is such a place
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        progress_bar(total=sum(counts.values()), unit="input") as bar,
    ):
        judged = run(
            targets,
            counts,
            Path(folder),
            seed=asked.seed,
            num_workers=asked.num_workers,
            time_limit_s=asked.time_limit_s,
        )
        for case, verdict in judged:
            result.add(case, verdict)
            bar.update()
        judge = Judge({target.name: target for target in targets}, Path(folder, "worlds"), Path(folder, "smaller"))
        for case, verdict in once_each(result.faults, fault_of):
            path = save(smaller(judge, case, verdict), asked.found, verdict.kind)
            print(f"{path}: {verdict.outcome[:200]}\n{verdict.fault}\n")
        if asked.keep:
            keep(result, judge, asked.keep)
    record = {"command": command(asked), "seed": asked.seed, **about, **summary(result, time.monotonic() - start)}
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    return 1 if result.faults else 0


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=40_000, help="damaged inputs, over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[target.name for target in TARGETS], help="targets")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--time-limit-s", type=float, default=10.0, help="after which a worker is killed")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="folder for inputs that show a fault")
    parser.add_argument("--keep", type=Path, help="folder for small inputs that are refused in different ways")
    parser.add_argument("--out", type=Path, help="file that the numbers are written into, as JSON")
    return parser.parse_args()


def keep(result: Result, judge: Judge, folder: Path) -> None:
    """Keep the smallest inputs that each target refuses in different ways, and those that killed a worker."""
    for target in result.outcomes:
        found = [each for (name, _), each in result.found.items() if name == target and not each[1].fault]
        refusals = sorted((each for each in found if each[1].kind != READ), key=lambda each: len(each[0].content))
        deaths = [each for each in refusals if each[1].outcome == DEATH]
        for case, verdict in [*deaths, *refusals[:KEPT]]:
            case = smaller(judge, case, verdict)
            if len(case.content) <= LARGEST or verdict.lost:
                save(case, folder, verdict.kind)


def command(asked: argparse.Namespace) -> str:
    """Return the command line, without the place of the results."""
    return f"python -m tests.fuzz --inputs {asked.inputs} --seed {asked.seed}"


def summary(result: Result, seconds: float) -> dict[str, Any]:
    """Return the outcomes of a campaign, in numbers."""
    total: Counter[str] = Counter()
    for outcomes in result.outcomes.values():
        total.update(outcomes)
    return {
        "inputs": result.inputs,
        "faults": total["fault"],
        "deaths_survived": total[DEATH],
        "time_outs_survived": total[TIME_OUT],
        "seconds": round(seconds),
        "targets": {
            name: {
                "inputs": outcomes.total(),
                "outcomes": dict(outcomes.most_common()),
                "distinct": len(result.signatures[name]),
            }
            for name, outcomes in result.outcomes.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
