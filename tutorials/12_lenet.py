# %% [markdown]
# # 12. LeNet-5 on four ranks learns what it learns on one
# A network on many ranks should be the *same* network: same loss, same weights, after every step, up to round-off. The paper
# that introduced such layers (Hewett and Grady, arXiv 2006.03108) tried it with LeNet-5, a reader of handwritten digits. Here
# is that experiment, on 1, 2, 4 or 6 ranks, with scikit-learn's digits, or with those in the folder `MNIST`, if you set it.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import strategies as st
from mpi4py import MPI
from tqdm import tqdm

import refimpl as ri
from refimpl import verify
from refimpl.layers import Convolution, CrossEntropy
from refimpl.models import LeNet5
from refimpl.training import AdamW, cosine_schedule, digits, mnist
from refimpl.verify import draw, spmd

comm = MPI.COMM_WORLD
batch, steps = 20, int(os.environ.get("LENET_STEPS", 120))
train, test = mnist(comm, os.environ["MNIST"]) if "MNIST" in os.environ else digits(comm)

# %% [markdown]
# ## Who holds what
# A batch of images starts on rank 0. The convolutions cut height and width: each rank computes its part of each picture, and
# fetches two rows and columns from its neighbours. Then come three matrices. The ranks form a grid again, now over rows and
# columns of the *matrix*: a rank multiplies its block, and the products in a row of the grid are added.

# %%
X = ri.Space(ri.Partition(comm, (1, 1, 1, 1)), (batch, 1, 28, 28))
model = LeNet5(X)
pixels, matrix = model.layers["conv1"].domain, model.parameter_spaces["affine1.W"]
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
draw.partition(pixels, axes[0], axes=(2, 3)), axes[0].set_title("the pixels of an image")
draw.partition(matrix, axes[1]), axes[1].set_title("the first matrix, 120 x 400")
print("I own", sum(w.size for w in model.parameters.values()), "of", model.parameter_count)

# %% [markdown]
# Every number that is learned has one owner. So the optimizer needs no messages: each rank updates what it owns.
# ## A step
# The loss $L$ is on rank 0, where the scores arrive. The Jacobian $J$ maps changes of input and weights to changes of the
# scores, so the gradient is $J^* \, \nabla L$. The adjoint of every message is a message back.


# %%
def learn(model, name, last=steps):
    loss, rule, losses = CrossEntropy(model.range), AdamW(), []
    moments, batches = rule.start(model.parameters), train.batches(batch)
    for t in tqdm(range(1, last + 1), name, disable=comm.rank > 0):
        numbers = next(batches)
        x, target = train.scatter(numbers, X), train.targets(numbers, model.range)
        scores, J = model.linearize(x)
        value, slope = loss.linearize(scores, target)
        dx, gradients = J.adjoint(slope.adjoint(1.0))  # what others call backward
        rate = cosine_schedule(t, steps, peak=5e-3, warmup=10)
        model.parameters, moments = rule.step(model.parameters, gradients, moments, t, rate)
        losses.append(value)
    return np.array(losses)


many = learn(model, f"{comm.size} ranks")

# %% [markdown]
# ## The same network on one rank
# `LeNet5` takes the grids that it should use. With `(1, 1)` for both, rank 0 does everything, and the others hold nothing.
# The initial weights depend on a seed and on their place, not on who owns them. So both begin alike.

# %%
alone = LeNet5(X, space=(1, 1), weights=(1, 1))
one = learn(alone, "1 rank")
if comm.rank == 0:
    figure, axes = plt.subplots(2, 1, figsize=(6.4, 4), sharex=True, layout="constrained")
    axes[0].plot(one, color="0.75", linewidth=5), axes[0].plot(many, color=draw.POSITIVE)
    axes[0].set(title=f"Learning on 1 rank (grey) and on {comm.size} (blue)", ylabel="loss")
    axes[1].semilogy(np.maximum(abs(many - one), 1e-17), color=draw.NEGATIVE)
    axes[1].set(xlabel="step", ylabel="difference"), axes[1].axhline(1e-10, linestyle=":")

# %% [markdown]
# Only the order of sums differs, so the curves part by round-off; the dotted line is what we allow. And the weights?
# `state()` gives them as whole matrices on rank 0, wherever they live.

# %%
mine, its = model.state(), alone.state()
if comm.rank == 0:
    gaps = {name: abs(w - its[name]).max() for name, w in mine.items()}
    print(*(f"{name:9} differs by at most {gap:.1e}" for name, gap in gaps.items()), sep="\n")
    assert max(*gaps.values(), *abs(many - one)) < 1e-10

# %% [markdown]
# ## Does it read?
# A model for batches of 99 takes over the weights as they are: who owns them does not depend on the batch.

# %%
reader = LeNet5(X.replace(shape=(99, 1, 28, 28)))
reader.parameters = model.parameters
read = test.predictions(reader)
if comm.rank == 0:
    print(f"{(read == test.labels).mean():.1%} of {len(test)} unseen images are read right")
    figure, ax = plt.subplots(figsize=(7, 0.9))
    ax.imshow(np.hstack(test.pixels[:16]), cmap="gray_r"), ax.set_yticks([])
    ax.set_xticks(np.arange(14, 448, 28), read[:16]), ax.set_title("Unseen, and read as")

# %% [markdown]
# ## A planted bug
# Many a program fills the ghosts of a block with its neighbours' values, and in the adjoint cuts them off again. But what
# a neighbour used of mine must be *added* to my sensitivity. Here is that bug, in one layer, on two ranks or more. It learns!


# %%
def cut_off(layer):
    G, rank = layer.G, comm.rank  # G fills the ghosts
    owner, add_up = G.forward(np.full(G.domain.local_shape, float(rank))), G.start_adjoint
    G.start_adjoint = lambda y: add_up(np.where(owner == rank, y, 0))  # the bug is here
    return layer


wrong = LeNet5(X)
cut_off(wrong.layers["conv2"])
last = learn(wrong, "with a bug", last=steps // 4)[-1]
print(f"the loss is {last:.4f}, without the bug it was {many[steps // 4 - 1]:.4f}")
print(verify.dot_test(wrong.linearize(X.random(1))[1], chain=15))

# %% [markdown]
# No curve would tell; the dot test does. A property test finds the smallest case: one number that a neighbour reads.


# %%
@spmd.property_test(n=st.integers(0, 9), kernel=st.integers(1, 4), seed=st.integers(0, 99))
def test_adjoint_of_convolution(team, n, kernel, seed):
    line = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n + kernel))
    J = cut_off(Convolution(line, 1, kernel)).linearize(line.random(seed))[1]
    assert verify.dot_test(J, seed, chain=2)


try:
    test_adjoint_of_convolution(spmd.Team(comm))
except AssertionError as failure:
    if comm.rank == 0:
        print(failure, *failure.__notes__, sep="\n")

# %% [markdown]
# ## Exercises
# 1. Train with `seed=1` in `LeNet5` on 2 and on 4 ranks, and with `weights=(1, 4)`. Which differences are round-off?
# 2. Add the bias of `affine1` on every rank that multiplies, before the sum. Why does the *first* loss not change?
