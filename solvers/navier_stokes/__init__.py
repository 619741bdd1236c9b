"""Incompressible Navier-Stokes on a staggered mesh: distributed, and with the adjoint of a whole run.

    du/dt + div(u u) + grad p = nu lap u + force,   div u = 0;   a density of 1

Pages, in the order to read them
    what is given   ``flow``, ``mesh``, ``plausible``
    in space        ``ghosts``, ``tendency``, ``projection``, ``solid``
    in time         ``schemes``, ``step``
    a run           ``simulate``, ``observables``, ``evolution`` (with its derivative)
    what is shown   ``files``, ``pictures``
"""

from .evolution import Evolution as Evolution
from .files import Recording as Recording
from .files import is_run as is_run
from .files import read_run as read_run
from .files import record as record
from .flow import EXAMPLE as EXAMPLE
from .flow import Flow as Flow
from .flow import read_flow as read_flow
from .flow import to_toml as to_toml
from .mesh import Mesh as Mesh
from .pictures import plot as plot
from .pictures import write_vtk as write_vtk
from .simulate import Frame as Frame
from .simulate import Result as Result
from .simulate import UnstableStep as UnstableStep
from .simulate import initial_velocity as initial_velocity
from .simulate import simulate as simulate
from .simulate import steps_per_frame as steps_per_frame
from .solid import Ball as Ball
from .step import Step as Step
