"""Training data: samples of CO2-brine flow from random geology, made on one machine, resumed by running again.

    from solvers.generate import Settings, generate
    generate(Settings(train=32, valid=4, test=6), out="data/co2", workers=2)

``plan``     what is made; its hash            ``sample``   one sample: draw a model, simulate it
``engine``   the run, its failures, resuming   ``the_well`` the file of a sample
``workers``  processes                         ``files``, ``journal``  durable files
"""

from .engine import GenerationError, Summary, generate, survey
from .plan import Plan, Settings, make_plan, read_plan
from .sample import Sample, make_sample
from .the_well import check_sample, read_sample, write_sample

__all__ = [
    "GenerationError",
    "Plan",
    "Sample",
    "Settings",
    "Summary",
    "check_sample",
    "generate",
    "make_plan",
    "make_sample",
    "read_plan",
    "read_sample",
    "survey",
    "write_sample",
]
