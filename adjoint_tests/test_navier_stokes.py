"""Theorems about the Navier-Stokes simulator: its operators and derivatives, what it conserves, and flows that are known."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from math import exp, pi
from pathlib import Path

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from PIL import Image
from theorems import (
    GRIDS,
    Planted,
    assert_adjoint,
    assert_derivative_is_honest,
    assert_exact_adjoint,
    assert_honest,
    assert_rejected,
    relative,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import verify, wire
from refimpl.cli.launch import environment
from refimpl.verify import spmd
from solvers.navier_stokes import (
    EXAMPLE,
    Ball,
    Evolution,
    Flow,
    Mesh,
    Step,
    UnstableStep,
    plot,
    read_flow,
    read_run,
    record,
    simulate,
    to_toml,
    write_vtk,
)
from solvers.navier_stokes.flow import flow_of
from solvers.navier_stokes.ghosts import Ghosts
from solvers.navier_stokes.projection import Divergence, Poisson, Projection
from solvers.navier_stokes.schemes import SCHEMES, amplification, longest_step, stable
from solvers.navier_stokes.simulate import apart
from solvers.navier_stokes.solid import Fraction
from solvers.navier_stokes.tendency import Tendency

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TWO_PI = 2 * pi


@dataclass(frozen=True)
class MeshCase:
    """A mesh on a grid of ranks."""

    shape: tuple
    walls: tuple
    grid: tuple
    seed: int

    @property
    def mesh(self):
        return Mesh(self.shape, (1.0, 2.0, 0.7)[: len(self.shape)], self.walls)

    def cells(self, team):
        return self.mesh.scalars(team, self.grid)


@st.composite
def meshes(draw, size):
    d = draw(st.integers(2, 3))
    shape, walls = draw(st.tuples(*[st.integers(1, 7)] * d)), draw(st.tuples(*[st.booleans()] * d))
    return MeshCase(shape, walls, draw(strategies.grids(size, d)), draw(strategies.seeds))


# ---- the operators -------------------------------------------------------------------------------------------------------


@spmd.property_test(case=meshes)
def test_every_operator_has_its_adjoint_and_sends_what_it_says(team, case):
    S = case.cells(team)
    G = Ghosts(case.mesh.vectors(S), case.mesh)
    assert_exact_adjoint(G, case.seed)
    assert_honest(G, case.seed)
    for A in (Divergence(S, case.mesh), Poisson(S, case.mesh), Projection(S, case.mesh)):
        assert_adjoint(A, case.seed, chain=8)
        with ri.counting() as count:
            A.forward(A.domain.random(case.seed))
        assert count.total == A.traffic().forward and count.votes == 1


@spmd.property_test(case=meshes)
def test_a_projected_velocity_has_no_divergence_and_stays(team, case):
    P = Projection(case.cells(team), case.mesh)
    u = P.domain.random(case.seed)
    w = P.forward(u)
    scale = P.domain.norm(u) / min(case.mesh.spacing)
    assert P.poisson.domain.norm(P.divergence.forward(w)) <= 1e-13 * scale
    assert P.domain.norm(P.forward(w) - w) <= 1e-13 * scale


def test_the_poisson_operator_is_the_pseudo_inverse_of_the_laplacian(team):
    for walls in ((False, True, False), (True, True, True), (False, False, False)):
        mesh = Mesh((4, 3, 2), (1.0, 1.0, 1.0), walls)
        S = mesh.scalars(team, (*GRIDS[team.size], 1))
        D, L = Divergence(S, mesh).matrix(), Poisson(S, mesh).matrix()
        if team.rank == 0:
            assert relative(L, np.linalg.pinv(D @ D.T)) < 1e-12


def test_a_wrong_adjoint_of_ghosts_is_found(team):
    mesh = Mesh((6, 4), (1.0, 1.0), (True, True))
    G = Ghosts(mesh.vectors(mesh.scalars(team, GRIDS[team.size])), mesh)

    def cropping(w):  # what is mirrored is forgotten
        return G.exchange.adjoint(np.ascontiguousarray(w[G.inside]))

    assert_rejected(Planted(G, cropping))


def test_a_divergence_whose_adjoint_forgets_the_layers_of_others_is_found(team):
    mesh = Mesh((6, 4), (6.0, 4.0), (False, True))  # cells of 1: integers stay integers
    D = Divergence(mesh.scalars(team, GRIDS[team.size]), mesh)
    assert_exact_adjoint(D)

    def forgetting(p):
        u = D.adjoint(p)
        u[0, :1] = 0.0
        return u

    assert_rejected(Planted(D, forgetting), seed=1)  # with seed 0, on three ranks, what is forgotten adds up to 0


@pytest.mark.parametrize("walls", [(False, False, False), (True, False, True)])
def test_the_tendency_and_its_tangent_and_adjoint(walls):
    mesh = Mesh((5, 4, 3), (1.0, 2.0, 0.7), walls)
    V = mesh.vectors(mesh.scalars(wire.mpi().COMM_SELF, (1, 1, 1)))
    W = Ghosts(V, mesh).range
    N = Tendency(W, V, mesh)
    w, dw, dN = W.random(1), W.random(2), V.random(3)
    value, tangent, adjoint = N.derivative(w, 0.3)
    back, dnu = adjoint(dN)
    assert np.vdot(tangent(dw, 0.7), dN) == pytest.approx(np.vdot(dw, back) + 0.7 * dnu, rel=1e-12)
    # quadratic: the mean of the differences to both sides is the derivative
    both = [N.value(w + h * dw, 0.3 + h * 0.7) for h in (1e-2, -1e-2)]
    assert relative((both[0] - both[1]) / 2e-2, tangent(dw, 0.7)) < 1e-11
    assert not np.allclose(value, tangent(w, 0.3))


def test_without_viscosity_momentum_and_energy_are_conserved_in_space(team):
    mesh = Mesh((6, 5, 4), (1.0, 2.0, 0.7), (False,) * 3)
    S = mesh.scalars(team, (*GRIDS[team.size], 1))
    P = Projection(S, mesh)
    V = P.domain
    G = Ghosts(V, mesh)
    u = P.forward(V.random(1))
    N = Tendency(G.range, V, mesh).value(G.forward(u), 0.0)
    assert abs(V.inner(u, N)) < 1e-13 * V.norm(u) * V.norm(N)
    total = whole(V, N).sum(axis=(1, 2, 3))
    assert np.abs(total).max() < 1e-12 * V.norm(N)
    # with a divergence, energy is not
    rough = V.random(1)
    assert abs(V.inner(rough, Tendency(G.range, V, mesh).value(G.forward(rough), 0.0))) > 1e-3 * V.norm(rough)


# ---- steps and runs ------------------------------------------------------------------------------------------------------

PLAIN = Flow((6, 5, 4), (2.0, 1.6, 1.4), 0.05, 0.4, frames=2, steps=2, initial="taylor-green")
BALL = replace(
    PLAIN,
    boundaries=("inflow", "wall", "periodic"),
    inflow=(1.0, 0.0, 0.0),
    initial="inflow",
    ball=Ball((0.9, 0.8, 0.7), 0.3, 0.01),
)
CAVITY = replace(
    PLAIN,
    boundaries=("wall", "wall", "periodic"),
    initial="rest",
    lids={"y-high": (1.0, 0.0, 0.3)},
    force=(0.1, 0.2, 0.0),
)
FLAT = replace(PLAIN, shape=(6, 5), lengths=(2.0, 1.6), boundaries=())
FLOWS = [BALL, CAVITY, replace(BALL, scheme="ab2"), replace(FLAT, scheme="ab2")]


def cells(team, flow):
    return flow.mesh.scalars(team, (*GRIDS[team.size], 1)[: len(flow.shape)])


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: f"{len(flow.shape)}-{'-'.join(flow.boundaries)}-{flow.scheme}")
def test_a_step_has_the_derivative_that_it_says(team, flow):
    F = Step(flow, cells(team, flow), 0.02)
    x = 0.3 * F.domain.random(1)
    assert_derivative_is_honest(F, x=x)
    test = verify.taylor_test(F, x, halvings=4, first=0.02)
    assert test, str(test)


@pytest.mark.mpi(min_size=4)
def test_with_more_ranks_than_cells_along_an_axis_the_adjoint_holds(team):
    flow = replace(FLAT, shape=(3, 5))
    F = Step(flow, flow.mesh.scalars(team, (team.size, 1)), 0.02)
    assert_derivative_is_honest(F, x=0.3 * F.domain.random(1))


@pytest.mark.parametrize("flow", [FLOWS[0], FLOWS[2]], ids=SCHEMES)
def test_a_step_whose_adjoint_forgets_a_gradient_or_the_projection_is_found(team, flow):
    F = Step(flow, cells(team, flow), 0.02)
    J = F.linearize(0.3 * F.domain.random(1))[1]
    P, d = F.project, flow.mesh.ndim

    def unprojected(dy):
        dx, gradients = J.adjoint(dy)
        return np.concatenate([dx[:d] + dy[:d] - P.forward(dy[:d]), dx[d:]]), gradients

    assert not verify.dot_test(Planted(J, unprojected), chain=8)
    for name in F.parameters:
        without = lambda dy, name=name: (J.adjoint(dy)[0], J.adjoint(dy)[1] | {name: J.domain[name].zeros()})
        assert not verify.dot_test(Planted(J, without), chain=8), name


@pytest.mark.parametrize("flow", [FLOWS[0], FLOWS[2]], ids=SCHEMES)
def test_a_jacobian_stays_that_of_the_ball_at_which_it_was_made(team, flow):
    F = Step(flow, cells(team, flow), 0.02)
    x, dy = 0.3 * F.domain.random(1), F.range.random(2)
    J = F.linearize(x)[1]
    before = J.adjoint(dy)[1]["ball"]
    F.parameters = F.parameters | {"ball": 1.1 * F.parameters["ball"]}
    F.linearize(x)
    assert np.array_equal(J.adjoint(dy)[1]["ball"], before)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_has_the_derivative_that_it_says(team, scheme):
    flow = replace(BALL, scheme=scheme, steps=1 + (scheme == "ab2"))
    F = Evolution(flow, cells(team, flow))
    u = F.step.project.forward(0.3 * F.domain.random(1))
    y, J = F.linearize(u)
    assert np.array_equal(F(u), y)
    assert_adjoint(J, chain=64)
    test = verify.taylor_test(F, u, halvings=4, first=0.02)
    assert test, str(test)
    run = simulate(flow, team, cells(team, flow).partition.shape, initial=u)
    assert not y.size or relative(run.all("velocity")[1:], y) < 1e-12


def gradients(team, scheme, every=1):
    """Of a scalar of the frames with respect to the first velocity and the physics; and their spaces."""
    flow = replace(BALL, scheme=scheme, steps=3)
    F = Evolution(flow, cells(team, flow), every)
    J = F.linearize(F.step.project.forward(0.3 * F.domain.random(1)))[1]
    dx, others = J.adjoint(F.range.random(2))
    return {"x": dx} | others, {"x": F.domain} | F.parameter_spaces


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_gradient_is_the_same_from_fewer_checkpoints_bit_by_bit(team, scheme):
    each, third, fourth = (gradients(team, scheme, every)[0] for every in (1, 3, 4))
    assert all(np.array_equal(each[name], other[name]) for other in (third, fourth) for name in each)


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_gradient_on_many_ranks_is_that_on_one(team, scheme):
    together, spaces = gradients(team, scheme)
    wholes = {name: whole(spaces[name], part) for name, part in together.items()}
    if team.rank == 0:
        alone = gradients(wire.mpi().COMM_SELF, scheme)[0]
        assert all(relative(wholes[name], alone[name]) < 1e-12 for name in ("x", "viscosity", "ball"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_gradient_of_a_run_leaves_a_remainder_of_second_order_over_four_decades(scheme):
    flow = replace(BALL, scheme=scheme)
    F = Evolution(flow, flow.mesh.scalars(wire.mpi().COMM_SELF, (1, 1, 1)))
    u = F.step.project.forward(0.3 * F.domain.random(1))
    y, J = F.linearize(u)
    w, d, kept = F.range.random(9), J.domain.random(3), dict(F.parameters)
    d |= {name: 0.1 * d[name] * kept[name] for name in kept}
    dx, others = J.adjoint(w)
    slope, found = J.domain.inner(d, {"x": dx} | others), []
    for h in 10.0 ** -np.arange(1.0, 6.0):
        F.parameters = {name: kept[name] + h * d[name] for name in kept}
        found.append(abs(F.range.inner(F(u + h * d["x"]) - y, w) - h * slope))
    assert np.log10(np.divide(found[:-1], found[1:])).min() >= 1.95, found


@pytest.mark.parametrize("flow", [BALL, CAVITY, FLAT], ids=["ball", "cavity", "flat"])
def test_on_any_grid_of_ranks_it_is_the_run_of_one(team, flow):
    run = simulate(flow, team, cells(team, flow).partition.shape)
    together = [whole(run.space, frame.velocity) for frame in run.frames]
    alone = simulate(flow, wire.mpi().COMM_SELF) if team.rank == 0 else None
    if team.rank == 0:
        assert max(map(relative, together[1:], alone.all("velocity")[1:])) < 1e-12
        for name in ("energy", "enstrophy", "drag"):
            np.testing.assert_allclose(run.all(name), alone.all(name), rtol=1e-11, atol=1e-13)


def test_the_gradient_with_respect_to_the_ball_is_that_of_its_fraction():
    V = BALL.mesh.vectors(BALL.mesh.scalars(wire.mpi().COMM_SELF, (1, 1, 1)))
    chi, ball, dball, d = Fraction(V, BALL.mesh), np.array([0.93, 0.81, 0.72, 0.33]), np.arange(1.0, 5.0), V.random(1)
    _, tangent, adjoint = chi.derivative(ball)
    assert np.vdot(tangent(dball), d) == pytest.approx(np.vdot(dball, adjoint(d)), rel=1e-12)
    h = 1e-6
    slope = (chi.value(ball + h * dball) - chi.value(ball - h * dball)) / (2 * h)
    assert np.abs(slope - tangent(dball)).max() < 1e-6 * np.abs(slope).max()


# ---- stability -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("speed, nu", [(0.0, 1.0), (10.0, 1e-3), (10.0, 0.1), (3.0, 1e-2)])
def test_the_longest_step_is_stable_and_little_more_is_not(scheme, speed, nu):
    spacing = (0.1, 0.1, 0.2)
    longest = longest_step(scheme, speed, nu, spacing)
    assert stable(scheme, longest, speed, nu, spacing) and not stable(scheme, 1.01 * longest, speed, nu, spacing)


def test_the_limits_of_stability_are_those_of_the_literature():
    cube = (0.1,) * 3
    assert longest_step("ab2", 0.0, 1.0, cube) == pytest.approx(0.01 / 12, rel=2e-3)
    assert longest_step("rk3", 0.0, 1.0, cube) == pytest.approx(2.5127 * 0.01 / 12, rel=2e-3)
    assert longest_step("rk3", 10.0, 0.0, cube) == pytest.approx(3**0.5 / 10, rel=2e-3)
    assert amplification("ab2", np.array(0.3j)) == pytest.approx(1 + 0.3**4 / 4, rel=1e-3)
    assert longest_step("rk3", 0.0, 0.0, cube) == np.inf


def test_a_step_that_is_too_long_is_refused_with_the_limit(team):
    flow = replace(FLAT, frames=1, steps=1, end=2.0, shape=(16, 16))
    text = same_text(team, lambda: simulate(flow, team, (team.size, 1)), UnstableStep)
    assert "steps of 2 s of rk3 are not stable" in text and "give steps >= " in text
    enough = int(text.split("steps >= ")[1].split()[0])
    assert enough >= 1.25 * 2.0 / float(re.search("at most (.*) s are", text)[1])
    assert simulate(replace(flow, steps=enough), team, (team.size, 1)).frames[-1].steps == enough
    with pytest.raises(ValueError, match="no step of ab2 is stable"):
        simulate(replace(flow, steps=0, scheme="ab2", viscosity=0.0), team, (team.size, 1))


DRIVEN = {
    "on the way": Flow((16, 4), (1.0, 1.0), 0.01, 4.0, ("periodic", "wall"), force=(1.0, 0.0)),
    "Poiseuille": Flow((16, 4), (1.0, 1.0), 0.05, 10.0, ("periodic", "wall"), force=(1.0, 5.0)),
    "open": Flow((8, 8), (1.0, 1.0), 0.0, 3.0, force=(1.0, -2.0)),
}


@pytest.mark.parametrize("flow", DRIVEN.values(), ids=DRIVEN)
def test_a_flow_that_a_force_speeds_up_has_as_many_steps_as_it_needs_and_few_more(flow):
    run = simulate(flow, wire.mpi().COMM_SELF)
    with pytest.raises(UnstableStep, match="give steps >= "):
        simulate(replace(flow, steps=int(0.7 * run.frames[-1].steps)), wire.mpi().COMM_SELF)


def test_numbers_that_differ_little_are_told_apart():
    assert (apart(0.0152671, 0.0152668), apart(0.0152668, 0.0152671)) == ("0.0152671", "0.0152668")
    assert apart(2.0, 0.5) == "2"


# ---- flows that are known ------------------------------------------------------------------------------------------------


def test_taylor_and_greens_vortices_in_the_plane_are_of_second_order():
    errors = []
    for n in (16, 32):
        run = simulate(Flow((n, n), (TWO_PI,) * 2, 0.05, 1.0, initial="taylor-green"), wire.mpi().COMM_SELF)
        errors.append(np.abs(run.frames[1].velocity - exp(-2 * 0.05) * run.frames[0].velocity).max())
        assert run.all("divergence").max() < 1e-12
    assert np.log2(errors[0] / errors[1]) > 1.95


def test_in_space_the_energy_falls_by_twice_viscosity_times_enstrophy():
    flow = Flow((16,) * 3, (TWO_PI,) * 3, 0.01, 1.0, initial="taylor-green", frames=20)
    run = simulate(flow, wire.mpi().COMM_SELF)
    loss = np.gradient(run.all("energy"), run.all("time"))
    assert np.abs(loss / (-2 * 0.01 * run.all("enstrophy")) - 1)[1:-1].max() < 0.01
    assert run.all("divergence").max() < 1e-12


def test_poiseuilles_profile_is_exact_but_for_a_constant():
    n, nu, G = 8, 0.1, 0.2
    flow = Flow((1, n), (1.0, 1.0), nu, 40.0, ("periodic", "wall"), force=(G, 0.0))
    u = simulate(flow, wire.mpi().COMM_SELF).frames[-1].velocity[0, 0]
    y = (np.arange(n) + 0.5) / n
    assert np.allclose(u - G * y * (1 - y) / (2 * nu), G / n**2 / (8 * nu), rtol=1e-6)


@pytest.mark.skipif(not DATA.is_dir(), reason="the tables of Ghia et al. are in shared/data, which is not here")
def test_a_driven_cavity_has_ghias_profile():
    n = 32
    flow = Flow((n, n), (1.0, 1.0), 0.01, 15.0, ("wall", "wall"), lids={"y-high": (1.0, 0.0)}, scheme="ab2")
    u = simulate(flow, wire.mpi().COMM_SELF).frames[-1].velocity[0]
    table = np.genfromtxt(DATA / "ghia1982_u_x05.csv", delimiter=",", names=True)
    y, middle = (np.arange(n) + 0.5) / n, u[n // 2]  # the face at x = 1/2
    mine = np.interp(table["y"], [0, *y, 1], [0, *middle, 1])
    assert np.abs(mine - table[table.dtype.names[1]]).max() < 0.015


def test_the_fringe_restores_the_free_stream_behind_the_ball():
    flow = Flow(
        (48, 24),
        (12.0, 6.0),
        0.02,
        12.0,
        ("inflow", "periodic"),
        inflow=(1.0, 0.0),
        initial="inflow",
        ball=Ball((3.0, 3.0), 0.5),
    )
    run = simulate(flow, wire.mpi().COMM_SELF)
    u = run.frames[-1].velocity[0]
    assert np.abs(u[-1] - 1).max() < 0.15 < 0.9 < np.abs(u[24] - 1).max()
    assert 1 < run.frames[-1].drag[0] < 2 and abs(run.frames[-1].drag[1]) < 1e-6


# ---- what is given -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [PLAIN, BALL, CAVITY, FLAT])
def test_a_flow_comes_back_from_its_file(tmp_path, flow):
    (tmp_path / "flow.toml").write_text(to_toml(flow))
    assert read_flow(tmp_path / "flow.toml") == flow


WRONG = [
    (dict(shape=(4,)), "2 or 3 cell counts"),
    (dict(shape=(0, 4, 4)), "positive cell counts"),
    (dict(lengths=(1.0, -1.0, 1.0)), "lengths above 0"),
    (dict(viscosity=-1.0), "expected viscosity within .*got -1"),
    (dict(viscosity=float("nan")), "expected viscosity to be a number, got nan"),
    (dict(boundaries=("wall", "wall", "open")), "expected boundaries of"),
    (dict(boundaries=("inflow", "wall", "wall")), "then the velocity of the inflow"),
    (dict(inflow=(1.0, 0.0, 0.0)), "then the velocity of the inflow"),
    (dict(lids={"y-high": (1.0, 0.0, 0.0)}), "a lid must be a wall"),
    (dict(boundaries=("wall",) * 3, lids={"x-low": (1.0, 0.0, 0.0)}), "moves along itself"),
    (dict(scheme="euler"), "expected a scheme of"),
    (dict(force=(1.0,)), "force needs 3 components"),
    (dict(frames=0), "expected frames >= 1"),
    (dict(ball=Ball((0.1, 0.8, 0.7), 0.3)), "leaves the box"),
    (dict(ball=Ball((0.9, 0.8), 0.3)), "the ball needs 3 coordinates"),
]


@pytest.mark.parametrize("change, text", WRONG)
def test_a_flow_that_cannot_run_is_refused_before_it_runs(change, text):
    with pytest.raises(ValueError, match=text):
        replace(PLAIN, **change)


def test_a_file_that_is_no_flow_is_refused(tmp_path):
    for text in ("shape = [4", "shape = [4, 4]", 'colour = "red"', "[ball]\nradius = 1.0"):
        (tmp_path / "flow.toml").write_text(text)
        with pytest.raises(ValueError, match="flow.toml"):
            read_flow(tmp_path / "flow.toml")


# ---- files, pictures, the command line -----------------------------------------------------------------------------------


def solvers(*arguments):
    command = [sys.executable, "-m", "solvers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A flow, and its run on two ranks."""
    made = tmp_path_factory.mktemp("flow")
    flow = replace(flow_of(EXAMPLE), shape=(24, 16), end=2.0, frames=4)
    (made / "flow.toml").write_text(to_toml(flow))
    done = solvers("simulate", made / "flow.toml", "--ranks", 2, "--out", made / "run.h5")
    assert done.returncode == 0, done.stderr
    return made


