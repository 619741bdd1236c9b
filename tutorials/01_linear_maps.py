# %% [markdown]
# # 1. A linear map is a forward and an adjoint
# You know a linear map as a matrix. But most useful ones are never written down as a table of numbers: a difference, a
# convolution, a selection, a message to another computer. What we keep instead is two functions: the **forward**,
# $x \mapsto A x$, and the **adjoint**, $y \mapsto A^* y$, which does what the transposed matrix would do. This chapter needs
# one process. It shows what an adjoint is, how to test it, and why it is all that a gradient needs.

# %%
import matplotlib.pyplot as plt
import numpy as np
from hypothesis import strategies as st
from mpi4py import MPI

import refimpl as ri
from refimpl import verify
from refimpl.verify import draw, spmd

alone = ri.Partition(MPI.COMM_SELF, (1,))  # one rank; chapter 2 takes more
X, Y, Z = (ri.Space(alone, (n,)) for n in (6, 5, 3))  # vectors of 6, 5 and 3 numbers

# %% [markdown]
# ## Two functions
# Our first map takes differences of neighbours: $(D x)_i = x_{i+1} - x_i$. For the adjoint, ask of each $x_j$: *who used
# me, and with which factor?* Row $j-1$ used it with $+1$, row $j$ with $-1$. So $(D^* y)_j = y_{j-1} - y_j$.


# %%
class Difference(ri.Operator):
    domain, range = X, Y

    def forward(self, x):  # y_i = x_{i+1} - x_i
        return x[1:] - x[:-1]

    def adjoint(self, y):  # x_j = y_{j-1} - y_j, where y is 0 outside
        return np.diff(-y, prepend=0, append=0)


D = Difference()
print("D of squares:", D.forward(np.arange(6.0) ** 2), "D* of ones:", D.adjoint(np.ones(5)))

# %% [markdown]
# ## The matrix is still there
# Push the unit vectors through the forward, one at a time: what comes out are the columns. `D.matrix()` does just that. The
# matrix of `D.H`, the adjoint as a map, is its transpose: rows turn into columns. `verify.matrix` checks that.

# %%
columns = [D.forward(unit) for unit in np.eye(6)]
print("columns == matrix:", np.array_equal(np.stack(columns, axis=1), verify.matrix(D)))
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), width_ratios=[6, 5])
draw.matrix(D, axes[0]), draw.matrix(D.H, axes[1])

# %% [markdown]
# ## The dot test
# Nobody builds the matrix of a large map. With $\langle x, y \rangle = \sum_i x_i y_i$, the adjoint is *defined* by
# $$\langle A x, y \rangle = \langle x, A^* y \rangle \quad \text{for all } x, y .$$
# So draw a random $x$ and a random $y$, and compare two numbers. One wrong entry anywhere makes them differ.

# %%
x, y = X.random(seed=1), Y.random(seed=2)
print(Y.inner(D.forward(x), y), "=", X.inner(x, D.adjoint(y)))

# %% [markdown]
# How close is close enough? Round-off is about $\varepsilon |Ax| |y|$, where $\varepsilon \approx 2 \cdot 10^{-16}$. It is
# tempting to divide by the result, $|\langle Ax, y\rangle|$. Don't: it can be near zero, just because $Ax$ and $y$ happen
# to be almost orthogonal. Here are 2000 dot tests of a *correct* adjoint, judged both ways.

# %%
tests = [verify.dot_test(D, seed) for seed in range(2000)]
by_result = [test.gap / (np.finfo(float).eps * abs(test.left)) for test in tests]
by_norms = [16 * test.gap / test.bound for test in tests]  # max(|Ax| |y|, |x| |A*y|)
figure, ax = plt.subplots(figsize=(6.4, 2.6))
ax.semilogy(np.sort(by_result), color=draw.NEGATIVE, label="gap / |<Ax, y>|: no bound holds")
ax.semilogy(np.sort(by_norms), color=draw.POSITIVE, label="gap / |Ax| |y|")
ax.axhline(16, color="black", linestyle=":", label="the bound")
ax.set(xlabel="2000 tests, sorted; the first have no gap", title="Gaps, in units of eps")
ax.legend()

# %% [markdown]
# ## Not the inverse, and in reverse order
# $D^* D$ does not give $x$ back: it is the second difference, the heart of every diffusion solver. And the adjoint of $A B$
# (first $B$, then $A$) is $B^* A^*$: $\langle A B x, y \rangle = \langle B x, A^* y\rangle = \langle x, B^* A^* y\rangle$. We
# try it with a selection that keeps every second number. Its adjoint puts them back, and zeros between.


# %%
class Selection(ri.Operator):
    domain, range = Y, Z

    def forward(self, x):  # y_i = x_{2i}
        return x[::2].copy()

    def adjoint(self, y):  # x_{2i} = y_i, and 0 between
        return np.insert(y, [1, 2], 0)


S = Selection()
print("(S D)* == D* S*:", np.array_equal((S @ D).H.matrix(), (D.H @ S.H).matrix()))
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), width_ratios=[6, 5])
draw.matrix(D.H @ D, axes[0]).set_title("D* D, the second difference")
draw.matrix(S.H @ S, axes[1]).set_title("S* S, not the identity")

# %% [markdown]
# ## A gradient is an adjoint
# How well does $D x$ match given differences $b$? Let $f(x) = \tfrac12 |D x - b|^2$. A small step $d$ changes it by
# $$\langle D x - b, \, D d \rangle = \langle D^* (D x - b), \, d \rangle, \quad \text{so} \quad \nabla f(x) = D^* (D x - b) .$$
# The gradient is the residual, sent through the adjoint. No other derivative is needed to walk downhill, from $x = 0$:

# %%
b, x = np.array([1.0, 3, 5, 7, 9]), np.zeros(6)
for _ in range(200):
    x = x - 0.25 * D.adjoint(D.forward(x) - b)
print("x =", np.round(x - x[0], 4) + 0.0, "and a constant, which D does not see")

# %% [markdown]
# ## A planted bug
# A convolution slides a filter $h$ along $x$. Below, the adjoint slides the *same* filter back. Every test with the
# symmetric filter $(1, 2, 1)$ passes. A **property test** tries many sizes, and shrinks what fails to the smallest case.


# %%
class Convolution(ri.Operator):
    def __init__(self, n, h):
        self.h, self.domain = h, ri.Space(alone, (n,))
        self.range = ri.Space(alone, (n + len(h) - 1,))

    def forward(self, x):  # y_i = sum_k h_k x_{i-k}
        return np.convolve(x, self.h)

    def adjoint(self, y):  # the bug is here
        return np.convolve(y, self.h, "valid")


@spmd.property_test(n=st.integers(1, 30), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_adjoint_of_convolution(team, n, width, seed):
    h = ri.Space(alone, (width,)).random(seed)
    assert verify.dot_test(Convolution(n, h), seed)


print("(1, 2, 1) passes:", bool(verify.dot_test(Convolution(8, np.array([1.0, 2, 1])))))
try:
    test_adjoint_of_convolution(spmd.Team(MPI.COMM_SELF))
except AssertionError as failure:
    print(failure, *failure.__notes__, sep="\n")

# %% [markdown]
# A filter of one number is symmetric; with two, a signal of one number shows the bug.
# ## Exercises
# 1. Mend `Convolution.adjoint` (hint: `np.correlate`), and see the property test pass. Where did the two matrices differ?
# 2. Write the running sum $(C x)_i = x_0 + \dots + x_i$ and its adjoint, without a matrix. What is $C^*$ in words?
