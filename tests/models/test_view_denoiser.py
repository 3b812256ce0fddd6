"""The laws of the view denoiser: what its branches add and may not change, and that all ways to run it agree."""

import copy
from dataclasses import replace

import pytest
import torch

from portrait360.models.controlnet import ControlConfig
from portrait360.models.cross_view_attention import CrossView, CrossViewConfig, PositionEncoder
from portrait360.models.unet import Encoder, UNetConfig
from portrait360.models.view_denoiser import Quirks, ViewConditions, ViewDenoiser, ViewDenoiserConfig
from tests.parity.filling import fill
from tests.parity.golden import relative_error

UNET = UNetConfig(width=32, mult=(1, 2), depth=1, attention=(True, True), heads=4, context_dim=24)
CONTROL = ControlConfig(hint_channels=3, hint_widths=(16, 32), hint_strides=(1, 2))
LAYOUTS = {
    "diffportrait360": ViewDenoiserConfig(UNET, CONTROL, CrossViewConfig(heads=4)),
    "diffportrait3d": ViewDenoiserConfig(
        UNET,
        CONTROL,
        CrossViewConfig(layout="diffportrait3d", heads=4),
        Quirks(middle_cross_view_when_unconditional=True, unused_hint_encoder_in_appearance=True),
    ),
    "back_head": ViewDenoiserConfig(UNET, CONTROL, cross_view=None),
    "controlled": ViewDenoiserConfig(
        UNET, CONTROL, CrossViewConfig(heads=4), Quirks(control_when_unconditional=True)
    ),
}
EXACT = 1e-5  # of the largest value: the order of sums in fp32
MATTERS = 1e-3
every_layout = pytest.mark.parametrize("layout", LAYOUTS)

generator = torch.Generator().manual_seed(3)
X, REFERENCES = torch.randn(6, 4, 8, 8, generator=generator), torch.randn(3, 1, 4, 8, 8, generator=generator)
HINTS = torch.randn(6, 3, 16, 16, generator=generator)
CONTEXT, T = torch.randn(1, 5, 24, generator=generator), torch.tensor([500])


def filled(layout: str = "diffportrait360") -> ViewDenoiser:
    return fill(ViewDenoiser(LAYOUTS[layout]))


def run(net: ViewDenoiser, x=X, t=T, references=REFERENCES[:2], hints=HINTS, views: int | None = 6, **options):
    return net(x, t, CONTEXT, references=references, hints=hints, views=views, **options)


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return relative_error(a, b) > MATTERS


def same(a: torch.Tensor, b: torch.Tensor, limit: float = EXACT) -> bool:
    return relative_error(a, b) < limit


# What the branches add


@every_layout
@torch.no_grad()
def test_a_fresh_control_net_adds_nothing(layout):
    net = ViewDenoiser(LAYOUTS[layout])
    fill(net.unet), fill(net.appearance)
    assert torch.equal(run(net), run(net, hints=None))
    fill(net.control)
    assert differ(run(net), run(net, hints=None))


@pytest.mark.parametrize("layout", ["diffportrait360", "diffportrait3d"])
@pytest.mark.parametrize("unconditional", [False, True])
@torch.no_grad()
def test_fresh_cross_view_attention_changes_nothing(layout, unconditional):
    net, fresh = filled(layout), ViewDenoiser(LAYOUTS[layout])
    learnt = {name: value for name, value in net.state_dict().items() if "motion_module" not in name}
    fresh.load_state_dict(fresh.state_dict() | learnt)
    alone = run(fresh, views=None, unconditional=unconditional)
    for views in (1, 2, 6):
        assert torch.equal(run(fresh, views=views, unconditional=unconditional), alone)
    assert differ(run(net, unconditional=unconditional), alone)


@torch.no_grad()
def test_every_module_of_cross_view_attention_is_used():
    """In the 3D layout the middle one only in the pass that guidance leads away from."""
    for layout in ("diffportrait360", "diffportrait3d"):
        net = filled(layout)
        modules = {name: module for name, module in net.named_modules() if isinstance(module, CrossView)}
        for unconditional in (False, True):
            ran = []
            handles = [
                module.register_forward_hook(lambda *_, name=name, ran=ran: ran.append(name))
                for name, module in modules.items()
            ]
            run(net, unconditional=unconditional)
            expected = [name for name in modules if unconditional or "middle" not in name]
            assert sorted(ran) == sorted(expected)
            for handle in handles:
                handle.remove()


