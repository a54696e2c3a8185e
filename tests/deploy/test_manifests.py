"""Which objects there are, how they belong together, and what their files are."""

import pytest
import yaml

from builder.deploy import manifests
from builder.deploy.settings import Deployment
from builder.errors import InputError, SeveralError
from builder.report.measured import Measured
from builder.spec.document import Document, parse
from tests.deploy.made import KEY, context, objects, release

QUEUE = {"min": 2, "max": 8, "scale-on": "queue", "prometheus": "http://prometheus:9090"}
LANES = {
    "text": {"models": ["text_embedding"], "resources": {"memory": "2GiB"}},
    "vision": {"models": ["resnet50"], "replicas": {"min": 5}},
}
ENSEMBLE = release(
    {"minilm": 90, "tokenizer": 10, "text_embedding": 1, "resnet50": 100},
    {"text_embedding": ["minilm", "tokenizer"]},
)


def test_equal_inputs_give_equal_bytes():
    said = {"replicas": QUEUE, "monitor": "pod", "environment": {"B": "2", "A": "1"}}
    assert manifests.files(context(said)) == manifests.files(context(said))
    turned = {"environment": {"A": "1", "B": "2"}, "monitor": "pod", "replicas": QUEUE}
    assert manifests.files(context(said)) == manifests.files(context(turned))


def test_there_is_a_file_a_kind_and_a_kustomization_that_names_them():
    files = manifests.files(context({"replicas": QUEUE, "monitor": "service"}))
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert sorted(files) == sorted([*listed, "kustomization.yaml"])
    assert "scaledobject.yaml" in listed
    for name in listed:
        for one in yaml.safe_load_all(files[name]):
            assert f"{one['kind'].lower()}.yaml" == name


def test_every_selector_finds_the_pods_and_nothing_else():
    made = objects({"monitor": "service", "lanes": LANES}, manifest=ENSEMBLE)
    labels = {
        name.partition("/")[2]: one["spec"]["template"]["metadata"]["labels"]
        for name, one in made.items()
        if one["kind"] == "Deployment"
    }
    selectors = {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "ServiceMonitor": lambda spec: spec["selector"]["matchLabels"],
    }
    for name, one in made.items():
        kind, _, own = name.partition("/")
        if kind in selectors:
            selector = selectors[kind](one["spec"])
            found = [pods for pods, has in labels.items() if selector.items() <= has.items()]
            assert found == [own]


def test_lanes_are_pods_of_their_own_with_the_members_of_their_ensembles():
    made = objects({"lanes": LANES}, manifest=ENSEMBLE)
    text = made["Deployment/triton-cpu-text"]["spec"]["template"]["spec"]
    assert "--models=text_embedding" in text["initContainers"][0]["args"]
    assert text["containers"][0]["resources"]["limits"]["memory"] == "2Gi"
    assert made["Deployment/triton-cpu-vision"]["spec"]["replicas"] == 5
    assert "Service/triton-cpu-vision" in made
    assert "Deployment/triton-cpu" not in made


def test_a_model_without_a_lane_is_told():
    with pytest.raises(InputError) as caught:
        objects({"lanes": {"text": LANES["text"]}}, manifest=ENSEMBLE)
    assert caught.value.found == "resnet50"


def test_a_lane_with_an_unknown_model_is_told():
    with pytest.raises(InputError) as caught:
        objects({"lanes": {"text": {"models": ["text_embeding"]}}}, manifest=ENSEMBLE)
    assert caught.value.where == "lanes.text.models"
    assert caught.value.fix == "did you mean `text_embedding`?"


def test_the_number_of_pods_is_the_scalers_where_there_is_one():
    made = objects({"replicas": {"min": 3}})
    assert made["Deployment/triton-cpu"]["spec"]["replicas"] == 3
    made = objects({"replicas": {"min": 2, "max": 8, "scale-on": "cpu", "cpu-percent": 60}})
    assert "replicas" not in made["Deployment/triton-cpu"]["spec"]
    scaler = made["HorizontalPodAutoscaler/triton-cpu"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 8)
    metric = scaler["metrics"][0]["containerResource"]
    assert (metric["container"], metric["target"]["averageUtilization"]) == ("triton", 60)


def test_queue_time_is_an_average_over_the_requests_of_these_pods():
    made = objects({"replicas": {**QUEUE, "queue-time": "5ms"}, "namespace": "serving"})
    trigger = made["ScaledObject/triton-cpu"]["spec"]["triggers"][0]
    assert trigger["metricType"] == "Value"
    assert trigger["metadata"]["threshold"] == "5000"
    query = trigger["metadata"]["query"]
    assert query.count('{namespace="serving",pod=~"triton-cpu-.*"}[2m]') == 2
    assert query.index("nv_inference_queue_duration_us") < query.index("/")
    assert query.index("/") < query.index("nv_inference_request_success")


