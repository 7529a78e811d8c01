"""What serves a model: the server, its size, how it scales, and what it speaks."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.base import Cpu, Declared, DurationSeconds, EnvironmentName, Memory, Name, refuse

Kind = Literal[
    "mlflow",
    "sklearn",
    "xgboost",
    "lightgbm",
    "onnx",
    "openvino",
    "triton",
    "mlserver",
    "huggingface",
    "vllm",
    "custom",
]
Protocol = Literal["v1", "v2", "openai"]


class Server(BaseModel):
    """What KServe has to know of a kind of runtime, and what that kind can do.

    Attributes:
        model_format: KServe's name of the format; none for a container of one's own.
        runtime: the ClusterServingRuntime that KServe ships; ours for `mlflow`.
        protocols: what it speaks over HTTP, the first one by default.
        grpc: whether it also speaks the open inference protocol over gRPC, at port 9000.
        metrics_port: where Prometheus finds its metrics.
        ready_path: answers 200 when the model is loaded.
        live_path: answers 200 as long as the server works.
        user: to run as, where the image would run as root.
        name_flag: option that sets the model's name; the runtime's own value would give each
            version another one.
        name_variable: the same as an environment variable.
        openai_path: where it serves OpenAI's protocol.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_format: str | None
    runtime: str | None
    protocols: tuple[Protocol, ...]
    grpc: bool = False
    metrics_port: int = 8080
    ready_path: str = "/v2/health/ready"
    live_path: str = "/v2/health/live"
    user: int | None = None
    name_flag: str | None = None
    name_variable: str | None = None
    openai_path: str = "/openai/v1"


def _kserve(model_format: str, runtime: str) -> Server:
    return Server(
        model_format=model_format,
        runtime=runtime,
        protocols=("v1", "v2"),
        name_flag="--model_name",
    )


_TRITON = Server(
    model_format="triton",
    runtime="kserve-tritonserver",
    protocols=("v2",),
    grpc=True,
    metrics_port=8002,
)
_OPENVINO = Server(
    model_format="openvino",
    runtime="kserve-openvino",
    protocols=("v2", "v1"),
    grpc=True,
    name_flag="--model_name",
)
SERVERS: Final[dict[Kind, Server]] = {
    "mlflow": Server(
        model_format="mlflow", runtime=None, protocols=("v1", "v2"), name_flag="--model_name"
    ),
    "sklearn": _kserve("sklearn", "kserve-sklearnserver"),
    "xgboost": _kserve("xgboost", "kserve-xgbserver"),
    "lightgbm": _kserve("lightgbm", "kserve-lgbserver"),
    "onnx": _TRITON.model_copy(update={"model_format": "onnx"}),
    "openvino": _OPENVINO,
    "triton": _TRITON,
    "mlserver": Server(
        model_format=None,
        runtime="kserve-mlserver",
        protocols=("v2",),
        grpc=True,
        name_variable="MLSERVER_MODEL_NAME",
    ),
    "huggingface": Server(
        model_format="huggingface",
        runtime="kserve-huggingfaceserver",
        protocols=("openai", "v1", "v2"),
        name_flag="--model_name",
    ),
    "vllm": Server(
        model_format="vLLM",
        runtime="kserve-vllmserver",
        protocols=("openai",),
        ready_path="/health",
        live_path="/health",
        user=1000,
        name_flag="--served-model-name",
        openai_path="/v1",
    ),
    "custom": Server(model_format=None, runtime=None, protocols=("v1", "v2", "openai"), grpc=True),
}
"""Source: `config/runtimes` of KServe 0.20."""


def _speaking_grpc() -> str:
    return ", ".join(kind for kind, server in SERVERS.items() if server.grpc)


class Gpu(Declared):
    """GPUs of one pod.

    Attributes:
        pool: a pool of `gpuPools`.
        count: how many; of a shared GPU, how many shares.
    """

    pool: Name
    count: int = Field(1, ge=1, le=16)


class Batching(Declared):
    """Requests that arrive together are answered together.

    Attributes:
        max_size: requests in a batch, at most.
        max_latency_seconds: how long the first one waits for others.
    """

    max_size: int = Field(32, ge=2)
    max_latency_seconds: DurationSeconds = Field(0.05, alias="maxLatency")


class Scaling(Declared):
    """How the number of pods follows the load.

    Attributes:
        max: pods of a version, at most.
        metric: `cpu` and `memory` (share of the request in percent) go by the cluster's own
            autoscaler; `requests` (a second), `queue` (requests waiting) and `tokens` (a second),
            each a pod, go by KEDA from Prometheus.
        target: what one pod is to carry.
        zero: whether a version without requests may end all its pods. Whoever comes first then
            waits for a pod (`knative`) or is refused until there is one (`standard`).
    """

    max: int = Field(ge=1)
    metric: Literal["cpu", "memory", "requests", "queue", "tokens"] = "cpu"
    target: float = Field(70.0, gt=0)
    zero: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Scaling:
        problems: list[str] = []
        if self.metric in ("cpu", "memory") and self.target > 100:
            problems.append(f"target is a percentage with metric {self.metric}, at most 100")
        if self.zero and self.metric != "requests":
            problems.append("zero needs metric requests: no pod, no other load to measure")
        refuse(problems)
        return self


