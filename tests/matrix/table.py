"""The table: what is changed, and what has to be done again for it. Written by hand.

Early cut-off counts: where a comment in a source makes its model's reference and export run,
these come out with the same bytes, and nothing below them runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.matrix.everything import OTHER_WEIGHTS, PYTHON_MODEL, WEIGHTS, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.matrix.world import World

NET, AGED, SCALE, LONE = (f"models/{name}/model.yaml" for name in ("net", "aged", "scale", "lone"))
PAIR, OUTER, SOLO = (f"ensembles/{name}/ensemble.yaml" for name in ("pair", "outer", "solo"))
CPU = "[tool.triton-builder.targets.cpu]\n"
HEAD = "[tool.triton-builder]\n"

ABOVE = "reference pair, reference outer"
"""The ensembles that answer by the reference of `net` and `scale`."""
LOAD = f"reference net, export net, {ABOVE}"
"""What loads `net`."""
MADE = "int8 net 1.1, prove net 1.0, prove net 1.1"
ANEW = f"{LOAD}, {MADE}, config net"
"""What is done when `net` answers otherwise in `z`: its config has a probe beside it."""
THROUGH = f"{ANEW}, config pair, config outer"
"""What is done when it does in `y`, which goes on to the ensembles."""
EXPORTS = "export net, export aged 1, export aged 2.1"
PREFLIGHTS = "preflight net 1.0, preflight net 1.1, preflight aged 1, preflight aged 2.1"
PROOFS = "prove net 1.0, prove net 1.1, prove aged 1, prove aged 2.1"
CONFIGS = ", ".join(
    f"config {name}" for name in ("net", "aged", "scale", "lone", "pair", "outer", "solo")
)
REFERENCES = (
    "reference net, reference aged 1, reference aged 2.1, reference scale, reference lone, "
    "reference pair, reference outer, reference solo"
)
PYTHONS = "python scale, python lone"
EVERYTHING = f"{REFERENCES}, {EXPORTS}, {PROOFS}, int8 net 1.1, heldout net, {PYTHONS}, {CONFIGS}"

OF_NET = "net, pair, outer"
"""What serves `net`."""
OF_SCALE = "scale, pair, outer"
ALL = "net, aged, scale, lone, pair, outer, solo"


@dataclass(frozen=True)
class Mutation:
    """One change, and what has to be done for it.

    Attributes:
        ran: the actions that have to run.
        unproven: the models that have to go to the server.
        says: what the reason of each action that runs must hold, where it does not run for what
            another one gave.
        wrong: why it is known not to be so.
    """

    name: str
    change: Callable[[World], object]
    ran: frozenset[str]
    unproven: frozenset[str]
    says: str
    wrong: str


def row(
    name: str,
    change: Callable[[World], object],
    ran: str = "",
    unproven: str = "",
    *,
    says: str = "",
    wrong: str = "",
) -> Mutation:
    def names(text: str) -> frozenset[str]:
        return frozenset(text.split(", ")) - {""}

    return Mutation(name, change, names(ran), names(unproven), says, wrong)


# --- changes -----------------------------------------------------------------------------


def put(file: str, *path: str | int, to: object) -> Callable[[World], object]:
    return lambda world: world.set(file, *path, to=to)


def edit(file: str, old: str, new: str) -> Callable[[World], object]:
    return lambda world: world.edit(file, old, new)


def write(file: str, text: str) -> Callable[[World], object]:
    return lambda world: world.files.update({file: text})


def comment(file: str) -> Callable[[World], object]:
    return lambda world: world.files.update({file: world.files[file] + "\n# a comment\n"})


def both(*changes: Callable[[World], object]) -> Callable[[World], object]:
    return lambda world: [change(world) for change in changes]


def version(**versions: str) -> Callable[[World], object]:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return lambda world: world.versions.update(named)


def code(module: str) -> Callable[[World], object]:
    return lambda world: world.code.update({module: "other "})


def target(line: str) -> Callable[[World], object]:
    return edit("pyproject.toml", CPU, CPU + line + "\n")


def settings(line: str) -> Callable[[World], object]:
    return edit("pyproject.toml", HEAD, HEAD + line + "\n")


def renamed(old: str, new: str) -> Callable[[World], object]:
    """Another name for a folder below models/ or ensembles/, and all that is in it."""

    def change(world: World) -> None:
        for file in [f for f in world.files if f.startswith(f"{old}/")]:
            world.files[new + file.removeprefix(old)] = world.files.pop(file)

    return change


def reordered(file: str, *path: str) -> Callable[[World], object]:
    """The other order of a mapping's keys."""

    def change(world: World) -> None:
        import yaml

        spec = yaml.safe_load(world.files[file])
        inner = spec
        for key in path:
            inner = inner[key]
        turned = dict(reversed(inner.items()))
        if path:
            world.set(file, *path, to=turned)
        else:
            world.files[file] = yaml.safe_dump(turned, sort_keys=False)

    return change


