"""A whole stack as resources: pools, artifacts, services, and what watches them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from components.alert_routing import AlertRouting
from components.alert_rules import AlertRules
from components.artifact_store import ArtifactStore
from components.batch_job import BatchJob
from components.dashboards import Dashboards
from components.from_stack.alerts import (
    alert_routing_args,
    alert_rules_args,
    dashboards_args,
    scraping_args,
)
from components.from_stack.artifacts import artifact_store_args
from components.from_stack.batch import batch_job_args
from components.from_stack.gpu_pools import gpu_pool_args, gpu_rules_args
from components.from_stack.services import model_service_args
from components.gpu_node_pool import GpuNodePool
from components.gpu_rules import GpuRules
from components.model_service import ModelService
from components.scraping import Scraping
from components.serving_runtime import MlflowRuntime
from models.aws import Aws
from models.service import Service
from models.stack import Stack, secret_keys

Secret = Callable[[str], pulumi.Output[str]]
"""Gives the secret of a config key."""


def declare_stack(stack: Stack, secret: Secret, root: Path) -> Mapping[str, pulumi.Output[str]]:
    """Declares everything of a stack; returns the path of each service at the gateway.

    Args:
        stack: a validated stack.
        secret: gives the secret of a config key.
        root: the project; the embedded target's manifests go into its `.modelramp`.
    """
    cluster = stack.cluster
    options = pulumi.ResourceOptions(providers=_providers(stack, root))
    priority_classes = _gpu_pools(stack, options)
    deployed = {name: service for name, service in stack.services.items() if service.rollout}
    secrets = {key: secret(key) for _, key in secret_keys(stack)}
    store: ArtifactStore | None = None
    if stack.artifacts and cluster.target != "embedded":
        store = ArtifactStore(
            "artifacts",
            artifact_store_args(
                stack.artifacts, stack.services, cluster.namespace, stack.aws, secrets
            ),
            options,
        )
    if stack.alerting and cluster.target != "embedded":  # which renders YAML: no secrets there
        AlertRouting("alerts", alert_routing_args(stack.alerting, cluster, secrets), options)
    if not deployed:
        return {}
    runtime = MlflowRuntime(
        "mlflow", {"namespace": cluster.namespace, "image": cluster.server_image}, options
    )
    return {
        name: _service(name, service, stack, runtime.name, priority_classes, store, options)
        for name, service in deployed.items()
    }


def _providers(stack: Stack, root: Path) -> list[pulumi.ProviderResource]:
    embedded = stack.cluster.target == "embedded"
    providers: list[pulumi.ProviderResource] = [
        kubernetes.Provider(
            "kubernetes",
            kubeconfig="" if embedded else None,
            context=stack.cluster.context,
            render_yaml_to_directory=str(root / ".modelramp" / "manifests") if embedded else None,
        )
    ]
    return [*providers, _aws_provider(stack.aws)] if stack.aws else providers


def _aws_provider(declared: Aws) -> pulumi.ProviderResource:
    import pulumi_aws as aws  # noqa: PLC0415  most stacks on clusters of one's own have none

    return aws.Provider(
        "aws",
        region=declared.region,
        allowed_account_ids=[declared.account_id] if declared.account_id else None,
        default_tags={"tags": declared.tags},
    )


def _gpu_pools(stack: Stack, options: pulumi.ResourceOptions) -> dict[str, pulumi.Output[str]]:
    """Declares all GPU pools; returns their priority classes, by which their pods wait for them."""
    namespace = stack.cluster.namespace
    if stack.gpu_pools:
        GpuRules("gpus", gpu_rules_args(stack.gpu_pools, namespace), options)
    pools = {
        name: GpuNodePool(name, gpu_pool_args(pool, namespace, stack.aws), options)
        for name, pool in stack.gpu_pools.items()
    }
    return {name: pool.priority_class for name, pool in pools.items()}


def _service(
    name: str,
    service: Service,
    stack: Stack,
    mlflow_runtime: pulumi.Output[str],
    priority_classes: Mapping[str, pulumi.Output[str]],
    store: ArtifactStore | None,
    options: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    cluster = stack.cluster
    args = model_service_args(
        name,
        service,
        cluster,
        pools=stack.gpu_pools,
        priority_classes=priority_classes,
        mlflow_runtime=mlflow_runtime,
        service_account=store.account(name) if store else None,
    )
    model_service = ModelService(name, args, options)
    Scraping(name, scraping_args(service, cluster), options)
    AlertRules(name, alert_rules_args(service, cluster, stack.alerting), options)
    Dashboards(name, dashboards_args(service, cluster), options)
    for batch_name, batch in service.batch.items():
        job = batch_job_args(
            name,
            service,
            batch,
            stack,
            priority_classes=priority_classes,
            service_account=store.batch_account(name) if store else None,
            secret=store.secret if store else None,
        )
        if job:
            BatchJob(f"{name}-{batch_name}", job, options)
    return model_service.path
