"""What is watched of a model service, and who hears of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from ruamel.yaml import YAML

from models.base import Declared, DurationSeconds, Name, format_duration, refuse
from models.metric_sources import METRIC_SOURCES
from models.metric_sources.measures import MOMENTARY, Measure

Severity = Literal["critical", "warning", "info"]
Metric = Literal[
    "errorRate",
    "slowShare",
    "latencyP99Ms",
    "accuracy",
    "predictionDrift",
    "featureDrift",
    "queuePerPod",
    "restarts",
    "gpuMemory",
    "gpuUtilisation",
]
AlertName = Literal[
    "ModelErrorBudgetBurn",
    "ModelLatencyBudgetBurn",
    "ModelErrorRateHigh",
    "ModelLatencyHigh",
    "ModelLatencyP99High",
    "ModelAccuracyLow",
    "ModelPredictionDrift",
    "ModelFeatureDrift",
    "ModelQueueDeep",
    "ModelRestarting",
    "ModelGpuMemoryHigh",
    "ModelGpuSaturated",
    "ModelGpuIdle",
    "ModelMetricsAbsent",
    "ModelWeightAbsent",
    "ModelCandidateWorse",
    "ModelRolloutStalled",
    "ModelRolloutNoData",
]


@dataclass(frozen=True)
class Watched:
    """What an alert on a metric is made of.

    Attributes:
        measure: what is compared with the bound.
        title: names it in a sentence.
        unit: `share` is 0 to 1; `ms` milliseconds; `count` a number of things.
        window_seconds: the time it is taken over unless declared otherwise.
        least_of: measure of which there must be enough, so that one failure of one says nothing.
        above: the alert of a value above the bound, if that is a harm.
        below: the alert of a value below it, if that is one.
    """

    measure: Measure
    title: str
    unit: Literal["share", "ms", "count"] = "share"
    window_seconds: float = 300.0
    least_of: Measure | None = None
    above: AlertName | None = None
    below: AlertName | None = None


METRICS: Final[Mapping[Metric, Watched]] = {
    "errorRate": Watched(
        "error_share", "share of failed requests", least_of="requests", above="ModelErrorRateHigh"
    ),
    "slowShare": Watched(
        "slow_share", "share of slow requests", least_of="requests", above="ModelLatencyHigh"
    ),
    "latencyP99Ms": Watched(
        "latency_p99_ms",
        "99th percentile of the response time",
        unit="ms",
        least_of="requests",
        above="ModelLatencyP99High",
    ),
    "accuracy": Watched(
        "accuracy",
        "accuracy on labelled requests",
        window_seconds=3600.0,
        least_of="labels",
        below="ModelAccuracyLow",
    ),
    "predictionDrift": Watched(
        "prediction_drift",
        "distance of predictions from the training data",
        window_seconds=3600.0,
        least_of="predictions",
        above="ModelPredictionDrift",
    ),
    "featureDrift": Watched(
        "feature_drift",
        "distance of a feature from the training data",
        window_seconds=3600.0,
        least_of="predictions",
        above="ModelFeatureDrift",
    ),
    "queuePerPod": Watched(
        "queue_per_pod", "number of requests that wait for a pod", "count", above="ModelQueueDeep"
    ),
    "restarts": Watched(
        "restarts", "number of restarts", "count", window_seconds=1800.0, above="ModelRestarting"
    ),
    "gpuMemory": Watched(
        "gpu_memory_share", "share of GPU memory in use", above="ModelGpuMemoryHigh"
    ),
    "gpuUtilisation": Watched(
        "gpu_utilisation_share",
        "utilisation of the GPUs",
        above="ModelGpuSaturated",
        below="ModelGpuIdle",
    ),
}


class Alert(Declared):
    """One alert of every version: `metric` below or above a bound, for a time.

    It takes the place of the default alert of that name; see `docs/runbooks` for all of them.

    Attributes:
        metric: `errorRate`, `slowShare`, `accuracy`, `gpuMemory` and `gpuUtilisation` are shares,
            0 to 1; the drifts are total variation distances, 0 to 1; `latencyP99Ms` is in
            milliseconds; `queuePerPod` and `restarts` are numbers.
        below: fires under this value.
        above: fires over this value.
        for_seconds: how long it must hold.
        over_seconds: the time the metric is taken over; that of the default alert if absent.
        severity: `critical` wakes somebody up, `warning` can wait until the morning.
    """

    metric: Metric
    below: float | None = Field(None, ge=0)
    above: float | None = Field(None, ge=0)
    for_seconds: DurationSeconds = Field(alias="for")
    over_seconds: DurationSeconds | None = Field(None, alias="over")
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _possible(self) -> Alert:
        watched = METRICS[self.metric]
        bound = self.above if self.below is None else self.below
        sides = [side for side in ("above", "below") if getattr(watched, side)]
        problems: list[str] = []
        if (self.below is None) == (self.above is None):
            problems.append("give exactly one of below and above")
        elif ("above" if self.below is None else "below") not in sides:
            problems.append(f"{self.metric} takes {' or '.join(sides)}")
        if bound is not None and watched.unit == "share" and bound > 1:
            problems.append(f"{self.metric} is a share, from 0 to 1, got {bound:g}")
        highest = METRIC_SOURCES["mlflow"].latency_edges_ms[-1]
        if bound is not None and watched.unit == "ms" and bound >= highest:
            problems.append(f"{self.metric} is measured up to {highest:g} ms, got {bound:g}")
        if self.over_seconds is not None and watched.measure in MOMENTARY:
            problems.append(f"{self.metric} is of the moment and takes no over")
        refuse(problems)
        return self

    @property
    def name(self) -> AlertName:
        """The alert's name, which is also its runbook's."""
        watched = METRICS[self.metric]
        name = watched.above if self.below is None else watched.below
        assert name is not None  # noqa: S101  validated
        return name


def _distinct(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    counted = Counter((alert.name, alert.severity) for alert in alerts)
    twice = [f"{name} with severity {severity}" for (name, severity), n in counted.items() if n > 1]
    if twice:
        raise ValueError(f"declared twice: {', '.join(twice)}")
    return alerts


Alerts = Annotated[tuple[Alert, ...], AfterValidator(_distinct)]
"""A service's own alerts; of one name there may be one of each severity."""


