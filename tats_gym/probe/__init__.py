"""Probes of frozen encoders: classifiers and decoders of numbers on their features."""

from tats_gym.probe.attentive_decoder import AttentiveDecoder, AttentiveDecoderConfig, fit_attentive_decoder
from tats_gym.probe.attentive_probe import (
    AttentiveClassifier,
    AttentiveProbeConfig,
    draw_classifier,
    fit_attentive_probe,
)
from tats_gym.probe.evaluation import METHODS, Method, ProbeConfig, ProbeResult, evaluate
from tats_gym.probe.knn import Knn, KnnConfig, fit_knn
from tats_gym.probe.logistic import Logistic, LogisticConfig, fit_logistic
from tats_gym.probe.ridge import Ridge, RidgeConfig, fit_ridge
from tats_gym.probe.sgd import SgdConfig, SgdProbe, fit_sgd

__all__ = [
    "METHODS",
    "AttentiveClassifier",
    "AttentiveDecoder",
    "AttentiveDecoderConfig",
    "AttentiveProbeConfig",
    "Knn",
    "KnnConfig",
    "Logistic",
    "LogisticConfig",
    "Method",
    "ProbeConfig",
    "ProbeResult",
    "Ridge",
    "RidgeConfig",
    "SgdConfig",
    "SgdProbe",
    "draw_classifier",
    "evaluate",
    "fit_attentive_decoder",
    "fit_attentive_probe",
    "fit_knn",
    "fit_logistic",
    "fit_ridge",
    "fit_sgd",
]