class Grpc(Declared):
    """The open inference protocol over gRPC, beside HTTP.

    Attributes:
        hostname: by which the gateway tells this service from others: the path of a gRPC call
            names the protocol only.
    """

    hostname: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Runtime(Declared):
    """What serves the model.

    Attributes:
        kind: `mlflow`, our model server (`serving/`), loads any MLflow model; `custom` is an image
            of your own; all others are the runtimes that KServe ships.
        format: of the model, where the kind serves several: `mlserver` needs it.
        image: instead of the kind's own, with its digest (`name@sha256:...`); `custom` needs it.
        command: instead of the image's own; `custom` only.
        args: added to those that we give.
        env: environment variables in clear; secrets do not belong here.
        protocol: what requests look like; decides the paths at the gateway.
        grpc: also accept gRPC.
        ready_path: of `custom`: answers 200 when the model is loaded.
        replicas: pods of a version at full traffic; the least number with `scaling`.
        scaling: how the number of pods follows the load; a fixed number if absent.
        batching: of requests, before the model; KServe's batcher, v1 only.
        timeout_seconds: longest time for one prediction.
        cpu: CPU request of a pod, Kubernetes quantity.
        cpu_limit: what a pod may use while others leave it free; the same as `cpu` if absent.
        memory: memory request and limit of a pod, Kubernetes quantity.
        gpu: GPUs of a pod.
        writable_root: whether the container may write to its own file system; `/tmp` it always may.
    """

    kind: Kind
    format: Literal["sklearn", "xgboost", "lightgbm", "mlflow"] | None = None
    image: Annotated[str, Field(pattern=r"^[^\s@]+(@sha256:[0-9a-f]{64})?$")] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[EnvironmentName, str] = Field(default_factory=dict)
    protocol: Protocol | None = None
    grpc: Grpc | None = None
    ready_path: Annotated[str, Field(pattern=r"^/\S*$")] | None = None
    replicas: int = Field(1, ge=1)
    scaling: Scaling | None = None
    batching: Batching | None = None
    timeout_seconds: DurationSeconds = Field(30.0, alias="timeout", le=86400.0)
    cpu: Cpu = "1"
    cpu_limit: Cpu | None = None
    memory: Memory = "1Gi"
    gpu: Gpu | None = None
    writable_root: bool = False

    @property
    def server(self) -> Server:
        """What KServe has to know of this kind."""
        return SERVERS[self.kind]

    @property
    def requests(self) -> dict[str, str]:
        """CPU and memory that a pod is sure of."""
        return {"cpu": self.cpu, "memory": self.memory}

    @property
    def limits(self) -> dict[str, str]:
        """CPU and memory that a pod uses at most."""
        return {"cpu": self.cpu_limit or self.cpu, "memory": self.memory}

    @property
    def speaks(self) -> Protocol:
        """What requests over HTTP look like."""
        return self.protocol or self.server.protocols[0]

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Runtime:
        server = self.server
        custom = self.kind == "custom"
        rules = (
            (
                self.speaks not in server.protocols,
                f"{self.kind} speaks {', '.join(server.protocols)}, not {self.speaks}",
            ),
            (
                self.grpc is not None and not server.grpc,
                f"{self.kind} speaks no gRPC; {_speaking_grpc()} do",
            ),
            (custom and self.image is None, "custom needs an image"),
            (custom and self.protocol is None, "custom needs a protocol: v1, v2 or openai"),
            (bool(self.command) and not custom, "command is for custom only"),
            (self.ready_path is not None and not custom, "readyPath is for custom only"),
            (
                (self.kind == "mlserver") != (self.format is not None),
                "format is for mlserver only, which needs it: sklearn, xgboost, lightgbm, mlflow",
            ),
            (
                self.batching is not None and self.speaks != "v1",
                f"batching needs protocol v1, not {self.speaks}",
            ),
            (
                self.scaling is not None and self.scaling.max < self.replicas,
                f"scaling.max must be at least replicas, {self.replicas}",
            ),
            (
                self.scaling is not None
                and self.scaling.metric == "tokens"
                and self.kind != "vllm",
                "scaling by tokens needs vllm, which counts them",
            ),
            (
                self.scaling is not None
                and self.scaling.metric == "queue"
                and self.kind not in ("vllm", "triton", "onnx"),
                "scaling by queue needs onnx, triton or vllm, which count it; others: requests",
            ),
        )
        refuse([what for wrong, what in rules if wrong])
        return self
