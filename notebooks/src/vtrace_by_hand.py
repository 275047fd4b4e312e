# %% [markdown]
# # V-trace by hand
#
# The equations of V-trace ([Espeholt et al.
# 2018](https://arxiv.org/abs/1802.01561), section 4) beside the code that
# computes them. First one short unroll, with equation 1 as a double loop. Then
# small MDPs on which everything can be computed exactly: what $\bar\rho$ and
# $\bar c$ decide, what the four corrections of the paper converge to, and how
# wrong the policy gradient is when the actors lag behind. It takes about a
# minute on two CPU cores and needs no GPU.

# %%
# %matplotlib inline
import ipywidgets
import numpy as np

from experiments import fixed_points
from experiments.plotting import unrolls
from experiments.studies import tabular_mdp
from experiments.studies import theory_figures
import vtrace
from vtrace import corrections

# %% [markdown]
# ## One unroll
#
# Actors act with the behaviour policy $\mu$, which is some updates old. The
# learner has the target policy $\pi$. All that V-trace needs of the two is the
# logarithm of the importance weight of each action that was taken,
#
# $$w_t = \frac{\pi(a_t \mid x_t)}{\mu(a_t \mid x_t)}.$$
#
# Here is an unroll of $T = 8$ steps. The episode terminates after step 3, where
# the discount is zero. Time is the leading axis; there could be further axes,
# for example one for the batch.

# %%
rng = np.random.default_rng(3)
T = 8
log_rhos = rng.normal(0.0, 0.7, T)  # log w_t
discounts = np.full(T, 0.9)
discounts[3] = 0.0  # The episode ends here.
rewards = rng.normal(size=T)
values = rng.normal(size=T)  # V(x_0), ..., V(x_{T-1})
bootstrap_value = 0.5  # V(x_T)
unroll = log_rhos, discounts, rewards, values, bootstrap_value
print('w =', np.exp(log_rhos).round(2))

# %% [markdown]
# ## Equation 1 as a double loop
#
# The target of step $s$ adds to $V(x_s)$ the corrected temporal differences of
# all steps from $s$ to the end of the unroll:
#
# $$v_s = V(x_s) + \sum_{t=s}^{s+n-1} \gamma^{t-s}
# \Big(\prod_{i=s}^{t-1} c_i\Big)\, \delta_t V$$
#
# $$\delta_t V = \rho_t \big(r_t + \gamma V(x_{t+1}) - V(x_t)\big), \qquad
# \rho_t = \min(\bar\rho, w_t), \qquad c_i = \lambda \min(\bar c, w_i)$$
#
# The discount may be another one at every step, so $\gamma^{t-s}$ is a product,
# too. The function below keeps the terms apart: row $s$, column $t$ is what
# step $t$ adds to $v_s$.


# %%
def equation_1(rho_bar=1.0, c_bar=1.0, lambda_=1.0):
  """Returns the terms of the sum, [T, T]."""
  rhos = np.minimum(rho_bar, np.exp(log_rhos))
  cs = lambda_ * np.minimum(c_bar, np.exp(log_rhos))
  next_values = np.append(values[1:], bootstrap_value)
  deltas = rhos * (rewards + discounts * next_values - values)
  terms = np.zeros((T, T))
  for s in range(T):
    for t in range(s, T):
      terms[s, t] = np.prod(discounts[s:t] * cs[s:t]) * deltas[t]
  return terms


# %% [markdown]
# `vtrace.from_importance_weights` computes the same targets by the recursion of
# remark 1, one step per time step instead of a double loop:
#
# $$v_s = V(x_s) + \delta_s V + \gamma\, c_s \big(v_{s+1} - V(x_{s+1})\big)$$

# %%
by_hand = values + equation_1().sum(axis=1)
returns = vtrace.from_importance_weights(*unroll)
print('double loop', by_hand.round(3))
print('vtrace     ', np.asarray(returns.vs).round(3))
np.testing.assert_allclose(returns.vs, by_hand, atol=1e-6)

