# %% [markdown]
# # Read a run
#
# What the numbers of a training run mean, one by one, and which of them warn of
# trouble. It reads runs that are committed in `results/`: a run on Pong that
# learned well, and ten runs on Catch whose actors were 64 updates behind, five
# with V-trace and five without any correction, which lost most of what they had
# learned. Nothing is trained: it takes a few seconds.

# %%
# %matplotlib inline
import pathlib

import numpy as np

import experiments
from experiments.plotting import diagnostics_page
from experiments.plotting import groups
from experiments.plotting import pages
from experiments.plotting import runs
from experiments.studies import confidence
from experiments.studies import seed_curves

RESULTS = pathlib.Path(experiments.__file__).parents[1] / 'results'

# %% [markdown]
# ## What a run writes
#
# `python -m experiments.train --logdir=runs/a` writes into `runs/a` its
# configuration (`config.json`) and a table, `metrics.csv`, with one row for
# every `--log_updates` updates. `runs.read` reads both. Read your own run by
# its log directory.

# %%
pong = runs.read(RESULTS / 'pong_diagnostics')
print(
  f'{pong.config["env"]}: {len(pong.rows)} rows, {pong.frames[-1]:,.0f} frames'
)
for name in ('torso', 'num_actors', 'batch_size', 'learning_rate', 'lambda_'):
  print(f'  --{name}={pong.config[name]}')
print('columns:', *list(pong.rows[0])[:8], '...')

# %% [markdown]
# **Frames** are environment frames, action repeats included (four per step on
# Atari); **updates** are the learner's. A cell is empty where there is nothing
# to say, for example before the first episode has ended.
#
# ## The learning curve
#
# `episode_return` is the mean of the episodes that ended since the last row:
# noisy. `mean_return` is the mean of the last `--return_window` episodes, which
# is smoother and comes later. Rewards are counted as the environment gave them,
# before clipping.

# %%
pages.learning_curve(runs.read(RESULTS / 'pong'))

# %% [markdown]
# ## Several seeds, and an interval
#
# One run is one sample: with another seed the same settings may learn earlier,
# later or not at all. `groups.group` collects the runs that differ in nothing
# but their seed. The thin lines are runs, the thick line is their mean, the
# band its 95% confidence interval (Student's t; five runs per group).

# %%
catch = groups.group(runs.read_all([RESULTS / 'catch_lag']))
seed_curves.learning_curves(catch)

# %% [markdown]
# The band is about the *mean*, point by point. It does not say where a sixth
# run will go: without a correction the runs differ far more than their mean is
# uncertain. `confidence.difference` gives the interval of a difference (Welch).
# If it contains 0, so many seeds cannot tell the two apart.

# %%
final = {
  group.name: [run.column('mean_return')[-1] for run in group.runs]
  for group in catch
}
for name, returns in final.items():
  print(f'{name}: {np.round(returns, 2)}, mean {confidence.mean(returns)}')
none, vtrace_ = final.values()
print('V-trace minus none:', confidence.difference(vtrace_, none))

# %% [markdown]
# ## The diagnostics, one by one
#
# Each panel below is a column of `metrics.csv`. First Pong, as an example of
# health; `python -m experiments.plot runs/a` draws all of them on one page.
#
# ### Policy lag
#
# `policy_lag`: how many updates the learner had made between the time when an
# actor took its parameters and the time when it learns from the unroll. The
# histogram has one bin per update. It is bounded by the number of actors and
# the places in the queue; here it is 5 from the start to the end. **It warns**
# if it grows during a run. By itself it says little: whether a lag of 5 is much
# depends on how far the policy moves in 5 updates. The next columns measure
# that.

# %%
healthy = [groups.Group('Pong', [pong])]
diagnostics_page.page(healthy, ['policy_lag', 'policy_lag_histogram'])

# %% [markdown]
# ### Importance weights
#
# `log_rho` is the mean of $\log w = \log \pi(a \mid x) - \log \mu(a \mid x)$
# over the actions of the batch, its histogram has bins of a quarter. On-policy
# every $\log w$ is 0. Off-policy the mean is below 0, because the actions were
# drawn from $\mu$. **It warns** if the mean falls below about -0.3, or if the
# outer bins, which hold all that is further away, fill up.

# %%
diagnostics_page.page(healthy, ['log_rho', 'log_rho_histogram'])

# %% [markdown]
# ### Clip fractions
#
# `rho_clipped` and `c_clipped`: the fraction of weights above $\bar\rho$ and
# $\bar c$, here both 1. **One half is normal**: about every second weight is
# above 1, however little. They say something if thresholds are above 1, or if
# they move far from one half.

# %%
diagnostics_page.page(healthy, ['rho_clipped', 'c_clipped'])

# %% [markdown]
# ### Effective sample size and KL divergence
#
# The two numbers that measure best how old the data is:
#
# $$\mathrm{ESS} = \frac{(\sum_t w_t)^2}{n \sum_t w_t^2}, \qquad
# \mathrm{KL}(\mu \,\|\, \pi) = E_\mu[w - 1 - \log w]$$
#
# An effective sample size of 90% means that the weights leave as much
# information as nine tenths of the batch would. The KL divergence is the
# distance between the two policies, in nats. **They warn** when the first falls
# below about 70%, or the second stays above about 0.1.

