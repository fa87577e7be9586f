"""What the references written from the papers share: Adam, the algorithm's own random numbers, and how close is equal.

Nothing of ours is imported.
"""

import copy

import torch


class Recorder:
    """The algorithm's own random numbers, kept for the reference."""

    def __init__(self, noise):
        self.noise, self.draws = noise, {}

    def normal(self, name, shape):
        return self.draws.setdefault(name, self.noise.normal(name, shape)).clone()

    def subset(self, name, size, chosen):
        return self.draws.setdefault(name, self.noise.subset(name, size, chosen))


class Adam:
    """Algorithm 1 of arXiv 1412.6980.

    Attributes:
        faint: Where a gradient was zero but for rounding: Adam divides it by its own size, and steps by its sign.
    """

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.t = parameters, lr, 0
        self.m = [torch.zeros_like(p) for p in parameters]
        self.v = [torch.zeros_like(p) for p in parameters]
        self.faint = [torch.zeros_like(p, dtype=torch.bool) for p in parameters]

    @torch.no_grad()
    def step(self, gradients):
        self.t += 1
        for p, g, m, v, faint in zip(self.parameters, gradients, self.m, self.v, self.faint, strict=True):
            faint |= (g != 0) & (g.abs() < 1e-6)
            m.copy_(0.9 * m + 0.1 * g)
            v.copy_(0.999 * v + 0.001 * g**2)
            p -= self.lr * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


@torch.no_grad()
def follow(averages, modules, share):
    """Each average takes over ``share`` of its module's parameters."""
    for average, module in zip(averages, modules, strict=True):
        for t, p in zip(average.parameters(), module.parameters(), strict=True):
            t.copy_((1 - share) * t + share * p)


def twin(module, of):
    """A copy of a module whose parameters are ``of`` each of its own, so that one mapping serves all."""
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for p, q in zip(copied.parameters(), module.parameters(), strict=True):
            p.copy_(of(q))
    return copied


def gradients(module):
    """A twin whose parameters are the gradients, zero where there is none."""
    return twin(module, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)


def close(left, right, what):
    for p, q in zip(left, right, strict=True):
        p, q = p.detach().double(), q.detach().double()
        largest = max(1.0, q.abs().max().item())  # of sums, some of which cancel: their rounding is that of its terms
        torch.testing.assert_close(p, q, atol=1e-5 * largest, rtol=1e-5, msg=lambda m: f"{what}: {m}")


def close_losses(metrics, losses):
    """Each loss is among the algorithm's metrics, and close."""
    for name, value in losses.items():
        close([metrics[name]], [value], name)
