"""What code may raise besides errors. It must end no more than its call.

``sys.exit()`` raises SystemExit; a library in Rust that panics raises an exception of its own that is no Exception; an
iterator that is at its end raises StopIteration, which cannot pass a coroutine.
"""

from __future__ import annotations

import anyio


def is_uncommon(error: BaseException) -> bool:
    """Whether what a plain function raised would end more than its call. A person's Ctrl-C may."""
    return isinstance(error, StopIteration) or not isinstance(error, (Exception, KeyboardInterrupt))


def is_uncommon_of_coroutine(error: BaseException) -> bool:
    """The same of an ``async`` function, which is cancelled and closed from outside."""
    return is_uncommon(error) and not isinstance(error, (GeneratorExit, anyio.get_cancelled_exc_class()))
