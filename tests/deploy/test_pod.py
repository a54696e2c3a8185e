"""What a pod is: who runs as whom, who sees what, and when it counts as well."""

import pytest
from pydantic import ValidationError

from builder.deploy.settings import Deployment
from builder.report.measured import Measured
from builder.servers.endpoint import CONTROL, CONTROL_KEY
from tests.deploy.made import GPU, KEY, pod, release

FULL = {
    "channel": "prod",
    "agent": True,
    "credentials": "model-store",
    "environment": {"AWS_REGION": "eu-central-1"},
    "node-cache": "/var/cache/triton",
}


def _containers(spec):
    return {one["name"]: one for one in (*spec["initContainers"], *spec["containers"])}


def _mounts(container):
    return {one["mountPath"]: one for one in container["volumeMounts"]}


@pytest.mark.parametrize("said", [{}, FULL])
def test_nothing_may_do_more_than_the_restricted_pod_standard_allows(said):
    spec = pod(said, verify_key=KEY)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in _containers(spec).values():
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True


def test_only_what_talks_to_the_store_has_its_credentials():
    containers = _containers(pod(FULL))
    for name in ("pull", "agent"):
        assert containers[name]["envFrom"] == [{"secretRef": {"name": "model-store"}}]
        assert containers[name]["env"] == [{"name": "AWS_REGION", "value": "eu-central-1"}]
    assert "envFrom" not in containers["triton"]
    assert [one["name"] for one in containers["triton"]["env"]] == ["HOME"]


def test_triton_may_not_write_what_it_serves():
    containers = _containers(pod(FULL))
    assert _mounts(containers["triton"])["/models"]["readOnly"] is True
    assert "readOnly" not in _mounts(containers["pull"])["/models"]
    assert "/cache" not in _mounts(containers["triton"])


def test_a_pod_pulls_the_very_release_unless_it_follows_a_channel():
    manifest = release({"minilm": 1})
    pinned = _containers(pod(manifest=manifest))["pull"]["args"]
    assert pinned == ["pull", manifest.digest, "/models/repository", "--store=s3://bucket/models"]
    assert _containers(pod({"channel": "prod"}))["pull"]["args"][1] == "prod"


def test_a_key_is_mounted_where_pull_looks_for_it():
    containers = _containers(pod(FULL, verify_key=KEY))
    for name in ("pull", "agent"):
        assert "--verify-key=/etc/triton-builder/release.pem" in containers[name]["args"]
        assert _mounts(containers[name])["/etc/triton-builder"]["readOnly"] is True
    assert "/etc/triton-builder" not in _mounts(containers["triton"])


WHO, ISSUER = "https://github.com/o/r/.github/workflows/w.yml@refs/heads/main", "https://issuer"
KEYLESS = {"verify-identity": WHO, "verify-issuer": ISSUER}


def test_an_identity_is_told_to_whoever_pulls_and_what_vouches_for_it_can_be_kept():
    spec = pod({"channel": "prod", "agent": True, **KEYLESS})
    containers = _containers(spec)
    for name in ("pull", "agent"):
        said = containers[name]["args"]
        assert {f"--verify-identity={WHO}", f"--verify-issuer={ISSUER}"} <= {*said}
        assert "readOnly" not in _mounts(containers[name])["/tmp"]  # noqa: S108
        assert containers[name]["securityContext"]["readOnlyRootFilesystem"]
    assert {"name": "trust", "emptyDir": {}} in spec["volumes"]


def test_a_sigstore_of_one_s_own_is_mounted_where_pull_looks_for_it():
    spec = pod({"channel": "prod", "agent": True, **KEYLESS}, trust_config="{}")
    containers = _containers(spec)
    for name in ("pull", "agent"):
        assert "--trust-config=/etc/triton-builder/trust-config.json" in containers[name]["args"]
        assert _mounts(containers[name])["/etc/triton-builder"]["readOnly"] is True
        assert "/tmp" not in _mounts(containers[name])  # noqa: S108
    held = {"name": "trust-config", "configMap": {"name": "triton-cpu-trust-config"}}
    assert held in spec["volumes"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"verify-identity": WHO}, "expected both verify-identity and verify-issuer"),
        ({"verify-issuer": ISSUER}, "expected both verify-identity and verify-issuer"),
        ({**KEYLESS, "verify-key": "key.pem"}, "a key or an identity, not both"),
        ({"trust-config": "trust.json"}, "a trust-config is for identities"),
    ],
)
def test_trust_that_is_half_said_or_twice_is_refused(said, problem):
    with pytest.raises(ValidationError, match=problem):
        Deployment.model_validate(said)


def test_a_cache_of_the_node_is_not_made_by_the_pod():
    spec = pod({"node-cache": "/var/cache/triton"})
    (volume,) = [one for one in spec["volumes"] if "hostPath" in one]
    assert volume["hostPath"] == {"path": "/var/cache/triton", "type": "Directory"}
    assert "--cache=/cache" in _containers(spec)["pull"]["args"]


