"""The shallow and the deep network in PyTorch, for comparison."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
  """The residual block of figure 3 of the paper."""

  def __init__(self, channels: int):
    super().__init__()
    self.first = nn.Conv2d(channels, channels, 3, padding=1)
    self.second = nn.Conv2d(channels, channels, 3, padding=1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps `[N, C, H, W]` to the same shape."""
    return x + self.second(torch.relu(self.first(torch.relu(x))))


def shallow() -> list[nn.Module]:
  """Makes the layers of the shallow torso: 2 convolutions, 1 linear layer."""
  return [
    nn.Conv2d(4, 16, 8, stride=4),
    nn.ReLU(),
    nn.Conv2d(16, 32, 4, stride=2),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 9 * 9, 256),
    nn.ReLU(),
  ]


def deep() -> list[nn.Module]:
  """Makes the layers of the deep torso: 15 convolutions, 1 linear layer."""
  layers, before = [], 4
  for channels in (16, 32, 32):
    layers += [
      nn.Conv2d(before, channels, 3, padding=1),
      nn.MaxPool2d(3, stride=2, padding=1),
      Residual(channels),
      Residual(channels),
    ]
    before = channels
  head = [nn.ReLU(), nn.Flatten(), nn.Linear(32 * 11 * 11, 256), nn.ReLU()]
  return layers + head


def make_gradient(
  torso: str, num_observations: int, num_actions: int
) -> Callable[[], Any]:
  """Makes a call that computes the gradient of an actor-critic loss.

  The loss is the sum of policy, value and entropy losses.

  Args:
    torso: 'shallow' or 'deep'.
    num_observations: size of the batch of random images `[N, 4, 84, 84]`.
    num_actions: number of actions.
  """
  layers = {'shallow': shallow, 'deep': deep}[torso]()
  network = nn.Sequential(*layers, nn.Linear(256, num_actions + 1))
  network = network.to(memory_format=torch.channels_last)
  images = torch.randint(0, 256, (num_observations, 4, 84, 84))
  images = images.to(torch.uint8, memory_format=torch.channels_last)
  actions = torch.randint(0, num_actions, (num_observations, 1))

  def call():
    network.zero_grad(set_to_none=True)
    outputs = network(images.float() / 255)
    log_probs = torch.log_softmax(outputs[:, :num_actions], -1)
    values = outputs[:, num_actions]
    policy = -log_probs.gather(1, actions).sum()
    entropy = -(log_probs * log_probs.exp()).sum()
    (policy + 0.5 * (values**2).sum() - 0.01 * entropy).backward()

  return call