def test_a_recorded_run_is_that_of_simulate(folder):
    run, result = read_run(folder / "run.h5"), simulate(read_flow(folder / "flow.toml"), wire.mpi().COMM_SELF)
    assert run.complete and run.flow == read_flow(folder / "flow.toml")
    for name in ("time", "steps", "velocity", "vorticity", "energy", "drag"):
        np.testing.assert_allclose(run.arrays[name], result.all(name), rtol=1e-9, atol=1e-12)
    assert run.arrays["fraction"].shape == (24, 16) and 0.5 < run.arrays["fraction"].max() <= 1


def test_a_run_is_drawn_animated_and_written_for_paraview(folder):
    run = read_run(folder / "run.h5")
    plot(run, folder / "run.png")
    plot(run, folder / "run.gif")
    with Image.open(folder / "run.gif") as animation:
        assert animation.n_frames == 5
    write_vtk(run, folder / "vtk")
    names = re.findall('file="(.*?)"', (folder / "vtk" / "run.pvd").read_text())
    content = (folder / "vtk" / names[3]).read_bytes()
    velocity, raw = 3 * 24 * 16 * 4, content.split(b'encoding="raw">_')[1]
    curl = np.frombuffer(raw, "<f4", 24 * 16, offset=8 + velocity + 8).reshape(16, 24).T
    assert len(names) == 5 and np.allclose(curl, run.arrays["vorticity"][3, 0], atol=1e-5)


