"""Cores are counted with the quotas of cgroups, in files of the tests' own."""

import math
import os

import pytest

from experiments.records import hardware


@pytest.mark.parametrize(
  'cgroup,files,expected',
  (
    ('0::/', {'cpu.max': '150000 100000'}, 1.5),
    ('0::/', {'cpu.max': 'max 100000'}, math.inf),
    ('0::/', {'cpu.max': '5000 100000'}, 0.05),
    ('0::/', {}, math.inf),
    ('0::/', {'cpu.max': 'nonsense'}, math.inf),
    # The least of a group and those above it.
    ('0::/a/b', {'a/b/cpu.max': 'max 1000', 'a/cpu.max': '3000 1000'}, 3.0),
    ('0::/a', {'a/cpu.max': '2000 1000', 'cpu.max': '7000 1000'}, 2.0),
    # A container that sees only its own group, by the host's path.
    ('0::/docker/7f', {'cpu.max': '250000 100000'}, 2.5),
    (
      '12:memory:/m\n4:cpu,cpuacct:/c\n0::/',
      {'cpu/c/cpu.cfs_quota_us': '400000', 'cpu/c/cpu.cfs_period_us': '100000'},
      4.0,
    ),
    (
      '4:cpu:/c',
      {'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'},
      math.inf,
    ),
    ('5:cpuset:/', {'cpu.max': '1000 1000'}, math.inf),
  ),
)
def test_the_quota_of_a_cgroup_is_read(tmp_path, cgroup, files, expected):
  files = {f'sys/fs/cgroup/{name}': text for name, text in files.items()}
  for name, text in (files | {'proc/self/cgroup': cgroup}).items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text + '\n')
  assert hardware.cgroup_quota(tmp_path) == expected


def test_without_cgroups_there_is_no_quota(tmp_path):
  assert hardware.cgroup_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
  'quota,cores', ((math.inf, 6), (2.5, 3), (0.05, 1), (6.5, 6), (4.0, 4))
)
def test_a_quota_limits_the_cores_that_may_be_used(monkeypatch, quota, cores):
  monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(6)))
  monkeypatch.setattr(hardware, 'cgroup_quota', lambda _: quota)
  assert hardware.num_cores() == cores
