"""The suite runs on every rank of one ``mpiexec``; see refimpl.verify.pytest_spmd.

mpiexec -n 6 python -m pytest --sizes 1,2,3,4,6         all team sizes
python -m pytest                                        one rank
SPMD_PROFILE=nightly mpiexec -n 8 python -m pytest      random seeds, many examples
"""

from hypothesis import settings

from refimpl.verify import spmd

settings.register_profile("refimpl", spmd.profile())  # also for the property tests of one rank
settings.load_profile("refimpl")
