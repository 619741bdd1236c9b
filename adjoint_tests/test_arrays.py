"""Blocks of another array library: the same numbers, and the type that came in comes out.

The whole suite runs on such blocks with ``--arrays``; here are every operator and layer, and whole trainings, once, beside
their twins on NumPy. A GPU is used where there is one. Everywhere, a device of array-api-strict stands for it: blocks on it are
neither taken by NumPy nor mixed with what is elsewhere.
"""

import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import array_api_strict as strict
import numpy as np
import pytest
from test_training import few, make_data, network
from theorems import GRIDS, assert_block_of, library_or_skip, same_text

import refimpl as ri
from refimpl import arrays, layers, wire
from refimpl.cli import verify
from refimpl.models import FNO, NeuralOperator
from refimpl.operator import combine
from refimpl.training import AdamW, Dataset, Training, clip, fit, load_model
from refimpl.verify import dot_test
from refimpl.verify.pytest_arrays import guards

STRICT = type(strict.zeros(1))
every_library = pytest.mark.parametrize("library", ["array_api_strict", "torch", "torch on a GPU", "cupy on a GPU"])


def chosen(team, library):
    """A library and where its blocks are; all ranks skip where one has it not."""
    name, _, gpu = library.partition(" on ")
    xp = library_or_skip(team, name)
    if gpu and not all(wire.pool(team, has_gpu(xp))):
        pytest.skip("there is no GPU")
    return xp, {"torch on a GPU": "cuda", "array_api_strict": strict.Device("device1")}.get(library)


def has_gpu(xp):
    return xp.cuda.is_available()  # the name is torch's and CuPy's


def every_operator(team):
    """What ``refimpl verify`` proves: every data movement, and the Jacobian of every layer and loss."""
    return [*verify.movements(team), *verify.layers(team)]


@every_library
def test_every_operator_gives_the_numbers_of_its_twin_on_numpy_in_the_library_of_its_space(team, library, monkeypatch):
    if team.size not in (1, 2, 4):
        pytest.skip("on 1, 2 and 4 ranks, to save time")
    where, twins = chosen(team, library), every_operator(team)
    guard(*where, monkeypatch)
    for (name, _, A, exact, chain), (_, _, twin, *_) in zip(every_operator(team), twins, strict=True):
        assert_twins(A, twin, name)
        assert dot_test(A, exact=exact, chain=chain), name


def assert_twins(A, twin, name):
    """A and A* give the numbers of ``twin`` on NumPy, as blocks of their spaces."""
    for B, other in ((A, twin), (A.H, twin.H)):
        y, expected = (C.forward(C.domain.random(3, copies="independent")) for C in (B, other))
        assert_block_of(B.range, y)
        gap = other.range.norm(combine(lambda a, b: arrays.to_host(a) - b, other.range, y, expected))
        assert gap <= 1e-13 * other.range.norm(expected), name


class OnGPU(np.lib.mixins.NDArrayOperatorsMixin):
    """What stands for an array of CuPy: NumPy neither converts it nor mixes it with its own arrays, and it gives MPI no memory
    that work is still being done on."""

    busy = False

    def __init__(self, held, base=None):
        self.held, self.base, self.device = held, base, self
        self.shape, self.dtype, self.size, self.nbytes, self.flags = (
            getattr(held, name) for name in ("shape", "dtype", "size", "nbytes", "flags")
        )

    def synchronize(self):
        OnGPU.busy = False

    def __dlpack__(self, **how):
        assert not (OnGPU.busy and sys._getframe(1).f_globals["__name__"] == "refimpl.wire")
        return self.held.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.held.__dlpack_device__()

    def __array__(self, *args, **options):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, function, method, *inputs, out=(), **options):
        assert method == "__call__" and not any(isinstance(x, np.ndarray) and x.ndim for x in (*inputs, *out))
        OnGPU.busy, (inputs, out) = True, ([getattr(x, "held", x) for x in xs] for xs in (inputs, out))
        return OnGPU(function(*inputs, **options, **({"out": tuple(out)} if out else {})))

    def __array_function__(self, function, types, args, options):
        assert set(types) == {OnGPU}
        OnGPU.busy = True
        return OnGPU(function(*(getattr(a, "held", a) for a in args), **options))

    def __getitem__(self, where):
        return OnGPU(self.held[where], self if self.base is None else self.base)

    def __setitem__(self, where, part):
        OnGPU.busy, self.held[where] = True, getattr(part, "held", part)

    def __len__(self):
        return len(self.held)

    def ravel(self):  # a copy where it is not in one piece
        return self.reshape(-1) if self.flags.c_contiguous else OnGPU(self.held.ravel())

    def reshape(self, *shape):
        return OnGPU(self.held.reshape(*shape), self.base)

    def copy(self):
        return OnGPU(self.held.copy())


