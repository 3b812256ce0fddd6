"""Arrays that a kernel passes on to its helpers without counting references.
 Numba counts a reference, atomically, for every array that enters a function. Helpers that are called for
each pixel with tuples of arrays spend more than half of their time on that. A kernel is safe to skip the
counting: its caller holds all arrays until it returns.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _uncounted(typingctx, fields):
    """The same (named) tuple, or array, with its arrays no longer counted."""
    if not isinstance(fields, (types.BaseTuple, types.Array)):
        return None

    def uncounted(context, builder, kind, value):
        if not isinstance(kind, types.Array):
            return value
        array = cgutils.create_struct_proxy(kind)(context, builder, value=value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()

    def codegen(context, builder, signature, args):
        (kind,) = signature.args
        if isinstance(kind, types.Array):
            return uncounted(context, builder, kind, args[0])
        members = cgutils.unpack_tuple(builder, args[0])
        freed = [uncounted(context, builder, t, v) for t, v in zip(kind.types, members, strict=True)]
        return context.make_tuple(builder, kind, freed)

    return fields(fields), codegen


borrow: Any = intrinsic(_uncounted)
