"""Which folders a wheel holds; everything else about the project is in pyproject.toml.

Job files and example queries lie at the top of a checkout, where people look for them; a wheel has them inside the
package.
"""

from setuptools import find_packages, setup

SHIPPED = {"cxremb.embed_jobs": "embed_jobs", "cxremb.queries": "stores/queries"}

setup(
    packages=[*find_packages(include=["cxremb*"]), *SHIPPED],
    package_dir=SHIPPED,
)
