"""`compare`: a version's layers against the fp32 graph's, out of what a build has left."""

import json
from pathlib import Path

import pytest

from builder.engine import run as engine
from builder.engine.local import LocalExecutor
from builder.errors import BuilderError
from builder.flow.context import context
from builder.flow.layers import compare as compared
from builder.flow.layers import explained, pointed
from builder.plan.graph import Graph
from builder.validation.verdict import Verdict, failed, passed
from tests.projects import SOURCE, SPEC, echo, model

pytestmark = [pytest.mark.slow, pytest.mark.export, pytest.mark.filterwarnings("default")]

TWO = SPEC.replace(
    '"1.0": {{precision: fp32}}', '"1.0": {{precision: fp32}}\n  "1.1": {{precision: int8}}'
)
STRICT = TWO.replace("{{precision: int8}}", "{{precision: int8, tolerance: {{relative: 1e-9}}}}")
DEEP = SOURCE.replace(
    "torch.nn.Linear(4, 3)",
    "torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))",
)


@pytest.fixture(autouse=True)
def runtime(cache_folder, installation):
    """The release's ONNX Runtime, out of the user's own cache."""
    cache_folder.mkdir(parents=True, exist_ok=True)
    (cache_folder / "servers").symlink_to(installation.root.parent)


@pytest.fixture
def compare(command):
    def run(*arguments, check):
        process = command("compare", *arguments)
        out, err = process.communicate()
        assert "Traceback" not in err
        assert process.returncode == check, err
        return out, err

    return run


def test_a_version_that_is_right_departs_nowhere(project, built, compare):
    model(project, spec=TWO, source=DEEP)
    built()
    out, _ = compare("linear", "1.1", check=0)
    assert "all outputs are within their bounds" in out
    assert "own cosine" in out
    told = json.loads(compare("linear", "1.1", "--json", check=0)[0])
    assert (told["first"], told["missed"], told["onnxruntime"]) == (None, [], "1.19.2")
    values = [one["value"] for one in told["layers"]]
    assert values[-1] == "y"
    assert all(f"{value}: " in out for value in values)


def test_a_version_that_was_refused_is_looked_at_all_the_same(project, built, compare):
    model(project, spec=STRICT, source=DEEP)
    with pytest.raises(BuilderError, match="recipes keeps the tolerance") as caught:
        built()
    assert "triton-builder compare" in caught.value.fix
    out, err = compare("linear", "1.1", check=1)
    assert "was refused: what came nearest is made once more" in err
    assert "`y` misses its bounds" in out
    assert "is the first value that departs" in err
    assert "for MatMul" in err or "for Gemm" in err
    told = json.loads(compare("linear", "1.1", "--json", check=1)[0])
    assert told["missed"] == ["y"]
    assert told["errors"][0]["where"] == "linear 1.1"


def test_goldens_that_a_server_misses_name_the_layer_or_how_to_find_it(project, built):
    model(project, spec=TWO, source=DEEP)
    echo(project)
    built()
    here = context(project, None, ("linear", "echo"), print)

    def missed(name, version):
        found = failed("goldens", "output y: off", expected="0.01", found="0.5")
        return Verdict(name, version, 1, "a server", (passed("ready", "", "is"), found))

    verdict = missed("linear", "1.1")
    (finding,) = pointed(here, verdict).failures
    assert finding.fix == (
        "triton-builder compare linear 1.1 --target cpu names the layer that departs"
    )
    (finding,) = explained(here, verdict, print).failures
    assert finding.reason.startswith(
        "output y: off; in ONNX Runtime 1.19.2, all outputs are within"
    )
    assert explained(here, verdict, print).findings[0] == verdict.findings[0]
    for other in (missed("linear", "1.0"), missed("echo", "1.0")):  # nothing to compare with
        assert pointed(here, other) == explained(here, other, print) == other


def test_what_there_is_nothing_to_compare_with_is_refused(project, built, compare):
    model(project, spec=TWO, source=DEEP)
    echo(project)
    assert "triton-builder build linear" in compare("linear", "1.1", check=1)[1]
    assert "is the fp32 graph itself" in compare("linear", "1.0", check=2)[1]
    assert "is no graph" in compare("echo", "1.0", check=2)[1]
    assert "1.1" in compare("linear", "1.2", check=2)[1]
    assert "did you mean `linear`?" in compare("liner", "1.1", check=2)[1]


def test_minilm_s_int8_departs_nowhere(cache, monkeypatch):
    """What the user's own cache has of it need not be made again."""
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(cache))
    here = context(Path(__file__).parents[2], "cpu", ["minilm"])
    made = {id_: a for id_, a in here.graph.actions.items() if a.stage not in {"prove", "config"}}
    engine.run(
        Graph(made, here.graph.models),
        here.files,
        here.store,
        executor=lambda _: LocalExecutor(here.store, 2),
        say=lambda _: None,
    )
    found = compared(here, "minilm", "1.1", print)
    assert not found.missed
    assert found.first is None
    assert len(found.layers) > 200
    assert sum("MatMulIntegerToFloat" in one.operators for one in found.layers) > 30
