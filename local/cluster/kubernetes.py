"""The parts of Kubernetes as processes of the node, and their configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.cluster.certificates import Authority, kubeconfig, signing_keys
from local.cluster.layout import (
    API_PORT,
    API_SERVICE,
    DNS_SERVICE,
    DOMAIN,
    ENDPOINTS,
    NODE_ADDRESS,
    NODE_LABEL,
    NODE_NAME,
    PODS,
    SERVICES,
    Layout,
)
from local.files import write_json, write_text
from local.processes import ProcessSpec

ETCD = "http://127.0.0.1:2379"
CGROUP = "/modelramp"
"""All pods are below it, apart from any other Kubernetes of this machine."""

WEBHOOK_SERVICE = "kserve-webhook-server-service.kserve.svc"
SERVICE_ACCOUNT_ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"
_CLIENTS = {
    "admin": ("modelramp", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "proxy": ("system:kube-proxy", None),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
}


def write_certificates(layout: Layout) -> None:
    """Makes a new authority, all certificates and kubeconfigs; does nothing if they are there."""
    if layout.kubeconfig.exists():
        return
    folder = layout.certificates
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = Authority()
    authority.pair.write(folder, "ca")
    service = "kubernetes.default.svc"
    names = ("kubernetes", "kubernetes.default", service, f"{service}.{DOMAIN}", "localhost")
    hosts = (*names, API_SERVICE, NODE_ADDRESS, "127.0.0.1")
    authority.issue("kube-apiserver", hosts=hosts).write(folder, "apiserver")
    authority.issue("kube-apiserver-kubelet-client", "system:masters").write(folder, "to-kubelet")
    authority.issue("front-proxy-client").write(folder, "front-proxy")
    authority.issue(NODE_NAME, hosts=(NODE_NAME, NODE_ADDRESS)).write(folder, "kubelet-server")
    authority.issue(WEBHOOK_SERVICE, hosts=(WEBHOOK_SERVICE,)).write(folder, "kserve-webhook")
    private, public = signing_keys()
    write_text(folder / "service-accounts.key", private, mode=0o600)
    write_text(folder / "service-accounts.pub", public)
    for client, (user, group) in _CLIENTS.items():
        if client != "admin":
            content = _kubeconfig(authority, user, group)
            write_text(folder / f"{client}.kubeconfig", content, mode=0o600)
    # The last one: where it is, the others are.
    write_text(layout.kubeconfig, _kubeconfig(authority, *_CLIENTS["admin"]), mode=0o600)


def _kubeconfig(authority: Authority, user: str, group: str | None) -> str:
    pair = authority.issue(user, group)
    return kubeconfig(ENDPOINTS["kubernetes"], authority.pair.certificate, pair)


def write_configuration(layout: Layout) -> None:
    """Writes the configuration files of kubelet and kube-proxy."""
    write_json(layout.config / "kubelet.json", _kubelet_configuration(layout))
    write_json(layout.config / "proxy.json", _proxy_configuration(layout))


def _kubelet_configuration(layout: Layout) -> dict[str, object]:
    folder = layout.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": CGROUP,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "enforceNodeAllocatable": [],
        # The machine's disk is its owner's; images are few and needed.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # a lower one needs a capability that containers lack
        "podLogsDir": str(layout.node / "pods"),
        "resolvConf": str(layout.config / "resolv.conf"),
        "staticPodPath": "",
        "syncFrequency": "2s",  # how soon a changed rule reaches Prometheus
        "tlsCertFile": str(folder / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(folder / "kubelet-server.key"),
    }


def _proxy_configuration(layout: Layout) -> dict[str, object]:
    # Connection tracking is the machine's own to tune.
    untouched = {
        "maxPerCore": 0,
        "min": 0,
        "tcpEstablishedTimeout": "0s",
        "tcpCloseWaitTimeout": "0s",
    }
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.certificates / "proxy.kubeconfig")},
        "clusterCIDR": PODS,
        "conntrack": untouched,
        "hostnameOverride": NODE_NAME,
        "iptables": {"minSyncPeriod": "100ms"},
        "mode": "iptables",
        "oomScoreAdj": 0,
    }


def etcd_process(layout: Layout, programs: Mapping[str, Path]) -> ProcessSpec:
    """The database of Kubernetes; it need not survive a failure of power."""
    peer = "http://127.0.0.1:2380"
    return ProcessSpec(
        name="etcd",
        command=(
            *(str(programs["etcd"]), "--name", NODE_NAME, "--data-dir", str(layout.node / "etcd")),
            *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"{NODE_NAME}={peer}", "--unsafe-no-fsync"),
            *("--log-level", "warn"),
        ),
        ready_url=f"{ETCD}/health",
    )


def api_server_process(layout: Layout, programs: Mapping[str, Path]) -> ProcessSpec:
    """The API server."""
    folder = layout.certificates

    def file(name: str) -> str:
        return str(folder / name)

    options = {
        "etcd-servers": ETCD,
        "advertise-address": NODE_ADDRESS,
        "secure-port": str(API_PORT),
        "service-cluster-ip-range": SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": str(layout.authority),
        "tls-cert-file": file("apiserver.crt"),
        "tls-private-key-file": file("apiserver.key"),
        "kubelet-client-certificate": file("to-kubelet.crt"),
        "kubelet-client-key": file("to-kubelet.key"),
        "kubelet-certificate-authority": str(layout.authority),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": SERVICE_ACCOUNT_ISSUER,
        "service-account-key-file": file("service-accounts.pub"),
        "service-account-signing-key-file": file("service-accounts.key"),
        # For metrics and other APIs that are served by pods.
        "requestheader-client-ca-file": str(layout.authority),
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": file("front-proxy.crt"),
        "proxy-client-key-file": file("front-proxy.key"),
    }
    return ProcessSpec(
        name="apiserver",
        command=(str(programs["kube-apiserver"]), *_flags(options)),
        ready_url=f"https://127.0.0.1:{API_PORT}/readyz",
    )


def control_processes(layout: Layout, programs: Mapping[str, Path]) -> Iterator[ProcessSpec]:
    """What needs the API server: controllers, scheduler, kubelet and proxy."""
    folder = layout.certificates
    manager = {
        "kubeconfig": str(folder / "controller-manager.kubeconfig"),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": str(folder / "service-accounts.key"),
        "root-ca-file": str(layout.authority),
        "cluster-signing-cert-file": str(layout.authority),
        "cluster-signing-key-file": str(folder / "ca.key"),
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
    }
    yield ProcessSpec(
        name="controller-manager",
        command=(str(programs["kube-controller-manager"]), *_flags(manager)),
    )
    scheduler = {
        "kubeconfig": str(folder / "scheduler.kubeconfig"),
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
    }
    yield ProcessSpec(
        name="scheduler", command=(str(programs["kube-scheduler"]), *_flags(scheduler))
    )
    kubelet = {
        "config": str(layout.config / "kubelet.json"),
        "kubeconfig": str(folder / "kubelet.kubeconfig"),
        "root-dir": str(layout.node / "kubelet"),
        "hostname-override": NODE_NAME,
        "node-ip": NODE_ADDRESS,
        "node-labels": f"{NODE_LABEL}=true",
    }
    yield ProcessSpec(
        name="kubelet",
        command=(str(programs["kubelet"]), *_flags(kubelet)),
        ready_url="http://127.0.0.1:10248/healthz",
    )
    yield ProcessSpec(
        name="proxy",
        command=(
            str(programs["kube-proxy"]),
            *_flags({"config": str(layout.config / "proxy.json")}),
        ),
        ready_url="http://127.0.0.1:10256/healthz",
    )


def _flags(options: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in options.items())


def container_network(layout: Layout) -> str:
    """Returns the network of pods (CNI configuration list, JSON): a bridge inside the node."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods",
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(layout.node / "addresses"),
                        "ranges": [[{"subnet": PODS}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )
