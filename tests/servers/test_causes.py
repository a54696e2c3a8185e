"""What is meant by the lines that Triton 24.10, TensorRT, ONNX Runtime, CUDA and PyTorch write."""
# ruff: noqa: E501 - the lines are as they were written

import pytest

from builder.servers import causes
from builder.servers import log as logs

ONNX = (
    "Internal: onnx runtime error 1: /workspace/onnxruntime/onnxruntime/core/providers/cuda/"
    "cuda_call.cc:122 bool onnxruntime::CudaCall(ERRTYPE, const char*, const char*, ERRTYPE, const "
    "char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure "
)


@pytest.mark.parametrize(
    ("said", "problem", "found", "expected"),
    [
        (
            "failed to open text file for read /models/echo/config.pbtxt: Too many open files",
            "the server may not open any more files",
            "Too many open files",
            "one for each instance and client",
        ),
        (
            (
                "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file "
                "is generated on an incompatible device, expecting compute 8.6 got compute 8.0, please "
                "rebuild.)"
            ),
            "GPU of another compute capability",
            "a plan for compute capability 8.0",
            "8.6, the GPU's",
        ),
        (
            (
                "6: The engine plan file is generated on an incompatible device, expecting compute 10.0 "
                "got compute 9.0, please rebuild."
            ),
            "GPU of another compute capability",
            "a plan for compute capability 9.0",
            "10.0, the GPU's",
        ),
        (
            "unable to find '/repositories/0/minilm/1/model.plan' for model instance 'minilm_0_0'",
            "no plan for the GPU's compute capability",
            "none, and no /repositories/0/minilm/1/model.plan either",
            "a plan for each GPU that the server has",
        ),
        (
            (
                "6: The engine plan file is not compatible with this version of TensorRT, expecting "
                "library version 8.6.1.6 got 8.6.1.4, please rebuild."
            ),
            "another version of TensorRT",
            "a plan of TensorRT 8.6.1.4",
            "TensorRT 8.6.1.6, the server's",
        ),
        (
            (
                "Error Code 6: API Usage Error (The engine plan file is not compatible with this version "
                "of TensorRT, expecting library version 10.14.1.48 got \n..      , please rebuild. In "
                "checkEngineVersionCompatible at /_src/runtime/api/engine.cpp:871)"
            ),
            "another version of TensorRT",
            "a plan of TensorRT ?",
            "TensorRT 10.14.1.48, the server's",
        ),
        (
            (
                "Internal: unable to create TensorRT engine: IRuntime::deserializeCudaEngine: Error Code "
                "1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION "
                "failed.Version tag does not match. Note: Current Version: 240, Serialized Engine "
                "Version: 239)"
            ),
            "another version of TensorRT",
            "a plan of format 239",
            "format 240, the server's",
        ),
        (
            (
                "1: [stdArchiveReader.cpp::StdArchiveReader::29] Error Code 1: Serialization "
                "(Serialization assertion magicTagRead == magicTag failed.Magic tag does not match)"
            ),
            "no plan of TensorRT's",
            "TensorRT-RTX",
            "as the release's TensorRT writes it",
        ),
        (
            (
                "Invalid argument: unable to find backend library for backend 'tensorrt', try "
                "specifying runtime on the model configuration."
            ),
            "has not the model's backend",
            "no backend `tensorrt`",
            "a server that has it",
        ),
        (
            (
                "Invalid argument: instance group resnet50_0 of model resnet50 has kind KIND_GPU but no "
                "GPUs are available"
            ),
            "is to run on a GPU, and the server has none",
            "KIND_GPU, and no GPUs are available",
            "KIND_CPU",
        ),
        (
            (
                "Invalid argument: instance group m_0 of model m specifies invalid or unsupported gpu "
                "id 3. GPUs with at least the minimum required CUDA compute compatibility of 6.000000 "
                "are: 0,1"
            ),
            "a GPU that the server has not",
            "GPU 3, of those that the server can use: 0,1",
            "6.000000",
        ),
        (
            (
                "instance group m_0 of model m specifies invalid or unsupported gpu id 0. GPUs with at "
                "least the minimum required CUDA compute compatibility of 6.000000 are: "
            ),
            "a GPU that the server has not",
            "GPU 0, of those that the server can use: ?",
            "6.000000",
        ),
        (
            (
                f"{ONNX}35: CUDA driver version is insufficient for CUDA runtime version ; GPU=32553 ; "
                "hostname=8518a28ba867 ; expr=cudaSetDevice(info_.device_id);"
            ),
            "cannot use a GPU",
            "CUDA driver version is insufficient",
            "a driver of the branch",
        ),
        (
            (
                f"{ONNX}100: no CUDA-capable device is detected ; GPU=-1 ; hostname=x ; "
                "expr=cudaSetDevice(info_.device_id);"
            ),
            "has no GPU",
            "no CUDA-capable device is detected",
            "a GPU, and its driver",
        ),
        (
            f"{ONNX}2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size);",
            "too little memory",
            "CUDA failure 2: out of memory",
            "GPU memory",
        ),
        (
            (
                "Requested amount of GPU memory (2359296 bytes) could not be allocated. There may not "
                "be enough free memory for allocation to succeed."
            ),
            "too little memory",
            "(2359296 bytes) could not be allocated",
            "GPU memory",
        ),
        (
            "1: [defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)",
            "too little memory",
            "Cuda Runtime (out of memory)",
            "GPU memory",
        ),
        (
            "Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)",
            "too little memory",
            "1073741824",
            "GPU memory",
        ),
        (
            (
                "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total "
                "capacity of 15.77 GiB of which 10.19 MiB is free."
            ),
            "too little memory",
            "Tried to allocate 20.00 MiB",
            "GPU memory",
        ),
        (
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "older, or newer",
            "no kernel image",
            "a GPU that the release runs on",
        ),
    ],
)
def test_what_is_said_of_a_gpu_is_told_with_what_to_do(said, problem, found, expected):
    cause = causes.of(said)
    assert cause is not None
    assert problem in cause.problem
    assert found in cause.found
    assert expected in cause.expected
    assert cause.fix


