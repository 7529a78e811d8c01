"""GPU pools: nodes with GPUs that services ask for by name, each with a hard cap."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from models.aws import Aws, SubnetId
from models.base import Declared, DurationSeconds, Name, refuse
from models.gpu_instances import gpus_of, has_no_gpus
from models.names import API_PREFIX

NVIDIA_GPU: Final = "nvidia.com/gpu"

POOL_LABEL: Final = f"{API_PREFIX}/gpu-pool"
"""Label of the nodes of a pool; its value is the pool's object name."""

SHARE_GROUP: Final = f"{API_PREFIX}/share-group"
"""Label of GPU pods, and taint of nodes that are dedicated to one group."""

DEVICE_PLUGIN_LABEL: Final = "nvidia.com/device-plugin.config"
"""Node label by which NVIDIA's device plugin picks a key of its ConfigMap."""

MIG_LABEL: Final = "nvidia.com/mig.config"
"""Node label by which NVIDIA's MIG manager divides the node's GPUs."""

_LONGEST_LABEL = 63
_RESERVED_DOMAINS = ("kubernetes.io", "k8s.io", "karpenter.sh", "karpenter.k8s.aws", API_PREFIX)

_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LabelKey = Annotated[str, StringConstraints(pattern=_QUALIFIED)]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
]
GpuResource = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][-A-Za-z0-9_.]*$")
]


InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")]
InstancePart = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]


class Taint(Declared):
    """A taint of a pool's nodes; the pods that we make tolerate it.

    Attributes:
        key: of the taint.
        value: of the taint.
        effect: on pods that do not tolerate it.
    """

    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class TimeSlicing(Declared):
    """Several pods take turns on one GPU: no isolation of memory or faults between them.

    Attributes:
        replicas: pods on one GPU.
        device_plugin_namespace: where NVIDIA's device plugin runs, and reads its ConfigMap.
    """

    kind: Literal["time-slicing"]
    replicas: int = Field(ge=2, le=48)
    device_plugin_namespace: Name = "nvidia-device-plugin"


class Mig(Declared):
    """Each GPU is divided by its hardware into slices with memory of their own.

    Attributes:
        profile: of each slice, such as `1g.5gb`; the GPU operator must know `all-<profile>`.
        slices: how many of this profile one GPU gives; 7 of `1g.5gb` on an A100 with 40 GB.
        device_plugin_namespace: where NVIDIA's device plugin runs, and reads its ConfigMap.
    """

    kind: Literal["mig"]
    profile: str = Field(pattern=r"^[1-7]g\.\d+gb(\.me)?$")
    slices: int = Field(ge=1, le=7)
    device_plugin_namespace: Name = "nvidia-device-plugin"


Sharing = Annotated[TimeSlicing | Mig, Field(discriminator="kind")]


