"""The stage `tensorrt`, as far as it goes without a GPU: TensorRT-RTX has its API, and builds."""

import importlib
import sys

import pytest

from builder.engine.executor import Order
from builder.engine.worker import perform
from builder.errors import MissingError, WorkFailedError
from builder.plan.action import Action, Needs
from builder.plan.evaluate import Record
from builder.stages import artifact, tensorrt
from builder.stages.compiling import compiler, device, refusals
from builder.store.store import Store
from builder.triton import plans
from tests.stages import graphs
from tests.stages.graphs import X, Y

SPANS = [{"x": [[1, 32], [1, 32], [1, 32]]}, {"x": [[2, 32], [8, 32], [32, 32]]}]


class Driver:
    """NVIDIA's driver with some devices, in memory: the calls of cuda.h that are made of it."""

    def __init__(self, *capabilities, fails=""):
        self.capabilities, self.fails = capabilities, fails
        self.current = None

    def _status(self, name):
        return 999 if name == self.fails else 0

    def cuInit(self, _flags):  # noqa: N802 - cuda.h's
        return self._status("cuInit")

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.capabilities)
        return self._status("cuDeviceGetCount")

    def cuDeviceGet(self, device, place):  # noqa: N802
        device._obj.value = place
        return 0

    def cuDeviceGetAttribute(self, value, kind, device):  # noqa: N802
        major, minor = self.capabilities[device.value].split(".")
        value._obj.value = int({75: major, 76: minor}[kind])
        return 0

    def cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        context._obj.value = device.value + 1
        return 0

    def cuCtxSetCurrent(self, context):  # noqa: N802
        self.current = context.value - 1
        return 0


def job(tmp_path, model=None, **params):
    known = {
        "profiles": SPANS,
        "tf32": True,
        "capability": "9.0",
        "file": "model_cc90.plan",
        "tensorrt": "1.7.1.116",
        "workspace": None,
        "version_compatible": False,
        "hardware_compatible": False,
    }
    made = graphs.job(tmp_path, None, X, Y, [], **{**known, **params})
    artifact.write(model or graphs.layer(), made.inputs["onnx"])
    return made


@pytest.fixture
def stand_in(monkeypatch):
    """TensorRT-RTX in TensorRT's place, and a GPU of 9.0 as the second device."""
    library = importlib.import_module("tensorrt_rtx")
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    driver = Driver("8.9", "9.0")
    monkeypatch.setattr(device, "driver", lambda: driver)
    return driver


@pytest.mark.export
def test_a_plan_is_built_into_the_file_that_the_action_names(tmp_path, stand_in):
    here = job(tmp_path)
    facts = tensorrt.run(here)
    assert [p.name for p in here.out.iterdir()] == ["model_cc90.plan"]
    assert facts["size"] == (here.out / "model_cc90.plan").stat().st_size > 1000
    assert facts["layers"] == 2
    assert stand_in.current == 1


@pytest.mark.export
def test_a_plan_names_the_library_that_built_it(tmp_path, stand_in):
    here = job(tmp_path)
    tensorrt.run(here)
    assert str(plans.maker_of(here.out / "model_cc90.plan")) == "TensorRT-RTX 1.7.1.116"


@pytest.mark.export
def test_a_package_whose_library_is_of_another_version_is_refused(tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "1.7.2.9")
    here = job(tmp_path, tensorrt="1.7.2.9")
    with pytest.raises(MissingError, match="another TensorRT than the package says") as caught:
        tensorrt.run(here)
    assert caught.value.found == "a plan of TensorRT-RTX 1.7.1.116"
    assert caught.value.expected == "TensorRT 1.7.2.9"
    assert "LD_LIBRARY_PATH" in caught.value.fix
    assert list(here.out.iterdir()) == []


@pytest.mark.export
@pytest.mark.parametrize("options", [{"tf32": False}, {"workspace": 1 << 28}])
def test_a_plan_is_built_with_options(tmp_path, stand_in, options):
    assert tensorrt.run(job(tmp_path, **options))["size"] > 1000


@pytest.mark.export
def test_options_reach_the_library():
    library = importlib.import_module("tensorrt_rtx")
    config = library.Builder(library.Logger()).create_builder_config()
    flags = library.BuilderFlag
    assert config.get_flag(flags.TF32)
    assert not config.get_flag(flags.VERSION_COMPATIBLE)
    options = compiler.Options(workspace=1 << 28, tf32=False, version_compatible=True)
    compiler._configure(library, config, options)
    assert not config.get_flag(flags.TF32)
    assert config.get_flag(flags.VERSION_COMPATIBLE)
    assert config.get_memory_pool_limit(library.MemoryPoolType.WORKSPACE) == 1 << 28