def as_torch(world: World) -> None:
    """`lone` as a model of torch."""
    for name in ("format", "reference"):
        world.set(LONE, name, to=None)
    world.set(LONE, "source", to="source.py:load")
    world.files["models/lone/source.py"] += (
        "\n\ndef load():\n    import torch\n\n    return torch.nn.Identity()\n"
    )


def own_weights(text: str) -> Callable[[World], object]:
    return both(
        write("models/aged/own.txt", text),
        put(AGED, "versions", "2.1", "weights_sha256", to=sha256(text)),
    )


def twin(world: World) -> None:
    """A model like `lone`, which `solo` uses in its place."""
    for file in [f for f in world.files if f.startswith("models/lone/")]:
        world.files[file.replace("lone", "twin")] = world.files[file]
    world.set("models/twin/model.yaml", "name", to="twin")
    world.set(SOLO, "steps", 0, "model", to="twin")


def tensors(key: str, value: object, source: tuple[str, str]) -> Callable[[World], object]:
    """Another dtype or shape all along from `solo`'s input to its output."""
    return both(
        put(LONE, "inputs", "p", key, to=value),
        put(LONE, "outputs", "q", key, to=value),
        put(SOLO, "inputs", "P", key, to=value),
        put(SOLO, "outputs", "Q", key, to=value),
        edit("models/lone/source.py", *source),
    )


def touched(world: World) -> None:
    world.finish = lambda root: [os.utime(p, (1, 1)) for p in root.rglob("*")]


def barred(world: World) -> None:
    world.finish = lambda root: [p.chmod(0o500) for p in root.rglob("*")]


BOUNDS = ({"cosine": 0.8}, {"relative": 0.3}, {"mismatch": 0.1})

# --- the table ---------------------------------------------------------------------------

