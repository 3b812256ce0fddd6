"""Pass arrays from a kernel to its helpers without reference counting.

Numba atomically counts a reference for every array that enters a function. Helpers that are called for each pixel
with tuples of arrays spend more than half of their time on that. A kernel may skip the counting because its caller
holds all arrays until it returns. Arrays that the kernel makes itself have to be used once more at its end: numba
frees what is not named any more, and what another thread then gets would be overwritten.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _borrow(typingctx, fields):
    """Return the same (named) tuple, or array, with its arrays no longer reference-counted."""
    if not isinstance(fields, (types.BaseTuple, types.Array)):
        return None

    def borrow(context, builder, kind, value):
        if not isinstance(kind, types.Array):
            return value
        array = cgutils.create_struct_proxy(kind)(context, builder, value=value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()

    def codegen(context, builder, signature, args):
        (kind,) = signature.args
        if isinstance(kind, types.Array):
            return borrow(context, builder, kind, args[0])
        members = cgutils.unpack_tuple(builder, args[0])
        borrowed = [borrow(context, builder, t, v) for t, v in zip(kind.types, members, strict=True)]
        return context.make_tuple(builder, kind, borrowed)

    return fields(fields), codegen


borrow: Any = intrinsic(_borrow)