@torch.no_grad()
def test_playing_back_a_pictures_own_tokens_changes_nothing():
    """Each key and value stands twice in the softmax, which leaves its mean as it was."""
    unet = filled().unet
    tokens: list[torch.Tensor] = []
    plain = unet(X, T, CONTEXT, views=6, record=tokens)
    assert same(unet(X, T, CONTEXT, views=6, memory=tokens), plain)
    assert differ(unet(X, T, CONTEXT, views=6, memory=[token.flip(0) for token in tokens]), plain)


@torch.no_grad()
def test_an_appearance_net_with_the_unets_weights_plays_a_picture_back():
    net = filled("back_head")
    net.appearance.load_state_dict({k: v for k, v in net.unet.state_dict().items() if not k.startswith("out.")})
    plain = run(net, references=None, hints=None)
    assert same(run(net, references=X[None], hints=None), plain)
    assert differ(run(net, references=REFERENCES[:1], hints=None), plain)


@every_layout
@torch.no_grad()
def test_references_are_a_set_whose_size_counts(layout):
    net = filled(layout)
    out = run(net, references=REFERENCES)
    for order in ([1, 0, 2], [2, 1, 0]):
        assert same(run(net, references=REFERENCES[order]), out)
    for fewer in (None, REFERENCES[:1], REFERENCES[:2], REFERENCES[[0, 0, 1]]):
        assert differ(run(net, references=fewer), out)


@every_layout
@torch.no_grad()
def test_the_unconditional_pass_sees_no_reference(layout):
    net = filled(layout)
    out = run(net, unconditional=True)
    assert torch.equal(run(net, references=REFERENCES[:1], unconditional=True), out)
    keeps_control = net.config.quirks.control_when_unconditional
    assert torch.equal(run(net, hints=None, unconditional=True), out) != keeps_control
    assert differ(run(net), out)


# Windows and views


@every_layout
@torch.no_grad()
def test_windows_do_not_see_each_other(layout):
    """Three windows of two views: their order is free, and none changes with the others."""
    net = filled(layout)
    out = run(net, views=2)
    order = torch.tensor([4, 5, 0, 1, 2, 3])
    assert same(run(net, x=X[order], hints=HINTS[order], views=2), out[order])
    other = torch.cat([X[:2], -X[2:]])
    assert same(run(net, x=other, views=2)[:2], out[:2])
    assert same(run(net, x=X[:2], hints=HINTS[:2], views=2), out[:2])


@pytest.mark.parametrize("layout", ["diffportrait360", "diffportrait3d"])
@torch.no_grad()
def test_views_have_places_in_their_window(layout):
    """Views attend to each other; only the position table tells the first from the last."""
    net, order = filled(layout), torch.tensor([2, 0, 1, 5, 4, 3])
    out, shuffled = run(net), run(net, x=X[order], hints=HINTS[order])
    assert differ(shuffled, out[order])
    assert differ(run(net, x=torch.cat([X[:5], -X[5:]]))[0], out[0])
    for module in net.modules():
        if isinstance(module, PositionEncoder):
            module.pe.zero_()
    assert same(run(net, x=X[order], hints=HINTS[order]), run(net)[order])


@torch.no_grad()
def test_without_cross_view_attention_each_view_is_on_its_own():
    net = filled("back_head")
    assert same(torch.cat([run(net, x=X[i : i + 1], hints=HINTS[i : i + 1], views=1) for i in range(6)]), run(net))


# In one call and in steps


@every_layout
@pytest.mark.parametrize("window", [[0, 1, 2, 3, 4, 5], [4, 5, 0], [3]])
@pytest.mark.parametrize("chunk", [1, 4, 8])
@torch.no_grad()
def test_passes_at_a_level_are_those_of_one_call(layout, window, chunk):
    net, views = filled(layout), torch.tensor(window)
    known = net.embed_hints(ViewConditions(CONTEXT, REFERENCES[:2]), HINTS, chunk)
    level = net.prepare_level(known, X, T, chunk)
    given = {"x": X[views], "hints": HINTS[views], "views": len(views)}
    assert same(level.conditional(X[views], views), run(net, **given))
    assert same(level.unconditional(X[views], views), run(net, **given, unconditional=True))