class AlertDefaults(Declared):
    """What becomes of the alerts that every service has.

    Attributes:
        disable: names of alerts that this service does without. To change a bound, declare an
            alert on the same metric under `alerts`.
        min_requests: with fewer requests in its window, no alert on a rate or a latency fires.
        min_labels: with fewer labels in its window, no alert on accuracy fires.
        min_predictions: with fewer predictions in its window, no alert on drift fires: small
            samples are always some way from their distribution.
    """

    disable: tuple[AlertName, ...] = ()
    min_requests: int = Field(100, ge=1)
    min_labels: int = Field(100, ge=1)
    min_predictions: int = Field(1000, ge=1)


class BurnWindow(Declared):
    """One pair of windows over which an error budget burns; see `burn_windows.yaml`.

    Attributes:
        severity: of the alert.
        budget_percent: share of the budget that is spent within the long window.
        long_seconds: the window that decides.
        short_seconds: the window that ends the alert soon after the harm ended.
    """

    severity: Severity
    budget_percent: Annotated[float, Field(gt=0, le=100)]
    long_seconds: DurationSeconds = Field(alias="long")
    short_seconds: DurationSeconds = Field(alias="short")

    @property
    def long(self) -> str:
        """The long window as a Prometheus duration."""
        return format_duration(self.long_seconds)

    @property
    def short(self) -> str:
        """The short window as a Prometheus duration."""
        return format_duration(self.short_seconds)


class BurnWindows(Declared):
    """How fast an error budget may burn, in several pairs of windows.

    Attributes:
        period_seconds: the time that an error budget is for.
        windows: pairs of windows.
    """

    period_seconds: DurationSeconds = Field(alias="period")
    windows: tuple[BurnWindow, ...]

    def burn_rate(self, window: BurnWindow) -> float:
        """Returns how many times faster than allowed the budget burns when it alerts."""
        return window.budget_percent / 100 * self.period_seconds / window.long_seconds


BURN_WINDOWS: Final = BurnWindows.model_validate(
    YAML(typ="safe").load(Path(__file__).with_name("burn_windows.yaml"))
)
"""The windows of every service."""

SecretKey = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9]*$", max_length=60)]
"""A config key of its own under `modelramp:`, set by `pulumi config set --secret`."""


class _Receiver(Declared):
    """Attributes of every receiver.

    Attributes:
        name: by which routes name it.
        send_resolved: whether it also hears that an alert has ended.
    """

    name: Name
    send_resolved: bool = True


