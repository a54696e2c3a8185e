"""The pod: a release is pulled, Triton loads and warms it, and is asked whether it answers.

Nothing in it runs as root, writes to its root file system, or holds a token of the cluster; only
what talks to the release store has the store's credentials.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from builder.deploy import bundle, sizing
from builder.deploy.context import selector
from builder.deploy.quantities import cores, size
from builder.servers.endpoint import CONTROL, CONTROL_KEY

if TYPE_CHECKING:
    from builder.deploy.context import Context, Object
    from builder.deploy.lanes import Pods

MODELS, REPOSITORY = "/models", "/models/repository"
"""The volume, and the folder below it that releases are exchanged in: a mount cannot be."""

CACHE = "/cache"
ASKING = "/opt/triton-builder"
KEYS = "/etc/triton-builder"
KEY, TRUST_CONFIG = "release.pem", "trust-config.json"
HTTP, GRPC, METRICS, AGENT = 8000, 8001, 8002, 8080
USER = 1000
"""`triton-server` in NVIDIA's images."""

RESTRICTED = "model-repository,logging,trace"
"""What of Triton's interfaces is for who runs it alone, where a `control-secret` is named."""

PERIOD, PATIENCE = 5, 15
"""Seconds between questions to a pod that starts, and how long one may take to be answered."""

ALIVE_PERIOD, ALIVE_PATIENCE, ALIVE_FAILURES = 20, 25, 3
"""For a pod that serves: a minute of silence, and it is started anew. The patience is what
`asking` may need: its ten seconds, and twice five for statistics."""

