"""What nothing can be faster than, here: bare matrix products, and a bare copy.

``python -m benchmarks.learners.floor SETUP TYPE``: the setup as JSON, and the type of the products,
``float32`` or ``bfloat16``.
"""

from __future__ import annotations

import sys
from functools import partial

import torch

from benchmarks.learners.timing import Setup, Work, serve
from robo_rl.threads import configure


class Products:
    """The matrix products of hidden layers, into memory that is there already.

    The same matrices each time, so that they lie in the cache. The last layer has one output and is left out.

    Args:
        setup: sizes.
        dtype: of the products.
    """

    def __init__(self, setup: Setup, dtype: torch.dtype) -> None:
        def random(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, device=setup.device).to(dtype)

        self.utd = setup.utd
        self.inputs, self.features = random(setup.batch, setup.obs + setup.actions), random(setup.batch, setup.hidden)
        self.first, self.second = random(setup.obs + setup.actions, setup.hidden), random(setup.hidden, setup.hidden)
        self.out = random(setup.batch, setup.hidden)
        self.d_inputs = torch.empty_like(self.inputs)
        self.d_first, self.d_second = torch.empty_like(self.first), torch.empty_like(self.second)

    def forward(self) -> None:
        """Both layers."""
        torch.mm(self.inputs, self.first, out=self.out)
        torch.mm(self.features, self.second, out=self.out)

    def weights(self) -> None:
        """Gradients of both layers' weights, and the one that goes from the second to the first."""
        torch.mm(self.features.t(), self.features, out=self.d_second)
        torch.mm(self.features, self.second.t(), out=self.out)
        torch.mm(self.inputs.t(), self.features, out=self.d_first)

    def action(self) -> None:
        """Gradients of the inputs alone."""
        torch.mm(self.features, self.second.t(), out=self.out)
        torch.mm(self.features, self.first.t(), out=self.d_inputs)

    def block(self, critics: int, updates: int | None = None) -> None:
        """``updates`` of all critics, with two target critics and the policy; then one of the policy."""
        for _ in range(updates or self.utd):
            for _ in range(3):
                self.forward()
            for _ in range(critics):
                self.forward()
                self.weights()
        self.forward()
        for _ in range(critics):
            self.forward()
            self.action()
        self.weights()


def copy_images(setup: Setup) -> Work:
    """Copy as many bytes as the images of a batch have, of observations and next observations."""
    shape = (2, setup.batch, setup.cameras, setup.image, setup.image, 3)
    source = torch.randint(256, shape, dtype=torch.uint8, device=setup.device)
    return partial(torch.empty_like(source).copy_, source)


def main() -> None:
    """Serve."""
    setup, dtype = Setup.read(), sys.argv[2]
    products = Products(setup, getattr(torch, dtype))
    cases = {
        "block_10": lambda: partial(products.block, 10),
        "block_2": lambda: partial(products.block, 2),
        "sac": lambda: partial(products.block, 2, 1),
    }
    if dtype == "float32":
        cases["replay_images"] = lambda: copy_images(setup)
    serve(cases, ("torch",), wait=torch.cuda.synchronize if setup.device == "cuda" else lambda: None)


if __name__ == "__main__":
    configure()
    main()