def test_pods_reach_names_and_the_store_and_are_reached_by_clients_and_prometheus():
    spec = objects({"access": {"clients": ["web"], "store-ports": [9000]}})[
        "NetworkPolicy/triton-cpu"
    ]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = [[p["port"] for p in rule["ports"]] for rule in spec["ingress"]]
    assert ports == [[8000, 8001], [8002]]
    names = [
        rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in spec["ingress"]
    ]
    assert names == ["web", "monitoring"]
    assert [[p["port"] for p in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [9000]]


def test_pods_that_verify_an_identity_reach_sigstore():
    said = {"verify-identity": "ci@example.com", "verify-issuer": "https://issuer.example"}
    spec = objects({"access": {"store-ports": [9000]}, **said})["NetworkPolicy/triton-cpu"]["spec"]
    ports = [port["port"] for rule in spec["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 9000]


def test_pods_that_were_given_a_sigstore_of_one_s_own_ask_none():
    said = {"verify-identity": "ci@example.com", "verify-issuer": "https://issuer.example"}
    made = objects({"access": {"store-ports": [9000]}, **said}, trust_config="{}")
    egress = made["NetworkPolicy/triton-cpu"]["spec"]["egress"]
    assert [port["port"] for rule in egress for port in rule["ports"]] == [53, 53, 9000]
    assert made["ConfigMap/triton-cpu-trust-config"]["data"] == {"trust-config.json": "{}"}


def test_a_store_at_a_port_of_its_own_is_reached():
    said = {"environment": {"AWS_ENDPOINT_URL": "http://ceph.storage:7480"}}
    egress = objects(said)["NetworkPolicy/triton-cpu"]["spec"]["egress"]
    assert [p["port"] for p in egress[1]["ports"]] == [443, 7480]


def test_an_agents_figures_are_scraped_with_the_pods():
    agent = {"channel": "prod", "agent": True}
    spec = objects({**agent, "monitor": "pod"})["PodMonitor/triton-cpu"]["spec"]
    assert [one["port"] for one in spec["podMetricsEndpoints"]] == ["metrics", "agent"]
    spec = objects({**agent, "monitor": "service"})["ServiceMonitor/triton-cpu"]["spec"]
    assert [one["port"] for one in spec["endpoints"]] == ["metrics"]


def test_the_key_is_in_a_map_of_its_own():
    assert objects(verify_key=KEY)["ConfigMap/triton-cpu-verify-key"]["data"] == {
        "release.pem": KEY
    }


def test_a_namespace_is_on_everything():
    made = objects({"namespace": "serving", "monitor": "pod"}, verify_key=KEY)
    assert {one["metadata"]["namespace"] for one in made.values()} == {"serving"}


def test_names_are_what_kubernetes_takes():
    with pytest.raises(InputError, match="too long"):
        context({"name": "a" * 40, "lanes": {"b" * 20: {"models": ["minilm", "resnet50"]}}})
    manifest = release({"minilm": 1})
    object.__setattr__(manifest, "target", "GPU_A.100")
    assert context(manifest=manifest).name == "triton-gpu-a-100"


def test_the_pulling_image_has_to_be_named():
    with pytest.raises(InputError) as caught:
        context({"pull-image": None})
    assert caught.value.where == "pull-image"
    assert "Containerfile" in caught.value.fix


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, "a secret does not stand in a manifest"),
        ({"environment": {"MY_TOKEN": "x"}}, "a secret does not stand in a manifest"),
        ({"environment": {"URL": "http://me:pass@store"}}, "an address with a password"),
        ({"environment": {"URL": "http://store:none"}}, "not an address"),
        ({"agent": True}, "an agent without a channel"),
        ({"replicas": {"scale-on": "cpu"}}, "scale-on without a max"),
        ({"replicas": {"max": 5}}, "a max and nothing that scales"),
        ({"replicas": {"min": 1, "max": 5, "scale-on": "queue"}}, "asks Prometheus"),
        ({"node-cache": "cache"}, "not a folder of a node"),
        ({"node-cache": "/a/../etc"}, "not a folder of a node"),
        ({"resources": {"cpu": "lots"}}, "text of the form"),
        ({"channel": "Bad Name"}, "no name for a channel"),
        ({"channel": "abcdef1"}, "no name for a channel"),
        ({"replicaz": {}}, "unknown field"),
    ],
)
def test_settings_that_make_no_sense_are_told(said, problem):
    with pytest.raises((InputError, SeveralError)) as caught:
        parse(Document("deploy.yaml", said, {}), Deployment)
    assert problem in str(caught.value)


def test_a_folder_is_brought_up_to_date(tmp_path):
    first = manifests.write(context({"replicas": QUEUE}), tmp_path)
    assert "scaledobject.yaml" in first
    assert manifests.write(context({"replicas": QUEUE}), tmp_path) == []
    (tmp_path / "ours.yaml").write_text("kind: Namespace\n")
    changed = manifests.write(context(), tmp_path)
    assert changed == ["deployment.yaml", "kustomization.yaml", "scaledobject.yaml"]
    assert not (tmp_path / "scaledobject.yaml").exists()
    assert (tmp_path / "ours.yaml").exists()


def test_a_budget_that_is_explained_otherwise_replaces_no_pods():
    made = [
        objects(measured=Measured({"minilm": load, "resnet50": 1.0}))["Deployment/triton-cpu"]
        for load in (1.0, 1.1)
    ]
    remarks = [one["metadata"]["annotations"]["triton-builder/startup-budget"] for one in made]
    assert remarks[0] != remarks[1]
    assert made[0]["spec"] == made[1]["spec"]
