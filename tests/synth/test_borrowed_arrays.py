"""Arrays that a kernel makes and lends without reference counting live as long as it runs."""

from __future__ import annotations

import pytest
from numba.core import ir
from numba.core.compiler import run_frontend
from numba.core.postproc import PostProcessor

from portrait360.synth.render import compositing, label_view


@pytest.mark.parametrize(
    ("kernel", "names"),
    [(compositing.resolve, {"memory", "groups"}), (label_view.resolve_labels, {"groups", "clear"})],
)
def test_numba_frees_them_after_the_loops(kernel, names):
    code = run_frontend(kernel.py_func)
    PostProcessor(code).run(emit_dels=True)
    loops = [at for at, block in code.blocks.items() for step in block.body if _is_next(step)]
    freed = {step.value: at for at, block in code.blocks.items() for step in block.body if isinstance(step, ir.Del)}
    assert loops and all(freed[name] > max(loops) for name in names)


def _is_next(step: ir.Stmt) -> bool:
    """Return whether a statement takes the next value of a loop."""
    return isinstance(step, ir.Assign) and isinstance(step.value, ir.Expr) and step.value.op == "iternext"
