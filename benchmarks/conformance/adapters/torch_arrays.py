"""What the adapters of PyTorch libraries share."""

import torch

to_native = torch.from_numpy


def to_numpy(tensor):
  """Returns an array of the values, without their gradients."""
  return tensor.detach().numpy()


def make_gradient(fn):
  """Makes the gradient adapter of a V-trace function.

  Args:
    fn: takes five tensors and keywords, and returns (vs, pg_advantages).

  Returns:
    A function of the same arguments. It returns the gradients of
    sum(vs) + 3 sum(pg_advantages) in the five tensors; None where none flows.
  """

  def gradient(*tensors, **keywords):
    tensors = [x.detach().clone().requires_grad_() for x in tensors]
    vs, pg_advantages = fn(*tensors, **keywords)
    total = vs.sum() + 3 * pg_advantages.sum()
    if not total.requires_grad:
      return [None] * len(tensors)
    return torch.autograd.grad(total, tensors, allow_unused=True)

  return gradient


def make_row_gradient(fn):
  """Makes the gradient adapter of a function that takes transitions.

  The function takes log_rhos, discounts, rewards, values, next_values, dones;
  the gradient takes rows, none of which is a reset.
  """

  def rows(log_rhos, discounts, rewards, values, bootstrap_value, **keywords):
    next_values = torch.cat([values[1:], bootstrap_value[None]])
    arrays = log_rhos, discounts, rewards, values, next_values, discounts == 0
    return fn(*arrays, **keywords)

  return make_gradient(rows)


def threshold(value):
  """Returns infinity for None, which means no clipping."""
  return float('inf') if value is None else value
