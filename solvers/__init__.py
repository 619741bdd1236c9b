"""Reference finite-volume simulators and the engine that makes training data with them.

``solvers`` may use ``refimpl``; ``refimpl`` never imports ``solvers``. Nothing here initialises MPI.
"""