def test_without_an_agent_nobody_may_load_models():
    options = _containers(pod())["triton"]["args"]
    assert options[0] == "tritonserver"
    assert "--model-control-mode=none" in options
    assert "--strict-readiness=true" in options
    assert "--disable-auto-complete-config" in options


def test_with_an_agent_a_load_under_way_does_not_take_the_pod_out_of_service():
    options = _containers(pod(FULL))["triton"]["args"]
    assert "--model-control-mode=explicit" in options
    assert "--load-model=*" in options
    assert "--strict-readiness=false" in options


def test_models_are_loaded_by_who_knows_the_secret():
    spec = pod({**FULL, "control-secret": "model-control"})
    key = {"secretKeyRef": {"name": "model-control", "key": "key"}}
    for name, knows in {"triton": True, "agent": True, "pull": False}.items():
        there = {"name": CONTROL_KEY, "valueFrom": key} in _containers(spec)[name].get("env", [])
        assert there is knows
    options = _containers(spec)["triton"]["args"]
    kept = f"model-repository,logging,trace:{CONTROL}=$({CONTROL_KEY})"
    assert {f"--http-restricted-api={kept}", f"--grpc-restricted-protocol={kept}"} <= set(options)
    assert not any("restricted" in option for option in _containers(pod(FULL))["triton"]["args"])
    with pytest.raises(ValidationError, match="without an agent"):
        pod({"control-secret": "model-control"})


def test_the_startup_probe_asks_goldens_for_as_long_as_loads_may_take():
    measured = Measured({"minilm": 5.0, "resnet50": 4.0})
    probe = _containers(pod({"volume": "memory"}, measured=measured))["triton"]["startupProbe"]
    assert probe["exec"]["command"][-2:] == ["started", "/models/repository"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 60
    slow = Measured({"minilm": 50.0, "resnet50": 40.0})
    probe = _containers(pod({"volume": "memory"}, measured=slow))["triton"]["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 360


def test_liveness_asks_for_inferences_and_readiness_asks_triton():
    triton = _containers(pod())["triton"]
    assert triton["livenessProbe"]["exec"]["command"][-2:] == ["alive", "/models/repository"]
    assert triton["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}


def test_a_pod_that_ends_has_time_for_its_last_requests():
    spec = pod({"probing": {"drain": "20s", "finish": "1m"}})
    triton = _containers(spec)["triton"]
    assert triton["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]
    assert "--exit-timeout-secs=60" in triton["args"]
    assert spec["terminationGracePeriodSeconds"] > 80


def test_memory_is_limited_and_cores_are_not():
    resources = _containers(pod({"resources": {"cpu": "2.5", "memory": "4GiB"}}))["triton"][
        "resources"
    ]
    assert resources["requests"]["cpu"] == "2500m"
    assert resources["requests"]["memory"] == "4Gi"
    assert resources["limits"] == {"memory": "4Gi"}


def test_a_memory_volume_counts_as_memory_of_who_writes_and_who_serves():
    on_disk, in_memory = (_containers(pod({"volume": v})) for v in ("disk", "memory"))
    for name in ("pull", "triton"):
        small, large = (_memory(one[name]) for one in (on_disk, in_memory))
        assert large - small >= 190_000_000
    assert _volume({"volume": "memory"})["medium"] == "Memory"


def _memory(container):
    text = container["resources"]["limits"]["memory"]
    return int(text[:-2]) * {"Mi": 2**20, "Gi": 2**30}[text[-2:]]


def _volume(said):
    (volume,) = [v for v in pod(said)["volumes"] if v["name"] == "models"]
    return volume["emptyDir"]


def test_an_agent_has_room_for_the_release_before_and_the_next_one():
    def room(said):
        return int(_volume({**said, "volume": "memory"})["sizeLimit"][:-2])

    assert room(FULL) - room({}) >= 2 * 190_000_000 // 2**20


def test_no_pod_that_follows_a_channel_is_evicted_for_a_larger_release():
    assert "sizeLimit" in _volume({})
    assert _volume(FULL) == {}
    assert _volume({"channel": "prod"}) == {}


def test_a_gpu_pod_asks_for_gpus_that_its_plans_were_built_for():
    spec = pod({"resources": {"gpus": 2}}, target=GPU)
    triton = _containers(spec)["triton"]
    assert triton["image"] == "registry.example/tritonserver:24.10-py3"
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert not any("gpu-metrics" in option for option in triton["args"])
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = [
        {e["key"].rpartition(".")[2]: e["values"] for e in term["matchExpressions"]}
        for term in required["nodeSelectorTerms"]
    ]
    assert labels == [{"major": ["8"], "minor": ["0"]}, {"major": ["8"], "minor": ["9"]}]


def test_the_image_is_the_targets_release_where_none_is_named():
    assert _containers(pod())["triton"]["image"] == "nvcr.io/nvidia/tritonserver:24.10-py3"
