"""Text to token ids, run by Triton's Python backend.

Needs nothing of the server's Python but NumPy: the tokenizer's package travels in
`site-packages/` beside this file, its vocabulary in `tokenizer.json`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BUCKETS = (16, 32, 64, 128, 256)  # few lengths, so that requests to the next model batch


class Encoder:
    """Token ids and masks for the requests of one dynamic batch, without Triton."""

    def __init__(self, definition: bytes) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_buffer(definition)
        # The file asks for 128 tokens and padding to 128; the model takes 256.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(BUCKETS[-1])

    def __call__(self, requests: list[list[bytes]]) -> list[tuple[np.ndarray, np.ndarray] | str]:
        """One answer per request, in order: ids and mask, or what is wrong with it.

        Both arrays are int64 [texts of the request, its bucket]. All texts are encoded in
        one call; a request with bad bytes fails alone.
        """
        texts = [_decoded(request) for request in requests]
        good = [text for request in texts if isinstance(request, list) for text in request]
        encodings = iter(self._tokenizer.encode_batch_fast(good))
        return [
            request if isinstance(request, str) else _padded([next(encodings).ids for _ in request])
            for request in texts
        ]


def _decoded(request: list[bytes]) -> list[str] | str:
    texts = []
    for row, text in enumerate(request):
        try:
            texts.append(text.decode("utf-8"))
        except UnicodeDecodeError as e:
            return f"text[{row}] is not UTF-8: byte 0x{text[e.start]:02x} at {e.start}, {e.reason}"
    return texts


def _padded(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, rows), default=0)
    length = next(size for size in BUCKETS if size >= longest)
    ids = np.zeros((len(rows), length), np.int64)  # 0 is [PAD]
    mask = np.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return ids, mask


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Imports the tokenizer out of this folder and reads its vocabulary."""
        sys.dont_write_bytecode = True  # the repository stays as it was built
        sys.path.insert(0, str(HERE / "site-packages"))
        # As bytes: the stub runs in the C locale, where paths and texts are ASCII.
        self._encode = Encoder((HERE / "tokenizer.json").read_bytes())

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request of a dynamic batch; a bad one gets an error of its own."""
        import triton_python_backend_utils as pb

        texts = [pb.get_input_tensor_by_name(request, "text").as_numpy() for request in requests]
        return [
            pb.InferenceResponse(error=pb.TritonError(answer, pb.TritonError.INVALID_ARG))
            if isinstance(answer, str)
            else pb.InferenceResponse(
                [pb.Tensor("input_ids", answer[0]), pb.Tensor("attention_mask", answer[1])]
            )
            for answer in self._encode([text.ravel().tolist() for text in texts])
        ]
