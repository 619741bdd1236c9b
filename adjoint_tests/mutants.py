"""Mutation testing: are there tests for what the code does? Change one thing, and a test must fail.

Mutant       One module of refimpl/movement or refimpl/layers with one change in a function: another arithmetic operator or
             comparison, a constant +-1, a condition negated, a term, a statement, a conj or a copy dropped, forward and
             adjoint, domain and range, min and max, or the two of a pair exchanged. Errors, texts and annotations stay.
Killed       A test fails, or hangs (the watchdog ends it). All tests of the room run on one rank first, then on several with
             few examples, and last those of the module with many; those of the module come first: most mutants die soon.
Equivalent   A mutant that no test can tell from the original is in equivalent_mutants.toml with the reason, and counts apart.
Score        killed / (mutants - equivalent). Survivors are holes in the tests, to be mended there.
Sample       ``--number`` of all, drawn by ``--seed``; results are kept in ``--out``, so a run that was ended goes on.
Why here     mutmut tests within its own process and forks, which MPI forbids; cosmic-ray runs any command, but changes the tree
             itself in place, draws no sample, runs one command whatever the module, and has no mutation that knows an adjoint.

    make mutants ARGS="--room movement --number 200"
"""

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from functools import partial
from hashlib import sha256
from itertools import permutations
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = tomllib.loads(Path(__file__).with_name("equivalent_mutants.toml").read_text())
ROOMS = {
    "movement": "small_scope all_gather all_sum_reduce broadcast halo_exchange memory movement reduce_scatter repartition "
    "shift_and_padding sum_reduce transpose",
    "layers": "arguments channel_affine complex_valued compose convolution distributed_linear dropout embedding flatten fno "
    "fourier grid_embedding hermitian interpolation lenet linear losses normalization parameter_table pointwise pooling "
    "softmax spectral_resampling spread tiles",
}  # the tests of each room
# (ranks, sizes of teams, examples, of all tests or the module's own): one rank without mpiexec, several, and many examples
STAGES = ((0, "1", 5, "all"), (4, "2,4", 5, "all"), (6, "1,2,3,6", 25, "own"))
HANG, LIMIT = 100, 1800  # s in one example; s in one run


def both_ways(text):
    """What is exchanged for what, of "a b, c d"."""
    return {a: b for pair in text.split(", ") for a, b in permutations(pair.split())}


OPERATORS = both_ways("Add Sub, Mult Div, FloorDiv Mod, Lt LtE, Gt GtE, Eq NotEq, In NotIn, Is IsNot, And Or")
SWAPS = {getattr(ast, a): getattr(ast, b) for a, b in OPERATORS.items()}
NAMES = both_ways("forward adjoint, domain range, min max, start start_adjoint, finish finish_adjoint, real imag")
DROPPED = {"conj", "conjugate", "copy", "fresh", "contiguous", "ascontiguousarray"}


# ---- one change ------------------------------------------------------------------------------------------------------


def changes(node):
    """What one node of a syntax tree can be changed to."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in SWAPS:
        yield changed(node, op=SWAPS[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield node.left
    if isinstance(node, ast.AugAssign):
        yield ast.Assign([node.target], node.value)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield changed(node, ops=[SWAPS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield from (ast.Constant(node.value + step) for step in (1, -1))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load):
        yield changed(node, elts=node.elts[::-1])
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield changed(node, attr=NAMES[node.attr])
    if isinstance(node, ast.Name) and node.id in ("min", "max"):
        yield changed(node, id=NAMES[node.id])
    method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args
    if method and node.func.attr in DROPPED:
        yield node.func.value
    if isinstance(node, ast.Call) and len(node.args) == 1 and ast.unparse(node.func).rpartition(".")[2] in DROPPED:
        yield node.args[0]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def changed(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def stays(node, field, child):
    """What cannot matter: errors, texts, annotations, the order of choices, checks of our own code (strict=), and which space
    lends its communicator or its array library, since all spaces of an operator share them.
    """
    if field in ("annotation", "returns", "decorator_list", "bases") or isinstance(child, (ast.Raise, ast.JoinedStr)):
        return True
    choices = (
        isinstance(node, ast.Compare) and isinstance(child, ast.Tuple) and isinstance(node.ops[0], (ast.In, ast.NotIn))
    )
    caught = isinstance(node, ast.ExceptHandler) and field == "type"
    return choices or caught or getattr(node, "arg", "") == "strict" or getattr(node, "attr", "") in ("adopt", "comm")


def places(node, where=""):
    """(parent, field, index, node, name of the function) of every node that may be changed."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        where = f"{where}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not stays(node, field, child):
                yield node, field, index if isinstance(value, list) else None, child, where
                yield from places(child, where)


def mutants(module):
    """(name, function that makes the source) of every mutant of a file. A name has no line number, which other changes move."""
    tree, seen = ast.parse((ROOT / module).read_text()), Counter()
    for parent, field, index, node, where in [place for place in places(tree) if place[-1]]:
        for new in changes(node):
            before, after = (ast.unparse(code).partition("\n")[0] for code in (node, ast.fix_missing_locations(new)))
            name = f"{module} {where}: {before} -> {after}"
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            yield name + number, partial(source_with, tree, parent, field, index, new)