MODEL_FIELDS = (
    row(
        "name",
        both(
            put(NET, "name", to="web"),
            put(PAIR, "steps", 1, "model", to="web"),
            renamed("models/net", "models/web"),
        ),
        f"reference web, export web, heldout web, config web, {ABOVE}, config pair",
        "web, pair, outer",
    ),
    row("description", put(NET, "description", to="A net.")),
    row(
        "format",
        as_torch,
        "reference lone, export lone, prove lone 1.0, config lone, reference solo",
        "lone, solo",
    ),
    row("source", put(NET, "source", to="source.py:again"), LOAD, says="source"),
    row("samples", put(NET, "samples", to="samples.py:again"), "reference net", says="samples"),
    row(
        "reference",
        put(SCALE, "reference", to="reference.py:again"),
        f"reference scale, {ABOVE}",
        says="reference",
    ),
    row("files", put(SCALE, "files", to="files.py:again"), "python scale", says="files"),
    row(
        "packages",
        put(SCALE, "packages", to=["idna"]),
        "python scale",
        OF_SCALE,
        says="packages",
    ),
    row(
        "requires",
        put(NET, "requires", to=["packaging", "rich"]),
        f"{LOAD}, heldout net",
        says="rich",
    ),
    row("task", put(NET, "task", to="vision")),
    row(
        "task, where it decides the precision",
        both(put(NET, "task", to="text"), put(NET, "versions", "1.0", "precision", to=None)),
        "config net",
        OF_NET,
        says="tolerance",
    ),
    row(
        "weights: another file of the same bytes",
        both(put(NET, "weights", to="other.json"), write("models/net/other.json", WEIGHTS)),
        LOAD,
        says="weights",
    ),
    row(
        "weights",
        both(
            write("models/net/weights.json", OTHER_WEIGHTS),
            put(NET, "weights_sha256", to=sha256(OTHER_WEIGHTS)),
        ),
        THROUGH,
        OF_NET,
        says="weights.json",
    ),
    row(
        "inputs and outputs: dtype",
        tensors("dtype", "int64", ("int32", "int64")),
        "reference lone, config lone, reference solo, config solo",
        "lone, solo",
        says="dtype",
    ),
    row(
        "inputs and outputs: shape",
        both(
            tensors("shape", ["batch", 2], ("(2, 3)", "(2, 2)")),
            put(LONE, "dims", "n", to=None),
            put(SOLO, "dims", "n", to=None),
        ),
        "reference lone, config lone, reference solo, config solo",
        "lone, solo",
        says="shape",
    ),
    row(
        "dims.n.min",
        both(put(LONE, "dims", "n", "min", to=2), put(SOLO, "dims", "n", "min", to=2)),
        "reference lone, reference solo",
        says="dims.n.min 1 → 2",
    ),
    row(
        "dims.batch.max",
        put(NET, "dims", "batch", "max", to=9),
        "reference net, export net, prove net 1.0, prove net 1.1, config net",
        OF_NET,
        says="8 → 9",
    ),
    row("versions: the default precision said", put(AGED, "versions", "1", to={})),
    row(
        "versions.precision",
        put(NET, "versions", "1.1", "precision", to="fp32"),
        "config net, config pair, config outer",
        OF_NET,
        says="tolerance",
    ),
    row(
        "versions.recipe",
        put(NET, "versions", "1.1", "recipe", to="accurate"),
        "int8 net 1.1",
        says="recipe",
    ),
    row(
        "versions.weights: another file of the same bytes",
        both(
            put(AGED, "versions", "2.1", "weights", to="other.txt"),
            write("models/aged/other.txt", "0.5"),
        ),
        "reference aged 2.1, export aged 2.1, reference outer",
        says="weights",
    ),
    row(
        "versions.weights",
        own_weights("0.75"),
        "reference aged 2.1, export aged 2.1, prove aged 2.1, config aged, reference outer, "
        "config outer",
        "aged, outer",
        says="own.txt",
    ),
    row(
        "versions: one more of the same",
        put(NET, "versions", "1.2", to={"precision": "fp32"}),
        "config net",
        OF_NET,
        says="versions",
    ),
    *(
        row(
            f"versions.tolerance {bound}",
            put(NET, "versions", "1.1", "tolerance", to=bound),
            "int8 net 1.1, prove net 1.1, config net",
            "net",
            says="tolerance",
        )
        for one in BOUNDS
        for bound in (one, {"outputs": {"z": one}})
    ),
    row("serve", put(NET, "serve", to=["1.1"]), "config net", OF_NET, says="versions"),
    row("serve.latest", put(NET, "serve", to={"latest": 2}), "config net", OF_NET, says="latest"),
    row("serve: all that there are", put(NET, "serve", to=["1.0", "1.1"])),
    row("batching", put(SCALE, "batching", to=False), "config scale", OF_SCALE, says="batching"),
    *(
        row(f"batching.{name}", put(NET, "batching", name, to=to), "config net", OF_NET, says=name)
        for name, to in (
            ("preferred", [2, 4]),
            ("max_queue_delay", "2ms"),
            ("max_queue_size", 9),
        )
    ),
    row("instances", put(NET, "instances", to=3), "config net", OF_NET, says="instances 2 → 3"),
    row("instances: the default said", put(NET, "instances", to=2)),
    row("timeout", put(NET, "timeout", to="400ms"), "config net", OF_NET, says="timeout"),
    row("timeout in another unit", put(NET, "timeout", to="0.5s")),
    *(
        row(f"gpu.{option}, on a target without one", put(NET, "gpu", to={option: value}))
        for option, value in (("accelerator", "tensorrt"), ("cuda_graphs", [{"batch": 4}]))
    ),
    row("warmup", put(NET, "warmup", to=[1, 4]), "config net", OF_NET, says="warmup"),
    row("warmup: none", put(NET, "warmup", to=[]), "config net", OF_NET, says="warmup"),
    *(
        row(
            f"tolerance {bound}",
            put(NET, "tolerance", to={"cosine": 0.9, **bound}),
            f"export net, {MADE}, config net",
            "net",
            says="tolerance",
        )
        for one in BOUNDS
        for bound in (one, {"outputs": {"z": one}})
    ),
    row(
        "accuracy.data",
        put(NET, "accuracy", "data", to="labels.py:again"),
        "heldout net",
        says="labels.py",
    ),
    row("accuracy.output", put(NET, "accuracy", "output", to="z"), unproven="net"),
    row("accuracy.top1", put(NET, "accuracy", "top1", "int8", to=0.3), unproven="net"),
    row("accuracy.top1 of no version", put(NET, "accuracy", "top1", "fp16", to=0.3)),
    row("slo.p99", put(NET, "slo", "p99", to="2s")),
    row("build.memory", put(NET, "build", to={"memory": "1GB"})),
    row(
        "config",
        put(NET, "config", "parameters", "colour", to="blue"),
        "config net",
        OF_NET,
        says="colour",
    ),
)

