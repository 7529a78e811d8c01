"""The KServe ServingRuntime that runs `serving/`, our model server."""

from typing import TypedDict

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
            # Not ready from the first moment of a stop on, while requests under way are answered.
            "readinessProbe": {
                "httpGet": {"path": "/v2/health/ready", "port": 8080},
                "periodSeconds": 2,
                "timeoutSeconds": 2,
            },
            "livenessProbe": {
                "httpGet": {"path": "/v2/health/live", "port": 8080},
                "initialDelaySeconds": 60,  # a large model takes its time to load
                "periodSeconds": 10,
                "timeoutSeconds": 5,
            },
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
