"""Which number format a model trains in, and that a teacher is left alone."""

import torch
from torch import nn

from paretune.infrastructure.formats import _modes
from tests.toys import ConvNet, TextNet


def test_a_view_that_needs_contiguous_channels_falls_back():
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.out = nn.Linear(4 * 36, 3)

        def forward(self, x):
            hidden = self.conv(x)
            return self.out(hidden.view(len(hidden), -1))

    mode = _modes.fastest(Viewing(), lambda m, s: m.call(s, torch.zeros(2, 1, 8, 8)))
    assert not mode.channels_last


def test_the_mode_depends_on_structure_and_processor_alone():
    fine = lambda mode, model: None  # noqa: E731
    image = _modes.fastest(ConvNet().model(), fine)
    assert image.channels_last
    assert image.bf16 == _modes._has_bf16()
    assert _modes.fastest(TextNet().model(), fine) == _modes.Mode()
    assert _modes.fastest(nn.Linear(8, 8).double(), fine) == _modes.Mode()
    wide = _modes.fastest(nn.Linear(256, 256), fine)
    assert wide == _modes.Mode(bf16=_modes._has_bf16())


def test_a_teacher_is_left_as_it_was_and_gives_no_gradients():
    model = ConvNet().model().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    forward = _modes.frozen(model)
    x = torch.randn(4, 1, 8, 8)
    outputs = forward(x)
    assert not outputs.requires_grad
    assert outputs.dtype == torch.float32
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert torch.allclose(outputs, model.eval()(x), atol=0.05)
