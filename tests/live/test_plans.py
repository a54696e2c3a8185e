"""What a real Triton core makes of a config of plans; the backend that loads them is not here."""

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from builder.servers.embedded.server import EmbeddedServer
from builder.spec.tensor import Dim, Tensor
from builder.triton import optimization
from builder.triton.config import model_config, render
from builder.triton.profiles import profiles

pytestmark = pytest.mark.live

PARAMS = {
    "name": "m",
    "backend": "tensorrt",
    "max_batch_size": 8,
    "inputs": {"ids": {"dtype": "int64", "shape": ["batch", "sequence"]}},
    "outputs": {"e": {"dtype": "float32", "shape": ["batch", 384]}},
    "versions": [1000000],
    "latest": None,
    "batching": {"preferred": [4, 8], "max_queue_delay": 2000, "max_queue_size": 0},
    "timeout_us": 500_000,
    "instances": 1,
    "kind": "KIND_GPU",
    "warmup": [],
    "config": {},
    "where": "models/m/model.yaml config",
    "plans": {"8.0": "model_cc80.plan", "9.0": "model_cc90.plan"},
    "profiles": 3,
}


INPUTS = {"ids": Tensor(dtype="int64", shape=("batch", "sequence"))}
DIMS = {"batch": Dim(max=8), "sequence": Dim(max=64)}
SHAPES = [{"batch": 1, "sequence": 16}, {"batch": 8, "sequence": 64}]
OPTIMISED = {
    "not": None,
    "CUDA graphs": optimization.cuda_graphs(INPUTS, SHAPES, batched=True),
    "accelerator": optimization.accelerated(
        "fp16", profiles(INPUTS, DIMS, batched=True), workspace=10**9, profiled=True
    ),
}


@pytest.mark.parametrize("optimised", OPTIMISED.values(), ids=OPTIMISED)
def test_a_config_of_plans_is_taken_up_to_the_backend(installation, tmp_path, optimised):
    version = tmp_path / "m" / "1000000"
    version.mkdir(parents=True)
    for name in PARAMS["plans"].values():
        (version / name).write_bytes(b"a plan")
    config = model_config({**PARAMS, "optimization": optimised})
    (tmp_path / "m" / "config.pbtxt").write_text(render(config))
    with (
        EmbeddedServer(installation, [tmp_path]) as server,
        InferenceServerClient(server.grpc) as client,
        pytest.raises(InferenceServerException, match="backend library for backend 'tensorrt'"),
    ):
        client.load_model("m")
