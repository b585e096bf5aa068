"""The sweeps of the paper's tables 2, 3 and 6 (supplement): settings of rows and columns, and the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tats_gym.agents.experiments.trials.variations import Changes

Published = Mapping[str, Mapping[str, str]]
"""Name of a row to the paper's figures by column."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep for one of the paper's tables: the settings of its rows, and the agents of its columns."""

    about: str
    """The swept settings, in a sentence."""
    corner: str
    """Head of the first column."""
    rows: Mapping[str, Changes]
    """Name of each row to its settings."""
    agents: Mapping[str, str]
    """Head of each column to its agent."""
    measures: Mapping[str, str]
    """Measure of a run's row to its title in the table; the first ranks the cells."""
    published: Mapping[str, Published]
    """Dataset to the paper's figures on it."""
    epochs: int | None = None
    """Epochs of a run, for sweeps over settings in epochs; None takes the preset's."""
    probed: bool = False
    """Whether the encoders are probed."""
    lower_is_better: bool = True
    """Whether the best value of the first measure is the lowest."""
    digits: int = 4
    """Decimal places of all measures."""

    @property
    def settings(self) -> frozenset[str]:
        """Dotted names of the settings that the sweep sets."""
        epochs = {"mae_optim.epochs"} if self.epochs is not None else set()
        return frozenset(epochs.union(*self.rows.values()))


def _by_row(names: Sequence[str], column: str, values: str) -> Published:
    return {name: {column: value} for name, value in zip(names, values.split(), strict=True)}


_M_O_AND_K = ((0, 1), (1, 1), (5, 1), (10, 1), (25, 1), (100, 1), (50, 5), (50, 10), (50, 25))
_COEFFICIENTS = (
    ("1e-4", "1e-3", "1e-3"), ("1e-4", "1e-3", "1e-4"), ("1e-4", "1e-4", "1e-3"), ("1e-3", "1e-4", "1e-4"),
    ("1e-4", "1e-4", "1e-4"), ("1e-5", "1e-4", "1e-4"), ("1e-3", "1e-3", "1e-4"), ("1e-5", "1e-5", "1e-5"),
)  # fmt: skip
_TABLE_2 = [f"({m_o}, {k})" for m_o, k in _M_O_AND_K]
_TABLE_3 = [f"({', '.join(each)})" for each in _COEFFICIENTS]
_RATIOS = ("0.85", "0.90", "0.95")
_TABLE_6 = {  # top-1 / top-5 of VideoMAE, AdaMAE and TATS, a line for each ratio
    "ucf101": """46.91/75.71 43.72/71.42 48.54/76.80
                 47.38/76.35 45.92/73.15 49.28/77.73
                 41.81/70.85 46.19/74.31 49.05/77.22""",
    "hmdb51": """20.57/50.52 21.42/52.28 22.53/53.91
                 19.99/50.72 22.66/54.17 22.79/54.10
                 17.64/48.37 21.81/51.56 23.50/52.28""",
    "k400": """12.86/31.33 10.51/26.49 11.61/28.64
               14.27/33.64 11.35/27.46 12.68/30.28
               14.75/34.50 13.36/30.90 13.66/31.72""",
    "ssv2": """8.96/23.43 9.91/25.47 10.29/26.04
               10.27/25.85 11.06/27.19 11.86/28.70
               11.18/27.68 12.75/30.66 13.39/31.88""",
}
_METHODS = {"VideoMAE (tube)": "tube", "AdaMAE": "adamae", "TATS": "tats"}

SWEEPS: Mapping[str, Sweep] = {
    "table2": Sweep(
        about="m_o, epochs in which the MAE is trained alone, and k, steps for one update of the sampler",
        corner="(m_o, k)",
        rows={
            name: {"tats.warmup_epochs": m_o, "tats.n_steps": k}
            for name, (m_o, k) in zip(_TABLE_2, _M_O_AND_K, strict=True)
        },
        agents={"TATS": "tats"},
        measures={"error_own": "error, own masks", "error_random": "error, random masks", "gain": "gain"},
        published={
            "ucf101": _by_row(_TABLE_2, "TATS", ".5211 .5205 .5304 .5135 .5269 .6662 .7735 .8149 .9201"),
            "hmdb51": _by_row(_TABLE_2, "TATS", ".8051 .8195 .8535 .8278 .8987 .9291 .9772 .9776 -"),
        },
        epochs=125,
    ),
    "table3": Sweep(
        about="c1, c2, c3: coefficients of the policy, of the value and of the entropy in the paper's per-token loss",
        corner="(c1, c2, c3)",
        rows={
            name: {
                "tats.credit": "token",
                "tats.policy_coef": float(c1),
                "tats.vf_coef": float(c2),
                "tats.ent_coef": float(c3),
                "tats.warmup_epochs": 10,
                "tats.n_steps": 1,
            }
            for name, (c1, c2, c3) in zip(_TABLE_3, _COEFFICIENTS, strict=True)
        },
        agents={"TATS": "tats"},
        measures={"error_own": "error, own masks", "error_random": "error, random masks", "gain": "gain"},
        # The paper prints the seventh row twice, with .5215 and .7869: one of both must belong to other coefficients.
        published={"ucf101": _by_row(_TABLE_3, "TATS", ".5188 .5167 .5246 .8482 .5135 .5239 .5215/.7869 .5173")},
        epochs=125,
    ),
    "table6": Sweep(
        about="the mask ratio, and the agent that masks: linear probing of the frozen encoder, per cent",
        corner="mask ratio",
        rows={ratio: {"grid.mask_ratio": float(ratio), "grid.visible": None} for ratio in _RATIOS},
        agents=_METHODS,
        measures={
            "logistic": "top-1",
            "logistic_top5": "top-5",
            "attentive": "attentive top-1",
            "attentive_top5": "attentive top-5",
        },
        published={
            data: {
                ratio: dict(zip(_METHODS, line.split(), strict=True))
                for ratio, line in zip(_RATIOS, figures.splitlines(), strict=True)
            }
            for data, figures in _TABLE_6.items()
        },
        probed=True,
        lower_is_better=False,
        digits=2,
    ),
}
