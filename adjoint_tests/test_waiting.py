"""Everything waits through the wire: no other file calls MPI, and the wire itself waits in one place, which a guard takes over.

Read from the source, not from a run: a call that no test reaches counts too.
"""

import ast
from pathlib import Path

import pytest
from mpi4py import MPI

ROOT = Path(__file__).resolve().parents[1]
WIRE = ROOT / "refimpl" / "wire.py"
GUARD = {ROOT / "refimpl" / "verify" / f"{name}.py" for name in ("board", "team", "verdict", "watchdog", "pytest_spmd")}
SOURCES = sorted({*ROOT.glob("refimpl/**/*.py"), *ROOT.glob("solvers/**/*.py")} - GUARD - {WIRE})

KINDS = (MPI.Cartcomm, MPI.Graphcomm, MPI.Intercomm, MPI.Request, MPI.Prequest, MPI.Message, MPI.Win, MPI.File)
CALLS = {name for kind in KINDS for name in dir(kind) if name[0].isupper()}
CALLS |= {"send", "recv", "isend", "irecv", "sendrecv", "bcast", "allgather", "allreduce", "alltoall", "barrier"}
TWINS = {name for name in CALLS if f"I{name.lower()}" in CALLS}  # the blocking ones of Ibcast, Isend, Iprobe, ...
WAITS = TWINS | {name for name in CALLS if name.startswith(("Wait", "Test", "Sendrecv", "Neighbor", "Fence", "Lock"))}
# the guard takes over ``wait`` and ``Dup``; at the end of a program ``complete`` waits for a few seconds at most
IN_THE_WIRE = {("wait", "Waitall"), ("__init__", "Dup"), ("complete", "Test")}


def attributes(tree, names):
    """(line, function around it, name) of every ``something.name`` where something is no module that was imported."""
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {alias.asname or alias.name for node in imports for alias in node.names}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        module = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
        if isinstance(node, ast.Attribute) and node.attr in names and not module:
            around = [f for f in functions if f.lineno <= node.lineno <= f.end_lineno]
            yield node.lineno, max(around, key=lambda f: f.lineno).name if around else "", node.attr


def imports_of_mpi(tree):
    """The lines that import mpi4py when they run; those for the type checker never do."""
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(node) for part in typing for node in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in skipped and "mpi4py" in ast.unparse(node):
            yield node.lineno


def calls_of_mpi(source):
    """What a file that is not the wire may not have."""
    tree = ast.parse(source)
    return [f"line {line}: mpi4py" for line in imports_of_mpi(tree)] + [
        f"line {line}: {name}" for line, _, name in attributes(tree, CALLS)
    ]


def waits(source):
    """(function, name) of every wait of a file."""
    return {(function, name) for _, function, name in attributes(ast.parse(source), WAITS)}


def test_only_the_wire_calls_mpi():
    assert len(SOURCES) > 50
    found = {str(file.relative_to(ROOT)): calls_of_mpi(file.read_text()) for file in SOURCES}
    assert {file: calls for file, calls in found.items() if calls} == {}


def test_the_wire_waits_in_one_place():
    assert waits(WIRE.read_text()) == IN_THE_WIRE


@pytest.mark.parametrize(
    "call, waiting",
    [
        ("request.Wait()", "Wait"),
        ("comm.Barrier()", "Barrier"),
        ("comm.bcast(1)", "bcast"),
        ("self.link.Recv(x)", "Recv"),
        ("later(comm.Allreduce, x)", "Allreduce"),
        ("group(comm).Isend(x, 1)", ""),
    ],
)
def test_a_planted_call_is_found(call, waiting):
    planted = f"import numpy as np\n\ndef f(comm, request):\n    np.Wait()\n    {call}\n"
    assert [text.partition(":")[0] for text in calls_of_mpi(planted)] == ["line 5"]
    assert waits(planted) == ({("f", waiting)} if waiting else set())


def test_a_planted_import_is_found():
    for line in ("import mpi4py", "from mpi4py import MPI", "    from mpi4py.MPI import COMM_WORLD as world"):
        assert calls_of_mpi(f"if True:\n    pass\n{'if True:' if line[0] == ' ' else ''}\n{line}\n") == [
            "line 4: mpi4py"
        ]
    assert calls_of_mpi("if TYPE_CHECKING:\n    from mpi4py.MPI import Intracomm\n") == []


def test_a_second_wait_in_the_wire_is_found():
    source = WIRE.read_text() + "\n\ndef drain(requests):\n    for request in requests:\n        request.Wait()\n"
    assert waits(source) - IN_THE_WIRE == {("drain", "Wait")}