@pytest.mark.export
@pytest.mark.filterwarnings("ignore:Use Deprecated:DeprecationWarning")  # TensorRT-RTX has none
def test_a_timing_cache_is_kept_where_the_variable_says(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv(tensorrt.TIMINGS, str(tmp_path / "timings"))
    for place in ("one", "two"):
        tensorrt.run(job(tmp_path / place))
        assert [p.name for p in (tmp_path / "timings").iterdir()] == ["tensorrt-1.7.1.116-9.0"]


@pytest.mark.export
@pytest.mark.filterwarnings("ignore:Use Deprecated:DeprecationWarning")  # TensorRT-RTX has none
def test_a_worker_keeps_it_in_the_store(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv(tensorrt.TIMINGS, "")  # which is put back as it was
    monkeypatch.delenv(tensorrt.TIMINGS)
    store, made = Store(tmp_path / "store", tmp_path), job(tmp_path / "job")
    source = Record("0" * 64, store.take(made.inputs["onnx"]), {}, {}, {})
    needs = Needs(capability="9.0")
    action = Action("tensorrt m", "tensorrt", made.params, inputs={"onnx": "export m"}, needs=needs)
    ingredients = action.ingredients({}, {"onnx": source.digest})
    answer = perform(Order(action, "1" * 64, ingredients, {"onnx": source}), store)
    assert isinstance(answer, Record), answer
    kept = [path.name for path in (tmp_path / "store" / "timings").iterdir()]
    assert kept == ["tensorrt-1.7.1.116-9.0"]


@pytest.mark.export
def test_what_it_refuses_is_told_as_in_the_preflight(tmp_path, stand_in):
    node = graphs.helper.make_node("Unique", ["x"], ["y"], name="odd")
    with pytest.raises(WorkFailedError, match="parser refuses") as caught:
        tensorrt.run(job(tmp_path, graphs.model([node], {}, X, Y)))
    assert "Unique (node `odd`)" in caught.value.found


@pytest.mark.export
@pytest.mark.parametrize("wanted", ["10.5.0.18", "1.7.2.116", "1.7.1.117"])
def test_another_tensorrt_than_the_release_s_is_refused_with_both(tmp_path, stand_in, wanted):
    with pytest.raises(MissingError) as caught:
        tensorrt.run(job(tmp_path, tensorrt=wanted))
    assert caught.value.found == "TensorRT 1.7.1.116 here"
    assert caught.value.expected == f"TensorRT {wanted}"


@pytest.mark.export
@pytest.mark.parametrize("wanted", ["1.7.1", "1.7.1.116"])
def test_a_build_number_that_is_left_out_is_no_other_version(tmp_path, stand_in, wanted):
    assert tensorrt.run(job(tmp_path, tensorrt=wanted))


def test_without_tensorrt_the_ways_to_it_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingError) as caught:
        tensorrt.run(job(tmp_path, tensorrt="10.5.0.18"))
    assert caught.value.exit_code == 3
    assert "pip install 'tensorrt==10.5.0'" in caught.value.fix
    assert "nvcr.io/nvidia/tensorrt:24.10-py3" in caught.value.fix


def test_the_gpu_of_the_capability_becomes_the_current_one():
    driver = Driver("8.9", "9.0", "9.0")
    device.use("9.0", driver)
    assert driver.current == 1


@pytest.mark.parametrize(
    ("driver", "found"),
    [(None, "no NVIDIA driver"), (Driver(), "no GPU"), (Driver("8.0", "8.9"), "8.0, 8.9")],
)
def test_where_there_is_no_such_gpu_it_is_told_what_there_is(driver, found):
    with pytest.raises(MissingError, match=r"no GPU of compute capability 9\.0") as caught:
        device.use("9.0", driver)
    assert caught.value.found == found


def test_a_driver_that_refuses_is_told():
    with pytest.raises(WorkFailedError) as caught:
        device.use("9.0", Driver("9.0", fails="cuInit"))
    assert "cuInit gave 999" in caught.value.found


@pytest.mark.export
def test_an_input_that_the_spec_has_not_is_named(tmp_path):
    library = importlib.import_module("tensorrt_rtx")
    here = job(tmp_path)
    with pytest.raises(WorkFailedError, match="an input `x` that the spec has not"):
        compiler.build(
            library,
            here.inputs["onnx"] / artifact.FILE,
            [{"z": SPANS[0]["x"]}],
            compiler.Options(),
            "here",
        )


@pytest.mark.parametrize(
    "said",
    [
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "[resizePhysical::154] Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)",
        "Requested amount of GPU memory (4294967296 bytes) could not be allocated.",
    ],
)
def test_a_gpu_without_room_is_not_the_graphs_fault(tmp_path, said):
    artifact.write(graphs.layer(), tmp_path)
    log = ["Could not find any implementation for node {ForeignNode[first]}.", said]
    error = refusals.unbuilt("TensorRT 10.5.0", tmp_path / "model.onnx", log, "tensorrt m 1.0")
    assert "too little memory for TensorRT 10.5.0 to build the plan" in error.problem
    assert error.found == said
    assert "tensorrt.workspace" in error.fix
