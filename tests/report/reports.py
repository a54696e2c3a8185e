"""A report as a build leaves it, with one version that failed."""

from __future__ import annotations

from builder.report.contents import BuildReport, ModelReport, VersionReport
from builder.validation.verdict import Verdict, failed, passed

SERVER = "tritonserver 2.51.0 (24.10), embedded"


def verdict(model, version, number, *findings, **latency):
    ready = passed("ready", "loaded in 1.2 s", "ready after warming batch sizes 1, 8", load_s=1.2)
    good = passed("goldens", "40 outputs: least cosine 0.99999", "within tolerance", cosine=0.99999)
    return Verdict(model, version, number, SERVER, (ready, good, *findings), latency)


def figures(p50, p99):
    found = {"p50_ms": p50, "p99_ms": p99, "alone_per_s": 1000 / p50}
    return found | {"concurrent_per_s": 2500 / p50, "batch_per_s": 4000 / p50}


def built(name, made, latency, *findings, **more):
    model, version, number = name
    precision, size, cosine = made
    return VersionReport(
        version,
        number,
        precision,
        {"model.onnx": size} if size else {},
        {"export": "dynamo, opset 20"} if precision else {},
        {"cosine": cosine, "cosine_mean": (1 + cosine) / 2} if precision else {},
        verdict=verdict(model, version, number, *findings, **latency),
        **more,
    )


def report(*, failing: bool = True) -> BuildReport:
    bad = failed(
        "batch",
        "row 3 of a batch of 8 is answered unlike the row alone",
        expected="the lone answer, within the company bounds of fp32",
        found='sentence_embedding: cosine 0.41 in row 0, at least 0.99999 & "quotes" <b>',
    )
    slow = figures(61, 75)
    full = ("fp32", 102_000_000, 1.0)
    untrained = {"note": "untrained weights"}
    return BuildReport(
        target="cpu",
        release="24.10",
        server=SERVER,
        manifest="sha256:" + "4f" * 32,
        toolchain={"triton": "24.10", "onnxruntime": "1.19.2", "torch": "2.13.0"},
        models=(
            ModelReport(
                "minilm",
                (
                    built(
                        ("minilm", "1.0", 1000000),
                        ("fp32", 90_300_000, 0.9999999),
                        figures(6, 9),
                        slo_p99_ms=100,
                    ),
                    built(
                        ("minilm", "1.1", 1001000),
                        ("int8", 22_900_000, 0.9812),
                        figures(3, 4.4),
                        slo_p99_ms=100,
                    ),
                ),
                description="Sentence embeddings (all-MiniLM-L6-v2).",
            ),
            ModelReport(
                "tokenizer",
                (built(("tokenizer", "1.0", 1000000), (None, 720_000, 1), figures(0.9, 1.6)),),
                format="python",
                description="Text to token ids.",
            ),
            ModelReport(
                "resnet50",
                (
                    built(("resnet50", "1.0", 1000000), full, slow, slo_p99_ms=100, **untrained),
                    built(
                        ("resnet50", "1.1", 1001000),
                        ("int8", 25_700_000, 0.9931),
                        figures(44, 58),
                        *([bad] if failing else []),
                        slo_p99_ms=50,
                        **untrained,
                    ),
                ),
                description="ResNet-50, 224 by 224.",
            ),
            ModelReport(
                "text_embedding",
                (built(("text_embedding", "1.0", 1000000), (None, 0, 1), figures(5.1, 8)),),
                format="ensemble",
                members=("tokenizer", "minilm"),
            ),
        ),
    )
