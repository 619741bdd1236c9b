"""CO2-brine flow in porous rock: a fully implicit finite-volume simulator of two phases that do not mix.

Pages, in the order to read them
    what is given   ``saturation_functions``, ``fluids``, ``wells``, ``reservoir``
    equations       ``phases``, ``injection``, ``assembly``
    solution        ``newton``, ``linear``, ``multigrid``, ``columns``, ``krylov``, ``control``, ``simulate``
    a test          ``buckley_leverett``
"""

from .control import SimulationError as SimulationError
from .control import StepControl as StepControl
from .fluids import Fluids as Fluids
from .reservoir import Reservoir as Reservoir
from .reservoir import Rock as Rock
from .reservoir import State as State
from .reservoir import hydrostatic as hydrostatic
from .saturation_functions import BrooksCorey as BrooksCorey
from .saturation_functions import Corey as Corey
from .simulate import Result as Result
from .simulate import simulate as simulate
from .wells import Injector as Injector
