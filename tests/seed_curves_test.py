"""Learning curves over seeds: means and intervals of the mean."""

import numpy as np
import pytest
from scipy import stats

from experiments.plotting import groups as groups_lib
from experiments.plotting import runs as runs_lib
from experiments.studies import seed_curves
from tests import recorded


def record_seeds(folder, *columns):
  for seed, (frames, values) in enumerate(columns):
    recorded.record(
      folder / str(seed), recorded.returns(frames, values), seed=seed
    )
  return recorded.read_groups(folder)


def test_the_interval_is_students_of_all_runs_at_each_point(tmp_path):
  frames = [100, 200]
  (group,) = record_seeds(
    tmp_path, (frames, [1, 5]), (frames, [2, 7]), (frames, [6, 12])
  )
  curve = seed_curves.curve(group.runs)
  np.testing.assert_array_equal(curve.frames, frames)
  np.testing.assert_allclose(curve.mean, [3, 8])
  for i, values in enumerate(([1, 2, 6], [5, 7, 12])):
    interval = stats.t.interval(
      0.95, df=2, loc=np.mean(values), scale=stats.sem(values)
    )
    np.testing.assert_allclose((curve.low[i], curve.high[i]), interval)


def test_runs_are_interpolated_where_all_of_them_have_rows(tmp_path):
  (group,) = record_seeds(
    tmp_path, ([100, 300, 400], [0, 4, 9]), ([200, 400, 600], [1, 3, 8])
  )
  curve = seed_curves.curve(group.runs)
  np.testing.assert_array_equal(curve.frames, [200, 300, 400])
  np.testing.assert_allclose(curve.mean, [1.5, 3.0, 6.0])


def test_a_single_run_has_no_interval(tmp_path):
  (group,) = record_seeds(tmp_path, ([100, 200], [1, 5]))
  curve = seed_curves.curve(group.runs)
  np.testing.assert_array_equal(curve.mean, [1, 5])
  assert np.all(np.isnan(curve.low)) and np.all(np.isnan(curve.high))


def test_the_figure_shows_runs_mean_and_interval(tmp_path):
  frames = [100, 200]
  (group,) = record_seeds(tmp_path, (frames, [1, 5]), (frames, [3, 9]))
  fig = seed_curves.learning_curves([group])
  (axes,) = fig.axes
  shown = [line.get_ydata().tolist() for line in axes.lines]
  assert shown == [[1, 5], [3, 9], [2, 7]]
  (band,) = axes.collections
  curve = seed_curves.curve(group.runs)
  assert fig._repr_png_().startswith(b'\x89PNG')
  heights = band.get_paths()[0].vertices[:, 1]
  assert heights.max() == pytest.approx(curve.high.max())
  assert heights.min() == pytest.approx(curve.low.min())


def test_groups_have_their_own_colours(tmp_path):
  run = runs_lib.read(
    recorded.record(tmp_path / 'a', recorded.returns([1, 2], [3, 4]))
  )
  fig = seed_curves.learning_curves(
    [groups_lib.Group(name, [run]) for name in ('one', 'other')]
  )
  colors = [line.get_color() for line in fig.axes[0].lines]
  assert colors == ['C0', 'C0', 'C1', 'C1']
