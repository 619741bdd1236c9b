"""The CO2 simulator against OPM Flow, step by step; a table, and exit code 1 where they differ. Without ``flow``: skipped.

A thousand cells of lognormal rock, twelve steps. Every case but the last two must agree to 1e-6 in saturation and 1e-4 bar; one
with capillary pressure, which is a table in Flow, to 1e-5. The weight of the CO2 in a bore is not the same in both
(``opm_flow``): with three perforations 5e-4 and 5e-3 bar. And it must show where one has 1 % more permeable rock.

    python adjoint_tests/validate_opm_flow.py       some seconds
"""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hard_rock import lognormal
from opm_flow import DAY, INSTALL, flow_version, run_flow, run_ours

from solvers.two_phase import BrooksCorey, Case, Corey, Injector, Producer, StepControl

SHAPE, DAYS = (12, 11, 8), (1, 3, 6, 10, 15, 20, 30, 40, 60, 80, 100, 120)
K = 3.0 * lognormal(SHAPE, 1.0)
WELL = Injector((6, 5), (7, 8), 5e-3)
CASE = Case(
    shape=SHAPE,
    spacing=(np.linspace(20.0, 40.0, 12), 40.0, np.linspace(3.0, 7.0, 8)),
    permeability=(K, 0.7 * K, 0.1 * K),
    porosity=0.25,
    times=tuple(DAY * day for day in DAYS),
    top=800.0,
    boundary="open",
    wells=(WELL,),
    relative_permeability=(Corey((3.0, 2.0), (0.2, 0.1), table_points=161),),
    control=StepControl(first=np.inf, tolerance=1e-9, mass_tolerance=1e-9),
)
CHANGING = replace(WELL, rate=((0.0, 5e-3), (35.0 * DAY, 0.0), (60.0 * DAY, 2e-3)))
CASES = {  # name: (case, how far saturations and pressures in bar may differ)
    "one perforation": (CASE, 1e-6, 1e-4),
    "a rate that changes, also between steps": (replace(CASE, wells=(CHANGING,)), 1e-6, 1e-4),
    "an injector on its limit": (replace(CASE, wells=(replace(WELL, rate=2e-2, bhp=9.5e6),)), 1e-6, 1e-4),
    "a producer, closed sides": (
        replace(CASE, wells=(WELL, Producer((9, 8), (7, 8), 7.5e6)), boundary="closed"),
        1e-6,
        1e-4,
    ),
    "capillary pressure": (replace(CASE, capillary=(BrooksCorey(5e3),)), 1e-5, 1e-4),
    "three perforations": (replace(CASE, wells=(replace(WELL, layers=(5, 8)),)), 5e-4, 5e-3),
}


def gaps(case: Case, theirs: Case) -> tuple[float, float]:
    """The largest differences of our run of ``case`` and Flow's of ``theirs``: of saturation, of pressure in bar."""
    with TemporaryDirectory() as folder:
        run = run_flow(theirs, Path(folder), reduction=1e-8)
    saturation, pressure = run.gaps(run_ours(case))
    return float(saturation.max()), float(pressure.max())


def main() -> int:
    version = flow_version()
    if version is None:
        print(f"skipped: OPM Flow is not here ({INSTALL})", file=sys.stderr)
        return 0
    print(f"| against OPM Flow {version} | max dS | at most | max dp, bar | at most |\n|---|---|---|---|---|")
    failed = False
    for name, (case, most_S, most_p) in CASES.items():
        dS, dp = gaps(case, case)
        failed |= dS > most_S or dp > most_p
        print(f"| {name} | {dS:.1e} | {most_S:.0e} | {dp:.1e} | {most_p:.0e} |", flush=True)
    dS, dp = gaps(CASE, replace(CASE, permeability=(1.01 * K, 0.7 * K, 0.1 * K)))
    print(f"| kx larger by 1 % in one of them: must show | {dS:.1e} | | {dp:.1e} | |")
    return int(failed or dS < 1e-5)


if __name__ == "__main__":
    sys.exit(main())
