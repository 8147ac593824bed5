"""Variables that change results or speed are part of where a result came from; places and secrets
are not.
"""

from __future__ import annotations

from orchestrator.machine.variables import MAX_VALUE, decisive


def test_variables_of_the_libraries_count_with_their_values() -> None:
    """Whichever library they switch."""
    set_ = {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_LAUNCH_BLOCKING": "1",
        "NCCL_P2P_DISABLE": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
        "NVTE_FLASH_ATTN": "0",
        "OMP_PROC_BIND": "true",
        "MKL_CBWR": "COMPATIBLE",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
        "TORCH_CUDNN_V8_API_DISABLED": "1",
        "TRITON_INTERPRET": "1",
        "LD_PRELOAD": "libjemalloc.so",
    }
    assert decisive({**set_, "HOME": "/root", "EDITOR": "vi"}) == dict(sorted(set_.items()))


def test_what_each_process_is_given_and_where_things_lie_do_not_count() -> None:
    """Slots have cards of their own, and runners folders of their own."""
    assert not decisive(
        {
            "CUDA_VISIBLE_DEVICES": "3",
            "OMP_NUM_THREADS": "1",
            "TRITON_CACHE_DIR": "/tmp/job7",
            "TORCH_HOME": "/home/ci",
            "CUDA_PATH": "/opt/cuda",
        }
    )


def test_no_secret_is_written_down() -> None:
    """Whatever prefix it has; a long value is cut."""
    secret = {
        "TORCH_HUB_TOKEN": "x",
        "NCCL_PASSWORD": "x",
        "CUDA_API_KEY": "x",
        "TRITON_SECRET_THING": "x",
    }
    assert not decisive(secret)
    assert decisive({"TORCH_LOGS": "x" * 5000}) == {"TORCH_LOGS": "x" * MAX_VALUE}