# %%
diagnostics_page.page(healthy, ['effective_sample_size', 'kl'])

# %% [markdown]
# ### Entropy and explained variance
#
# `entropy`, in nats, begins near the logarithm of the number of actions
# ($\log 6 = 1.79$ on Pong) and falls as the policy settles. **It warns** when
# it falls to almost 0 while the return is low, or does not fall at all.
#
# `explained_variance` is $1 - \mathrm{Var}[v_s - V] / \mathrm{Var}[v_s]$: how
# much of the targets the baseline predicts. Near 1 is good, 0 is as good as a
# constant, below 0 is worse. **It warns** when it stays low although the return
# should be predictable. A high value alone proves nothing, as we shall see.

# %%
diagnostics_page.page(healthy, ['entropy', 'explained_variance'])

# %% [markdown]
# ### Norms
#
# `grad_norm` is the norm of the gradient *before* it is clipped at
# `--max_grad_norm` (40), of a loss that is a sum over time and batch.
# `update_norm` is the norm of the step that the optimizer made. **They warn**
# when the gradient norm rises to several times what it was, or is above 40 in
# most updates. (On Pong it was above 40 in the first 1.2 million frames alone.)

# %%
diagnostics_page.page(healthy, ['grad_norm', 'update_norm'])

# %% [markdown]
# ### Waits
#
# `learner_wait_seconds` and `actor_wait_seconds`, drawn as parts of the time.
# If the learner waits, acting is the bottleneck: more environments per actor,
# or another actor. If the actors wait, learning is: more actors would only
# raise the lag. On Pong, on two CPU cores, the actors wait about 40% of the
# time and the learner, after the first row, almost never. These numbers are
# about speed and not about learning.

# %%
diagnostics_page.page(healthy, ['learner_wait_seconds', 'actor_wait_seconds'])

# %% [markdown]
# ## A run in trouble
#
# Now Catch at a lag of 64, means over five seeds. Both groups have the same
# lag. Without a correction the importance weights leave all bounds: the learner
# keeps learning from what policies of 64 updates ago did, and moves away from
# them even faster. (The weights are recorded without a correction, too; they
# are not used.)

# %%
diagnostics_page.page(
  catch, ['mean_return', 'policy_lag', 'log_rho', 'log_rho_histogram']
)

# %%
diagnostics_page.page(
  catch, ['effective_sample_size', 'kl', 'grad_norm', 'entropy']
)

# %% [markdown]
# Afterwards the numbers look calm again: the policy has settled on actions that
# mostly lose, its entropy is almost 0 (0.00 in three runs, 0.12 and 0.14 in the
# others), so little moves and little is off-policy. And the explained variance
# is near 1: a policy that always does the same is easy to predict. The runs
# with V-trace, which learned, end at 0.0 to 0.2: nearly all of their episodes
# are won, and which ones are lost is mostly chance. So look at the whole
# history of a run, and at several numbers together.

# %%
diagnostics_page.page(catch, ['explained_variance', 'rho_clipped'])

# %% [markdown]
# ## Would we have been warned?
#
# For every run: when did the effective sample size fall below 70% for the first
# time, and when was the return at its highest?

# %%
for group in catch:
  for run in group.runs:
    low = run.frames[run.column('effective_sample_size') < 0.7]
    returns = run.column('mean_return')
    best = run.frames[np.nanargmax(returns)]
    print(
      f'{group.name:18} seed {run.config["seed"]}:',
      f'warned at {low[0]:6,.0f},' if len(low) else 'never warned,   ',
      f'best {np.nanmax(returns):.2f} at {best:6,.0f},',
      f'last {returns[-1]:5.2f}',
    )

# %% [markdown]
# In these runs the warning came about 9,000 to 20,000 frames before the return
# was at its highest, and not once in the runs that learned. The limit of 70%
# was chosen after looking at them: on another task watch how far the number
# falls from where it was. The worst value of each column, as medians over the
# seeds:

# %%
worst = dict(
  log_rho=np.nanmin,
  effective_sample_size=np.nanmin,
  kl=np.nanmax,
  entropy=np.nanmin,
  grad_norm=np.nanmax,
)
print(' ' * 24, *(f'{group.name:>18}' for group in catch), f'{"Pong":>10}')
for column, reduce in worst.items():
  medians = [
    np.median([reduce(run.column(column)) for run in group.runs])
    for group in catch
  ]
  row = f'{column:24} {medians[0]:18.3f} {medians[1]:18.3f}'
  print(row, f'{reduce(pong.column(column)):10.3f}')

# %% [markdown]
# ## In short
#
# | Number | Health | Warns |
# |---|---|---|
# | `effective_sample_size` | above 0.9 | below 0.7 |
# | `kl` | a few hundredths | above 0.1 for long |
# | `log_rho` | near 0 | below about -0.3; full outer bins |
# | `rho_clipped` | near one half | far from it |
# | `entropy` | falls slowly | almost 0 while returns are low |
# | `grad_norm` | steady | rises several times |
# | `explained_variance` | rises | stays at 0 or below while returns vary |
# | waits | small on one side | one side waits most of the time |
#
# The limits come from these runs and from experience, not from theory. What to
# change then: [docs/tuning.md](../docs/tuning.md). Whether corrections matter
# on other tasks: [docs/off_policy.md](../docs/off_policy.md).
