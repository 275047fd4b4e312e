"""Tests of the figures of recorded runs, and of the plotting script."""

import csv
import os
import pathlib
import subprocess
import sys
import warnings

import matplotlib
from matplotlib import colors
from matplotlib import figure
from matplotlib import pyplot
import numpy as np
import pytest

from experiments import config as config_lib
from experiments import plot
from experiments.plotting import diagnostics_page
from experiments.plotting import groups as groups_lib
from experiments.plotting import pages
from experiments.plotting import runs as runs_lib
from experiments.plotting import style
from experiments.records import metrics_csv
from tests import recorded
import vtrace

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / 'results'

NAN = float('nan')

record, returns = recorded.record, recorded.returns
read_groups = recorded.read_groups


def legend(fig):
  return [text.get_text() for text in fig.legends[0].get_texts()]


def titles(fig):
  return [axes.get_title() for axes in fig.axes]


def panel(fig, title):
  return fig.axes[titles(fig).index(title)]


def title_of(column):
  (title,) = (p.title for p in diagnostics_page.PANELS if p.column == column)
  return title


def test_lines_keep_gaps_and_show_isolated_points_as_dots():
  axes = figure.Figure().add_subplot()
  values = np.array([1.0, NAN, 3.0, 4.0, NAN, 6.0])
  style.draw_line(axes, np.arange(6), values, color='C3')
  line, dots = axes.lines
  np.testing.assert_array_equal(line.get_ydata(), values)
  np.testing.assert_array_equal(dots.get_xydata(), [[0, 1], [5, 6]])


def test_learning_curves_show_the_mean_and_the_range_of_seeds(tmp_path):
  record(tmp_path / 'a', returns([0, 10], [0.0, 4.0]), lag=0, seed=0)
  record(tmp_path / 'b', returns([0, 10], [2.0, 8.0]), lag=0, seed=1)
  record(tmp_path / 'c', returns([0, 10, 20], ['', 5.0, 6.0]), lag=3)
  fig = pages.learning_curves(read_groups(tmp_path))
  (axes,) = fig.axes
  two_seeds, one_seed = axes.lines
  np.testing.assert_array_equal(two_seeds.get_xydata(), [[0, 1], [10, 6]])
  np.testing.assert_array_equal(one_seed.get_ydata(), [NAN, 5, 6])
  (band,) = axes.collections
  lowest, highest = band.get_paths()[0].get_extents().get_points()
  assert tuple(lowest) == (0, 0) and tuple(highest) == (10, 8)
  named = dict(zip(legend(fig), fig.legends[0].get_lines(), strict=True))
  for name, line in (('lag=0', two_seeds), ('lag=3', one_seed)):
    (key,) = (key for text, key in named.items() if name in text)
    assert key.get_color() == line.get_color()


def test_seeds_that_end_apart_are_shown_as_far_as_each_goes(tmp_path):
  record(tmp_path / 'a', returns([0, 8, 16, 24], [1.0, 3, 5, 7]), seed=0)
  record(tmp_path / 'b', returns([0, 8], [3.0, 9.0]), seed=1)
  record(tmp_path / 'c', returns([0, 8, 16], ['', 6.0, 1.0]), seed=2)
  groups = read_groups(tmp_path)
  fig = pages.learning_curves(groups)
  (line,) = fig.axes[0].lines
  np.testing.assert_array_equal(
    line.get_xydata(), [[0, 2], [8, 6], [16, 3], [24, 7]]
  )
  (band,) = fig.axes[0].collections
  corners = {tuple(point) for point in band.get_paths()[0].vertices}
  assert {(0, 1), (0, 3), (8, 3), (8, 9), (16, 1), (16, 5), (24, 7)} <= corners
  for page in (fig, diagnostics_page.page(groups)):
    assert 'as far as each goes' in page.legends[0].get_title().get_text()


def test_a_page_can_have_the_panels_of_some_columns(tmp_path):
  columns = returns([10, 20], [1, 2]) | {'kl': [3, 4], 'entropy': [5, 6]}
  record(tmp_path / 'a', columns)
  groups = read_groups(tmp_path)
  page = diagnostics_page.page(groups, ['entropy', 'kl', 'grad_norm'])
  assert titles(page) == [title_of('kl'), title_of('entropy')]
  assert title_of('mean_return') in titles(diagnostics_page.page(groups))


def test_seeds_of_one_length_need_no_note(tmp_path):
  record(tmp_path / 'a', returns([0, 8], [1.0, 3.0]), seed=0)
  record(tmp_path / 'b', returns([0, 8], [3.0, 9.0]), seed=1)
  record(tmp_path / 'c', returns([0, 8, 16], [3.0, 9.0, 1.0]), lag=1)
  for page in (pages.learning_curves, diagnostics_page.page):
    title = page(read_groups(tmp_path)).legends[0].get_title().get_text()
    assert 'as far' not in title


