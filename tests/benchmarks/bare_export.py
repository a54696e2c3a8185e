"""An encoder's export as somebody would write it by hand, and nothing else."""

import importlib.util
import sys
from pathlib import Path

import torch


def main(source: Path, out: Path) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("source", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load().eval()
    example = torch.from_numpy(module.samples()[-1]["x"])
    batch, sequence = torch.export.Dim("batch", max=8), torch.export.Dim("sequence", max=64)
    torch.onnx.export(
        model,
        (example,),
        out,
        dynamo=True,
        opset_version=20,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: batch, 1: sequence},),
        external_data=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
