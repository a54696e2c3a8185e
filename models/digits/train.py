"""Trains the digits network and writes weights.safetensors: `python models/digits/train.py`.

Ten seconds on one core. The seeds are fixed, yet other releases of torch round
otherwise: retraining means a new digest in model.yaml, and a new version there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from source import Digits, split

EPOCHS = 40
BATCH = 32
SEED = 3
OUT = Path(__file__).with_name("weights.safetensors")


def train(images: torch.Tensor, labels: torch.Tensor) -> Digits:
    """Adam with a one-cycle rate, on images shifted by up to a pixel."""
    torch.manual_seed(SEED)
    network = Digits()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for n in range(len(labels) // BATCH):
            rows = order[n * BATCH : (n + 1) * BATCH]
            down, right = torch.randint(-1, 2, (2,)).tolist()
            shifted = _shifted(images[rows], down, right)
            loss = torch.nn.functional.cross_entropy(
                network(shifted), labels[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def _shifted(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, 1 - down : 9 - down, 1 - right : 9 - right]


def main() -> None:
    """Trains, measures on what was held out, writes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    seen, held = split()
    network = train(torch.from_numpy(seen[0]), torch.from_numpy(seen[1]))
    with torch.no_grad():
        hits = network(torch.from_numpy(held[0])).argmax(dim=1).numpy() == held[1]
    save_file(network.state_dict(), OUT)
    digest = hashlib.sha256(OUT.read_bytes()).hexdigest()
    print(f"held-out accuracy {hits.mean():.4f} ({hits.sum()} of {len(hits)})")
    print(f"{OUT.name}: {OUT.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