@torch.no_grad()
def test_a_level_without_references_or_hints_is_the_plain_network():
    net, views = filled(), torch.arange(6)
    level = net.prepare_level(ViewConditions(CONTEXT), X, T)
    assert same(level.conditional(X, views), run(net, references=None, hints=None))
    with_hints = net.prepare_level(net.embed_hints(ViewConditions(CONTEXT), HINTS), X, T)
    assert same(with_hints.conditional(X, views), run(net, references=None))


@every_layout
@torch.no_grad()
def test_memory_shared_by_all_views_is_that_of_each(layout):
    net = filled(layout)
    shared = run(net)
    assert same(run(net, t=T.repeat(6)), shared)
    assert same(run(net, references=REFERENCES[:2].expand(-1, 6, -1, -1, -1)), shared)
    per_view = torch.tensor([500, 20, 981, 1, 300, 700])
    assert differ(run(net, t=per_view), shared)


@torch.no_grad()
def test_each_view_may_have_its_own_timestep_and_references():
    net, t = filled("back_head"), torch.tensor([500, 20, 981, 1, 300, 700])
    references = torch.stack([X.flip(0), X.roll(1, 0)])
    alone = [
        run(net, x=X[i : i + 1], t=t[i : i + 1], references=references[:, i : i + 1], hints=HINTS[i : i + 1], views=1)
        for i in range(6)
    ]
    assert same(run(net, t=t, references=references), torch.cat(alone))


# Ways to run it


@every_layout
def test_gradient_checkpointing_gives_the_same_gradients(layout):
    """R's tokens leave their blocks by the side door; their gradients must come back through it."""
    plain = filled(layout)
    frugal = copy.deepcopy(plain)
    for module in frugal.modules():
        if isinstance(module, Encoder):
            module.gradient_checkpointing = True
    for unconditional in (False, True):
        outs = [run(net, views=2, unconditional=unconditional) for net in (plain, frugal)]
        assert torch.equal(*outs)
        for out in outs:
            out.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        if a.grad is None:  # R's unused hint encoder, and what comes after its last tokens
            assert b.grad is None and name.startswith("control_model."), name
        else:
            assert same(b.grad, a.grad), name
    assert plain.appearance.input_blocks[1][0].in_layers[2].weight.grad.abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("unconditional", [False, True])
@pytest.mark.parametrize("layout", ["diffportrait360", "diffportrait3d"])
@torch.no_grad()
def test_the_graph_has_no_breaks(layout, unconditional):
    """On one level of the U-Net: tracing takes its time for every layer."""
    net = fill(ViewDenoiser(replace(LAYOUTS[layout], unet=replace(UNET, mult=(1,), attention=(True,)))))
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    expected = run(net, unconditional=unconditional)
    assert same(run(compiled, unconditional=unconditional), expected)


@torch.no_grad()
def test_channels_last_is_the_same():
    net = filled()
    expected = run(net)
    net = net.to(memory_format=torch.channels_last)
    x, hints = (value.contiguous(memory_format=torch.channels_last) for value in (X, HINTS))
    assert same(run(net, x=x, hints=hints), expected)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
@torch.no_grad()
def test_half_precision_runs_throughout(dtype, limit):
    """Loose, by the bits of the mantissa: eight and eleven."""
    net = filled()
    expected, names = run(net), list(net.state_dict())
    net = net.to(dtype)
    assert {value.dtype for value in net.state_dict().values()} == {dtype} and list(net.state_dict()) == names
    out = net(X.to(dtype), T, CONTEXT.to(dtype), references=REFERENCES[:2].to(dtype), hints=HINTS.to(dtype), views=6)
    assert out.dtype == dtype and same(out, expected, limit)


def test_half_state_loads_strictly():
    state = filled().half().state_dict()
    again = ViewDenoiser(LAYOUTS["diffportrait360"]).half()
    again.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