def test_the_learning_curve_of_one_run_shows_its_episodes(tmp_path):
  rows = returns([1, 2, 3], ['', 1.0, 2.0]) | {'episode_return': ['', 5.0, '']}
  fig = pages.learning_curve(runs_lib.read(record(tmp_path / 'run', rows)))
  episodes, mean = fig.axes[0].lines
  np.testing.assert_array_equal(episodes.get_xydata(), [[2, 5]])
  np.testing.assert_array_equal(mean.get_ydata(), [NAN, 1.0, 2.0])


def test_a_run_without_rows_has_empty_figures(tmp_path):
  logdir = record(tmp_path / 'run', returns([], []))
  pages.draw_learning_curve(logdir)
  pages.draw_diagnostics(logdir)
  page_png = (logdir / 'diagnostics.png').read_bytes()
  assert page_png.startswith(b'\x89PNG')
  assert (logdir / 'learning_curve.png').read_bytes() == page_png
  page = diagnostics_page.page(groups_lib.group([runs_lib.read(logdir)]))
  assert not page.axes and not page.legends


def every_column(scale):
  cells = [scale * 0.25, scale * 0.5]
  rows = dict.fromkeys(metrics_csv.COLUMNS, cells)
  return rows | {
    'num_frames': [10, 20],
    'seconds': [4.0, 6.0],
    'learner_wait_seconds': [1.0, 1.5],
    'policy_lag_histogram': ['1', '0 2 1'],
    'log_rho_histogram': [' '.join(['1'] * 19), ' '.join(['0'] * 18 + ['2'])],
  }


def test_every_panel_shows_its_column(tmp_path):
  record(tmp_path / 'a', every_column(1.0), lag=0)
  record(tmp_path / 'b', every_column(2.0), lag=1)
  fig = diagnostics_page.page(read_groups(tmp_path))
  assert {p.column for p in diagnostics_page.PANELS} <= set(metrics_csv.COLUMNS)
  assert titles(fig) == [p.title for p in diagnostics_page.PANELS]
  colors_of = {}
  for p in diagnostics_page.PANELS:
    if not p.column.endswith(('_histogram', 'wait_seconds')):
      first, second = panel(fig, p.title).lines[:2]
      np.testing.assert_allclose(first.get_xydata(), [[10, 0.25], [20, 0.5]])
      np.testing.assert_allclose(second.get_xydata(), [[10, 0.5], [20, 1.0]])
      colors_of[p.title] = first.get_color(), second.get_color()
  ((first, second),) = set(colors_of.values())  # The same in every panel.
  assert first != second


def test_seeds_are_averaged_and_waits_are_shares_of_the_interval(tmp_path):
  record(tmp_path / 'a', every_column(1.0), seed=0)
  record(tmp_path / 'b', every_column(3.0), seed=1)
  fig = diagnostics_page.page(read_groups(tmp_path))
  (entropy,) = panel(fig, title_of('entropy')).lines
  np.testing.assert_allclose(entropy.get_ydata(), [0.5, 1.0])
  (wait,) = panel(fig, title_of('learner_wait_seconds')).lines
  np.testing.assert_allclose(wait.get_ydata(), [1.0 / 4.0, 1.5 / 2.0])
  (wait,) = panel(fig, title_of('actor_wait_seconds')).lines
  np.testing.assert_allclose(wait.get_ydata(), [0.5 / 4.0, 1.0 / 2.0])


def test_histograms_are_summed_over_the_run_and_all_seeds(tmp_path):
  rows = every_column(1.0)
  record(tmp_path / 'a', rows, seed=0)
  rows['policy_lag_histogram'] = ['0 0 0 3', '1']
  record(tmp_path / 'b', rows, seed=1)
  fig = diagnostics_page.page(read_groups(tmp_path))
  lags = panel(fig, title_of('policy_lag_histogram')).patches[-1].get_data()
  np.testing.assert_allclose(lags.values, np.array([2, 2, 1, 3]) / 8)
  np.testing.assert_allclose(lags.edges, [-0.5, 0.5, 1.5, 2.5, 3.5])
  log_rhos = panel(fig, title_of('log_rho_histogram')).patches[-1]
  values, edges, _ = log_rhos.get_data()
  np.testing.assert_allclose(values, np.array([1] * 18 + [3]) / 21)
  np.testing.assert_allclose(edges[1:-1], vtrace.LOG_RHO_EDGES)


def test_an_empty_cell_is_a_gap_and_an_empty_column_has_no_panel(tmp_path):
  rows = every_column(1.0) | {'explained_variance': ['', 0.5], 'kl': ['', '']}
  record(tmp_path / 'run', rows)
  fig = diagnostics_page.page(read_groups(tmp_path))
  line = panel(fig, title_of('explained_variance')).lines[0]
  np.testing.assert_array_equal(line.get_ydata(), [NAN, 0.5])
  assert title_of('kl') not in titles(fig)


