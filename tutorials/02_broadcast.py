# %% [markdown]
# # 2. Broadcast is a tall matrix, sum-reduce its transpose
# From here on there are several processes, or **ranks**, each with a memory of its own. All run the same program, and differ
# in their number: try `mpiexec -n 4 python tutorials/02_broadcast.py`. Here, output begins with the ranks that said it.

# %%
import matplotlib.pyplot as plt
import numpy as np
from hypothesis import strategies as st
from mpi4py import MPI

import refimpl as ri
from refimpl import verify
from refimpl.verify import draw, spmd

comm = MPI.COMM_WORLD
print(f"I am rank {comm.rank} of {comm.size}.")

# %% [markdown]
# ## A vector is the memory of all ranks together
# A **partition** names the ranks that take part; a **space** says which part of a tensor each of them holds. In $V$, three
# numbers live on rank 0, and the others hold nothing. `Broadcast` copies them to all $P$ ranks.

# %%
V = ri.Space(ri.Partition(comm, (1,)), (3,))
B = ri.Broadcast(V, ri.Partition(comm, (comm.size,)))
W = B.range
x = V.scatter(np.array([1.0, 2.0, 3.0]) if comm.rank == 0 else None)
print("before:", x, " after:", B.forward(x))
draw.partition(W)

# %% [markdown]
# After the broadcast there are not three numbers in the world but $3P$. They *happen* to be equal, but nothing keeps them so:
# each rank may change its own. So the range is $W = V^P$, and its inner product counts every copy:
# $$\langle y, z \rangle_W = \sum_p \langle y_p, z_p \rangle .$$
#
# ## The tall matrix
# As a matrix, $B$ is $P$ identities on top of each other. Its transpose has them side by side; times $(y_0, \dots, y_{P-1})$
# that is $y_0 + \dots + y_{P-1}$. The lines separate the ranks: every entry off rank 0 is a number that travels.

# %%
verify.matrix(B)  # an error, if the matrix of the adjoint were not the transpose
tall, wide = draw.matrix(B), draw.matrix(B.H)

# %% [markdown]
# The proof without a matrix takes one line:
# $$\langle B x, y \rangle_W = \sum_p \langle x, y_p \rangle = \langle x, \sum_p y_p \rangle_V = \langle x, B^* y \rangle_V .$$
# In words: a number that is copied to $P$ places acts on the result through each of them, so its $P$ sensitivities add up.
# **The adjoint of a copy is a sum**, the operator `SumReduce`; and the adjoint of a sum is a copy.

# %%
y = np.full(3, 10.0**comm.rank)
S = ri.SumReduce(W, V.partition)
print("I hold", y, "and get B* y =", B.adjoint(y), "and S y =", S.forward(y))
print(verify.dot_test(B, exact=True))  # on small integers: these have no round-off

# %% [markdown]
# ## The trap: keep my copy
# "All copies are equal anyway. So rank 0 takes its own one $P$ times, and no message is sent." Here are the gaps of two tests.


# %%
class KeepMyCopy(ri.Broadcast):
    def adjoint(self, y):  # wrong: x = P y_0
        return comm.size * y if comm.rank == 0 else self.domain.zeros()


def gap(A, copies):
    x, y = A.domain.random(seed=1), A.range.random(seed=2, copies=copies)
    return abs(A.range.inner(A.forward(x), y) - A.domain.inner(x, A.adjoint(y)))


trap = KeepMyCopy(V, W.partition)
for copies in ("equal", "independent"):
    print(f"{copies} copies: sum {gap(B, copies):.1g}, trap {gap(trap, copies):.1g}")

# %% [markdown]
# On equal copies the trap is invisible. But the definition says *for all* $y$ in $W$, and in most of these the copies differ.
# Hence the rule: **a dot test draws its copies independently**. `verify.dot_test` does.
#
# ## What this means for a shared weight
# Each rank $p$ has measured some points $(t, d)$, and all fit one line $d = w t$. The weight $w$ has *one owner*, rank 0,
# and is broadcast. The loss is $\tfrac12 \sum_p |w t_p - d_p|^2$. Each rank knows its slope
# $\langle t_p, w t_p - d_p \rangle$; the adjoint adds them on the owner. Copies of $w$ are equal, their slopes are not.

# %%
share = ri.Broadcast(ri.Space(V.partition, (1,)), W.partition)
random = np.random.default_rng([7, comm.rank])
t = random.uniform(0, 1 + comm.rank, size=5)
d = 3 * t + random.normal(size=5)

w = share.forward(share.domain.zeros())  # w = 0, on the owner, and now on all ranks
slope = t @ (w * t - d)
gradient = share.adjoint(np.array([slope]))
slopes = comm.gather(slope)
if comm.rank == 0:
    print("gradient:", gradient[0].round(3), "sum of all slopes:", sum(slopes).round(3))
    figure, ax = plt.subplots(figsize=(6.4, 2.2))
    for rank, slope in enumerate(slopes):
        bar = dict(left=sum(slopes[:rank]), color=draw.colour(rank), label=f"rank {rank}")
        ax.barh("sum of slopes", slope, **bar)
    ax.barh("keep my copy", comm.size * slopes[0], color="0.7")
    ax.set(title="The gradient of one weight, from all ranks")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# ## What it costs
# Sizes alone tell what each rank will send: `traffic()` predicts, `ri.counting()` counts, here in the words of the textbook
# algorithm, $P - 1$ copies from the root. The adjoint mirrors it: every other rank sends its part to the owner.

# %%
predicted = B.traffic()
for run, block, cost in ((B.forward, x, predicted.forward), (B.adjoint, y, predicted.adjoint)):
    with ri.counting() as count:
        run(block)
    print(f"{run.__name__}: {cost.bytes} bytes predicted, {count.total.bytes} counted")

# %% [markdown]
# ## A planted bug
# A "fast" sum adds four numbers at a time, and loses the rest. Its author tested 8. A property test tries many sizes.


# %%
class FourAtATime(ri.Broadcast):
    def adjoint(self, y):
        x = super().adjoint(y)
        x[len(x) // 4 * 4 :] = 0  # the bug
        return x


@spmd.property_test(n=st.integers(1, 40), seed=st.integers(0, 99))
def test_adjoint_of_broadcast_is_sum_reduce(team, n, seed):
    X = ri.Space(ri.Partition(team, (1,)), (n,))
    A = FourAtATime(X, ri.Partition(team, (team.size,)))
    assert verify.dot_test(A, seed, exact=True)


eight = FourAtATime(ri.Space(V.partition, (8,)), W.partition)
print("n = 8 passes:", bool(verify.dot_test(eight, exact=True)))
try:
    test_adjoint_of_broadcast_is_sum_reduce(spmd.Team(comm))
except AssertionError as failure:
    if comm.rank == 0:
        print(failure, *failure.__notes__, sep="\n")

# %% [markdown]
# ## Exercises
# 1. `ri.AllSumReduce` leaves the sum on *all* ranks. Guess its matrix and its adjoint, then draw both on 3 ranks.
# 2. Let $W$ hold equal copies only, counted once: $\langle y_0, z_0 \rangle$. Now what is $B^*$? Where do the slopes fit in?