ENSEMBLE_FIELDS = (
    row(
        "ensemble name",
        both(put(OUTER, "name", to="other"), renamed("ensembles/outer", "ensembles/other")),
        "config other",
        "other",
    ),
    row("ensemble description", put(PAIR, "description", to="A pair.")),
    row(
        "ensemble version",
        put(PAIR, "version", to="1.1"),
        "config pair, config outer",
        "pair, outer",
        says="version",
    ),
    row(
        "ensemble dims.min",
        put(SOLO, "dims", "n", "min", to=2),
        "reference solo",
        says="dims.n.min 1 → 2",
    ),
    row(
        "ensemble dims.max",
        put(SOLO, "dims", "n", "max", to=3),
        "reference solo",
        says="dims.n.max 4 → 3",
    ),
    row(
        "ensemble dims.batch.max",
        put(SOLO, "dims", "batch", "max", to=7),
        "reference solo, config solo",
        "solo",
        says="8 → 7",
    ),
    row(
        "steps.model",
        twin,
        "python twin, reference twin, config twin, reference solo, config solo",
        "twin, solo",
    ),
    row(
        "steps.version",
        put(PAIR, "steps", 1, "version", to="1.0"),
        "config pair, config outer",
        "pair, outer",
        says="tolerance",
    ),
    row("steps.version as a number", put(PAIR, "steps", 1, "version", to="1.1.0")),
    row("steps.version: the default said", put(OUTER, "steps", 1, "version", to="2.1")),
    row(
        "steps.inputs and outputs: another wire",
        both(
            put(PAIR, "steps", 0, "outputs", "w", to="other"),
            put(PAIR, "steps", 1, "inputs", "x", to="other"),
        ),
        f"{ABOVE}, config pair",
        "pair, outer",
        says="steps",
    ),
    *(
        row(
            f"ensemble tolerance {bound}",
            put(PAIR, "tolerance", to=bound),
            "config pair",
            "pair",
            says="tolerance",
        )
        for one in BOUNDS
        for bound in (one, {"outputs": {"Y": one}})
    ),
    row("ensemble slo.p99", put(PAIR, "slo", to={"p99": "2s"})),
)