def test_columns_missing_from_an_older_run_have_no_panel():
  groups = groups_lib.group(runs_lib.read_all([RESULTS / 'pong']))
  fig = diagnostics_page.page(groups)
  with open(RESULTS / 'pong' / 'metrics.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  drawn = [p for p in diagnostics_page.PANELS if p.title in titles(fig)]
  assert drawn and {p.column for p in drawn} < set(rows[0])
  norms = [float(row['grad_norm']) for row in rows]
  (line,) = panel(fig, title_of('grad_norm')).lines
  np.testing.assert_array_equal(line.get_ydata(), norms)


def test_a_run_of_zeros_is_drawn_on_linear_scales(tmp_path):
  rows = every_column(0.0) | {'log_rho_histogram': [' '.join(['0'] * 19)] * 2}
  record(tmp_path / 'run', rows)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    fig = diagnostics_page.page(read_groups(tmp_path))
    fig.draw_without_rendering()
  assert {axes.get_yscale() for axes in fig.axes} == {'linear'}


def test_a_run_has_the_same_colour_in_panels_that_other_runs_lack(tmp_path):
  record(tmp_path / 'new', every_column(1.0), lag=5)
  record(tmp_path / 'old', returns([10, 20], [1.0, 2.0]), lag=0)
  fig = diagnostics_page.page(read_groups(tmp_path))
  old_run, new_run = panel(fig, title_of('mean_return')).lines
  (entropy,) = panel(fig, title_of('entropy')).lines
  assert entropy.get_color() == new_run.get_color() != old_run.get_color()


def test_long_legends_neither_leave_the_page_nor_cover_panels(tmp_path):
  for i in range(12):
    name = 'x' * 130 + str(i)
    record(tmp_path / str(i), returns([1, 2], [1.0, 2.0]), torso=name, lag=i)
  groups = read_groups(tmp_path)
  for fig in (pages.learning_curves(groups), diagnostics_page.page(groups)):
    fig.draw_without_rendering()
    box = fig.legends[0].get_window_extent()
    page = fig.bbox
    assert box.x0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
    for axes in fig.axes:
      tight = axes.get_tightbbox()
      assert tight.y1 <= box.y0 and tight.x0 >= 0 and tight.x1 <= page.x1
      assert axes.get_window_extent().height > 100
  assert len({colors.to_hex(c) for c in style.colors(groups)}) == 12


def run_plot(*args):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.plot', *map(str, args)],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    timeout=100,
    check=False,
  )


def test_the_script_writes_both_figures_and_prints_their_paths(tmp_path):
  record(tmp_path / 'in' / 'a', returns([1, 2], [1.0, 2.0]))
  empty = record(tmp_path / 'in' / 'b', returns([], []))
  out = tmp_path / 'new' / 'out'
  result = run_plot(tmp_path / 'in', f'--out={out}')
  assert result.returncode == 0, result.stderr
  paths = [out / 'learning_curves.png', out / 'diagnostics.png']
  assert result.stdout.splitlines() == [str(path) for path in paths]
  assert all(path.read_bytes().startswith(b'\x89PNG') for path in paths)
  assert 'warning' in result.stderr and str(empty) in result.stderr


def test_invalid_input_prints_one_line_and_exits_with_status_2(tmp_path):
  result = run_plot(tmp_path, f'--out={tmp_path / "out"}')
  assert result.returncode == 2 and not result.stdout
  assert str(tmp_path) in result.stderr
  assert result.stderr.count('\n') == 1


def test_an_unwritable_output_folder_raises_config_error(tmp_path):
  logdir = record(tmp_path / 'run', returns([1], [1.0]))
  with pytest.raises(config_lib.ConfigError, match='--out='):
    pages.draw([logdir], logdir / 'config.json' / 'out')


def test_a_program_gets_figures_of_one_run_and_of_several(tmp_path):
  one = record(tmp_path / 'a', returns([0, 10], [0.0, 4.0]), seed=0)
  record(tmp_path / 'b', returns([0, 10], [2.0, 8.0]), seed=1)
  (axes,) = plot.learning_curve(one).axes
  assert len(axes.lines) == 2  # Each row's episodes, and the mean.
  np.testing.assert_array_equal(axes.lines[-1].get_ydata(), [0, 4])
  (axes,) = plot.learning_curve(str(tmp_path)).axes
  np.testing.assert_array_equal(axes.lines[-1].get_ydata(), [1, 6])
  assert titles(plot.diagnostics(one, tmp_path / 'b')) == ['mean return']
  with pytest.raises(config_lib.ConfigError, match='no folder'):
    plot.learning_curve(tmp_path / 'c')


def test_figures_show_themselves_and_leave_pyplot_alone(tmp_path):
  run = record(tmp_path / 'a', returns([0, 10], [0.0, 4.0]))
  settings = dict(matplotlib.rcParams)
  for draw in (plot.learning_curve, plot.diagnostics):
    fig = draw(run)
    assert fig._repr_png_().startswith(b'\x89PNG')
  assert not pyplot.get_fignums()
  assert dict(matplotlib.rcParams) == settings
