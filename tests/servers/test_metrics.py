"""What Triton's metrics say of GPUs, in the lines that it writes."""

from builder.servers.gpus import Gpu
from builder.servers.metrics import gpu_memory, gpu_memory_now, gpus, gpus_now

TWO = """\
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a"} 16944988160.000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-8674351b-fff7-56c3-f545-26313154b8ed"} 16944988160.000000
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a"} 7451181056.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-8674351b-fff7-56c3-f545-26313154b8ed"} 554696704.000000
# HELP nv_gpu_power_usage GPU power usage in watts
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{gpu_uuid="GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a"} 33.246000
"""
NONE = """\
# HELP nv_cpu_memory_used_bytes CPU used memory (MemTotal - MemAvailable)
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 8183205888.000000
# HELP nv_pinned_memory_pool_used_bytes Pinned memory pool used memory size, in bytes
# TYPE nv_pinned_memory_pool_used_bytes gauge
nv_pinned_memory_pool_used_bytes 0.000000
"""


def test_memory_in_use_is_read_for_each_gpu():
    assert gpu_memory(TWO) == {
        "GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a": 7451181056,
        "GPU-8674351b-fff7-56c3-f545-26313154b8ed": 554696704,
    }


def test_a_server_without_a_gpu_says_nothing_of_one():
    assert gpu_memory(NONE) == {}


def test_what_is_free_is_read_for_each_gpu():
    size = 16944988160
    assert gpus(TWO) == (
        Gpu("GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a", None, size, size - 7451181056),
        Gpu("GPU-8674351b-fff7-56c3-f545-26313154b8ed", None, size, size - 554696704),
    )
    assert gpus(NONE) == ()


def test_other_ways_of_writing_a_number_are_read():
    line = 'nv_gpu_memory_used_bytes{gpu_uuid="GPU-a",model="x"} 6.17611264e+08'
    assert gpu_memory(line) == {"GPU-a": 617611264}


def test_metrics_that_cannot_be_reached_tell_nothing():
    assert gpu_memory_now("127.0.0.1:9", 60) is None
    assert gpus_now("127.0.0.1:9") == ()
