"""Probes of frozen encoders: linear classifiers and nearest neighbours on their features."""

from tats_gym.probe.evaluation import METHODS, Method, ProbeConfig, ProbeResult, evaluate
from tats_gym.probe.knn import Knn, KnnConfig, fit_knn
from tats_gym.probe.logistic import Logistic, LogisticConfig, fit_logistic
from tats_gym.probe.sgd import SgdConfig, SgdProbe, fit_sgd

__all__ = [
    "METHODS",
    "Knn",
    "KnnConfig",
    "Logistic",
    "LogisticConfig",
    "Method",
    "ProbeConfig",
    "ProbeResult",
    "SgdConfig",
    "SgdProbe",
    "evaluate",
    "fit_knn",
    "fit_logistic",
    "fit_sgd",
]
