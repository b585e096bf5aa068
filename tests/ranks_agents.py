"""One process of trainings by several, as torchrun starts it, one of each agent: ranks_agents.py CLIPS OUT AGENT...."""

import sys
from pathlib import Path

import torch

from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.train.distributed import gather, process_group
from tests.runs import tiny_config


def main() -> None:
    """Train with each agent; fail unless all processes end with the same weights, which are not the first ones."""
    clips, out, *agents = sys.argv[1:]
    torch.set_num_threads(1)
    with process_group("cpu") as ranks:
        for agent in agents:
            config = tiny_config(clips, out, agent=agent, epoch_masks=16, eval_interval=10_000)
            run = Pretraining(config, Path(out) / agent, ranks)
            before = weights_of(run)
            run.run()
            run.close()
            after, *others = gather(weights_of(run))
            assert others, "torchrun should have started several processes"
            for part, weights in after.items():
                assert not torch.equal(weights, before[part]), f"{agent}: {part} did not learn"
                assert all(torch.equal(weights, each[part]) for each in others), f"{agent}: {part} differs"


def weights_of(run: Pretraining) -> dict[str, torch.Tensor]:
    """The weights of the MAE and of the sampler, each as one vector."""
    modules = {"mae": run.mae, "sampler": run.agent.policy}
    return {name: torch.nn.utils.parameters_to_vector(module.parameters()) for name, module in modules.items()}


if __name__ == "__main__":
    main()
