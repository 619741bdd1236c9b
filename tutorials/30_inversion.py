# %% [markdown]
# # 30. The rock that a plume went through
# CO2 is pumped into brine, deep in the ground; six surveys show where it is. How permeable is the rock? Let $F$ map the rock
# to the pictures. We look for the rock whose pictures are like the data, by walking downhill, and downhill is an adjoint. We
# walk twice: by the adjoint of the simulator, and by that of a network that has learned from it. `Plumes` is the simulator as
# a layer: in goes $m$, the logarithm of the permeability over 200 millidarcy, out come saturations of CO2. Its adjoint solves
# one transposed system a time step, from the last to the first, however many cells there are.

# %%
import os
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import strategies as st
from mpi4py import MPI

import refimpl as ri
from refimpl import verify
from refimpl.layers import GridEmbedding, RelativeL2, Sequential, chain
from refimpl.models import FNO
from refimpl.training import Training, loop
from refimpl.verify import spmd
from solvers.geology import Smooth
from solvers.grid import Grid
from solvers.inversion import descend
from solvers.two_phase import Fluids, Injector, Plumes, Reservoir, Rock

comm, noise = MPI.COMM_WORLD, 0.005
n, runs, steps, most = map(int, os.environ.get("INVERSION", "17 64 600 15").split())


