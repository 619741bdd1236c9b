"""What is predicted of a rank of many is what that rank does: its blocks, its messages, its memory."""

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from theorems import GRIDS, assert_block_of

import refimpl as ri
from refimpl.cli import calibration, parse, verify
from refimpl.cli.calibration import calibrate
from refimpl.cli.cases import CASES, Case
from refimpl.cli.dfno import partitions, volume
from refimpl.cli.launch import environment
from refimpl.cli.machines import MACHINES, Machine, find, toml
from refimpl.cli.one_rank import expect_room, free_memory, simulated, training_step
from refimpl.cli.prediction import memory, movements, predict, work
from refimpl.cli.scaling import chosen, row, table
from refimpl.layers import GELU, FourierBlock, LayerNorm, Linear, TruncatedFourier
from refimpl.layers.fourier_forms import FORMS
from refimpl.models import FNO, NeuralOperator
from refimpl.verify import LoneRank, SimulatedRank


def split(team, how):
    """A grid for (batch, channels, x, y, time) on the ranks of the team."""
    p, q = GRIDS[team.size]
    return {
        "space": (1, 1, p, q, 1),
        "batch": (team.size, 1, 1, 1, 1),
        "batch and space": (p, 1, 1, q, 1),
        "the first rank alone": (1, 1, 1, 1, 1),
    }[how]


SPLITS = ("space", "batch", "batch and space", "the first rank alone")


def network(comm, grid, dtype="float64", cells=(7, 6), form=None):
    X = ri.Space(ri.Partition(comm, grid), (3, 2, *cells, 1), dtype)
    return FNO(X, 4, (2, 3, 2), blocks=2, out_timesteps=4, hidden=5, form=form)


# ---- a rank alone ----------------------------------------------------------------------------------------------------


FORM = pytest.mark.parametrize("form", FORMS)


@FORM
@pytest.mark.parametrize("how", SPLITS)
def test_a_rank_alone_has_the_blocks_and_the_traffic_of_the_real_one(team, how, form):
    grid = split(team, how)
    F, alone = network(team, grid, form=form), network(LoneRank(team.rank, team.size), grid, form=form)
    assert alone.domain.local_box == F.domain.local_box and alone.range.local_box == F.range.local_box
    assert {k: w.shape for k, w in alone.parameters.items()} == {k: w.shape for k, w in F.parameters.items()}
    assert all(np.array_equal(w, F.parameters[k]) for k, w in alone.parameters.items())
    with ri.counting() as count:
        y, J = F.linearize(F.domain.random(1))
    assert count.total == alone.traffic().forward
    with ri.counting() as count:
        J.adjoint(y)
    assert count.total == alone.traffic().adjoint


