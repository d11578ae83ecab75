import pytest
import torch

from robo_rl.agents.optimisers import Adam, Adan, adam_, corrections, make_optimiser


def reference(gradients: list[float], lr: float, betas: tuple[float, float, float], decay: float) -> list[float]:
    """The update rule in plain Python, from x = 1."""
    b1, b2, b3 = betas
    x, path = 1.0, []
    m = v = n = before = 0.0
    for k, g in enumerate(gradients):
        if k == 0:
            m, v, n, before = g, 0.0, g * g, g
        change = g - before
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * change
        n = (1 - b3) * n + b3 * (g + (1 - b2) * change) ** 2
        x = (x - lr / (n**0.5 + 1e-8) * (m + (1 - b2) * v)) / (1 + lr * decay)
        before = g
        path.append(x)
    return path


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_follows_the_papers_rule(decay: float) -> None:
    gradients = [0.5, -0.25, 2.0, 0.1, 0.1]
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimiser = Adan([x], 0.1, weight_decay=decay)
    for g, expected in zip(gradients, reference(gradients, 0.1, (0.02, 0.08, 0.01), decay), strict=True):
        x.grad = torch.full((2,), g, dtype=torch.float64)
        optimiser.step()
        assert x.tolist() == pytest.approx([expected] * 2, abs=1e-12)


def test_two_steps_by_hand() -> None:
    # b = (.5, .5, .5), lr 1, from x = 0. Gradient 1: m 1, v 0, n 1, x = -1.
    # Gradient 3: m 2, v = .5 * 2 = 1, n = .5 + .5 * (3 + .5 * 2)^2 = 8.5, x = -1 - (2 + .5) / sqrt(8.5) = -1.857493
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = Adan([x], 1.0, betas=(0.5, 0.5, 0.5))
    for g, expected in ((1.0, -1.0), (3.0, -1.857493)):
        x.grad = torch.full((1,), g, dtype=torch.float64)
        optimiser.step()
        assert x.item() == pytest.approx(expected, abs=1e-6)


def test_many_parameters_at_once_are_as_each_alone_and_one_without_gradient_stays() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = [(3,), (2, 4), ()]
    together = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    alone = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    still = torch.ones(2, requires_grad=True)
    one, many = [Adan([p], 0.01) for p in alone], Adan([*together, still], 0.01)
    for _ in range(3):
        for a, b in zip(together, alone, strict=True):
            a.grad = torch.randn(a.shape, generator=g)
            b.grad = a.grad.clone()
        many.step()
        for optimiser in one:
            optimiser.step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().min() > 0
    assert still.tolist() == [1.0, 1.0]


def test_clearing_the_state_starts_anew() -> None:
    x = torch.zeros(1, requires_grad=True)
    optimiser = Adan([x], 0.1)
    for _ in range(5):
        x.grad = torch.tensor([4.0])
        optimiser.step()
    before = x.item()
    optimiser.state.clear()
    x.grad = torch.tensor([-9.0])
    optimiser.step()
    assert x.item() - before == pytest.approx(0.1, abs=1e-6)  # a first step: lr against the sign


def test_finds_the_minimum_of_a_narrow_valley() -> None:
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    optimiser = Adan([x], 0.02)
    for _ in range(1500):
        optimiser.zero_grad()
        (100.0 * x[0] ** 2 + x[1] ** 2).backward()
        optimiser.step()
    assert x.abs().max() < 0.05


def test_a_closure_is_asked_for_gradients() -> None:
    x = torch.ones(1, requires_grad=True)
    optimiser = Adan([x], 0.1)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = x.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 1.0
    assert x.item() == pytest.approx(0.9)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"eps": -1.0}, {"betas": (0.0, 0.1, 0.1)}, {"weight_decay": -0.1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Adan([torch.zeros(1)], **wrong)


def test_the_name_chooses() -> None:
    assert isinstance(make_optimiser("adan", [torch.zeros(1)], 0.1), Adan)
    adam = make_optimiser("adam", [torch.zeros(1)], 0.1, adam_beta1=0.5)
    assert isinstance(adam, Adam)
    assert adam.param_groups[0]["betas"] == (0.5, 0.999)


def test_adam_is_torchs_and_so_is_its_state() -> None:
    """Also written out, as it stands in compiled updates."""
    g = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (7,), ()]
    start = [torch.randn(shape, generator=g) for shape in shapes]
    theirs, ours, written = ([p.clone().requires_grad_() for p in start] for _ in range(3))
    reference = torch.optim.Adam(theirs, 0.01, betas=(0.8, 0.999), fused=True)
    adam, other = Adam(ours, 0.01, betas=(0.8, 0.999)), Adam(written, 0.01, betas=(0.8, 0.999))
    for i in range(5):
        gradients = [torch.randn(shape, generator=g) for shape in shapes]
        for one, two, gradient in zip(theirs, ours, gradients, strict=True):
            one.grad, two.grad = gradient.clone(), gradient.clone()
        if i == 2:  # one without a gradient stays
            theirs[1].grad = ours[1].grad = None
        reference.step()
        adam.step()
        moved = [k for k in range(3) if ours[k].grad is not None]
        with torch.no_grad():
            for k in moved:
                means, squares, (step,) = other.moments([written[k]])
                corrected = corrections(step.add_(1.0), 0.01, (0.8, 0.999), 1e-8)
                adam_([written[k]], [gradients[k]], means, squares, corrected, (0.8, 0.999))
        for one, two, three in zip(theirs, ours, written, strict=True):
            assert torch.equal(one, two)
            torch.testing.assert_close(one, three)
            for key, value in reference.state[one].items():
                assert torch.equal(value, adam.state[two][key])
                torch.testing.assert_close(value, other.state[three][key])
