"""The kinds of work, one a file: each turns a `Job` into files in `job.out`, and facts.

A stage is a module with a function `run(job: Job) -> dict[str, object]`. It runs in a
worker process, may import torch or ONNX, writes only below `job.out`, and depends on
nothing but its job: the same job gives the same bytes.
"""
