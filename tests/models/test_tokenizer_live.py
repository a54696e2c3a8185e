"""tokenizer/model.py under the real Python stub, out of a version folder as it ships."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.models.sources import MODELS, read, yaml_of

pytestmark = [
    pytest.mark.live,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

CONFIG = """
name: "tokenizer" backend: "python" max_batch_size: 32
input { name: "text" data_type: TYPE_STRING dims: 1 }
output [{ name: "input_ids" data_type: TYPE_INT64 dims: -1 },
        { name: "attention_mask" data_type: TYPE_INT64 dims: -1 }]
dynamic_batching { max_queue_delay_microseconds: 20000 }
instance_group { kind: KIND_CPU }
"""
OUTPUTS = ("input_ids", "attention_mask")


@pytest.fixture(scope="module")
def infer(installation, tmp_path_factory):
    """Asks a live server; the answer's arrays, or the exception."""
    import tritonclient.grpc as triton

    from builder.servers.embedded.server import EmbeddedServer
    from builder.servers.launch import Launch
    from builder.stages import python
    from builder.stages.job import Job

    repository = tmp_path_factory.mktemp("repository")
    version = repository / "tokenizer" / "1"
    version.mkdir(parents=True)
    (repository / "tokenizer" / "config.pbtxt").write_text(CONFIG)
    spec = yaml_of("tokenizer")
    params = {
        "source": "models/tokenizer/model.py",
        "files": f"models/tokenizer/{spec['files']}",
        "packages": spec["packages"],
    }
    python.run(Job(params, {}, MODELS.parent, version, "tokenizer 1.0"))
    with EmbeddedServer(installation, [repository], Launch(explicit=False)) as server:
        client = triton.InferenceServerClient(server.grpc)

        def ask(text):
            sent = triton.InferInput("text", list(text.shape), "BYTES")
            sent.set_data_from_numpy(text)
            try:
                answer = client.infer("tokenizer", [sent])
            except triton.InferenceServerException as error:
                return error
            return {name: answer.as_numpy(name) for name in OUTPUTS}

        ask.statistics = client.get_inference_statistics
        yield ask
        client.close()


def test_samples_are_answered_as_transformers_answers_them(infer):
    source = read("tokenizer")
    for sample in source.samples():
        answer, expected = infer(sample["text"]), source.reference(sample)
        for name in OUTPUTS:
            np.testing.assert_array_equal(answer[name], expected[name])


def test_requests_batch_and_a_bad_one_fails_alone(infer):
    texts = [np.array([[b"word " * n]], dtype=object) for n in range(31)]
    texts.insert(9, np.array([[b"\xff\xfe"]], dtype=object))
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(infer, texts))
    bad = answers.pop(9)
    assert "text[0] is not UTF-8" in str(bad)
    assert "INVALID_ARGUMENT" in bad.status()
    assert [int(a["attention_mask"].sum()) for a in answers] == [n + 2 for n in range(31)]
    [stats] = infer.statistics("tokenizer").model_stats
    assert stats.execution_count < stats.inference_count