def simulator(comm, size=n, frames=6, cut=3, kind=Plumes):  # cut: time steps for a frame
    box, rock = Grid((size, size, 1), (40.0, 40.0, 10.0), 1000.0), Rock([2e-13] * 3, 0.25)
    well = Injector((size // 2, size // 2), (0, 1), 1e-5 * size**2)
    reservoir = Reservoir(box, rock, Fluids(), [well], "open")
    ends, grid = range(cut, cut * frames + 1, cut), ri.Partition(comm, (comm.size, 1))
    return kind(reservoir, [100 * 86400.0 / cut] * ends[-1], ends, grid)


F, alone = simulator(comm), simulator(MPI.COMM_SELF)
X, Y = F.domain, F.range  # (1, 1, n, n, 1) and (1, 1, n, n, 6): batch, channel, x, y, time

# %% [markdown]
# ## Downhill
# Rock is smooth: $m = B z$, where the numbers $z$ are standard normal. The map $B$ is linear, with an adjoint. We draw a rock,
# and the data $d$ from *finer* time steps, which $F$ cannot match exactly, and with noise $\sigma$. Then
# $$f(z) = \tfrac12 |F(Bz) - d|^2 / \sigma^2 + \tfrac12 |z|^2, \quad \nabla f(z) = B^* J^* (F(Bz) - d) / \sigma^2 + z ,$$
# and `descend` gives both to SciPy's L-BFGS. It returns the rock after each iteration.

# %%
B, own = (Smooth(space, length=0.2, waves=5) for space in (X, alone.domain))
truth = B.forward(B.domain.random(seed=4))
data = simulator(comm, cut=6)(truth) + noise * Y.random(seed=1)
paths = {"truth": [truth], "by the simulator": descend(F, B, data, noise, most)}

# %% [markdown]
# ## A network learns the simulator
# Each rank simulates a share of other rocks. The well is in the middle of a square, so what is turned or mirrored is right too.
# The network is told places by coordinates; it learns the difference from the plumes in even rock.

# %%
mine = {i: own.forward(own.domain.random(100 + i)) for i in range(comm.rank, runs, comm.size)}
even = alone(own.range.zeros())
pairs = comm.allgather({i: (m[0], (alone(m) - even)[0]) for i, m in mine.items()})
pairs = {i: pair for part in pairs for i, pair in part.items()}
known = [np.stack([pairs[i][side] for i in range(runs)]) for side in (0, 1)]
known = [np.stack([np.rot90(a, way, (2, 3)) for way in range(4)]) for a in known]
parts = {"places": partial(GridEmbedding, bounds=[(-1, 1)] * 3)}
parts["fno"] = partial(FNO, width=12, modes=(5, 5, 3), blocks=2, out_timesteps=6, hidden=32)
N, G = (Sequential(chain(X.replace(shape=(k, 1, n, n, 1)), parts)) for k in (8, 1))
plan, loss, rng = Training(epochs=1, rate=1e-2), RelativeL2(N.range), np.random.default_rng(0)
moments, rates = plan.rule.start(N.parameters), plan.schedule_of(steps)
for t in range(1, steps + 1):
    way, mirror, drawn = rng.integers(4), rng.choice((-1, 1)), rng.integers(runs, size=8)
    batch = [a[way, drawn][:, :, ::mirror][N.domain.local_slice[:4]] for a in known]
    _, _, moments = loop.step(N, loss, [batch], moments, t, rates.rate(t), plan)
G.parameters, even = N.parameters, even[Y.local_slice]
unseen = [B.forward(B.domain.random(seed)) for seed in range(10, 15)]
error = np.mean([Y.norm(G(m) + even - F(m)) for m in unseen]) / np.sqrt(np.prod(Y.shape))
print(f"typical error of a saturation: {noise} by noise, {error:.4f} by the network")

# %% [markdown]
# ## The same walk, by the network
# On rock that it has not seen, the network errs by more than the noise: it must not be asked to fit the data better. What it
# finds is judged by the simulator. Dotted: the true rock. Black: where CO2 is; beyond it, none can know.

# %%
by_network = paths["by the network"] = descend(G, B, data - even, np.hypot(noise, error), most)
came, scale, curves, shown = F(truth)[..., -1:] > 0.05, 100 / Y.norm(data), {}, {}
for who, path in paths.items():
    S, off = [F(m) for m in path], X.norm(came * (path[-1] - truth)) / X.norm(came * truth)
    curves[who] = [scale * Y.norm(each - data) for each in S]
    shown[who] = X.gather(200 * np.exp(path[-1])), X.gather(S[-1][..., -1:])
    misfit = f"misfit {curves[who][0]:.1f} % -> {curves[who][-1]:.1f} %"
    print(f"{who}: {misfit}, rock off by {off:.0%} where CO2 came")
curves["as the network thinks"] = [scale * Y.norm(G(m) + even - data) for m in by_network]
if comm.rank == 0:
    figure, ax = plt.subplots(figsize=(6.4, 3), layout="constrained")
    ax.axhline(curves.pop("truth")[0], color="black", linestyle=":")
    for who, curve in curves.items():
        ax.semilogy(curve, label=who)
    ax.set_yticks([4, 8, 16, 32], ["4 %", "8 %", "16 %", "32 %"]), ax.minorticks_off()
    ax.set(title="The misfit", xlabel="iteration", xticks=range(0, most + 1, 5)), ax.legend()
    figure, axes = plt.subplots(2, 3, figsize=(8.4, 5.4), layout="constrained")
    place = dict(origin="lower", extent=(0, 40 * n, 0, 40 * n))
    k = dict(norm="log", vmin=10, vmax=4000, label="permeability (mD)")
    looks = k, dict(vmin=0, vmax=0.8, cmap="magma_r", label="CO2 saturation, day 600")
    for row, look, part in zip(axes, looks, (0, 1), strict=True):
        for ax, (who, fields) in zip(row, shown.items(), strict=True):
            image = ax.imshow(fields[part][0, 0, ..., 0].T, **look, **place)
            ax.contour(shown["truth"][1][0, 0, ..., 0].T, [0.05], colors="black", **place)
            ax.set(title=who, xlabel="x (m)", ylabel="y (m)"), ax.label_outer()
        figure.colorbar(image, ax=row, label=look["label"])

# %% [markdown]
# ## A planted bug
# "The last picture shows the whole plume, so its residual is what counts." This adjoint drops the others'. It walks downhill!


# %%
class Hasty(Plumes):
    def derivative(self, m):
        S, tangent, adjoint = super().derivative(m)
        last = np.arange(S.shape[-1]) == S.shape[-1] - 1
        return S, tangent, lambda dS: adjoint(dS * last)


m = descend(simulator(comm, kind=Hasty), B, data, noise, most)[-1]
print(f"misfit {scale * Y.norm(F(m) - data):.1f} %")


@spmd.property_test(size=st.integers(3, 6), frames=st.integers(1, 6), seed=st.integers(0, 99))
def test_adjoint_of_plumes(team, size, frames, seed):
    J = simulator(MPI.COMM_SELF, size, frames, cut=1, kind=Hasty)
    assert verify.dot_test(J.linearize(J.domain.random(seed))[1], seed, chain=100)


try:
    test_adjoint_of_plumes(spmd.Team(comm))
except AssertionError as failure:
    if comm.rank == 0:
        print(failure, *failure.__notes__, sep="\n")

# %% [markdown]
# The curve would hardly tell. With one frame there is nothing to drop: the smallest case that fails has two.
# ## Exercises
# 1. Ask the network for all that the noise allows. What does the simulator say of the rock that it finds, and what the network?
# 2. Begin the simulator's walk where the network's ends. How many runs does that save, and how many did the network cost?
