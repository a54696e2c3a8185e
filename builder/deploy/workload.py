"""Pods kept running: the Deployment, what scales it, and what keeps nodes from draining it dry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.deploy import pod, sizing
from builder.deploy.context import selector

if TYPE_CHECKING:
    from builder.deploy.context import Context, Object
    from builder.deploy.lanes import Pods

PULLING = 900
"""Seconds that a pod may pull before a rollout counts as stuck; nothing is undone by it."""

WINDOW = "2m"
"""Over which queue times are averaged: two scrapes a minute, and room for one that is missed."""

CALM = 300
"""Seconds of less load before pods are taken away: they take long to come back."""


def deployment(context: Context, pods: Pods) -> Object:
    """The Deployment: new pods must answer before old ones go."""
    budget = sizing.startup(pods, context.settings, context.measured)
    spec: Object = {
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": PULLING + budget.seconds,
        "selector": {"matchLabels": selector(pods.name)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "template": pod.template(context, pods),
    }
    if not pods.replicas.scale_on:  # else the number is the scaler's
        spec["replicas"] = pods.replicas.min
    # here and not on the pods: a remark is no reason to replace them
    annotations = {
        "triton-builder/made-for": context.release,
        "triton-builder/startup-budget": f"{budget.seconds} s: {budget.reason}",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**context.metadata(pods.name, pods.name), "annotations": annotations},
        "spec": spec,
    }


def disruption_budget(context: Context, pods: Pods) -> Object:
    """Nodes are drained one pod at a time; pods that do not work may always go."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(pods.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def scaler(context: Context, pods: Pods) -> Object | None:
    """What adds pods: on CPU by Kubernetes' own means, on queue time by KEDA's."""
    scale_on = pods.replicas.scale_on
    if scale_on == "cpu":
        return _horizontal(context, pods)
    if scale_on == "queue":
        return _queue(context, pods)
    return None


def _horizontal(context: Context, pods: Pods) -> Object:
    replicas = pods.replicas
    target = {"type": "Utilization", "averageUtilization": replicas.cpu_percent}
    # of Triton alone: what an agent does at times is no reason for more pods
    metric = {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "triton", "target": target},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": pods.name},
            "minReplicas": replicas.min,
            "maxReplicas": replicas.max,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM}},
        },
    }


def _queue(context: Context, pods: Pods) -> Object:
    replicas = pods.replicas
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": context.metadata(pods.name, pods.name),
        "spec": {
            "scaleTargetRef": {"name": pods.name},
            "minReplicaCount": replicas.min,
            "maxReplicaCount": replicas.max,
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM}}
                }
            },
            "triggers": [
                {
                    "type": "prometheus",
                    # not an average over pods: it is one over requests already
                    "metricType": "Value",
                    "metadata": {
                        "serverAddress": replicas.prometheus,
                        "query": queue_time(context, pods),
                        "threshold": str(replicas.queue_time),
                    },
                }
            ],
        },
    }


def queue_time(context: Context, pods: Pods) -> str:
    """PromQL: microseconds that a request waited on average; zero where none came."""
    labels = f'pod=~"{pods.name}-.*"'
    if context.settings.namespace:
        labels = f'namespace="{context.settings.namespace}",{labels}'
    waited, answered = (
        f"sum(rate({metric}{{{labels}}}[{WINDOW}]))"
        for metric in ("nv_inference_queue_duration_us", "nv_inference_request_success")
    )
    return f"({waited} / ({answered} > 0)) or vector(0)"
