"""The package, for `pip install -e .`; extras: cuda, wandb and others."""

import setuptools

setuptools.setup(
  name='impala-jax',
  version='0.1.0',
  description='IMPALA with V-trace, in JAX.',
  license='Apache-2.0',
  # The address of the repository stands here alone: the notebooks get theirs
  # from it. A placeholder, until the project is published.
  url='https://github.com/OWNER/impala-jax',
  packages=setuptools.find_packages(
    include=['vtrace*', 'agents*', 'envs*', 'experiments*']
  ),
  python_requires='>=3.11',
  install_requires=[
    'absl-py',
    'chex',
    'dm-env',
    'dm-haiku',
    'envpool',
    'gymnasium',
    'imageio',
    'imageio-ffmpeg',
    'jax',
    'jaxlib',
    'matplotlib',
    'numpy',
    'optax',
    'orbax-checkpoint',
    'psutil',
    'scipy',
    'tensorboardX',
    'tqdm',
  ],
  extras_require={
    'benchmarks': ['rlax', 'torch'],  # The scripts run from a checkout.
    'build': ['setuptools'],
    'cuda': ['jax[cuda12]'],
    'dev': ['hypothesis', 'pytest', 'pytest-xdist', 'rlax', 'ruff', 'wandb'],
    'docs': ['mkdocs-material', 'mkdocstrings[python]'],
    'notebooks': ['ipykernel', 'ipywidgets', 'nbclient', 'nbformat'],
    'wandb': ['wandb'],
  },
)