def test_what_is_computed_before_a_run_fails_can_be_read(folder, tmp_path):
    flow = replace(read_flow(folder / "flow.toml"), end=4.0, steps=4, force=(20.0, 0.0))
    (tmp_path / "long.toml").write_text(to_toml(flow))
    failed = solvers("simulate", tmp_path / "long.toml", "--ranks", 2, "--out", tmp_path / "run.h5")
    assert failed.returncode == 1 and failed.stderr.count("are not stable") == 1 and "Traceback" not in failed.stderr
    run = read_run(tmp_path / "run.h5")
    assert not run.complete and len(run.arrays["time"]) == 1
    again = solvers("simulate", tmp_path / "long.toml", "--out", tmp_path / "run.h5")
    assert again.returncode == 1 and "is there already" in again.stderr


def test_a_flow_whose_first_step_is_unstable_leaves_no_file(tmp_path):
    with pytest.raises(UnstableStep, match="after 0 s, 0 steps, steps of 400 s"):
        record(replace(FLAT, frames=1, steps=1, end=400.0), tmp_path / "run.h5", wire.mpi().COMM_SELF)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_it_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1 << 20))
    with pytest.raises(OSError, match="the next frame needs"):
        record(replace(FLAT, end=0.1), tmp_path / "run.h5", wire.mpi().COMM_SELF)
