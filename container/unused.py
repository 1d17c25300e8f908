"""Removes from installed packages what serving and bulk scoring on a CPU never load: 210 MB.

The container test runs the image without it. A package that has no such file any more fails the build, so that the list
does not grow stale.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

UNUSED = (
    # OpenVINO for Intel's GPU and NPU, and its readers of other formats: a bundle holds OpenVINO's own.
    "openvino/libs/libopenvino_intel_gpu_plugin.so",
    "openvino/libs/libopenvino_intel_npu_plugin.so",
    "openvino/libs/cache.json",
    "openvino/libs/libopenvino_gguf_frontend.so.*",
    "openvino/libs/libopenvino_jax_frontend.so.*",
    "openvino/libs/libopenvino_onnx_frontend.so.*",
    "openvino/libs/libopenvino_paddle_frontend.so.*",
    "openvino/libs/libopenvino_pytorch_frontend.so.*",
    "openvino/libs/libopenvino_tensorflow_frontend.so.*",
    "openvino/libs/libopenvino_tensorflow_lite_frontend.so.*",
    # Arrow's network protocol and object store: bulk scoring goes through fsspec.
    "pyarrow/_flight*.so",
    "pyarrow/libarrow_flight.so.*",
    "pyarrow/libarrow_python_flight.so*",
    "pyarrow/_s3fs*.so",
    "pyarrow/libarrow_s3.so.*",
    # Two copies of one library, under names that only a linker asks for.
    "pyarrow/libarrow_python.so",
    "pyarrow/libarrow_python.so.*.*.*",
    # DICOM programs of pynetdicom's own.
    "pynetdicom/apps",
    "pynetdicom/benchmarks",
    # What the codecs that are removed below are linked with.
    "imagecodecs.libs/libSPERR-*",
    "imagecodecs.libs/libSZ3c-*",
    "imagecodecs.libs/libaom-*",
    "imagecodecs.libs/libavif-*",
    "imagecodecs.libs/libblosc2-*",
    "imagecodecs.libs/libbrotlienc-*",
    "imagecodecs.libs/libcpcodec-*",
    "imagecodecs.libs/libjxl*-*",
    "imagecodecs.libs/libopenjph-*",
    "imagecodecs.libs/libuhdr-*",
    "imagecodecs.libs/libzfp-*",
    # For those who compile against a package, or test it.
    "pyarrow/include",
    "pyarrow/src",
    "numpy/_core/include",
    "**/tests",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
)

CODECS = frozenset({"_imcd", "_jpeg2k", "_jpeg8", "_jpegls", "_png", "_shared", "_shared_cython", "_tiff"})
"""Modules of imagecodecs that `brainmri.imaging` decodes with, and what they share; fifty others are removed."""


def remove(environment: Path, patterns: Sequence[str] = UNUSED) -> None:
    """Removes it from a virtual environment."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    for module in packages.glob("imagecodecs/_*.so"):
        if module.name.partition(".")[0] not in CODECS:
            module.unlink()
    for pattern in patterns:
        paths = list(packages.glob(pattern))
        if not paths:
            sys.exit(f"{pattern}: no package has such a file any more. Correct container/unused.py.")
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