class SlackReceiver(_Receiver):
    """A Slack channel.

    Attributes:
        channel: `#channel` or `@user`.
        url_secret: config key of the incoming webhook's URL.
    """

    kind: Literal["slack"]
    channel: Annotated[str, Field(pattern=r"^[#@].+")]
    url_secret: SecretKey

    @property
    def secret_key(self) -> str:
        """The config key of its secret."""
        return self.url_secret


class PagerDutyReceiver(_Receiver):
    """A PagerDuty service.

    Attributes:
        routing_key_secret: config key of the integration key (Events API v2).
    """

    kind: Literal["pagerduty"]
    routing_key_secret: SecretKey

    @property
    def secret_key(self) -> str:
        """The config key of its secret."""
        return self.routing_key_secret


class EmailReceiver(_Receiver):
    """An address.

    Attributes:
        to: who gets it.
        sender: whom it comes from.
        smarthost: `host:port` of the mail server.
        username: at the mail server; none if it asks for none.
        password_secret: config key of the password.
    """

    kind: Literal["email"]
    to: Annotated[str, Field(pattern=r"^\S+@\S+$")]
    sender: Annotated[str, Field(alias="from", pattern=r"^\S+@\S+$")]
    smarthost: Annotated[str, Field(pattern=r"^[^\s:]+:\d+$")]
    username: str | None = None
    password_secret: SecretKey | None = None

    @model_validator(mode="after")
    def _both(self) -> EmailReceiver:
        if (self.username is None) != (self.password_secret is None):
            raise ValueError("username and passwordSecret come together: one is missing")
        return self

    @property
    def secret_key(self) -> str | None:
        """The config key of its secret, if there is one."""
        return self.password_secret


class WebhookReceiver(_Receiver):
    """Any program that takes Alertmanager's JSON.

    Attributes:
        url_secret: config key of the URL, which may hold a token.
    """

    kind: Literal["webhook"]
    url_secret: SecretKey

    @property
    def secret_key(self) -> str:
        """The config key of its secret."""
        return self.url_secret


Receiver = Annotated[
    SlackReceiver | PagerDutyReceiver | EmailReceiver | WebhookReceiver,
    Field(discriminator="kind"),
]


class AlertRoute(Declared):
    """Which alerts go to a receiver; the first route that matches takes an alert.

    Attributes:
        receiver: its name.
        severity: only alerts of these severities; of all if none is given.
        owner: only alerts of services of these owners; of all if none is given.
    """

    receiver: Name
    severity: tuple[Severity, ...] = ()
    owner: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _chooses(self) -> AlertRoute:
        if not self.severity and not self.owner:
            raise ValueError("give severity, owner or both; what no route takes goes to default")
        return self


class Alerting(Declared):
    """Who hears of alerts. Secrets are config keys of their own, never in here.

    Attributes:
        receivers: whom there is to tell.
        default: name of the receiver of what no route takes.
        routes: which alerts go to another one.
        runbooks: URL of the folder of runbooks, named in every alert.
        group_wait_seconds: how long the first alert of a service waits for others of it.
        group_interval_seconds: least time before news of the same service are sent.
        repeat_interval_seconds: after which an alert that goes on is sent again.
    """

    receivers: tuple[Receiver, ...] = Field(min_length=1)
    default: Name
    routes: tuple[AlertRoute, ...] = ()
    runbooks: Annotated[str, Field(pattern=r"^https?://\S+[^/\s]$")] | None = None
    group_wait_seconds: DurationSeconds = Field(30.0, alias="groupWait")
    group_interval_seconds: DurationSeconds = Field(300.0, alias="groupInterval")
    repeat_interval_seconds: DurationSeconds = Field(14400.0, alias="repeatInterval")

    @model_validator(mode="after")
    def _consistent(self) -> Alerting:
        counted = Counter(receiver.name for receiver in self.receivers)
        problems = [f"two receivers are named {name}" for name, n in counted.items() if n > 1]
        named = {"default": self.default}
        named |= {f"routes[{at}]": route.receiver for at, route in enumerate(self.routes)}
        problems += [
            f"{where} names {name}, and there are only {', '.join(counted)}"
            for where, name in named.items()
            if name not in counted
        ]
        refuse(problems)
        return self

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The config keys of all secrets, each once."""
        keys = (receiver.secret_key for receiver in self.receivers)
        return tuple(dict.fromkeys(key for key in keys if key is not None))
