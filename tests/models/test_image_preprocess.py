import numpy as np
import pytest
from PIL import Image

from tests.models.sources import read

pytestmark = [pytest.mark.export, pytest.mark.usefixtures("two_threads")]

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


@pytest.fixture(scope="module")
def preprocess():
    return read("image_preprocess")


def with_pillow(picture):
    """Shorter side to 256, middle 224x224, by the arithmetic of torchvision's transforms."""
    height, width = picture.shape[:2]
    shorter = min(height, width)
    size = int(256 * width / shorter), int(256 * height / shorter)
    left, top = (round((side - 224) / 2) for side in size)
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32)


def ours(network, pictures):
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(pictures)).numpy()


def levels(normalised):
    return ((normalised * STD + MEAN) * 255).transpose(1, 2, 0)


def test_agrees_with_pillow_on_every_sample(preprocess):
    network = preprocess.load()
    for sample in preprocess.samples():
        answers = ours(network, sample["image"])
        for picture, answer in zip(sample["image"], answers, strict=True):
            gap = np.abs(levels(answer) - with_pillow(picture))
            assert gap.mean() < 0.5, picture.shape  # of 255: Pillow rounds twice
            assert gap.max() < 2, picture.shape


@pytest.mark.parametrize(
    "size", [(32, 4096), (4096, 33), (256, 257), (333, 1001), (2047, 1023), (32, 32)]
)
def test_agrees_with_pillow_at_odd_sizes(preprocess, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    gap = np.abs(levels(ours(preprocess.load(), picture[None])[0]) - with_pillow(picture))
    assert gap.mean() < 0.5
    assert gap.max() < 2


def test_a_plain_picture_stays_plain(preprocess):
    picture = np.full((1, 600, 411, 3), 255, np.uint8)
    answer = ours(preprocess.load(), picture)[0]
    np.testing.assert_allclose(answer, np.broadcast_to((1 - MEAN) / STD, answer.shape), atol=1e-4)
