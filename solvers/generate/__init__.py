"""Training data: samples of CO2-brine flow from random geology, or of flow past a sphere, made on one machine, resumed by
running again.

    from solvers.generate import Settings, SphereSettings, generate
    generate(Settings(train=32, valid=4, test=6), out="data/co2", workers=2)
    generate(SphereSettings(train=32, valid=4, test=6), out="data/sphere", workers=2)

``kinds``    what can be made: ``storage``, ``sphere``      ``plan``     what is made; its hash
``engine``   the run, its failures, resuming                ``sample``, ``the_well``   a sample, and its file
``workers``  processes                                      ``files``, ``journal``  durable files
"""

from .engine import GenerationError, Summary, generate, survey
from .kinds import KINDS, make_plan, make_sample, plot_sample, read_plan
from .plan import Plan, Splits
from .sample import Sample
from .sphere import Settings as SphereSettings
from .storage import Settings
from .the_well import check_sample, read_sample, write_sample

__all__ = [
    "KINDS",
    "GenerationError",
    "Plan",
    "Sample",
    "Settings",
    "SphereSettings",
    "Splits",
    "Summary",
    "check_sample",
    "generate",
    "make_plan",
    "make_sample",
    "plot_sample",
    "read_plan",
    "read_sample",
    "survey",
    "write_sample",
]
