"""The Pulumi program: every service of the stack that has been deployed."""

from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from components.alert_rules import AlertRules
from components.from_stack.alerts import alert_rules_args
from components.from_stack.services import model_service_args
from components.model_service import ModelService
from components.serving_runtime import MlflowRuntime
from models.errors import ConfigError
from models.stack import stack_from_config

ROOT = Path(__file__).resolve().parents[1]

config = pulumi.Config("modelramp")
declared = {key: config.get_object(key) for key in ("cluster", "services")}
try:
    stack = stack_from_config(
        {key: value for key, value in declared.items() if value is not None},
        f"stacks/Pulumi.{pulumi.get_stack()}.yaml",
    )
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None
cluster = stack.cluster
embedded = cluster.target == "embedded"
provider = kubernetes.Provider(
    "kubernetes",
    kubeconfig="" if embedded else None,
    context=cluster.context,
    render_yaml_to_directory=str(ROOT / ".modelramp" / "manifests") if embedded else None,
)
options = pulumi.ResourceOptions(provider=provider)
deployed = {name: service for name, service in stack.services.items() if service.rollout}

if deployed:
    runtime = MlflowRuntime(
        "mlflow", {"namespace": cluster.namespace, "image": cluster.server_image}, options
    )
    for name, service in deployed.items():
        args = model_service_args(name, service, cluster, mlflow_runtime=runtime.name)
        model_service = ModelService(name, args, options)
        AlertRules(name, alert_rules_args(service, cluster), options)
        pulumi.export(name, model_service.path)
