"""The programs of the local cluster: those of the node, and those that its images hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local.tools import (
    AMD64,
    TOOLS,
    DebianPackages,
    GoModule,
    Progress,
    Release,
    Tool,
    ensure_all,
)

KUBERNETES_VERSION = "1.34.4"
KSERVE_VERSION = "0.20.0"
ENVOY_GATEWAY_VERSION = "1.9.1"
PROMETHEUS_OPERATOR_VERSION = "0.85.0"
COREDNS_VERSION = "1.13.1"

_GITHUB = "https://github.com"
_BASE = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
_CNI = "github.com/containernetworking/plugins/plugins"
_ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
_ENVOY_GATEWAY_VERSION = f"{_ENVOY_GATEWAY}/internal/cmd/version.envoyGatewayVersion"
_OPERATOR = "github.com/prometheus-operator/prometheus-operator/cmd"
_KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
)

NODE_TOOLS = (
    Tool(
        name="kubelet",
        programs=_KUBERNETES_PROGRAMS,
        version=KUBERNETES_VERSION,
        oldest=(1, 34),
        below=(1, 35),  # which refuses machines with version 1 of cgroups
        release=Release(
            url="https://dl.k8s.io/v{version}/kubernetes-server-{os}-{arch}.tar.gz",
            members=("kubelet", *_KUBERNETES_PROGRAMS),
            arch_names=AMD64,
            checksums_url="https://dl.k8s.io/v{version}/kubernetes-server-{os}-{arch}.tar.gz.sha256",
        ),
        go=GoModule(
            folder="kubernetes",
            package=".",
            ldflags=f"-s -w -X {_BASE}.gitVersion=v{{version}} -X {_BASE}.gitMajor={_MAJOR}"
            f" -X {_BASE}.gitMinor={_MINOR}",
        ),
    ),
    Tool(
        name="etcd",
        version="3.6.16",
        oldest=(3, 6),  # newer clients of Kubernetes need what came with it
        release=Release(
            url=f"{_GITHUB}/etcd-io/etcd/releases/download/v{{version}}/etcd-v{{version}}-{{os}}-{{arch}}.tar.gz",
            members=("etcd",),
            arch_names=AMD64,
            checksums_url=f"{_GITHUB}/etcd-io/etcd/releases/download/v{{version}}/SHA256SUMS",
        ),
        go=GoModule(folder="etcd", package="."),
    ),
    Tool(
        name="containerd",
        programs=("containerd-shim-runc-v2", "ctr"),
        version="2.4.2",
        oldest=(1, 6),
        release=Release(
            url=f"{_GITHUB}/containerd/containerd/releases/download/v{{version}}/containerd-{{version}}-{{os}}-{{arch}}.tar.gz",
            members=("containerd", "containerd-shim-runc-v2", "ctr"),
            arch_names=AMD64,
            checksums_url=f"{_GITHUB}/containerd/containerd/releases/download/v{{version}}/containerd-{{version}}-{{os}}-{{arch}}.tar.gz.sha256sum",
        ),
        debian=DebianPackages(
            ("containerd",),
            {name: f"usr/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        ),
    ),
    Tool(
        name="runc",
        version="1.5.2",
        oldest=(1, 1),
        release=Release(
            url=f"{_GITHUB}/opencontainers/runc/releases/download/v{{version}}/runc.{{arch}}",
            members=(),
            arch_names=AMD64,
            checksums_url=f"{_GITHUB}/opencontainers/runc/releases/download/v{{version}}/runc.sha256sum",
        ),
        debian=DebianPackages(("runc", "libseccomp2"), {"runc": "usr/sbin/runc"}),
    ),
    Tool(
        name="iptables",
        programs=("iptables-save", "iptables-restore"),
        version="1.8",
        oldest=(1, 8),
        debian=DebianPackages(
            ("iptables", "libxtables12", "libip4tc2", "libip6tc2"),
            {
                f"{name}{suffix}": f"usr/sbin/{name}-legacy{suffix}"
                for name in ("iptables", "ip6tables")
                for suffix in ("", "-save", "-restore")
            },
        ),
    ),
    Tool(
        name="bridge",
        programs=("host-local", "loopback", "portmap"),
        version="1.9.1",
        oldest=None,  # never on PATH, where `bridge` is another program
        release=Release(
            url=f"{_GITHUB}/containernetworking/plugins/releases/download/v{{version}}/cni-plugins-{{os}}-{{arch}}-v{{version}}.tgz",
            members=("bridge", "host-local", "loopback", "portmap"),
            arch_names=AMD64,
            checksums_url=f"{_GITHUB}/containernetworking/plugins/releases/download/v{{version}}/cni-plugins-{{os}}-{{arch}}-v{{version}}.tgz.sha256",
        ),
        go=GoModule(
            folder="cni-plugins",
            package=f"{_CNI}/main/bridge",
            others={
                "host-local": f"{_CNI}/ipam/host-local",
                "loopback": f"{_CNI}/main/loopback",
                "portmap": f"{_CNI}/meta/portmap",
            },
        ),
    ),
    Tool(
        name="helm",
        version="3.22.0",
        oldest=(3, 14),
        version_arguments=("version", "--short"),
        release=Release(
            url="https://get.helm.sh/helm-v{version}-{os}-{arch}.tar.gz",
            members=("helm",),
            arch_names=AMD64,
            checksums_url="https://get.helm.sh/helm-v{version}-{os}-{arch}.tar.gz.sha256sum",
        ),
        go=GoModule(
            folder="helm",
            package="helm.sh/helm/v3/cmd/helm",
            ldflags="-s -w -X helm.sh/helm/v3/internal/version.version=v{version}",
        ),
    ),
    TOOLS["versitygw"],
)
"""What runs on the node itself, and what sets it up."""

# Linked statically for images without a C library; their releases are images, not programs.
IMAGE_TOOLS = (
    Tool(name="pause", version="1", oldest=None, go=GoModule(folder="pause", package=".")),
    Tool(
        name="coredns",
        version=COREDNS_VERSION,
        oldest=None,
        release=Release(
            url=f"{_GITHUB}/coredns/coredns/releases/download/v{{version}}/coredns_{{version}}_{{os}}_{{arch}}.tgz",
            members=("coredns",),
            arch_names=AMD64,
            checksums_url=f"{_GITHUB}/coredns/coredns/releases/download/v{{version}}/coredns_{{version}}_{{os}}_{{arch}}.tgz.sha256",
        ),
        go=GoModule(folder="coredns", package="."),
    ),
    Tool(
        name="kserve-manager",
        version=KSERVE_VERSION,
        oldest=None,
        go=GoModule(
            folder="kserve",
            package="github.com/kserve/kserve/cmd/manager",
            kept=("charts", "python/storage-initializer/scripts"),
        ),
    ),
    Tool(
        name="envoy-gateway",
        version=ENVOY_GATEWAY_VERSION,
        oldest=None,
        go=GoModule(
            folder="envoy-gateway",
            package=f"{_ENVOY_GATEWAY}/cmd/envoy-gateway",
            kept=("charts",),
            ldflags=f"-s -w -X {_ENVOY_GATEWAY_VERSION}=v{{version}}",
        ),
    ),
    Tool(
        name="prometheus-operator",
        programs=("prometheus-config-reloader",),
        version=PROMETHEUS_OPERATOR_VERSION,
        oldest=None,
        go=GoModule(
            folder="prometheus-operator",
            package=f"{_OPERATOR}/operator",
            others={"prometheus-config-reloader": f"{_OPERATOR}/prometheus-config-reloader"},
            kept=("bundle.yaml",),
            ldflags="-s -w -X github.com/prometheus/common/version.Version={version}",
        ),
    ),
    Tool(
        name="prometheus-kubernetes",
        version=TOOLS["prometheus"].version,
        oldest=None,  # Debian's cannot discover pods
        go=GoModule(
            folder="prometheus",
            package="github.com/prometheus/prometheus/cmd/prometheus",
            ldflags="-s -w -X github.com/prometheus/common/version.Version={version}",
            tags="netgo,remove_all_sd,enable_kubernetes_sd",
        ),
    ),
)
"""What runs in pods."""


def ensure_programs(tools: tuple[Tool, ...], progress: Progress) -> Mapping[str, Path]:
    """Finds, downloads or builds programs; returns where each lies, by name.

    Raises:
        ToolError: one could not be had.
    """
    return {name: path for tool in tools for name, path in ensure_all(tool, progress).items()}
