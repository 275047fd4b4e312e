"""Tests of the reward clippings against values computed by hand."""

import numpy as np

import vtrace


def test_abs_one_clips_to_plus_and_minus_one():
  np.testing.assert_array_equal(
    vtrace.abs_one(np.array([-3.0, -0.5, 0.0, 0.5, 20.0])),
    [-1.0, -0.5, 0.0, 0.5, 1.0],
  )


def test_soft_asymmetric_matches_the_released_code():
  rewards = np.array([-5.0, 0.0, 5.0, 1000.0])
  expected = [-1.5 * np.tanh(1.0), 0.0, 5.0 * np.tanh(1.0), 5.0]
  np.testing.assert_allclose(
    vtrace.soft_asymmetric(rewards), expected, rtol=1e-6
  )


def test_soft_asymmetric_paper_matches_figure_d1():
  rewards = np.array([-1.0, 0.0, 1.0, 1000.0])
  expected = [-0.3 * np.tanh(1.0), 0.0, 5.0 * np.tanh(1.0), 5.0]
  np.testing.assert_allclose(
    vtrace.soft_asymmetric_paper(rewards), expected, rtol=1e-6
  )
