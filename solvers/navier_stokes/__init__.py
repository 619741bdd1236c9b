"""Incompressible Navier-Stokes on a staggered mesh: distributed, and with the adjoint of a whole run.

    du/dt + div(u u) + grad p = nu lap u + force,   div u = 0;   a density of 1

Pages, in the order to read them
    what is given   ``flow``, ``mesh``
    in space        ``ghosts``, ``tendency``, ``projection``, ``solid``
    in time         ``schemes``, ``step``
    a run           ``simulate``, ``evolution`` (with its derivative), ``observables``
"""

from .evolution import Evolution as Evolution
from .flow import Flow as Flow
from .flow import read_flow as read_flow
from .flow import to_toml as to_toml
from .mesh import Mesh as Mesh
from .simulate import Result as Result
from .simulate import UnstableStep as UnstableStep
from .simulate import initial_velocity as initial_velocity
from .simulate import simulate as simulate
from .simulate import steps_per_frame as steps_per_frame
from .solid import Ball as Ball
from .step import Step as Step
