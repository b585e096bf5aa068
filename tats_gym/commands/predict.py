"""Predict the classes of videos with a fine-tuned classifier: tats-gym predict VIDEO... --classifier RUN.

Prints the most probable classes of each video, by the mean of the test views of the classifier's run. A video that
cannot be read is named and counted; if none can be read, the exit code is 1.
"""

import json
import sys
from collections.abc import Iterator

from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log
from tats_gym.finetune.predict import PredictConfig, Prediction, predict


def main(words: list[str], program: str = "tats-gym predict") -> int:
    """Parse, predict, and print the classes of each video."""
    show_log(words)
    return exit_code(
        lambda: _predict(words, program), "give the same command again", "--batch-size takes fewer videos at once"
    )


def _predict(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(PredictConfig)
    broken, count = [], 0
    for prediction in predict(config):
        count += 1
        broken += [str(prediction.video)] * prediction.broken
        print(_as_json(prediction) if config.json else "\n".join(_lines(prediction)), flush=True)
    if broken:
        print(f"{len(broken)} of {count} videos could not be read: {', '.join(broken)}", file=sys.stderr)


def _as_json(prediction: Prediction) -> str:
    top = [{"class": name, "probability": value} for name, value in prediction.top]
    return json.dumps({"video": str(prediction.video), "broken": prediction.broken, "top": top})


def _lines(prediction: Prediction) -> Iterator[str]:
    yield f"{prediction.video}{': cannot be read' if prediction.broken else ''}"
    yield from (f"{value:8.2%}  {name}" for name, value in prediction.top)