class RootVolume(Declared):
    """The root volume of a node, gp3, always encrypted.

    Attributes:
        size_gib: images of model servers with CUDA take tens of GiB.
        iops: input and output operations a second.
        throughput_mib_per_second: the speed at which images and models arrive.
        kms_key_arn: a key of your own; its policy must let EC2 Auto Scaling use it.
    """

    size_gib: int = Field(150, ge=50, le=16384)
    iops: int = Field(3000, ge=3000, le=16000)
    throughput_mib_per_second: int = Field(250, ge=125, le=1000)
    kms_key_arn: str | None = Field(None, pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/.+$")

    @model_validator(mode="after")
    def _throughput_needs_iops(self) -> RootVolume:
        allowed = self.iops // 4
        if self.throughput_mib_per_second > allowed:
            raise ValueError(
                f"gp3 gives at most a quarter MiB/s for each of its iops: {self.iops} iops allow "
                f"a throughputMibPerSecond of {allowed}"
            )
        return self


class _Pool(Declared):
    """What every pool declares.

    Attributes:
        resource: what the nodes' device plugin calls a whole GPU.
        share_group: dedicates the pool to the services of this group; absent, any service may use
            it, and still no node ever has pods of two groups.
        sharing: one GPU for several pods; only within a share group.
        labels: further labels of the nodes.
        taints: further taints of the nodes.
    """

    resource: GpuResource = NVIDIA_GPU
    share_group: Name | None = None
    sharing: Sharing | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()

    @model_validator(mode="after")
    def _pool_is_sound(self) -> _Pool:
        problems = [*_sharing_problems(self), *_label_problems(self), *self._provider_problems()]
        refuse(problems)
        return self

    def _provider_problems(self) -> list[str]:
        return []


class EksPool(_Pool):
    """A managed node group of EKS, or two: spot nodes on top of a base that cannot be reclaimed.

    Attributes:
        instance_types: of the nodes; several give spot more places to find capacity.
        gpus_per_node: of every one of these types.
        min: least nodes.
        max: most nodes; times `gpus_per_node` it is the cap on GPUs.
        spot: spot nodes, for a fraction of the price and with two minutes' notice.
        on_demand_base: with spot, so many of `max` are on-demand nodes that stay.
        subnet_ids: where the types are to be had; those of `modelramp:aws` if absent.
        ami_release: of the EKS AL2023 NVIDIA image, so that nodes change when you say; the latest
            at creation if absent.
        root_volume: of each node.
    """

    provider: Literal["eks"]
    instance_types: tuple[InstanceType, ...] = Field(min_length=1, max_length=20)
    gpus_per_node: int = Field(1, ge=1, le=16)
    min: int = Field(0, ge=0)
    max: int = Field(ge=1)
    spot: bool = False
    on_demand_base: int = Field(0, ge=0)
    subnet_ids: tuple[SubnetId, ...] = ()
    ami_release: str | None = Field(None, pattern=r"^1\.\d+\.\d+-\d{8}$")
    root_volume: RootVolume = Field(default_factory=lambda: RootVolume.model_validate({}))

    def _provider_problems(self) -> list[str]:
        problems: list[str] = []
        if self.min > self.max:
            problems.append(f"min {self.min} is more than max {self.max}")
        if self.on_demand_base and not self.spot:
            problems.append("onDemandBase goes with spot: true; without it all nodes are on demand")
        if self.on_demand_base and self.on_demand_base >= self.max:
            problems.append(
                f"onDemandBase {self.on_demand_base} leaves no spot node under max {self.max}"
            )
        for instance_type in self.instance_types:
            gpus = gpus_of(instance_type)
            if gpus not in (None, self.gpus_per_node):
                problems.append(
                    f"{instance_type} has {gpus} whole NVIDIA GPUs, gpusPerNode says "
                    f"{self.gpus_per_node}: the cap would be wrong"
                )
        return problems


class Budget(Declared):
    """How many nodes Karpenter may disrupt at once.

    Attributes:
        nodes: a number or a percentage, `"1"` or `"20%"`; `"0"` forbids it.
        schedule: when it begins to hold, as cron in UTC; always, if absent.
        duration_seconds: for how long from then; goes with `schedule`, whole minutes.
        reasons: which disruptions it is for; all, if absent.
    """

    nodes: str = Field(pattern=r"^((100|[0-9]{1,2})%|[0-9]+)$")
    schedule: str | None = Field(
        None, pattern=r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4})$"
    )
    duration_seconds: DurationSeconds | None = Field(None, alias="duration")
    reasons: tuple[Literal["Underutilized", "Empty", "Drifted"], ...] = ()

    @model_validator(mode="after")
    def _schedule_with_duration(self) -> Budget:
        if (self.schedule is None) != (self.duration_seconds is None):
            raise ValueError("schedule and duration come together: one is missing")
        if self.duration_seconds is not None and self.duration_seconds % 60:
            raise ValueError("duration must be whole minutes: Karpenter knows no seconds here")
        return self