SETTINGS_FIELDS = (
    row(
        "targets: another name",
        both(
            edit("pyproject.toml", "targets.cpu]", "targets.other]"),
            edit("pyproject.toml", '= "cpu"\n[', '= "other"\n['),
        ),
    ),
    row("remote-cache", settings('remote-cache = "file:///nowhere"')),
    row("remote-cache-read-only", settings("remote-cache-read-only = true")),
    row("release-store", settings('release-store = "file:///nowhere"')),
    row(
        "targets.triton",
        edit("pyproject.toml", "24.10", "24.04"),
        f"{EXPORTS}, int8 net 1.1, {PROOFS}",
        "net, aged, pair, outer",
    ),
    row(
        "targets.device",
        both(
            edit("pyproject.toml", 'device = "cpu"', 'device = "gpu"'), target('server = "remote"')
        ),
        f"config net, config aged, qdq net 1.1, prove net 1.1, {PREFLIGHTS}",
        ALL,
        says="KIND_CPU → KIND_GPU",
    ),
    row("targets.server", target('server = "remote"'), unproven=ALL),
    row("targets.url", target('url = "http://a:8000"')),
    row("targets.image", target('image = "tritonserver:24.10-py3"')),
    *(
        row(f"targets.container {option}", target(f"container = {{{option}}}"))
        for option in ('memory = "8GB"', 'shm-size = "2GB"', "pids = 1000")
    ),
    row(
        "targets.container gpus",
        both(
            edit("pyproject.toml", 'device = "cpu"', 'device = "gpu"'),
            target('server = "remote"\ncontainer = {gpus = "0"}'),
        ),
        f"config net, config aged, qdq net 1.1, prove net 1.1, {PREFLIGHTS}",
        ALL,
        says="KIND_CPU → KIND_GPU",
    ),
    row("targets.formats", target('formats = ["python", "onnx", "vllm"]')),
    row("targets.compute-capabilities", target('compute-capabilities = ["9.0"]')),
    row("targets.preflight", target("preflight = false")),
    *(
        row(f"targets.tensorrt {option}", target(f"tensorrt = {{{option}}}"))
        for option in (
            'workspace = "4GB"',
            "version-compatible = true",
            "hardware-compatible = true",
            "builder-image = true",
        )
    ),
    *(
        row(
            f"targets.onnxruntime {option}",
            both(
                put(NET, "gpu", to={"accelerator": "none"}),  # of two precisions
                edit("pyproject.toml", 'device = "cpu"', 'device = "gpu"'),
                target(f'server = "remote"\nonnxruntime = {{accelerator = "tensorrt"{option}}}'),
            ),
            f"config net, config aged, qdq net 1.1, prove net 1.1, {PREFLIGHTS}",
            ALL,
            says="KIND_CPU → KIND_GPU",
        )
        for option in ("", ', workspace = "2GB"')
    ),
)

