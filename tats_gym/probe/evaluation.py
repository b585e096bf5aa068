"""Evaluates a probe: fits a classifier to the features of one split, and tests it on those of another."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from tats_gym.messages import check_choice
from tats_gym.probe.attentive_probe import (
    AttentiveClassifier,
    AttentiveProbeConfig,
    draw_classifier,
    fit_attentive_probe,
)
from tats_gym.probe.features import Features
from tats_gym.probe.knn import KnnConfig, fit_knn
from tats_gym.probe.labels import Labels, check_labels
from tats_gym.probe.logistic import LogisticConfig, fit_logistic
from tats_gym.probe.rankme import rankme
from tats_gym.probe.scoring import Accuracy, accuracy_of
from tats_gym.probe.sgd import SgdConfig, fit_sgd
from tats_gym.probe.token_source import TokenSource
from tats_gym.train.precision import resolve_device

Method = Literal["logistic", "sgd", "knn", "attentive"]
METHODS: tuple[Method, ...] = get_args(Method)


class Classifier(Protocol):
    """A fitted classifier, of any method."""

    def probabilities(self, values: Tensor) -> Tensor:
        """Return probabilities (E, classes) for features (E, D); each row sums to 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Settings of each method."""

    logistic: LogisticConfig = field(default_factory=LogisticConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)
    knn: KnnConfig = field(default_factory=KnnConfig)
    attentive: AttentiveProbeConfig = field(default_factory=AttentiveProbeConfig)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """A probe's accuracy, with its numbers of clips and classes."""

    method: Method
    accuracy: Accuracy
    """On the test clips; the probabilities of a clip's views are averaged."""
    train_top1: float
    """On the first pass of the training clips, of attentive on their centre views; with knn, each is among its own
    nearest neighbours."""
    rankme: float
    """Effective rank of the first pass of the training features, at most their number or width."""
    num_train: int
    """Training clips."""
    classes: tuple[str, ...]
    """Names of the classes."""
    trained_classes: int
    """Classes with training clips, which set the accuracy of guessing."""
    passes: int
    """Views of each training clip."""
    unreadable_train: int
    """Videos of the training split that do not decode."""
    unreadable_test: int
    """Videos of the test split that do not decode; the accuracy does not count them."""
    absent: int
    """Annotated videos of both splits that are not on the disk, or unusable according to an index."""
    fitted: dict[str, Any]
    """Values that the fit chose: strength of L2 and whether the solver converged, or number of neighbours or heads."""

    @property
    def chance(self) -> float:
        """Accuracy of guessing uniformly."""
        return 1 / self.trained_classes

    def as_dict(self) -> dict[str, Any]:
        """Return a flat dict of plain values, with the accuracy of guessing."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        measured: Accuracy = values.pop("accuracy")
        classes = values.pop("classes")
        return {
            **values,
            "top1": measured.top1,
            "top1_interval": measured.top1_interval,
            "top5": measured.top5,
            "per_class": measured.share_by_class(classes),
            "num_test": measured.videos,
            "num_classes": len(classes),
            "chance": self.chance,
        }


class _Scores(NamedTuple):
    """A fitted classifier's accuracy on both splits."""

    train: Accuracy
    test: Accuracy
    fitted: dict[str, Any]
    """See `ProbeResult`."""


def evaluate(method: Method, train: Features, test: Features, config: ProbeConfig, *, seed: int = 0) -> ProbeResult:
    """Fit a method to the training features and classify the test clips; `attentive` encodes the clips anew.

    Raises:
        ValueError: If there is no such method, there are no labels, or the splits have different classes.
    """
    check_choice("method", method, METHODS)
    check_features(train, test)
    scores = (_score_tokens if method == "attentive" else _score_features)(method, train, test, config, seed)
    return ProbeResult(
        method=method,
        accuracy=scores.test,
        train_top1=scores.train.top1,
        rankme=rankme(train.values[0]),
        num_train=len(train),
        classes=train.videos.classes,
        trained_classes=len(train.labels.unique()),
        passes=len(train.values),
        unreadable_train=len(train.broken),
        unreadable_test=len(test.broken),
        absent=sum(features.videos.missing + features.videos.broken for features in (train, test)),
        fitted=scores.fitted,
    )


def _score_features(method: Method, train: Features, test: Features, config: ProbeConfig, seed: int) -> _Scores:
    model, fitted = _fit(method, train, config, seed)
    probabilities = torch.stack([model.probabilities(view) for view in test.values]).mean(0)  # (E, classes)
    of_train = accuracy_of(model.probabilities(train.values[0]), train.labels[0])
    return _Scores(of_train, accuracy_of(probabilities, test.labels[0]), fitted)


def _score_tokens(method: Method, train: Features, test: Features, config: ProbeConfig, seed: int) -> _Scores:
    """Train the attentive probe on tokens that are encoded anew in each epoch, and classify by it."""
    source, tested = train.tokens, test.tokens
    if source is None or tested is None:
        raise ValueError(
            f"method {method} reads the tokens of clips, and these features were made without: take features_of"
        )
    sizes, settings = source.encoder.config, config.attentive
    num_heads = settings.num_heads or sizes.num_heads
    network = draw_classifier(sizes.embed_dim, num_heads, len(train.videos.classes), seed=seed)
    network.to(resolve_device(source.device))
    stream = source.stream(seed)
    try:
        fit_attentive_probe(
            network, lambda: source.train_epoch(stream, settings.batch_size), settings, count=len(stream)
        )
    finally:
        stream.close()
    of_train, of_test = (_classified(each, network) for each in (source.in_centre_view(), tested))
    return _Scores(of_train, of_test, {"num_heads": num_heads})


def _classified(source: TokenSource, network: AttentiveClassifier) -> Accuracy:
    """Return the accuracy on a source's clips; the probabilities of a clip's views are averaged."""
    scores, labels = [], []
    for tokens, of_clips in source.in_views():
        scores.append(network.probabilities(tokens).unflatten(0, (-1, source.views.count)).mean(1).cpu())
        labels.append(of_clips)
    return accuracy_of(torch.cat(scores), torch.cat(labels))


def _fit(method: Method, train: Features, config: ProbeConfig, seed: int) -> tuple[Classifier, dict[str, Any]]:
    num_classes = len(train.videos.classes)
    if method == "sgd":
        return fit_sgd(train.values, train.labels, num_classes, config.sgd, seed=seed), {}
    values, labels, ids = (each.flatten(0, 1) for each in (train.values, train.labels, train.ids))
    if method == "knn":
        knn = fit_knn(values, labels, num_classes, config.knn)
        return knn, {"k": knn.config.k}
    sources = torch.tensor(train.videos.sources())[ids]  # segments of a video look alike
    model = fit_logistic(values, labels, sources, num_classes, config.logistic, seed=seed)
    return model, {"l2": model.l2, "converged": model.converged}


def check_features(train: Features, test: Features) -> None:
    """Raise ValueError unless a probe can be trained and tested on these features."""
    for name, features in (("training", train), ("test", test)):
        if not len(features):
            raise ValueError(f"the {name} split has no clip that decodes; check it with tats-gym prepare verify")
    check_labels(*(Labels(features.labels.flatten(), features.videos.classes) for features in (train, test)))
    if test.labels.ne(test.labels[:1]).any():
        raise ValueError("the views of a test clip must stand in one order; take centre views (passes 0) for the test")