def test_of_weights_that_live_elsewhere_a_rank_alone_allocates_nothing():
    shape, grid = (1, 1, 64 * 32, 64 * 24, 64, 1), (1, 1, 32, 24, 1, 1)
    tracemalloc.start()
    try:
        X = ri.Space(ri.Partition(LoneRank(767, 768), grid), shape, "float32")
        F = FNO(X, 20, (4, 4, 4, 8), blocks=2, out_timesteps=32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert X.local_shape == (1, 1, 64, 64, 64, 1)
    assert sum(w.nbytes for w in F.parameters.values()) == 0
    assert F.parameter_count > 2 * 2 * 20 * 20 * 8**4 and peak < 16e6 < 4 * F.parameter_count


def test_a_rank_alone_cannot_send_and_is_one_of_those_there_are():
    F = network(LoneRank(1, 2), (1, 1, 2, 1, 1))
    with pytest.raises(RuntimeError, match="rank 1 of 2 is alone and cannot send"):
        F(F.domain.zeros())
    for rank, size in ((-1, 2), (2, 2), (0, 0)):
        with pytest.raises(ValueError, match="expected a rank of"):
            LoneRank(rank, size)


@FORM
@pytest.mark.parametrize("how", SPLITS)
def test_a_simulated_rank_sends_and_makes_what_the_real_one_does(team, how, form):
    grid = split(team, how)
    made = []
    for comm in (team, SimulatedRank(team.rank, team.size)):
        F = network(comm, grid, form=form)
        with ri.counting() as count:
            y, J = F.linearize(F.domain.random(1))
            dx, gradients = J.adjoint(y)
        assert_block_of(F.range, y)
        assert_block_of(J.domain, (dx, gradients))
        made.append((count.total, count.votes, F.traffic()))
    assert made[0] == made[1]


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_simulated_rank_makes_every_data_movement(rank):
    for name, _, A, *_ in verify.movements(SimulatedRank(rank, 4)):
        for B in (A, A.H):
            with ri.counting() as count:
                y = B.forward(B.domain.random(1))
            assert count.total == B.traffic().forward and count.votes == 1, name
            assert B.range.problem(y, name) is None


def test_a_simulated_rank_of_one_is_the_real_one():
    F = network(SimulatedRank(0, 1), (1,))
    G = network(ri.wire.mpi().COMM_SELF, (1,))
    assert np.array_equal(F(F.domain.random(1)), G(G.domain.random(1)))


def test_a_simulated_rank_needs_the_memory_of_the_real_one(team):
    grid = (1, 1, *GRIDS[team.size], 1)
    peaks = [peak_of_a_step(network(c, grid, "float32", (48, 48))) for c in (team, SimulatedRank(team.rank, team.size))]
    assert peaks[1] == pytest.approx(peaks[0], rel=0.05)
    if team.size > 1:  # the test can tell ranks apart
        assert peak_of_a_step(network(LoneRank(0, 1), (1,), "float32", (48, 48))) > 1.2 * peaks[0]


# ---- memory ----------------------------------------------------------------------------------------------------------


def peak(action):
    """The most that is allocated at a time in ``action``."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_of_a_step(F):
    training_step(F)  # the first makes tables and communicators
    return peak(lambda: training_step(F)) + sum(w.nbytes for w in F.parameters.values())


@pytest.mark.parametrize(("modes", "dtype"), [((3, 3, 3), "float32"), ((3, 3, 3), "float64"), ((16, 12, 5), "float32")])
def test_predicted_memory_is_what_is_allocated(modes, dtype):
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (2, 1, 48, 32, 1), dtype)
    F = FNO(X, 12, modes, blocks=3, out_timesteps=8, hidden=32)
    weights, x = sum(w.nbytes for w in F.parameters.values()), X.random(1)
    expected, taken = memory(F), peak_of_a_step(F)
    assert expected.weights == weights and expected.data == x.nbytes + F.range.zeros().nbytes
    assert expected.step == pytest.approx(taken, rel=0.25)
    assert expected.forward == pytest.approx(peak(lambda: F(x)) + weights + x.nbytes, rel=0.25)
    assert expected.step - expected.kept != pytest.approx(taken, rel=0.25) or modes[0] == 16  # the test can fail


@FORM
@pytest.mark.parametrize("grid", [(1, 1, 4, 1, 1), (1, 1, 2, 2, 1)])
def test_predicted_memory_of_one_rank_of_four_is_what_is_allocated_in_either_form(grid, form):
    X = ri.Space(ri.Partition(SimulatedRank(0, 4), grid), (2, 1, 48, 32, 1), "float32")
    F = FNO(X, 12, (16, 12, 5), blocks=3, out_timesteps=8, hidden=32, form=form)
    assert memory(F).step == pytest.approx(peak_of_a_step(F), rel=0.25)


def test_a_block_whose_last_axis_moves_is_predicted_as_its_layers():
    X = ri.Space(ri.Partition(SimulatedRank(0, 4), (1, 1, 1, 4)), (2, 1, 192, 128), "float32")
    F = FNO(X, 12, (24, 16), blocks=2, hidden=32, form="repartition")
    assert not F.layers["block0"].in_tiles
    assert memory(F).step == pytest.approx(peak_of_a_step(F), rel=0.25)


def test_every_second_block_keeps_no_input_where_it_is_made_again():
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (2, 1, 48, 32, 1), "float32")
    kept, again = (FNO(X, 12, (3, 3, 3), 4, out_timesteps=8, hidden=32, recompute=r) for r in (False, True))
    assert memory(kept).kept - memory(again).kept == 2 * 4 * (2 * 12 * 48 * 32 * 8)  # two activations
    peaks = [peak_of_a_step(F) for F in (kept, again)]
    assert memory(kept).step - memory(again).step == pytest.approx(peaks[0] - peaks[1], rel=0.4)
    assert memory(again).step == pytest.approx(peaks[1], rel=0.15)
    assert work(kept)[0] == work(again)[0] and work(kept)[1].numbers < work(again)[1].numbers


def test_a_row_that_is_longer_than_a_tile_needs_no_more_memory_than_is_predicted():
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (1, 1, 2**15), "float32")
    F = FNO(X, 20, (8,), blocks=1, hidden=32)
    assert memory(F).step == pytest.approx(peak_of_a_step(F), rel=0.1)


@pytest.mark.parametrize("size", [1, 4])
def test_the_memory_of_a_neural_operator_is_predicted(size):
    X = ri.Space(ri.Partition(SimulatedRank(0, size), (1, 1, size, 1, 1)), (2, 1, 48, 32, 8), "float32")
    F = NeuralOperator(X, (16, 12, 5), 12)
    assert memory(F).step == pytest.approx(peak_of_a_step(F), rel=0.25)


def test_memory_grows_by_one_activation_and_the_modes_for_each_block():
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (1, 1, 32, 32, 1))
    one, two = (memory(FNO(X, 8, (2, 2, 2), n, out_timesteps=8, recompute=False)) for n in (1, 2))
    activation = 8 * 8 * 32 * 32 * 8
    assert activation < two.kept - one.kept < 1.1 * activation and two.working == one.working


# ---- work, messages, time --------------------------------------------------------------------------------------------


def test_the_work_of_a_block_is_what_its_matrix_products_need():
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (2, 3, 8, 6))
    forward, adjoint = work(FourierBlock(X, (2, 3)))
    A = 2 * (2 * 3 * 8 * 6) * 3
    real, complex_ = (
        2 * 6 * (2 * 3) * (2 * 3 * 8),
        8 * 8 * 4 * (2 * 3 * 3),
    )  # (2, 3, 8) rows of 6; 4 of 8, for 18 columns
    mix = 8 * (2 * 3) * 3 * (4 * 3)
    assert forward.flops == A + 2 * (real + complex_) + mix and forward.numbers == 2 * 3 * 8 * 6
    assert adjoint.flops == 3 * A + 3 * (real + complex_) + 2 * mix and adjoint.numbers == forward.numbers


def test_the_ranks_share_the_work():
    shares = []
    for grid in ((1, 1, 1, 1, 1), (1, 1, 2, 2, 1)):
        each = [work(network(LoneRank(r, prod(grid)), grid)) for r in range(prod(grid))]
        shares.append([sum(w.numbers for pair in each for w in pair), sum(w.flops for pair in each for w in pair)])
    assert shares[0][0] == shares[1][0] and shares[0][1] <= shares[1][1]


def test_both_forms_share_the_same_work_where_the_grid_divides_evenly():
    flops = {}
    for form in FORMS:
        spaces = [ri.Space(ri.Partition(LoneRank(r, 2), (1, 1, 2, 1)), (1, 2, 8, 8)) for r in range(2)]
        flops[form] = [work(FourierBlock(X, (2, 2), form=form))[0].flops for X in spaces]
    assert flops["sums"] == flops["repartition"] and flops["sums"][0] == flops["sums"][1]


@FORM
@pytest.mark.parametrize("how", SPLITS)
def test_the_movements_of_a_model_are_all_that_it_sends(team, how, form):
    F = network(LoneRank(team.rank, team.size), split(team, how), form=form)
    both = [
        t.forward + t.adjoint for t in (F.traffic(), sum((A.traffic() for A in movements(F)), ri.operator.Traffic()))
    ]
    assert both[0] == both[1]


def test_the_movements_of_a_neural_operator_are_all_that_it_sends(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size], 1)), (2, 2, 8, 6, 4))
    F = NeuralOperator(X, (4, 3, 2), 3, n_layers=2)
    found = sum((A.traffic() for A in movements(F)), ri.operator.Traffic())
    assert found.forward + found.adjoint == F.traffic().forward + F.traffic().adjoint


def test_the_numbers_that_go_through_the_gelu_are_those_that_are_predicted(monkeypatch):
    X, counted = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (2, 1, 6, 5, 4)), []
    tiled = ri.layers.pointwise._tiled
    monkeypatch.setattr(ri.layers.pointwise, "_tiled", lambda w, x: (counted.append(len(w) * x.size), tiled(w, x))[1])
    for F in (
        FNO(X, 3, (2, 2, 2), 2, out_timesteps=4),
        FNO(X, 3, (2, 2, 2), 2, recompute=True),
        NeuralOperator(X, (4, 3, 2), 3),
    ):
        y, J = F.linearize(X.random(1))
        forward, _ = sum(counted), counted.clear()
        J.adjoint(y)
        assert (forward, sum(counted)) == tuple(w.numbers for w in work(F))
        counted.clear()


@FORM
def test_a_slower_machine_takes_longer_and_one_rank_sends_nothing(form):
    fast = MACHINES["perlmutter"]
    for changed in ("latency", "bandwidth", "flops", "gelu"):
        values = vars(fast).copy()
        old = values[changed]
        values[changed] = (
            {k: v * (0.5 if changed == "flops" else 2) for k, v in old.items()}
            if isinstance(old, dict)
            else (old / 2 if changed == "bandwidth" else old * 2)
        )
        for size in (1, 4):
            F = network(LoneRank(0, size), (1, 1, size, 1, 1), form=form)
            slower, p = predict(F, Machine(**values)), predict(F, fast)
            if size == 1 and changed in ("latency", "bandwidth"):
                assert (slower.forward, slower.adjoint) == (p.forward, p.adjoint)
            else:
                assert slower.forward > p.forward and slower.adjoint > p.adjoint


def test_ranks_that_share_a_core_take_turns():
    alone = MACHINES["summit"]
    shared = replace(alone, cores=2)
    for size, turns in ((1, 1), (2, 1), (3, 1.5), (6, 3)):
        F = network(LoneRank(0, size), (1, 1, size, 1, 1))
        assert predict(F, shared).forward == pytest.approx(turns * predict(F, alone).forward)
        assert predict(F, shared).adjoint == pytest.approx(turns * predict(F, alone).adjoint)


@FORM
def test_what_the_transforms_are_predicted_to_send_is_what_all_ranks_send(team, form):
    p, q = GRIDS[team.size]
    F = network(team, (1, 1, p, q, 1), form=form)
    prediction = predict(F, MACHINES["summit"])
    sent = sum(A.traffic().adjoint.bytes for A in movements(F) if not isinstance(A, ri.Broadcast))
    assert prediction.spectral == prediction.forms[form] == pytest.approx(sum(ri.wire.pool(team, sent)) / team.size)
    assert prediction.chosen == (form,)


def test_a_layer_of_which_nothing_is_known_is_refused():
    X = ri.Space(ri.Partition(LoneRank(0, 1), (1,)), (1, 3, 8))
    for layer in (LayerNorm(X), ri.layers.Residual(LayerNorm(X))):
        with pytest.raises(ValueError, match="what a layer LayerNorm needs is not known"):
            predict(layer, MACHINES["summit"])
    assert predict(ri.layers.Sequential({"a": Linear(X, 3), "g": GELU(X)}), MACHINES["summit"]).forward > 0


# ---- dfno's repartitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "modes", "theirs", "ratio"),
    [
        ((32, 24, 1, 1), (4, 4, 4, 8), 83.8, 64),
        ((32, 24, 1, 1), (12, 12, 12, 8), 251, 7.1),
        ((12, 8, 8, 1), (4, 4, 4, 8), 1174 + 10.5, 905),
        ((12, 8, 8, 1), (12, 12, 12, 8), 1174 + 31, 34),
    ],
)
def test_on_768_ranks_dfno_sends_the_known_multiple(grid, modes, theirs, ratio):
    P = ri.Partition(LoneRank(0, 768), (1, 1, *grid))
    X = ri.Space(P, (1, 20, *(64 * p for p in grid[:3]), 32), "float32")
    found, ours = volume(X, modes), 2 * TruncatedFourier(X, modes).traffic().forward.bytes
    assert found / 1e6 == pytest.approx(theirs, rel=0.005) and found / ours == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("grid", [(2, 1, 2, 1), (2, 2, 1, 1), (1, 2, 1, 2), (1, 1, 1, 1)])
def test_the_formula_of_dfno_is_what_repartitions_send_on_average(grid):
    size, modes = prod(grid), (2, 2, 2, 4)
    middle, last = ((1, 1, *P) for P in partitions(grid))
    sent = []
    for rank in range(size):
        comm = LoneRank(rank, size)
        X = ri.Space(ri.Partition(comm, (1, 1, *grid)), (1, 3, 8, 8, 8, 8), "float32")
        cut = ri.Space(ri.Partition(comm, middle), (1, 3, 8, 8, 4, 4), "complex64")
        R1, R2 = ri.Repartition(X, ri.Partition(comm, middle)), ri.Repartition(cut, ri.Partition(comm, last))
        sent.append(sum((t.forward + t.adjoint for t in (R1.traffic(), R2.traffic())), ri.wire.Sent()).bytes)
    assert volume(X, modes) == pytest.approx(sum(sent) / size)


def test_a_partition_that_dfno_does_not_have_is_refused_and_the_table_says_so():
    with pytest.raises(ValueError, match="of 3 transformed axes, number 2 cannot be cut"):
        partitions((1, 2, 1))
    case = Case("own", (16, 16), 8, (2, 2, 2), ((1, 1), (1, 2)), blocks=1)
    rows = [row(case, grid, MACHINES["summit"]) for grid in case.grids]
    assert rows[0].dfno == 0 and rows[1].dfno is None
    assert table(case, MACHINES["summit"], rows, [1, 1]).splitlines()[-1].split()[10:12] == ["-", "-"]


def test_the_table_shows_which_form_sends_less():
    sleipner = CASES["sleipner"]
    rows = [row(replace(sleipner, blocks=1), grid, MACHINES["summit"]) for grid in ((4, 2, 1), (8, 8, 1))]
    lines = table(sleipner, MACHINES["summit"], rows, [1, 1]).splitlines()[-2:]
    assert [[cell.endswith("*") for cell in line.split()[8:10]] for line in lines] == [[True, False], [False, True]]
    few, many = (r.prediction.forms for r in rows)  # k kept modes of the cut axes against n points, on P ranks
    assert few["repartition"] / few["sums"] == pytest.approx((262 * 118 / 32**2 + 1) / 8, rel=0.05)
    assert many["repartition"] / many["sums"] == pytest.approx((262 * 118 / 32**2 + 1) / 64, rel=0.05)


# ---- machines --------------------------------------------------------------------------------------------------------


def test_a_machine_survives_its_file_and_a_wrong_one_is_told(tmp_path):
    path = tmp_path / "here.toml"
    for machine in MACHINES.values():
        path.write_text(toml(machine))
        assert find(str(path)) == machine
        path.write_text(toml(replace(machine, cores=3)))
        assert find(str(path)).cores == 3
    for text, told in (
        ("latency = ", "here.toml"),
        ("latency = 1", "missing"),
        (toml(machine).replace("bandwidth = ", "bandwidth = -"), "positive"),
        (toml(machine).replace("[gelu]", "[gelus]"), "gelus"),
        (toml(machine).replace("cores = 0", "cores = -1"), "whole number of cores"),
        (toml(machine).split("[flops]")[0] + "flops = 1\ngelu = 2", "here.toml"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            find(str(path))
    with pytest.raises(ValueError, match="expected summit, perlmutter, azure-nd, or a file"):
        find("nowhere")
    with pytest.raises(ValueError, match="none for complex64"):
        machine.of(machine.flops, np.dtype("complex64"))


def test_calibration_measures_this_machine(team, monkeypatch):
    for name, value in dict(CELLS=8, STEPS=8, WIDTH=4, MODES=2, ROUNDS=1, MESSAGE=1 << 16).items():
        monkeypatch.setattr(calibration, name, value)
    if team.size == 1:
        with pytest.raises(ValueError, match="mpiexec -n 2"):
            calibrate(team)
        return
    found = calibrate(team)
    assert ri.wire.pool(team, found)[0] == found  # told alike on all ranks
    assert found.cores >= 1
    assert 1e-8 < found.latency < 10 and 1e5 < found.flops["float32"] < 1e13 and 1e-11 < found.gelu["float64"] < 1e-2


def test_room_is_what_is_available_and_no_more_than_the_limit(monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 8 kB\nMemAvailable:    3 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: files[str(path)])
    assert free_memory() == 3072
    files["/sys/fs/cgroup/memory.max"] = "2048\n"
    with pytest.raises(ValueError, match=r"it needs 0.0 GiB, 0.0 are free here"):
        expect_room(2049, "it")
    expect_room(2048, "it")


# ---- the command -----------------------------------------------------------------------------------------------------


OWN = "scaling --cells 8,8,8 --timesteps 4 --modes 2,2,2,2 --grids 1x1x1,2x2x1 --blocks 1 --width 3".split()


def cases(*more, base=OWN):
    return chosen(parse([*base, *more]))


def test_the_cases_are_those_of_the_papers_or_the_users():
    assert cases(base=["scaling"]) == list(CASES.values())
    (weak,) = cases("--case", "weak", "--cells", "16,16,16", base=["scaling"])
    assert weak.weak and weak.cells == (16, 16, 16) and weak.modes == CASES["weak"].modes
    (own,) = cases("--weak", "--dtype", "float64")
    assert own.cells_on((2, 2, 1)) == (16, 16, 8) and own.dtype == "float64"
    variables = CASES["variables"]
    assert prod(variables.cells) * variables.timesteps == pytest.approx(2.6e9, rel=1e-3)
    assert max(prod(grid) for grid in CASES["weak"].grids) > 768


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--grids", "2x2"], "the grid 2x2 needs one entry for each of the cells' axes, 8x8x8"),
        (["--grids", "0x1x1"], "leaves ranks without any"),
        (["--grids", "9x1x1"], "leaves ranks without any of the 8x8x8 cells"),
        (["--modes", "2,2,2"], "3 entries of modes need"),
        (["--modes", "5,2,2,2"], "holds 1 to 4 modes, got 5"),
        (["--width", "0"], "must be at least 1"),
    ],
)
def test_what_does_not_fit_is_told(more, told):
    with pytest.raises(ValueError, match=told):
        for case in cases(*more):
            row(case, case.grids[0], MACHINES["summit"])


def test_what_is_missing_is_told():
    with pytest.raises(ValueError, match="also needs --timesteps, --grids"):
        cases("--cells", "8,8", "--modes", "2,2,2", base=["scaling"])


def refimpl(*arguments, ranks=0):
    command = [sys.executable, "-m", "refimpl", *map(str, arguments)]
    if ranks:
        from refimpl.cli.launch import mpiexec

        command = [mpiexec(), "-n", str(ranks), *command]
    return subprocess.run(command, env=environment(ranks or 1), capture_output=True, text=True, timeout=60, check=False)


def test_its_first_example_works_and_writes_a_table_and_a_picture(tmp_path):
    import refimpl.cli.scaling as scaling

    example = next(line.split() for line in scaling.__doc__.splitlines() if line.startswith("    refimpl scaling"))
    done = refimpl(*example[1:], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1].split()
    assert last[:3] == ["512", "32x16x1", "2.60e+09"] and last[-1] == "100%"
    assert (tmp_path / "scaling.txt").read_text() == done.stdout
    assert (tmp_path / "scaling-variables.png").stat().st_size > 5000


def test_measured_stands_beside_predicted_for_the_grids_that_have_ranks():
    done = refimpl(*OWN, "--grids", "1x1x1,1x2x1,2x2x1", "--measure", "--machine", "summit", ranks=2)
    assert done.returncode == 0, done.stderr
    cells = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [c[:2] for c in cells] == [["1", "1x1x1"], ["2", "1x2x1"]]
    assert all(float(n) > 0 for c in cells for n in (c[2], c[3], c[5], c[6]))


MEASURED = f"""
from threadpoolctl import threadpool_info, threadpool_limits
from refimpl.cli import parse, scaling

threadpool_limits(2)
scaling.measured = lambda *_: str({{pool["num_threads"] for pool in threadpool_info()}})
scaling.run(parse({[*OWN, "--measure"]}))
"""


def test_one_rank_without_mpiexec_is_measured_with_one_thread():
    env = {name: value for name, value in environment(1).items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "{1}", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak memory")
def test_one_rank_alone_tells_its_memory_beside_the_prediction():
    larger = [*OWN, "--cells", "64,64,32", "--timesteps", "8", "--width", "8"]
    done = refimpl(*larger, "--simulate", "3")
    assert done.returncode == 0, done.stderr
    assert "a training step of rank 3 on 2x2x1, alone" in done.stdout
    assert 0.6 < float(done.stdout.split()[-1]) < 1.4
    (case,) = cases()
    with pytest.raises(ValueError, match="expected a rank of 0..3, got 4"):
        simulated(case, 4)
    with pytest.raises(ValueError, match="rank 0 of own on 1x1x1 needs .* GiB, .* are free here"):
        simulated(replace(case, cells=(4096,) * 3, timesteps=64, grids=((1, 1, 1),)), 0)