SOURCES = (
    row("a comment in a source", comment("models/net/source.py"), LOAD, says="source.py"),
    row(
        "a source that answers otherwise",
        edit("models/net/source.py", "BONUS = 0.0", "BONUS = 1.0"),
        ANEW,
        OF_NET,
        says="source.py",
    ),
    row("a comment in a helper", comment("models/net/layers.py"), LOAD, says="layers.py"),
    row(
        "a helper that answers otherwise",
        edit("models/net/layers.py", "y * 2", "y * 3"),
        ANEW,
        OF_NET,
        says="layers.py",
    ),
    row(
        "a helper that an import would now find",
        write("models/net/extras.py", "BONUS = 1.0\n"),
        ANEW,
        OF_NET,
        says="the import of models/net/extras",
    ),
    row(
        "a package that an import would now find before a helper",
        write("models/net/layers/__init__.py", "def twice(y):\n    return y * 3\n"),
        ANEW,
        OF_NET,
        says="the import of models/net/layers",
    ),
    row(
        "a helper that is gone",
        lambda world: world.files.pop("models/net/optional.py"),
        LOAD,
        says="optional.py",
    ),
    row(
        "a vocabulary written otherwise",
        write("models/net/vocabulary.txt", "2.00"),
        LOAD,
        says="vocabulary.txt",
    ),
    row(
        "a vocabulary of other words",
        write("models/net/vocabulary.txt", "3.0"),
        THROUGH,
        OF_NET,
        says="vocabulary.txt",
    ),
    row(
        "a file that a listing would now show",
        write("models/net/tables/b.txt", "1.0"),
        THROUGH,
        OF_NET,
        says="the list of files in models/net/tables",
    ),
    row(
        "a file that a listing would no longer show",
        lambda world: world.files.pop("models/net/tables/a.txt"),
        LOAD,
        says="tables",
    ),
    row("a hidden file in a folder that is listed", write("models/net/tables/.b.txt", "1.0")),
    row(
        "a module beside a source that has the name of a package",
        write("models/net/yaml.py", ""),  # which is loaded already in this process
        LOAD,
        says="the import of models/net/yaml",
    ),
    row(
        "a folder that an import would now find",
        write("models/net/extras/README.md", "No BONUS here."),
        LOAD,
        says="the import of models/net/extras",
    ),
    row(
        "a module of a name that an import finds in another folder",
        write("models/aged/layers.py", "def twice(y):\n    return y * 3\n"),
    ),
    row("a file that nobody reads", write("models/net/README.md", "A net.")),
    row("a module that nobody imports", write("models/net/train.py", "import torch\n")),
    row("a comment in samples", comment("models/net/samples.py"), "reference net", says="samples"),
    row(
        "other samples",
        edit("models/net/samples.py", "default_rng(0)", "default_rng(1)"),
        f"reference net, export net, {MADE}, config net",
        OF_NET,
        says="samples.py",
    ),
    row(
        "a comment in held-out data",
        comment("models/net/labels.py"),
        "heldout net",
        says="labels.py",
    ),
    row(
        "other held-out data",
        edit("models/net/labels.py", "[0, 1, 2, 0]", "[0, 1, 2, 1]"),
        "heldout net",
        "net",
        says="labels.py",
    ),
    row(
        "a comment in a Python model",
        comment("models/scale/model.py"),
        "python scale",
        OF_SCALE,
        says="model.py",
    ),
    row(
        "a comment in a reference",
        comment("models/scale/reference.py"),
        f"reference scale, {ABOVE}",
        says="reference.py",
    ),
    row(
        "a comment in an ensemble's samples",
        comment("models/scale/samples.py"),
        f"reference scale, {ABOVE}",
        says="samples.py",
    ),
    row(
        "other samples of an ensemble",
        edit("models/scale/samples.py", "(1, 2)", "(1, 3)"),
        f"reference scale, config scale, {ABOVE}, config pair, config outer",
        OF_SCALE,
        says="samples.py",
    ),
    row(
        "a comment in a list of files",
        comment("models/scale/files.py"),
        "python scale",
        says="files.py",
    ),
    row(
        "a file that a Python model takes along",
        write("models/scale/table.txt", "another table"),
        "python scale",
        OF_SCALE,
        says="table.txt",
    ),
    row(
        "one more model",
        both(
            write("models/more/model.py", PYTHON_MODEL),
            lambda world: world.files.update(
                {
                    "models/more/source.py": world.files["models/lone/source.py"],
                    "models/more/model.yaml": world.files[LONE].replace("lone", "more"),
                }
            ),
        ),
        "python more, reference more, config more",
        "more",
        says="never built",
    ),
    row("one ensemble less", lambda world: world.files.pop(SOLO)),
)

FORM = (
    row("file times", touched),
    row("file modes", barred),
    row("comments in specs", both(comment(NET), comment(PAIR), comment("pyproject.toml"))),
    row("white space in a spec", edit(NET, "\n", "\n\n")),
    row("quotes and flow style in a spec", put(NET, "description", to="")),
    row("the order of fields", both(reordered(NET), reordered(PAIR))),
    row(
        "the order of mappings that have none",
        both(
            reordered(NET, "versions"),
            reordered(NET, "batching"),
            reordered(LONE, "dims"),
            reordered(NET, "accuracy", "top1"),
        ),
    ),
    row(
        "the order of outputs, which a tuple is matched by",
        reordered(NET, "outputs"),
        THROUGH,
        OF_NET,
        says="outputs",
    ),
)