# %% [markdown]
# The terms as a picture. No term crosses the end of the episode after step 3.
# Where the weight of a step is small, the trace is cut: steps before it learn
# little of what came after it. A smaller $\bar c$ or $\lambda$ cuts the traces
# sooner; $\bar\rho$ scales whole columns.

# %%
unrolls.terms(
  {
    r'$\bar\rho = \bar c = 1$': equation_1(),
    r'$\bar c = 0.5$': equation_1(c_bar=0.5),
    r'$\bar\rho = \bar c = 0.5$': equation_1(rho_bar=0.5, c_bar=0.5),
  }
)

# %% [markdown]
# The policy gradient of step $s$ is $\nabla \log \pi(a_s \mid x_s)$ times the
# weighted advantage
#
# $$\min(\bar\rho_{pg}, w_s) \big(r_s + \gamma v_{s+1} - V(x_s)\big).$$
#
# It takes $v_{s+1}$, the corrected target of the next step, and not
# $V(x_{s+1})$: the paper found that better (appendix E.3).

# %%
next_targets = np.append(by_hand[1:], bootstrap_value)
advantages = rewards + discounts * next_targets - values
weighted = np.minimum(1.0, np.exp(log_rhos)) * advantages
np.testing.assert_allclose(returns.pg_advantages, weighted, atol=1e-6)
print('pg_advantages', weighted.round(3))

# %% [markdown]
# **On-policy**, all weights are 1 and the targets are plain n-step returns to
# the end of the unroll (equation 2), here by a loop from the back:

# %%
n_step, target = np.zeros(T), bootstrap_value
for t in reversed(range(T)):
  target = n_step[t] = rewards[t] + discounts[t] * target
on_policy = vtrace.from_importance_weights(np.zeros(T), *unroll[1:])
np.testing.assert_allclose(on_policy.vs, n_step, atol=1e-6)
print('n-step returns', n_step.round(3))

# %% [markdown]
# ## The four corrections side by side
#
# Section 5.2.2 of the paper compares V-trace with three other corrections. They
# are rows of one table in `vtrace/corrections.py`, here with their weights:
#
# | | for $\delta_t$ and traces | for $\nabla\log\pi$ |
# |---|---|---|
# | V-trace | $\rho = \min(\bar\rho, w)$ and $c$ | $\min(\bar\rho_{pg}, w)$ |
# | 1-step | 1 | $\min(\bar\rho_{pg}, w)$ |
# | epsilon | 1 | $\pi / (\pi + 10^{-6})$ |
# | none | 1 | 1 |
#
# On the unroll above:

# %%
targets, gradients = {}, {}
for row in corrections.CORRECTIONS.values():
  result = corrections.targets_and_advantages(
    row, *unroll, target_log_probs=np.full(T, np.log(0.2))
  )
  targets[row.label] = np.asarray(result.vs)
  gradients[row.label] = np.asarray(result.pg_advantages)
unrolls.per_step({'targets $v_s$': targets, 'weighted advantages': gradients})

# %% [markdown]
# 1-step, epsilon and none have the same targets: they trust the rewards that
# followed, though $\pi$ would have acted in another way. With advantages,
# epsilon is nearly the same as none unless $\pi(a \mid x)$ is around $10^{-6}$.
#
# ## What $\bar\rho$ decides: the fixed point
#
# From here on everything is exact. A random MDP has four states and three
# actions; all paths of three steps are enumerated and weighted with their
# probability under $\mu$, so there is no sampling noise. Replacing $V$ by the
# expected targets again and again converges to the value function of another
# policy (equation 3):
#
# $$\pi_{\bar\rho}(a \mid x) =
# \frac{\min\big(\bar\rho\,\mu(a \mid x),\ \pi(a \mid x)\big)}
# {\sum_b \min\big(\bar\rho\,\mu(b \mid x),\ \pi(b \mid x)\big)}$$
#
# Left: the limit of the iterations lies on $V^{\pi_{\bar\rho}}$, here between
# $V^\mu$ and $V^\pi$. Right: the way to it, with the bound of theorem 1,
# $\eta \le 1 - (1 - \gamma) \min_x E_\mu[\rho]$.