class Disruption(Declared):
    """When Karpenter may take nodes away.

    Attributes:
        consolidation_policy: `WhenEmpty` leaves pods that serve where they are;
            `WhenEmptyOrUnderutilized` also moves them to fewer or cheaper nodes.
        consolidate_after_seconds: how long a node must be so.
        budgets: how many at once.
        expire_after_seconds: the age at which a node is replaced, for a fresh image.
        termination_grace_period_seconds: after which a node that drains is ended, whatever still
            runs there; never, if absent.
    """

    consolidation_policy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"] = "WhenEmpty"
    consolidate_after_seconds: DurationSeconds = Field(300.0, alias="consolidateAfter")
    budgets: tuple[Budget, ...] = Field(
        default_factory=lambda: (Budget.model_validate({"nodes": "1"}),), min_length=1
    )
    expire_after_seconds: DurationSeconds = Field(30 * 86400.0, alias="expireAfter")
    termination_grace_period_seconds: DurationSeconds | None = Field(
        None, alias="terminationGracePeriod"
    )


class KarpenterPool(_Pool):
    """Nodes that Karpenter makes when pods wait for them.

    Attributes:
        instance_families: such as `g6`.
        instance_sizes: such as `xlarge`; any, if absent.
        gpus_per_node: only instances with so many GPUs; any, if absent.
        capacity_types: Karpenter takes the cheapest that it can have.
        max_gpus: the cap.
        ami: the image, pinned: `al2023@v20260810`. Karpenter takes its NVIDIA variant.
        subnet_ids: where nodes may run; those of `modelramp:aws` if absent.
        root_volume: of each node.
        disruption: when nodes may be taken away.
    """

    provider: Literal["karpenter"]
    instance_families: tuple[InstancePart, ...] = Field(min_length=1)
    instance_sizes: tuple[InstancePart, ...] = ()
    gpus_per_node: int | None = Field(None, ge=1, le=16)
    capacity_types: tuple[Literal["spot", "on-demand"], ...] = Field(("on-demand",), min_length=1)
    max_gpus: int = Field(ge=1)
    ami: str = Field(pattern=r"^al2023@v\d{8}$")
    subnet_ids: tuple[SubnetId, ...] = ()
    root_volume: RootVolume = Field(default_factory=lambda: RootVolume.model_validate({}))
    disruption: Disruption = Field(default_factory=lambda: Disruption.model_validate({}))

    def _provider_problems(self) -> list[str]:
        problems: list[str] = []
        if self.sharing:
            problems.append(
                "sharing needs provider eks or existing: Karpenter counts the GPUs of the "
                "hardware, not its slices, so it would make a node for every pod"
            )
        if self.gpus_per_node and self.gpus_per_node > self.max_gpus:
            problems.append(
                f"gpusPerNode {self.gpus_per_node} is more than maxGpus {self.max_gpus}: "
                "no node could ever be made"
            )
        problems += [
            f"{family} has no whole NVIDIA GPU on amd64"
            for family in self.instance_families
            if has_no_gpus(family)
        ]
        return problems


class ExistingPool(_Pool):
    """Nodes that are there already; none are made, none are changed.

    With `share_group` they are to be tainted `modelramp.dev/share-group=<group>:NoSchedule`. With
    `sharing` they are to be labelled, else pods wait: all with
    `nvidia.com/device-plugin.config=modelramp-<namespace>-<pool>`, for MIG also with
    `nvidia.com/mig.config=all-<profile>`.

    Attributes:
        node_selector: the labels that all of them have, and no other node.
        max_gpus: the cap.
        taints: those that the nodes have.
    """

    provider: Literal["existing"]
    node_selector: dict[LabelKey, LabelValue] = Field(min_length=1)
    max_gpus: int = Field(ge=1)

    def _provider_problems(self) -> list[str]:
        if self.labels:
            return ["labels are not set on existing nodes; nodeSelector says which they have"]
        return []


GpuPool = Annotated[EksPool | KarpenterPool | ExistingPool, Field(discriminator="provider")]
"""One pool of a stack, by its provider."""


def pool_object_name(namespace: str, pool: str) -> str:
    """Returns the name of a pool's cluster-wide objects, and the value of its nodes' label.

    Two stacks on one cluster may have a pool of the same name.
    """
    return f"modelramp-{namespace}-{pool}"


def capacity_gpus(pool: GpuPool) -> int:
    """Returns the cap of a pool in whole GPUs."""
    return pool.max * pool.gpus_per_node if isinstance(pool, EksPool) else pool.max_gpus


def pods_per_gpu(sharing: TimeSlicing | Mig | None) -> int:
    """Returns how many pods can have one GPU."""
    if sharing is None:
        return 1
    return sharing.replicas if isinstance(sharing, TimeSlicing) else sharing.slices


def requested_resource(pool: GpuPool) -> str:
    """Returns what a pod asks for to get a GPU of a pool, or a slice of one."""
    if pool.sharing is None:
        return pool.resource
    # A name of its own: nobody gets a slice who asked for a GPU.
    slice_ = (
        "gpu.shared" if isinstance(pool.sharing, TimeSlicing) else f"mig-{pool.sharing.profile}"
    )
    return f"nvidia.com/{slice_}"


def pool_problems(namespace: str, name: str, pool: GpuPool, aws: Aws | None) -> list[str]:
    """Returns what is wrong with a pool in its stack.

    Args:
        namespace: of the stack's services.
        name: of the pool.
        pool: the declaration.
        aws: what the stack says of AWS.
    """
    problems: list[str] = []
    whole = pool_object_name(namespace, name)
    if len(whole) > _LONGEST_LABEL:
        problems.append(f"{whole} is longer than {_LONGEST_LABEL}: it is a label of the nodes")
    if isinstance(pool, ExistingPool):
        return problems
    if aws is None or aws.eks is None:
        problems.append(f"provider {pool.provider} needs modelramp:aws.eks, the nodes' cluster")
    elif isinstance(pool, EksPool) and not (pool.subnet_ids or aws.eks.subnet_ids):
        problems.append("a managed node group needs subnetIds, here or in modelramp:aws.eks")
    return problems


def placement_problems(pool: GpuPool, share_group: str, count: int) -> list[str]:
    """Returns why pods of a share group cannot have `count` GPUs (or slices) each of a pool."""
    problems: list[str] = []
    if pool.share_group not in (None, share_group):
        problems.append(
            f"the pool is dedicated to share group {pool.share_group}, the service is in "
            f"{share_group}"
        )
    if isinstance(pool.sharing, TimeSlicing) and count != 1:
        problems.append("a pod of a time-sliced pool asks for 1: more would be no more of a GPU")
        return problems
    most = _most_in_one_pod(pool)
    if count > most:
        problems.append(
            f"no node of the pool has {count} of {requested_resource(pool)}: at most {most}"
        )
    return problems


def _most_in_one_pod(pool: GpuPool) -> int:
    gpus = None if isinstance(pool, ExistingPool) else pool.gpus_per_node
    return (gpus or capacity_gpus(pool)) * pods_per_gpu(pool.sharing)


def _sharing_problems(pool: _Pool) -> list[str]:
    if pool.sharing is None:
        return []
    problems: list[str] = []
    if pool.share_group is None:
        problems.append(
            "sharing is allowed only with shareGroup: GPUs are never shared by unrelated services"
        )
    if pool.resource != NVIDIA_GPU:
        problems.append(f"sharing is of NVIDIA's GPUs: resource must be {NVIDIA_GPU}")
    return problems


def _label_problems(pool: _Pool) -> list[str]:
    def reserved(key: str) -> bool:
        domain = key.rpartition("/")[0]
        return any(domain == it or domain.endswith(f".{it}") for it in _RESERVED_DOMAINS)

    keys = [*pool.labels]
    if not isinstance(pool, ExistingPool):  # whose taints are only reported
        keys += [taint.key for taint in pool.taints]
    return [
        f"{key}: the domains {', '.join(_RESERVED_DOMAINS)} are not yours to set"
        for key in keys
        if reserved(key)
    ]
