"""The KServe ServingRuntime that runs `serving/`, our model server."""

from typing import TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.pods import CONTAINER, container_security, probes
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
            "name": CONTAINER,
            "image": args["image"],
            "args": ["--model_dir=/mnt/models", "--http_port=8080"],
            "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
            # Whoever asks why a pod does not start gets the server's last words.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **probes("/v2/health/ready", "/v2/health/live"),
            "securityContext": container_security(),
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
