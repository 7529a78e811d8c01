"""The KServe ServingRuntime that runs `serving/`, our model server."""

from typing import Any, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from models.names import MLFLOW_RUNTIME


class MlflowRuntimeArgs(TypedDict):
    """Arguments of `MlflowRuntime`."""

    namespace: pulumi.Input[str]
    """Namespace of the InferenceServices that use it."""

    image: pulumi.Input[str]
    """Image of the model server."""


class MlflowRuntime(pulumi.ComponentResource):
    """Serves any MLflow model over KServe's v1 and v2 protocols."""

    name: pulumi.Output[str]
    """Name to give as `spec.predictor.model.runtime`."""

    def __init__(
        self, name: str, args: MlflowRuntimeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("modelramp:index:MlflowRuntime", name, dict(args), opts)
        container = {
            "name": "kserve-container",
            "image": args["image"],
            "args": ["--model_dir=/mnt/models", "--http_port=8080"],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            # Whoever asks why a pod does not start gets the server's last words.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            # Fetching is over then, loading is not; how long that may take is the rollout's to say
            # (`readyDeadline`), so the kubelet waits for an hour.
            "startupProbe": {**_probe("/v2/health/live"), "failureThreshold": 1800},
            "livenessProbe": {**_probe("/v2/health/live"), "periodSeconds": 10},
            # Not ready from the first moment of a stop on, while requests under way are answered.
            "readinessProbe": _probe("/v2/health/ready"),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        runtime = kubernetes.apiextensions.CustomResource(
            f"{name}-runtime",
            api_version="serving.kserve.io/v1alpha1",
            kind="ServingRuntime",
            metadata={"name": MLFLOW_RUNTIME, "namespace": args["namespace"]},
            spec={
                "supportedModelFormats": [{"name": "mlflow", "version": "3", "autoSelect": True}],
                "protocolVersions": ["v1", "v2"],
                "containers": [container],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        # Known at preview, and whoever uses it waits for the resource.
        self.name = runtime.urn.apply(lambda _: MLFLOW_RUNTIME)
        self.register_outputs({"name": self.name})


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 2, "timeoutSeconds": 5}
