"""CO2-brine flow in porous rock: a fully implicit finite-volume simulator of two phases that do not mix.

Pages, in the order to read them
    what is given   ``saturation_functions``, ``fluids``, ``wells``, ``reservoir``, ``case``, ``plausible``
    equations       ``phases``, ``injection``, ``assembly``
    solution        ``newton``, ``linear``, ``multigrid``, ``prolongation``, ``columns``, ``stencil``, ``whole``, ``krylov``,
                    ``control``, ``simulate``
    derivatives     ``sensitivity``, ``transposed``, ``properties``, ``history`` (a run as a layer), ``in_place``, ``plumes``
    on many ranks   ``blocks``, ``sums``
    what is shown   ``files``, ``pictures``
    a test          ``buckley_leverett``
"""

from .blocks import grid_of as grid_of
from .case import EXAMPLE as EXAMPLE
from .case import Case as Case
from .case import read_case as read_case
from .case import to_toml as to_toml
from .control import SimulationError as SimulationError
from .control import StepControl as StepControl
from .files import Recording as Recording
from .files import is_run as is_run
from .files import read_run as read_run
from .files import record as record
from .fluids import Fluids as Fluids
from .history import History as History
from .history import steps_of as steps_of
from .in_place import InPlace as InPlace
from .pictures import plot as plot
from .pictures import write_vtk as write_vtk
from .plumes import Plumes as Plumes
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
from .wells import shortfalls as shortfalls