@pytest.mark.parametrize(
    "said",
    [
        "Internal: Stub process 'echo_0_0' is not healthy.",
        "Internal: TritonModelException: ValueError: no such thing",
        "Invalid argument: model input 'x' cannot be found",
        "Internal: onnx runtime error 7: Load model failed:Protobuf parsing failed.",
    ],
)
def test_other_words_speak_for_themselves(said):
    assert causes.of(said) is None


LOG = """\
W1126 18:07:08.075524 1 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, \
pinned memory pool will not be available: CUDA driver version is insufficient for CUDA runtime version"
I1126 18:07:09.144629 1 model_lifecycle.cc:472] "loading: other:1"
E1126 18:07:09.186720 1 logging.cc:40] "Error Code 1: Cuda Runtime (out of memory)"
E1126 18:07:09.187896 1 model_lifecycle.cc:642] "failed to load 'other' version 1: Internal: x"
I1126 18:07:10.144629 1 model_lifecycle.cc:472] "loading: minilm:1001000"
I1126 18:07:10.150590 1 tensorrt.cc:231] "TRITONBACKEND_ModelInstanceInitialize: minilm_0_0"
E1126 18:07:11.186720 1 logging.cc:40] "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error
(The engine plan file is generated on an incompatible device, expecting compute 8.6 got compute 8.0)"
I1126 18:07:11.187000 1 tensorrt.cc:274] "TRITONBACKEND_ModelInstanceFinalize: delete instance state"
E1126 18:07:11.187896 1 model_lifecycle.cc:642] "failed to load 'minilm' version 1001000: Internal: \
unable to create TensorRT engine"
"""


def test_the_evidence_is_all_errors_since_a_load_began():
    found = causes.evidence(LOG, "minilm")
    assert [line.partition(" ")[0] for line in found.splitlines()] == ["E1126", "(The", "E1126"]
    assert causes.evidence(LOG, "resnet50") == ""


def test_a_server_that_does_not_start_says_what_its_log_means():
    error = logs.failure("ended", "repository/gpu", LOG.replace("other", "minilm"))
    assert error.problem == (
        "tritonserver cannot load minilm, version 1 and minilm, version 1001000: "
        "the plan was built for a GPU of another compute capability"
    )
    assert error.found == "a plan for compute capability 8.0"
    assert error.expected == "8.6, the GPU's"
    assert "compute-capabilities" in error.fix
    assert "unable to create TensorRT engine" in error.detail