def test_messages_between_gpus_carry_the_numbers_of_messages_between_hosts(team, monkeypatch):
    twins, staged = list(verify.movements(team)), []
    guard(strict, None, monkeypatch)
    monkeypatch.setattr(arrays, "on_gpu", lambda x: OnGPU(arrays.to_host(x).copy()))
    monkeypatch.setattr(OnGPU, "get", lambda x: staged.append(x), raising=False)
    for (name, _, A, exact, chain), (_, _, twin, *_) in zip(verify.movements(team), twins, strict=True):
        assert_twins(A, twin, name)
        assert dot_test(A, exact=exact, chain=chain), name
    assert not staged


def test_work_on_a_gpu_that_is_not_waited_for_is_found(team, monkeypatch):
    guard(strict, None, monkeypatch)
    monkeypatch.setattr(arrays, "on_gpu", lambda x: OnGPU(arrays.to_host(x) + 0))
    monkeypatch.setattr(wire, "settle", lambda *blocks: setattr(OnGPU, "busy", True))
    G = ri.AllGather(ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,)), 0)
    if team.size > 1:
        with pytest.raises((AssertionError, BufferError, TypeError)):
            G.forward(G.domain.random())


@pytest.mark.parametrize(
    "told, block, sent_from_gpu", [("1", "cupy", True), ("0", "cupy", False), ("1", "strict", False)]
)
def test_a_gpu_sends_only_where_its_user_says_that_mpi_can(team, monkeypatch, told, block, sent_from_gpu):
    class Block(OnGPU):
        __module__ = block

    cupy = ModuleType("cupy")
    cupy.ascontiguousarray = lambda x: x
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("REFIMPL_GPU_MESSAGES", told)
    x = Block(np.ones(3))
    assert arrays.on_gpu(x) is (x if sent_from_gpu else None)


def guard(xp, device, monkeypatch):
    """Let ``ri.Space`` make blocks of ``xp`` that NumPy's functions do not take within refimpl, as in a run with --arrays."""
    block = type(xp.zeros(1))
    monkeypatch.setattr(ri, "Space", partial(ri.Space, xp=xp, device=device))
    for way, guarded in guards(block).items():
        monkeypatch.setattr(block, way, guarded)


NETWORKS = {
    "FNO": lambda X: FNO(X, 3, (2, 2), blocks=1, hidden=4),
    "NeuralOperator": lambda X: NeuralOperator(
        X, (4, 3), 4, n_layers=2, norm="group_norm", domain_padding=0.2, resolution_scaling_factor=[2, 0.5]
    ),
}


@every_library
@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps_give_the_weights_of_numpy_in_the_library_of_the_space(team, library, name):
    def trained(xp, device=None):
        X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 3, 8, 5), xp=xp, device=device)
        F, rule = NETWORKS[name](X), AdamW(weight_decay=0.1)
        loss, moments = layers.RelativeH1(F.range), rule.start(F.parameters)
        for t in (1, 2):
            y, J = F.linearize(X.random(1))
            _, L = loss.linearize(y, F.range.random(2))
            gradients, _ = clip(ri.Product(F.parameter_spaces), J.adjoint(L.adjoint(1.0))[1], 0.5)
            F.parameters, moments = rule.step(F.parameters, gradients, moments, t, 0.01)
        assert_block_of(ri.Product(F.parameter_spaces), F.parameters)
        return F.state()

    if name != "FNO":
        few(team)
    where, twin = chosen(team, library), trained(np)
    for name, w in trained(*where).items():
        assert team.rank or np.allclose(w, twin[name], rtol=1e-11, atol=1e-12), name