TOOLS = (
    row(
        "numpy",
        version(numpy="9.9"),
        f"{REFERENCES}, {EXPORTS}, int8 net 1.1, heldout net, {CONFIGS}",
        ALL,
        says="→ 9.9",
    ),
    row("torch", version(torch="9.9"), f"{REFERENCES}, {EXPORTS}", says="torch"),
    row("onnx", version(onnx="9.9"), f"{EXPORTS}, int8 net 1.1", says="onnx"),
    row("onnx-ir", version(onnx_ir="9.9"), EXPORTS, says="onnx-ir"),
    row("onnxscript", version(onnxscript="9.9"), EXPORTS, says="onnxscript"),
    row("onnxruntime", version(onnxruntime="9.9"), f"{EXPORTS}, int8 net 1.1", says="onnxruntime"),
    row("protobuf", version(protobuf="9.9"), CONFIGS, says="protobuf"),
    row("tritonclient", version(tritonclient="9.9"), CONFIGS, ALL, says="tritonclient"),
    row(
        "a required distribution",
        version(packaging="9.9"),
        f"{LOAD}, heldout net",
        says="packaging",
    ),
    row(
        "a required distribution of a Python model",
        version(idna="9.9"),
        f"python scale, reference scale, {ABOVE}",
        says="idna",
    ),
    row(
        "a distribution that is taken along",
        version(filelock="9.9"),
        "python scale",
        says="filelock",
    ),
    row(
        "a distribution whose data a source reads",
        version(scikit_learn="9.9"),
        LOAD,
        says="scikit-learn",
    ),
    row(
        "a distribution that a source imports",
        version(PyYAML="9.9"),
        LOAD,
        says="PyYAML",
    ),
    row("tensorrt-rtx, where nothing is meant for a GPU", version(tensorrt_rtx="9.9")),
    row("a distribution that nobody uses", version(rich="9.9")),
    row(
        "Python",
        lambda world: setattr(world, "python", "9.9"),
        EVERYTHING,
        says="python",
    ),
    row("code of reference", code("builder.stages.reference"), REFERENCES, says="builder"),
    row("code of export", code("builder.stages.export"), EXPORTS, says="builder"),
    row("code of int8", code("builder.stages.int8"), "int8 net 1.1", says="builder"),
    row("code of fp16", code("builder.stages.fp16")),
    row("code of qdq", code("builder.stages.qdq")),
    row("code of preflight", code("builder.stages.preflight")),
    row("code of tensorrt", code("builder.stages.tensorrt")),
    row("code of prove", code("builder.stages.prove"), PROOFS, says="builder"),
    row("code of python", code("builder.stages.python"), PYTHONS, says="builder"),
    row("code of heldout", code("builder.stages.heldout"), "heldout net", says="builder"),
    row("code of config", code("builder.stages.config"), CONFIGS, says="builder"),
    row("code of the checks", code("builder.validation.live"), unproven=ALL),
    row("code of the server's driver", code("builder.servers.embedded.server"), unproven=ALL),
    row("code of the command line", code("builder.cli.main")),
    row(
        "the server's runtime",
        lambda world: world.runtime.update(onnxruntime="9.9"),
        PROOFS,
        ALL,
        says="onnxruntime",
    ),
    row(
        "an environment variable that a source reads",
        lambda world: world.environment.update(NET_SCALE="1"),
        THROUGH,
        OF_NET,
        says="NET_SCALE",
    ),
    row(
        "an environment variable that nobody reads",
        lambda world: world.environment.update(NOT_READ="1"),
    ),
)

TABLE = (*MODEL_FIELDS, *ENSEMBLE_FIELDS, *SETTINGS_FIELDS, *SOURCES, *FORM, *TOOLS)
