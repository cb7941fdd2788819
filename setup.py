"""Build the one compiled module, addersim.kernels._native, from ext/."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("ADDERSIM_DEBUG") == "1"  # sanitisers and bounds checks; .ci/sanitisers says how to load it
SANITISERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS = ["-O1", "-g", *SANITISERS] if DEBUG else ["-O3"]

native = Extension(
    "addersim.kernels._native",
    sources=["ext/_native.pyx", *sorted(map(str, Path("ext").glob("*.c")))],
    depends=sorted(map(str, Path("ext").iterdir())),  # setuptools ships them: the sdist needs the .pyx too
    include_dirs=["ext"],
    extra_compile_args=[*FLAGS, "-std=c11", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fwrapv"],
    extra_link_args=SANITISERS if DEBUG else [],
)

setup(
    ext_modules=cythonize(
        [native],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
        },
    )
)
