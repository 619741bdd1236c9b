"""Geology: random reservoir models of the Sleipner type, sands under thin seals below an undulating top.

``surface``  the top surface: synthetic, or read from a file; random patches of it
``layers``   permeability and porosity: log-normal sands, nearly impermeable seals, feeders through the seals
``smooth``   smooth random fields as a linear map, for inversion
``wells``    random injection wells near the bottom

Every draw takes a ``numpy.random.Generator``, so a model is a function of the seed behind it. Arrays are (nx, ny) or
(nx, ny, nz) with k downward, in SI units: m, m2, m3/s.
"""

from .layers import FEWEST_LAYERS, MILLIDARCY, Layers, correlated_field, draw_layers
from .smooth import Smooth
from .surface import check_patch, load_top, random_patch, synthetic_top
from .wells import draw_injectors

__all__ = [
    "FEWEST_LAYERS",
    "MILLIDARCY",
    "Layers",
    "Smooth",
    "check_patch",
    "correlated_field",
    "draw_layers",
    "draw_injectors",
    "load_top",
    "random_patch",
    "synthetic_top",
]
