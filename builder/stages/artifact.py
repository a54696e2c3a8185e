"""An ONNX model between stages: one folder on disk, one ModelProto in memory, one session.

What the graph computes is the business of the stages; here it is only read, run and
written so that equal models give equal bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.stages.job import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx
    import onnxruntime

    from builder.stages.goldens import Arrays, Golden

FILE = MODEL
WEIGHTS = f"{MODEL}.data"

PROTOBUF_LIMIT = 1_900_000_000
"""Bytes above which weights go beside the graph: protobuf stops at 2 GiB."""


def read(folder: Path) -> onnx.ModelProto:
    """The model of a folder, its external weights included.

    They are read here: onnx refuses files that are hard links, as all are that the store gives.
    """
    import onnx

    model = onnx.load(folder / FILE, load_external_data=False)
    nodes = [*model.graph.node, *(node for one in model.functions for node in one.node)]
    for tensor in (*model.graph.initializer, *_tensors(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            with (folder / place["location"]).open("rb") as file:
                file.seek(int(place.get("offset", 0)))
                tensor.raw_data = file.read(int(place.get("length", -1)))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


def _tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Those in attributes, at any depth."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graph.initializer
            yield from _tensors(graph.node)


def write(model: onnx.ModelProto, folder: Path) -> int:
    """Writes the model deterministically; returns the bytes on disk, weights included."""
    import onnx

    if model.ByteSize() > PROTOBUF_LIMIT:
        onnx.save(
            model,
            folder / FILE,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=WEIGHTS,
        )
    else:
        (folder / FILE).write_bytes(model.SerializeToString(deterministic=True))
    return size(folder)


def size(folder: Path) -> int:
    """Bytes of the model on disk, external weights included."""
    return sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))


def session(
    model: onnx.ModelProto | Path, *, threads: int = 1, layouts: bool = True
) -> onnxruntime.InferenceSession:
    """A CPU session on a model in memory, or on a folder.

    One thread by default: how work is split over threads changes the last bits of a sum,
    and what calibration sees decides the bytes of an artifact. Without `layouts`, ONNX Runtime
    leaves its last optimisations out.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not layouts:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED

    def start(source: bytes | str) -> onnxruntime.InferenceSession:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    if isinstance(model, Path):
        return start(str(model / FILE))
    if model.ByteSize() <= PROTOBUF_LIMIT:
        return start(model.SerializeToString())
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        copy = onnx.ModelProto()  # saving with external data empties the tensors it moves
        copy.CopyFrom(model)
        write(copy, Path(folder))
        del copy  # gigabytes
        return start(str(Path(folder) / FILE))


def answers(
    running: onnxruntime.InferenceSession, samples: Iterable[Golden]
) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """What the model answers to each sample, by output name."""
    wanted = {tensor.name for tensor in running.get_inputs()}
    names = [tensor.name for tensor in running.get_outputs()]
    for sample in samples:
        values = running.run(names, feed(sample.inputs, wanted))
        yield {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def feed(inputs: Arrays, wanted: Iterable[str]) -> dict[str, np.ndarray[Any, Any]]:
    """A sample as ONNX Runtime takes it: only what the graph reads, strings decoded."""
    return {name: _text(inputs[name]) for name in wanted if name in inputs}


def _text(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [t.decode() if isinstance(t, bytes) else t for t in array.ravel().tolist()]
    return texts.reshape(array.shape)
