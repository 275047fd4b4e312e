"""The command of the fixed points: the endings of its --out."""

import pytest

from experiments import config as config_lib
from experiments import fixed_points


class Flags:
  num_mdps = 1

  def __init__(self, out):
    self.out = str(out)


@pytest.mark.parametrize('name', ('fig', 'fig.qqq', 'fig.', '.png'))
def test_an_ending_that_is_no_format_of_images_is_rejected(
  name, tmp_path, monkeypatch
):
  monkeypatch.setattr(fixed_points.flags, 'FLAGS', Flags(tmp_path / name))
  with pytest.raises(config_lib.ConfigError, match=r'--out=.* should end.*png'):
    fixed_points.main()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ('a.PNG', 'b.svg'))
def test_the_path_of_the_figure_is_printed(name, tmp_path, monkeypatch, capsys):
  path = tmp_path / name
  monkeypatch.setattr(fixed_points.flags, 'FLAGS', Flags(path))
  monkeypatch.setattr(
    fixed_points, 'draw', lambda seeds: fixed_points.figure.Figure()
  )
  fixed_points.main()
  assert capsys.readouterr().out == f'{path}\n' and path.stat().st_size