NOBODY: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Who everything in a pod runs as."""

HARDENED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def template(context: Context, pods: Pods) -> Object:
    """The pod template of a Deployment."""
    settings = context.settings
    containers = [_triton(context, pods)]
    if settings.agent:
        containers.append(_agent(context, pods))
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {**NOBODY, "fsGroupChangePolicy": "OnRootMismatch"},
        "initContainers": [_pull(context, pods)],
        "containers": containers,
        "terminationGracePeriodSeconds": _grace(context),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(pods.name)},
                "matchLabelKeys": ["pod-template-hash"],
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "volumes": _volumes(context, pods),
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    affinity = capable(context.target.compute_capabilities)
    if context.target.device == "gpu" and affinity:
        spec["affinity"] = affinity
    return {"metadata": {"labels": context.labels(pods.name)}, "spec": spec}


def _pull(context: Context, pods: Pods) -> Object:
    """Brings the release in before Triton starts."""
    arguments = ["pull", context.follows, REPOSITORY, f"--store={context.store}"]
    arguments += _pulling(context, pods)
    return {
        "name": "pull",
        "image": context.pull_image,
        "args": arguments,
        **_store_access(context),
        "resources": _modest(sizing.pulling(pods, context.settings)),
        "securityContext": HARDENED,
        "volumeMounts": _pull_mounts(context),
    }


def _agent(context: Context, pods: Pods) -> Object:
    """Brings later releases into the running pod."""
    arguments = ["agent", context.follows, REPOSITORY, f"--store={context.store}"]
    arguments += [f"--http=127.0.0.1:{HTTP}", f"--grpc=127.0.0.1:{GRPC}", f"--port={AGENT}"]
    arguments += _pulling(context, pods)
    return {
        "name": "agent",
        "image": context.pull_image,
        "args": arguments,
        **_agents_own(context),
        "ports": [{"name": "agent", "containerPort": AGENT}],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "agent"},
            "periodSeconds": ALIVE_PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": ALIVE_FAILURES,
        },
        "resources": _modest(sizing.pulling(pods, context.settings)),
        "securityContext": HARDENED,
        "volumeMounts": _pull_mounts(context),
    }


def _pulling(context: Context, pods: Pods) -> list[str]:
    found = [f"--models={','.join(pods.wanted)}"] if pods.wanted else []
    if context.settings.node_cache:
        found.append(f"--cache={CACHE}")
    if context.verify_key is not None:
        found.append(f"--verify-key={KEYS}/{KEY}")
    settings = context.settings
    if settings.verify_identity and settings.verify_issuer:
        found.append(f"--verify-identity={settings.verify_identity}")
        found.append(f"--verify-issuer={settings.verify_issuer}")
    if context.trust_config is not None:
        found.append(f"--trust-config={KEYS}/{TRUST_CONFIG}")
    return found


def _store_access(context: Context) -> Object:
    """The environment of what talks to the store."""
    settings = context.settings
    found: Object = {}
    if settings.environment:
        pairs = sorted(settings.environment.items())
        found["env"] = [{"name": name, "value": value} for name, value in pairs]
    if settings.credentials:
        found["envFrom"] = [{"secretRef": {"name": settings.credentials}}]
    return found


def _agents_own(context: Context) -> Object:
    """The environment of the agent."""
    found = _store_access(context)
    env = [*found.get("env", []), *_control_key(context)]
    return found | ({"env": env} if env else {})


def _control_key(context: Context) -> list[Object]:
    """What those know who may load and unload: also the probes, which ask what is loaded."""
    name = context.settings.control_secret
    reference = {"secretKeyRef": {"name": name, "key": "key"}}
    return [{"name": CONTROL_KEY, "valueFrom": reference}] if name else []


def _pull_mounts(context: Context) -> list[Object]:
    mounts: list[Object] = [{"name": "models", "mountPath": MODELS}]
    if context.settings.node_cache:
        mounts.append({"name": "node-cache", "mountPath": CACHE})
    if context.verify_key is not None:
        mounts.append({"name": "verify-key", "mountPath": KEYS, "readOnly": True})
    if context.trust_config is not None:
        mounts.append({"name": "trust-config", "mountPath": KEYS, "readOnly": True})
    elif context.settings.verify_identity:  # what Sigstore's roots of trust are kept in
        mounts.append({"name": "trust", "mountPath": "/tmp"})  # noqa: S108 - a volume's
    return mounts


def _triton(context: Context, pods: Pods) -> Object:
    settings = context.settings
    budget = sizing.startup(pods, settings, context.measured)
    drain = math.ceil(settings.probing.drain / 1e6)
    return {
        "name": "triton",
        "image": context.image,
        # no command: NVIDIA's images set CUDA up in their entry point, and then run this
        "args": ["tritonserver", *_options(context)],
        "env": [{"name": "HOME", "value": "/tmp"}, *_control_key(context)],  # noqa: S108 - a volume's
        "ports": [
            {"name": "http", "containerPort": HTTP},
            {"name": "grpc", "containerPort": GRPC},
            {"name": "metrics", "containerPort": METRICS},
        ],
        "startupProbe": {
            "exec": {"command": _ask("started")},
            "periodSeconds": PERIOD,
            "timeoutSeconds": PATIENCE,
            "failureThreshold": math.ceil(budget.seconds / PERIOD),
        },
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
            "periodSeconds": PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "exec": {"command": _ask("alive")},
            "periodSeconds": ALIVE_PERIOD,
            "timeoutSeconds": ALIVE_PATIENCE,
            "failureThreshold": ALIVE_FAILURES,
            # with a model dead, Triton would wait for it until its own patience ends
            "terminationGracePeriodSeconds": drain + 5,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(drain)]}}},
        "resources": _resources(context, pods),
        "securityContext": HARDENED,
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "asking", "mountPath": ASKING, "readOnly": True},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - a volume's
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume's
        ],
    }


def _options(context: Context) -> list[str]:
    """Triton's. With an agent, models are loaded on request, and at first all there are.

    Then a strict readiness would ask for too much: from the moment that a load begins until it has
    succeeded the server as a whole is not ready, though every version of before still answers.
    What the pod holds at its start the startup probe has asked about.
    """
    agent = context.settings.agent
    finish = math.ceil(context.settings.probing.finish / 1e6)
    options = [
        f"--model-repository={REPOSITORY}",
        "--disable-auto-complete-config",
        f"--model-control-mode={'explicit' if agent else 'none'}",
        *(["--load-model=*"] if agent else []),
        f"--strict-readiness={'false' if agent else 'true'}",
        f"--exit-timeout-secs={finish}",
        "--backend-config=python,stub-timeout-seconds=120",
    ]
    if context.settings.control_secret:
        kept = f"{RESTRICTED}:{CONTROL}=$({CONTROL_KEY})"  # which the kubelet puts in
        options += [f"--http-restricted-api={kept}", f"--grpc-restricted-protocol={kept}"]
    if context.target.device == "cpu":
        options += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    return options


def _ask(question: str) -> list[str]:
    return ["python3", *bundle.FLAGS, ASKING, question, REPOSITORY]


def _resources(context: Context, pods: Pods) -> Object:
    """Memory is what it asks for and no more; cores are not limited: throttling is latency."""
    asked = pods.resources
    memory = size(sizing.memory(pods, context.settings, context.measured))
    requests: Object = {"cpu": cores(asked.cpu), "memory": memory}
    limits: Object = {"memory": memory}
    if context.settings.volume == "disk":
        requests["ephemeral-storage"] = size(sizing.volume(pods, context.settings))
    if context.target.device == "gpu":
        limits["nvidia.com/gpu"] = asked.gpus
    return {"requests": requests, "limits": limits}


def _modest(memory: int) -> Object:
    return {
        "requests": {"cpu": "100m", "memory": size(memory)},
        "limits": {"memory": size(memory)},
    }


def _volumes(context: Context, pods: Pods) -> list[Object]:
    settings = context.settings
    models: Object = {}
    if settings.volume == "memory":
        models["medium"] = "Memory"
    if settings.volume == "memory" or not settings.channel:
        # on disk it evicts: all pods that follow a channel at once, when that gets a larger release
        models["sizeLimit"] = size(sizing.volume(pods, settings))
    volumes: list[Object] = [
        {"name": "models", "emptyDir": models},
        {"name": "asking", "configMap": {"name": asking_name(context)}},
        {
            "name": "shared-memory",
            "emptyDir": {"medium": "Memory", "sizeLimit": size(pods.resources.shared_memory)},
        },
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if settings.node_cache:
        # made beforehand, for user 1000: what a pod made there would be root's
        host = {"path": settings.node_cache, "type": "Directory"}
        volumes.append({"name": "node-cache", "hostPath": host})
    if context.verify_key is not None:
        volumes.append({"name": "verify-key", "configMap": {"name": verify_key_name(context)}})
    if context.trust_config is not None:
        volumes.append({"name": "trust-config", "configMap": {"name": trust_config_name(context)}})
    elif context.settings.verify_identity:
        volumes.append({"name": "trust", "emptyDir": {}})
    return volumes


def asking_name(context: Context) -> str:
    """The ConfigMap with what `_ask` runs: another one for other content."""
    return f"{context.name}-asking-{bundle.digest()}"


def verify_key_name(context: Context) -> str:
    """The ConfigMap with the key that releases are signed with."""
    return f"{context.name}-verify-key"


def trust_config_name(context: Context) -> str:
    """The ConfigMap that says which Sigstore knows who signed releases."""
    return f"{context.name}-trust-config"


def _grace(context: Context) -> int:
    """Until the last request is answered: traffic stops coming, Triton finishes, and some."""
    probing = context.settings.probing
    return math.ceil(probing.drain / 1e6) + math.ceil(probing.finish / 1e6) + 15


def capable(capabilities: tuple[str, ...]) -> Object | None:
    """Nodes whose GPU can run the plans, by the labels of NVIDIA's GPU feature discovery."""
    if not capabilities:
        return None
    terms = []
    for capability in capabilities:
        major, _, minor = capability.partition(".")
        terms.append(
            {
                "matchExpressions": [
                    {"key": f"nvidia.com/gpu.compute.{part}", "operator": "In", "values": [number]}
                    for part, number in (("major", major), ("minor", minor))
                ]
            }
        )
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeAffinity": required}
