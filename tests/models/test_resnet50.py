import numpy as np
import pytest

from tests.models.sources import read

pytestmark = [pytest.mark.export, pytest.mark.usefixtures("two_threads")]


@pytest.fixture(scope="module")
def resnet50():
    return read("resnet50")


@pytest.fixture(scope="module")
def network(resnet50):
    return resnet50.load()


def test_parameters_are_named_and_shaped_as_torchvision_names_them(network):
    """Names and shapes written out from the paper's table and torchvision's naming."""
    expected = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048), "fc.bias": (1000,)}

    def norm(name, channels):
        expected.update(
            {
                f"{name}.{part}": (channels,)
                for part in ("weight", "bias", "running_mean", "running_var")
            }
        )
        expected[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    channels = 64
    for layer, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            expected[f"{at}.conv1.weight"] = (width, channels, 1, 1)
            expected[f"{at}.conv2.weight"] = (width, width, 3, 3)
            expected[f"{at}.conv3.weight"] = (4 * width, width, 1, 1)
            for number, size in ((1, width), (2, width), (3, 4 * width)):
                norm(f"{at}.bn{number}", size)
            if block == 0:
                expected[f"{at}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                norm(f"{at}.downsample.1", 4 * width)
            channels = 4 * width
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == expected
    assert sum(p.numel() for p in network.parameters()) == 25_557_032


def test_the_3x3_carries_the_stride(network):
    assert network.get_submodule("layer2.0.conv2").stride == (2, 2)
    assert network.get_submodule("layer2.0.conv1").stride == (1, 1)


def test_made_up_weights_say_so_and_tell_pictures_apart(resnet50, network):
    import torch

    pictures = np.concatenate([sample["image"] for sample in resnet50.samples()])
    with torch.no_grad():
        logits = network(torch.from_numpy(pictures)).numpy()
    assert network.triton_builder_note == "untrained weights"
    assert 1 < logits.std() < 10
    assert len(set(logits.argmax(axis=1))) >= 3


def test_given_weights_are_loaded_and_carry_no_note(resnet50, tmp_path):
    import torch
    from safetensors.torch import save_file

    given = resnet50.ResNet50()
    save_file(given.state_dict(), tmp_path / "w.safetensors")
    loaded = resnet50.load(weights=tmp_path / "w.safetensors")
    assert torch.equal(loaded.fc.weight, given.fc.weight)
    assert not hasattr(loaded, "triton_builder_note")
    assert not loaded.training
