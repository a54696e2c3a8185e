"""triton-builder: build, prove and release NVIDIA Triton model repositories."""

__version__ = "0.1.0"
