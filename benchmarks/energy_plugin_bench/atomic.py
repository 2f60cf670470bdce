"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; it takes the target's place when the block ends well.

    An exception, Ctrl-C among them, leaves what was there before and no trace. Of a link the file that it
    leads to is replaced; into a device or a pipe the content goes in the end.

    Raises:
        OSError: The folder cannot be written to; raised before anything is computed within the block.
    """
    target = target.resolve() if target.is_symlink() else target
    special = target.exists() and not target.is_file()
    folder = None if special else target.parent
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=folder)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        if special:
            with target.open("wb") as stream:
                stream.write(part.read_bytes())
        else:
            part.chmod(0o666 & ~_umask())  # as `open` would have made it; mkstemp makes it private
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
