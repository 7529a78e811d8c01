"""The cap of a GPU pool in the cluster: a ResourceQuota on the pods that name the pool."""

import pulumi
import pulumi_kubernetes as kubernetes


def declare_quota(
    name: str,
    object_name: str,
    namespace: str,
    hard: dict[str, str],
    parent: pulumi.Resource,
) -> pulumi.Output[str]:
    """Declares the quota of a pool and the priority class by which it counts pods.

    A quota can be scoped only by what a pod says of itself, and of that only the priority class
    can be made for a pool. Its value is that of pods without one: it gives no priority.

    Args:
        name: logical name of the pool.
        object_name: of the priority class.
        namespace: that the quota holds in.
        hard: what all pods of the pool together may ask for.
        parent: of both.

    Returns:
        the priority class's name, for which pods wait until both are there.
    """
    child = pulumi.ResourceOptions(parent=parent)
    priority = kubernetes.scheduling.v1.PriorityClass(
        f"{name}-priority",
        metadata={"name": object_name},
        value=0,
        global_default=False,
        description=f"Names the GPU pool {name}, so that its quota counts the pod.",
        opts=child,
    )
    quota = kubernetes.core.v1.ResourceQuota(
        f"{name}-quota",
        metadata={"name": f"gpu-pool-{name}", "namespace": namespace},
        spec={
            "hard": {f"requests.{resource}": count for resource, count in hard.items()},
            "scope_selector": {
                "match_expressions": [
                    {"scope_name": "PriorityClass", "operator": "In", "values": [object_name]}
                ]
            },
        },
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[priority]),
    )
    return quota.urn.apply(lambda _: object_name)
