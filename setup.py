"""What pyproject.toml cannot say: folders of the checkout that a wheel holds under other names.

`implementations` is too general a name for site-packages, where a user's own folder of that name would hide it.
Sweep files stand at the top of the checkout, where people look for them, and inside the package in a wheel.
"""

from setuptools import find_packages, setup

FOLDERS = {"implementations": "orchestrator_implementations", "sweeps": "orchestrator.sweeps"}

setup(
    packages=[
        *find_packages(include=["orchestrator", "orchestrator.*"]),
        *(
            f"orchestrator_{name}"
            for name in find_packages(include=["implementations", "implementations.*"])
        ),
        "orchestrator.sweeps",
    ],
    package_dir={package: folder for folder, package in FOLDERS.items()},
)