# %%
mdp = tabular_mdp.make_mdp(0)
theory_figures.thresholds(mdp, rho_bar=1.0, c_bar=1.0, lambda_=1.0)

# %% [markdown]
# With a kernel, move the sliders: $\bar\rho$ moves the green line between the
# blue and the orange one; $\bar c$ and $\lambda$ leave it where it is and
# change the slope on the right. (Without a kernel there are no sliders, only
# the picture at their first setting; the figures after it show the same.)

# %%
settings = dict(step=0.25, continuous_update=False)
drawn = ipywidgets.interact(
  theory_figures.thresholds,
  mdp=ipywidgets.fixed(mdp),
  rho_bar=ipywidgets.FloatLogSlider(1.0, min=-1.0, max=1.0, **settings),
  c_bar=ipywidgets.FloatSlider(1.0, min=0.0, max=1.0, **settings),
  lambda_=ipywidgets.FloatSlider(1.0, min=0.0, max=1.0, **settings),
)

# %% [markdown]
# The same as a sweep over $\bar\rho$, means over 20 MDPs. A small $\bar\rho$
# learns about $\mu$ with targets that hardly vary; a large one learns about
# $\pi$, and its targets vary with the importance weights. The paper's
# $\bar\rho = 1$ (grey line) lies between.

# %%
mdps = [tabular_mdp.make_mdp(seed) for seed in range(20)]
theory_figures.rho_bars(mdps)

# %% [markdown]
# ## What $\bar c$ decides: the speed
#
# Left: with $\bar c = 0$ the targets are one-step ones, and values travel by
# one step per iteration. Longer traces converge faster, to the same limit.
# Right: the price. Every point is a $\bar c$, here with $\bar\rho = \infty$: a
# larger one contracts faster, and its targets vary more, because they multiply
# more weights.

# %%
theory_figures.c_bars(mdps[:10])

# %% [markdown]
# ## What the four corrections converge to
#
# The behaviour policy moves away from the target policy as $a$ grows from 0 to
# 1,
#
# $$\mu_a = (1 - a)\,\pi + a\,\mu.$$
#
# Left: the n-step corrections learn the values of $\mu_a$; V-trace's are nearer
# to those of $\pi$, and exact without clipping. Right: what this does to the
# direction of the expected policy gradient.

# %%
fixed_points.draw(range(6))

# %% [markdown]
# ## The bias of the gradient against policy lag
#
# How far apart are $\mu$ and $\pi$ in practice? Here a policy improves by exact
# policy gradient steps, and the behaviour policy is the one from $k$ updates
# before. The learner has the values that its correction converges to under this
# behaviour policy. Its expected policy gradient is compared with the true,
# on-policy one ($\cos = 1$ and an error of 0 would be perfect). All states have
# equal weight, and the lines are means over six MDPs.

# %%
theory_figures.lags(
  mdps[:6],
  fixed_points.make_cases(),
  policy_lags=(0, 1, 2, 4, 8, 16, 32, 64),
  step_size=0.1,
)

# %% [markdown]
# A lag of a few updates hardly matters, whatever the correction. As it grows,
# the gradients that are not weighted lose their direction first. 1-step weights
# the gradient but has the values of the old policy; V-trace corrects both and
# is the least biased. What remains of its error is the price of clipping, which
# buys targets with less variance.
#
# Further: [docs/off_policy.md](../docs/off_policy.md) has the corrections in
# whole trainings, and the notebook `read_a_run` shows the importance weights
# and lags that such trainings record.
