"""ResNet-50 v1.5, under the parameter names that torchvision's checkpoints use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = 1000
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride
EXPANSION = 4
SEED = 50


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the 3x3 carries the stride (that is the .5 of v1.5)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, h, w] to [batch, 4 * width, h / stride, w / stride]."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """Normalised float32 images [batch, 3, 224, 224] to logits [batch, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for number, (width, blocks, stride) in enumerate(STAGES, start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(Bottleneck(channels, width, 1 if block else stride))
                channels = width * EXPANSION
            self.add_module(f"layer{number}", layer)
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class scores before softmax."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def load(weights: Path | None = None) -> nn.Module:
    """The network with the spec's `weights:`, or with made-up ones, which it then says.

    A torchvision checkpoint fits once saved as safetensors:
    `safetensors.torch.save_file(resnet50(weights="DEFAULT").state_dict(), "resnet50.safetensors")`.
    """
    network = ResNet50()
    if weights is None:
        _make_up(network)
        network.triton_builder_note = "untrained weights"  # shown in report and manifest
    else:
        from safetensors.torch import load_file

        network.load_state_dict(load_file(weights))
    return network.eval()


def samples() -> list[dict[str, np.ndarray]]:
    """Two photographs whole, zoomed, mirrored and darkened, prepared as ImageNet's are."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    made = []
    for pixels in load_sample_images().images:
        photo = Image.fromarray(pixels)
        whole = photo.resize((224, 224), Image.Resampling.BILINEAR)
        corner = photo.crop((40, 60, 264, 284))
        middle = photo.crop((200, 100, 420, 320)).resize((224, 224))
        made.append([whole, corner, middle, whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    alone = [_normalised([picture]) for pictures in made for picture in pictures]
    return [*alone, _normalised([made[0][1], made[1][0].point(lambda level: level // 2)])]


def _normalised(pictures: list) -> dict[str, np.ndarray]:
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    pixels = np.stack([np.asarray(picture, np.float32) / 255 for picture in pictures])
    return {"image": np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))}


def _make_up(network: ResNet50) -> None:
    """Seeded weights under which pictures still differ at the end.

    Uniform numbers, halves and signs only: the same bits on any processor.
    """
    random = torch.Generator().manual_seed(SEED)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=random)
        elif isinstance(module, Bottleneck):
            # Blocks add little to what came in, and only their strong responses: otherwise
            # the variance doubles with every block, and all pictures end up alike.
            nn.init.constant_(module.bn1.bias, -1.0)
            nn.init.constant_(module.bn2.bias, -1.0)
            nn.init.constant_(module.bn3.weight, 0.2)
    # Features are all positive; weights in pairs of opposite signs drop what they share.
    half = torch.empty(CLASSES, network.fc.in_features // 2)
    nn.init.kaiming_uniform_(half, nonlinearity="relu", generator=random)
    network.fc.weight.data = torch.cat([half, -half], dim=1)
    nn.init.zeros_(network.fc.bias)