@every_library
def test_a_whole_training_with_its_checkpoints_gives_the_numbers_of_numpy(team, library, shared_tmp_path, monkeypatch):
    few(team)
    wire.at_root(team, lambda: make_data(shared_tmp_path))
    plan = Training(epochs=2, accumulate=2, schedule="step", loss="plume_l2", limit=0.1, warmup=1)

    def trained(out):
        train, held_out = (Dataset(team, shared_tmp_path, split) for split in ("train", "valid"))
        model, stored = network(team), network(team)
        progress = fit(model, network(team, 1), train, held_out, train.scaling(), plan, shared_tmp_path / out)
        load_model(stored, shared_tmp_path / out)
        for F in (model, stored):
            assert_block_of(ri.Product(F.parameter_spaces), F.parameters)
        state = wire.share(team, stored.state())
        assert all(np.array_equal(w, state[name]) for name, w in wire.share(team, model.state()).items())
        return progress, state

    where = chosen(team, library)
    expected, twin = trained("numpy")
    guard(*where, monkeypatch)
    progress, weights = trained("another")
    for numbers in ("loss", "held_out", "norm"):
        assert getattr(progress, numbers) == pytest.approx(getattr(expected, numbers), rel=1e-11)
    assert all(np.allclose(w, twin[name], rtol=1e-10, atol=1e-12) for name, w in weights.items())


@every_library
def test_numpys_functions_on_a_block_are_refused_within_refimpl(team, library, monkeypatch):
    xp, device = chosen(team, library)
    guard(xp, device, monkeypatch)
    planted = {"np": np, "to_host": arrays.to_host, "__name__": "refimpl.planted"}
    silent, explicit = (
        eval(f"lambda x: {text}", planted) for text in ("np.vdot(x, x)", "np.vdot(to_host(x), to_host(x))")
    )
    assert explicit(xp.ones(3)) == np.vdot(xp.ones(3), xp.ones(3)) == 3
    with pytest.raises(TypeError, match=f"a NumPy function was given a block of {library}"):
        silent(xp.ones(3))


