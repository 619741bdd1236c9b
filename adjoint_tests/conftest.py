"""The suite runs on every rank of one ``mpiexec``; see refimpl.verify.pytest_spmd.

mpiexec -n 6 python -m pytest --sizes 1,2,3,4,6         all team sizes
python -m pytest                                        one rank
python -m pytest --arrays torch                         the theorems on blocks of another array library
SPMD_PROFILE=nightly mpiexec -n 8 python -m pytest      random seeds, many examples
"""

from hypothesis import settings

from refimpl.verify import spmd

settings.register_profile("refimpl", spmd.profile())  # also for the property tests of one rank
settings.load_profile("refimpl")

# what has no blocks, has them on the host by its nature (files, pictures, the solvers), or chooses the library itself
HOST = """
arrays cli draw generate generate_sphere geology images inversion misuse mutants navier_stokes partition readme scaling
small_scope spmd torch tutorials two_phase two_phase_adjoint two_phase_case two_phase_ranks two_phase_rock
two_phase_solver two_phase_wells waiting wire
""".split()
collect_ignore = []


def pytest_configure(config):
    if config.getoption("--arrays") != "numpy":
        collect_ignore.extend(f"test_{name}.py" for name in HOST)
