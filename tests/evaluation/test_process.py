"""What a process settles before it loads torch."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
{settle}
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [np.ones(2**20) for _ in range(6)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
SETTLE = "from stbench.process import settle; settle()"


def ended(code, **more):
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GOMP_", "GLIBC_"))
    }
    found = subprocess.run([sys.executable, "-c", code], env={**environment, **more}, capture_output=True, check=True)
    return found.stdout.decode().strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other rules")
def test_freed_memory_is_used_again():
    unsettled = int(ended(FAULTS.format(settle="")))
    assert unsettled > 1000
    assert int(ended(FAULTS.format(settle=SETTLE))) < unsettled / 10
    assert int(ended(FAULTS.format(settle=SETTLE), MALLOC_TRIM_THRESHOLD_="1000000")) > unsettled / 10


@pytest.mark.parametrize(("said", "found"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_what_the_environment_says_of_threads_is_kept(said, found):
    assert ended(f"{SETTLE}; import os; print(os.environ['GOMP_SPINCOUNT'])", **said) == found
