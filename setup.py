"""What setup.cfg cannot say: the compiled part, which is built where there is a compiler and done without elsewhere."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "retrieval.base._kernel",
            ["retrieval/base/_kernel.c", "retrieval/base/_lists.c"],
            depends=["retrieval/base/_kernel.h"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
