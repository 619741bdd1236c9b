"""CO2-brine flow in porous rock: a fully implicit finite-volume simulator of two phases that do not mix.

Pages, in the order to read them
    what is given   ``saturation_functions``, ``fluids``, ``wells``, ``reservoir``, ``plausible``
    equations       ``phases``, ``injection``, ``assembly``
    solution        ``newton``, ``linear``, ``multigrid``, ``prolongation``, ``columns``, ``stencil``, ``whole``, ``krylov``,
                    ``control``, ``simulate``
    on many ranks   ``blocks``, ``sums``
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
from .saturation_functions import Regions as Regions
from .simulate import Result as Result
from .simulate import simulate as simulate
from .wells import Injector as Injector
from .wells import Producer as Producer