def source_with(tree, parent, field, index, new):
    """The source of ``tree`` with one of its nodes replaced."""
    old = getattr(parent, field)
    setattr(parent, field, new if index is None else [*old[:index], new, *old[index + 1 :]])
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    finally:
        setattr(parent, field, old)


# ---- one run of the tests --------------------------------------------------------------------------------------------


def tests_of(module):
    """The tests "all" of the module's room; its "own" come first: those of its name, and those that make one of its classes or,
    where none does, a class of a module that imports it.
    """
    tests = [f"adjoint_tests/test_{name}.py" for name in ROOMS[module.parent.name].split()]
    users = [f for f in (ROOT / module).parent.glob("[a-z]*.py") if f"from .{module.stem} import" in f.read_text()]
    made = lambda files: {t for t in tests for name in classes(files) if f"{name}(" in (ROOT / t).read_text()}
    own = {t for t in tests if module.stem in t} | made([ROOT / module])
    first = sorted(own or made(users) or tests, key=lambda test: module.stem not in test)
    return {"own": first, "all": first + [test for test in tests if test not in first]}


def classes(files):
    trees = [ast.parse(f.read_text()) for f in files]
    return [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]


def run(tree, tests, ranks, sizes, examples):
    """How the tests in ``tree`` end: survived, killed or hung."""
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, "-m", "pytest", "-x", "-q", "--sizes", sizes, *tests]
    few_cores = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
    spmd = {"SPMD_EXAMPLES": str(examples), "SPMD_LIMIT": str(HANG)}
    environment = os.environ | few_cores | spmd | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    with subprocess.Popen(command, cwd=tree, env=environment, **quiet) as job:
        try:
            return {0: "survived", 70: "hung"}.get(job.wait(LIMIT), "killed")
        except subprocess.TimeoutExpired:
            return "hung"
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)


def judge(tree, module, source):
    """How a mutant ends: killed or hung at a stage, or survived."""
    original = (tree / module).read_text()
    (tree / module).write_text(source)
    try:
        ends = (run(tree, tests_of(module)[which], *stage) for *stage, which in STAGES)
        return next((end for end in ends if end != "survived"), "survived")
    finally:
        (tree / module).write_text(original)


# ---- many ------------------------------------------------------------------------------------------------------------


def table(results):
    """One row for each module: mutants, killed, of these hung, equivalent, survived, score."""
    lines = [f"{'module':36}{'mutants':>8}{'killed':>8}{'(hung)':>8}{'equivalent':>12}{'survived':>10}{'score':>8}"]
    modules = sorted({name.split()[0] for name in results})
    for module in [*modules, ""]:
        ends = Counter(
            "equivalent" if n in EQUIVALENT else r["end"] for n, r in results.items() if n.startswith(module)
        )
        killed = ends["killed"] + ends["hung"]
        score = killed / max(killed + ends["survived"], 1)
        row = f"{ends.total():8}{killed:8}{ends['hung']:8}{ends['equivalent']:12}{ends['survived']:10}{score:8.1%}"
        lines.append(f"{module or 'all':36}{row}")
    lines += [f"equivalent: {n}: {EQUIVALENT[n]}" for n in results if n in EQUIVALENT]
    return lines + [f"survived: {n}" for n, r in results.items() if r["end"] == "survived" and n not in EQUIVALENT]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", choices=["movement", "layers"], nargs="+", default=["movement", "layers"])
    parser.add_argument("--number", type=int, default=250, help="how many mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants", help="where results are kept")
    args = parser.parse_args()
    files = [f.relative_to(ROOT) for room in args.room for f in sorted((ROOT / "refimpl" / room).glob("[a-z]*.py"))]
    every = [(name, module, make) for module in files for name, make in mutants(module)]
    chosen = random.Random(args.seed).sample(every, min(args.number, len(every)))
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "results.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {
        (line["name"], line["source"]): line for line in lines if line["end"] != "survived"
    }  # these are tried again
    results = {}
    with tempfile.TemporaryDirectory() as folder, kept.open("a") as log:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "out", "report", "build"))
        for module in {module.parent: module for module in files}.values():
            if judge(tree, module, (ROOT / module).read_text()) != "survived":
                raise SystemExit(f"the tests of {module.parent} fail without a mutant")
        for name, module, make in tqdm(chosen, unit="mutant", smoothing=0):
            source = make()
            digest = sha256(source.encode()).hexdigest()[:16]
            if name in EQUIVALENT:
                results[name] = {"end": "survived"}
            elif (name, digest) in known:
                results[name] = known[name, digest]
            else:
                results[name] = {"name": name, "source": digest, "end": judge(tree, module, source)}
                print(json.dumps(results[name]), file=log, flush=True)
    text = "\n".join([f"{len(results)} of {len(every)} mutants, seed {args.seed}", *table(results)])
    (args.out / "table.txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
