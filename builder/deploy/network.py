"""How pods are reached, by whom, and what they may reach; what has Prometheus find them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.deploy import pod
from builder.deploy.context import selector

if TYPE_CHECKING:
    from builder.deploy.context import Context, Object
    from builder.deploy.lanes import Pods

HTTPS = 443
INTERVAL = "15s"
NAMESPACE = "kubernetes.io/metadata.name"


def service(context: Context, pods: Pods) -> Object:
    """The Service. It balances connections: gRPC clients that keep one reach one pod."""
    ports = [
        ("http", pod.HTTP, "http"),
        ("grpc", pod.GRPC, "kubernetes.io/h2c"),
        ("metrics", pod.METRICS, "http"),
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {
            "selector": selector(pods.name),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "appProtocol": protocol}
                for name, port, protocol in ports
            ],
        },
    }


def policy(context: Context, pods: Pods) -> Object:
    """The NetworkPolicy: who may ask for inferences, who for metrics, and what pods may reach."""
    access = context.settings.access
    clients = [{"namespaceSelector": {"matchLabels": {NAMESPACE: name}}} for name in access.clients]
    monitoring = {"namespaceSelector": {"matchLabels": {NAMESPACE: access.monitoring}}}
    metrics = [pod.METRICS, *([pod.AGENT] if context.settings.agent else [])]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    egress: list[Object] = [{"ports": dns}]
    if "://" in context.store and not context.store.startswith("file:"):
        egress.append({"ports": _tcp(_store_ports(context))})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {
            "podSelector": {"matchLabels": selector(pods.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": clients or [{"podSelector": {}}], "ports": _tcp([pod.HTTP, pod.GRPC])},
                {"from": [monitoring], "ports": _tcp(metrics)},
            ],
            "egress": egress,
        },
    }


def _store_ports(context: Context) -> list[int]:
    """Those of the settings, of addresses in the environment (AWS_ENDPOINT_URL), Sigstore's.

    Who is given a trust configuration asks nobody for it.
    """
    found = set(context.settings.access.store_ports)
    if context.settings.verify_identity and context.trust_config is None:
        found.add(HTTPS)
    for value in context.settings.environment.values():
        port = urlsplit(value).port if value.startswith(("http://", "https://")) else None
        found |= {port} if port else set()
    return sorted(found)


def _tcp(ports: list[int]) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def monitor(context: Context, pods: Pods) -> Object | None:
    """What Prometheus' operator reads. An agent's own figures come with `pod` only."""
    what = context.settings.monitor
    if what == "none":
        return None
    endpoints: list[Object] = [{"port": "metrics", "path": "/metrics", "interval": INTERVAL}]
    if what == "pod" and context.settings.agent:
        endpoints.append({"port": "agent", "path": "/metrics", "interval": INTERVAL})
    kind, key = {
        "service": ("ServiceMonitor", "endpoints"),
        "pod": ("PodMonitor", "podMetricsEndpoints"),
    }[what]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind,
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {"selector": {"matchLabels": selector(pods.name)}, key: endpoints},
    }
