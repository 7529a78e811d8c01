# pyright: basic
"""What the node groups of a pool register is taken by AWS's API, as moto has it."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import boto3
import pytest
from botocore.validate import validate_parameters
from moto import mock_aws

from components.from_stack.gpu_pools import gpu_pool_args
from components.gpu_node_pool import GpuNodePool
from models.aws import Aws
from tests.components.aws_replay import parameters
from tests.components.gpu_pools import NAMESPACE, POOLS, declare

REGION = "eu-central-1"
RENAMED_OF_ROLES = {"assumeRolePolicy": "AssumeRolePolicyDocument", "role": "RoleName"}
RENAMED_OF_GROUPS = {"nodeRoleArn": "nodeRole", "subnetIds": "subnets"}
OF_THE_TEMPLATE = ("description", "tags", "updateDefaultVersion")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Generator[Aws]:
    """An account with a network, a boundary and an EKS cluster."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    # So that only policies that AWS really has can be attached.
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        ec2, iam = boto3.client("ec2", REGION), boto3.client("iam", REGION)
        network = ec2.describe_subnets()["Subnets"]
        boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=policy("ec2:*"))
        role = iam.create_role(RoleName="cluster", AssumeRolePolicyDocument=policy("sts:*"))
        subnets = [it["SubnetId"] for it in network]
        boto3.client("eks", REGION).create_cluster(
            name="prod",
            roleArn=role["Role"]["Arn"],
            resourcesVpcConfig={"subnetIds": subnets},
        )
        yield Aws.model_validate(
            {
                "region": REGION,
                "permissionsBoundaryArn": boundary["Policy"]["Arn"],
                "tags": {"team": "ml-platform"},
                "eks": {"cluster": "prod", "subnetIds": subnets},
            }
        )


def policy(action: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def replay(made: dict[str, dict[str, Any]]) -> None:
    """Makes the recorded resources as the provider would, in the order of their dependencies."""
    iam, ec2, eks = (boto3.client(it, REGION) for it in ("iam", "ec2", "eks"))
    real: dict[str, str] = {}
    order = ("Role", "RolePolicyAttachment", "LaunchTemplate", "NodeGroup")
    for kind in order:
        for name, it in made.items():
            if it["type"].split(":")[-1] != kind:
                continue
            inputs = it["inputs"]
            if kind == "Role":
                role = parameters(
                    iam, "CreateRole", {**inputs, "roleName": name}, renamed=RENAMED_OF_ROLES
                )
                real["role"] = iam.create_role(**role)["Role"]["Arn"]
            elif kind == "RolePolicyAttachment":
                attached = parameters(iam, "AttachRolePolicy", inputs, renamed=RENAMED_OF_ROLES)
                iam.attach_role_policy(**attached)
            elif kind == "LaunchTemplate":
                data = {key: value for key, value in inputs.items() if key not in OF_THE_TEMPLATE}
                tags = [{"resourceType": "launch-template", "tags": inputs["tags"]}]
                template = parameters(
                    ec2,
                    "CreateLaunchTemplate",
                    {
                        "launchTemplateName": name,
                        "versionDescription": inputs["description"],
                        "launchTemplateData": data,
                        "tagSpecifications": tags,
                    },
                )
                made_template = ec2.create_launch_template(**template)["LaunchTemplate"]
                real["template"] = made_template["LaunchTemplateId"]
            else:
                launched = {**inputs["launchTemplate"], "id": real["template"]}
                changed = {"nodeRoleArn": real["role"], "launchTemplate": launched}
                group = parameters(
                    eks,
                    "CreateNodegroup",
                    {**inputs, **changed, "nodegroupName": name},
                    renamed=RENAMED_OF_GROUPS,
                )
                eks.create_nodegroup(**group)


@pytest.fixture
def replayed(account: Aws, registered) -> Any:
    def run(name: str) -> None:
        args = gpu_pool_args(POOLS[name], NAMESPACE, account)
        replay(registered(lambda: GpuNodePool(name, args)))

    return run


def test_role_launch_template_and_node_group_are_accepted(replayed):
    names = ("eks", "eks-slices", "eks-mig")
    for name in names:
        replayed(name)
    found = boto3.client("eks", REGION).list_nodegroups(clusterName="prod")["nodegroups"]
    assert set(found) == {f"{name}-on-demand" for name in names}


def test_the_nodes_are_what_was_declared(replayed, account):
    replayed("eks-spot")
    ec2, eks, iam = (boto3.client(it, REGION) for it in ("ec2", "eks", "iam"))
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="eks-spot-nodes")[
        "LaunchTemplateVersions"
    ]
    data = version["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    (disk,) = data["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] is True
    assert (disk["Ebs"]["VolumeType"], disk["Ebs"]["VolumeSize"]) == ("gp3", 300)
    tagged = {it["ResourceType"] for it in data["TagSpecifications"]}
    # moto adds the template's own.
    assert tagged - {"launch-template"} == {"instance", "volume", "network-interface"}
    # What EKS then chooses, and refuses to be given twice.
    assert not {"ImageId", "InstanceType", "IamInstanceProfile", "NetworkInterfaces"} & set(data)

    groups = [
        eks.describe_nodegroup(clusterName="prod", nodegroupName=f"eks-spot-{kind}")["nodegroup"]
        for kind in ("on-demand", "spot")
    ]
    assert [it["capacityType"] for it in groups] == ["ON_DEMAND", "SPOT"]
    assert {it["amiType"] for it in groups} == {"AL2023_x86_64_NVIDIA"}
    assert sum(it["scalingConfig"]["maxSize"] for it in groups) == 8
    assert groups[0]["labels"] == groups[1]["labels"]

    attached = iam.list_attached_role_policies(RoleName="eks-spot-node")["AttachedPolicies"]
    assert {it["PolicyName"] for it in attached} == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonEC2ContainerRegistryPullOnly",
    }
    role = iam.get_role(RoleName="eks-spot-node")["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == account.permissions_boundary_arn
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}


def test_nodes_of_karpenter_may_join(registered):
    """By botocore's own check alone: moto has no access entries."""
    made = registered(lambda: declare("karpenter"))["karpenter-node-access"]["inputs"]
    client = boto3.client("eks", REGION)
    given = parameters(client, "CreateAccessEntry", made)
    shape = client.meta.service_model.operation_model("CreateAccessEntry").input_shape
    validate_parameters(given, shape)
    assert given["type"] == "EC2_LINUX"


def test_an_input_that_aws_does_not_know_is_not_left_out():
    client = boto3.client("iam", REGION)
    with pytest.raises(AssertionError, match="AWS has no colour here"):
        parameters(client, "CreateRole", {"roleName": "a", "colour": "red"})
