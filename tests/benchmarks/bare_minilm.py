"""What somebody would write by hand for minilm: export, quantise, compare. The yardstick."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "models" / "minilm"))
import source  # noqa: E402 - after its folder is on the path


def main(out: Path) -> None:
    torch.set_num_threads(1)
    model = source.load().eval()
    samples = source.samples()
    with torch.no_grad():
        goldens = [
            model(**{name: torch.from_numpy(array) for name, array in sample.items()}).numpy()
            for sample in samples
        ]
    batch = torch.export.Dim("batch", min=1, max=32)
    sequence = torch.export.Dim("sequence", min=1, max=256)
    example = {
        name: torch.from_numpy(np.repeat(samples[0][name], 2, axis=0)) for name in samples[0]
    }
    fp32, int8 = out / "fp32.onnx", out / "int8.onnx"
    torch.onnx.export(
        model,
        kwargs=example,
        f=fp32,
        dynamo=True,
        opset_version=20,
        input_names=list(example),
        output_names=["sentence_embedding"],
        dynamic_shapes={name: {0: batch, 1: sequence} for name in example},
        external_data=False,
    )
    quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for path in (fp32, int8):
        session = onnxruntime.InferenceSession(path, options)
        least = 1.0
        for sample, golden in zip(samples, goldens, strict=True):
            answer = session.run(None, sample)[0]
            least = min(least, float((answer * golden).sum(axis=1).min()))
        print(path.name, path.stat().st_size, least)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
