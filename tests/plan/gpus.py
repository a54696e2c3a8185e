"""GPU targets, and what is planned for them."""

from builder.plan.graph import graph
from builder.plan.toolchain import TOOLS, Toolchain
from builder.spec.project import load
from builder.spec.target import Target
from builder.triton.config import model_config, proto, render
from tests.projects import SPEC

TOOLCHAIN = Toolchain(
    "3.11", {"tensorrt-rtx": "1.7"}, dict.fromkeys(TOOLS, "code"), {"ort": "1.19.2"}
)
CPU = Target(triton="24.10", device="cpu")
THREE = SPEC.replace(
    '"1.0": {{precision: fp32}}', '"1.0": {{precision: fp32}}\n  "1.1": {{}}\n  "1.2": {{}}'
).replace('"1.2": {{}}', '"1.2": {{precision: int8}}\nbatching: {{preferred: [4]}}')
ONE = SPEC.replace("{{precision: fp32}}", "{{}}")


def gpu(*capabilities, formats=("tensorrt", "onnx", "python"), triton="24.10", **options):
    return Target(
        triton=triton,
        device="gpu",
        server="container",
        formats=formats,
        compute_capabilities=capabilities,
        **options,
    )


def drawn(root, target, toolchain=TOOLCHAIN):
    project = load(root)
    return graph(project, target, toolchain, {*project.models, *project.ensembles})


def kinds(actions, stage):
    return [id_ for id_, action in actions.actions.items() if action.stage == stage]


def keyless(actions):
    """What keys are made of, but for files and inputs, which are the same all over."""
    return {id_: (a.stage, a.params, dict(a.tools)) for id_, a in actions.actions.items()}


def rendered(root, target):
    """The text of config.pbtxt, and what NVIDIA's protobuf reads out of it."""
    from google.protobuf import text_format

    params = drawn(root, target).actions["config linear"].params
    text = render(model_config(params))
    return text, text_format.Parse(text, proto().ModelConfig())