# Where refimpl computes on the host, and says why. A block of another library comes there by to_host and goes by adopt.
ON_THE_HOST = {
    "arrays.py": "knows all libraries, NumPy first",
    "wire.py": "MPI is handed the host's memory",
    "partition.py": "ranks of a grid, no blocks",
    "random_numbers.py": "64-bit integers that wrap round, which the standard does not have",
    "space.py": "random numbers, whole arrays and vectors are the host's",
    "operator.py": "explicit matrices are the host's",
    "movement/parcels.py": "boxes are packed for MPI",
    "movement/boxes.py": "counts of copies, no blocks",
    "movement/broadcast.py": "rooms for what MPI brings",
    "movement/all_gather.py": "boxes are packed for MPI",
    "layers/axis_transform.py": "small matrices, made once; scipy.fft",
    "layers/fourier_forms.py": "counts of bytes, no blocks",
    "layers/tile_graph.py": "what is done in a tile",
    "layers/tiled.py": "tiles that stay in cache, written in place",
    "layers/tiled_point.py": "the same",
    "layers/point_maps.py": "tiles of a host block",
    "layers/spectral_tiles.py": "tiles of a host block",
    "layers/tiles.py": "tiles of a host block",
    "layers/grid_embedding.py": "coordinates, made once",
    "layers/hermitian.py": "a local kernel works on host arrays: to_host before it, adopt after it",
    "layers/bilinear.py": "a local kernel works on host arrays: to_host before it, adopt after it",
    "layers/embedding.py": "a sparse matrix selects the rows of the table",
    "layers/feature_product.py": "a local kernel of bilinear.py",
    "layers/interpolation.py": "sparse matrices of weights",
    "layers/dropout.py": "the mask is drawn on the host, in every library the same",
    "layers/fourier.py": "small matrices, made once",
    "layers/linear.py": "the dtype of initial weights",
    "layers/losses.py": "sums in float64, which go through MPI",
    "layers/relative_losses.py": "sums in float64, which go through MPI",
    "layers/softmax.py": "the maximum goes through MPI",
    "layers/pointwise.py": "erf, and tiles that stay in cache: NumPy's ``out=``",
    "layers/pooling.py": "strided windows and masked copies",
    "layers/windows.py": "strided windows",
    "models/dfno_state.py": "weights of another program, whole on the host",
    "models/state_dicts.py": "files of weights, whole on the host",
    "models/neural_operator_state.py": "weights of another program, whole on the host",
    "training/metrics.py": "sums in float64, which go through MPI",
    "training/optimizers.py": "NumPy blocks are updated tile by tile, complex ones as real numbers",
    "training/dataset.py": "files",
    "training/images.py": "files",
    "training/checkpoint.py": "files",
    "training/loop.py": "permutations of samples, and means of reported numbers",
    "verify/dot_test.py": "integers are drawn on the host",
    "verify/matrix.py": "explicit matrices are the host's",
    "verify/taylor.py": "the largest entry of a remainder",
    "verify/draw.py": "pictures",
    "verify/board.py": "the test harness's shared memory",
    "verify/team.py": "the test harness's messages",
    "verify/lone_rank.py": "messages of the host",
    "cli/verify.py": "a dtype",
    "cli/dfno.py": "a dtype",
    "cli/calibration.py": "messages of the host",
    "cli/machines.py": "dtypes by name",
    "cli/one_rank.py": "random data of the host",
    "cli/predict.py": "files",
    "cli/scaling.py": "pictures",
    "cli/pictures.py": "pictures",
}


def test_numpy_is_imported_only_where_the_host_is_meant():
    room = Path(ri.__file__).parent
    files = {str(path.relative_to(room)): path.read_text() for path in room.rglob("*.py")}
    importing = {name for name, text in files.items() if re.search(r"^\s*(import|from) numpy\b", text, re.MULTILINE)}
    assert importing == set(ON_THE_HOST)


def test_names_and_namespaces():
    a, s = np.zeros((2, 3), "float32"), strict.zeros((2, 3), dtype=strict.float32)
    assert arrays.namespace(a) is np and arrays.namespace(s).__name__.startswith("array_api_strict")
    assert arrays.is_array(a) and arrays.is_array(s) and not arrays.is_array([1.0])
    assert arrays.dtype_name(a) == arrays.dtype_name(s) == "float32"
    assert arrays.to_host(a) is a and arrays.to_host(np.float32(2.5)).dtype == np.float32
    for view in (a.T, a[:, ::-1], np.asfortranarray(a)):
        assert arrays.to_host(view).flags.c_contiguous
    assert type(arrays.from_wire(a, strict)) is STRICT and isinstance(arrays.to_host(s), np.ndarray)


def test_a_fresh_copy_keeps_every_bit():
    for x in (np.array([-0.0, 1.0]), strict.asarray([-0.0, 1.0])):
        y = arrays.fresh(x)
        assert type(y) is type(x) and y is not x
        assert np.signbit(arrays.to_host(y)).tolist() == [True, False]


def test_a_block_of_another_array_library_is_refused(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (5, 4))
    text = same_text(team, lambda: X.norm(strict.zeros(X.local_shape)))
    assert text.startswith("Space.inner on rank 0: expected float64[") and "of array_api_strict" in text
    Y = X.replace(xp=strict)
    assert ", got float64[" in same_text(team, lambda: Y.norm(X.zeros())) and Y.norm(Y.zeros()) == 0
