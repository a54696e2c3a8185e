"""What nvidia-smi prints of GPUs."""

from builder.servers import gpus
from builder.servers.gpus import Gpu

TOLD = """\
GPU-5b58c3e9-f92c-9a0e-4b0c-5b0fdd0a3f4f, 9.0, 143771, 143156
GPU-2f68f999-7b41-e64a-3709-0c8c4fa756c0, 8.6, [N/A], [N/A]
"""


def test_each_line_is_a_gpu():
    assert gpus.read(TOLD) == (
        Gpu("GPU-5b58c3e9-f92c-9a0e-4b0c-5b0fdd0a3f4f", "9.0", 143771 << 20, 143156 << 20),
        Gpu("GPU-2f68f999-7b41-e64a-3709-0c8c4fa756c0", "8.6"),
    )


def test_a_driver_that_does_not_know_a_capability_leaves_it_open():
    (gpu,) = gpus.read("GPU-a, [Not Supported], 1024, 512\n")
    assert gpu == Gpu("GPU-a", None, 1 << 30, 1 << 29)


def test_trouble_is_no_gpu():
    for told in ("", "sh: 1: nvidia-smi: not found\n", "No devices were found\n"):
        assert gpus.read(told) == ()


def test_what_is_proven_on_them_names_their_capabilities():
    assert (
        gpus.named([Gpu("a", "9.0"), Gpu("b", "8.0"), Gpu("c", "9.0"), Gpu("d")]) == "GPU 8.0, 9.0"
    )
    assert gpus.named([Gpu("a")]) == gpus.named([]) == ""
