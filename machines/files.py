"""Files written whole or not at all.

Rule 1: a file comes under its name in one step, when it is complete and closed; a reader never sees half of it.
Rule 2: what fails leaves nothing behind.
"""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, *, anew: bool = False) -> None:
    """Write a text in place of whatever stands there; ``anew``: only where nothing does.

    Raises:
        FileExistsError: something stands there.
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".lockstep.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.chmod(0o644)
        if anew:
            path.hardlink_to(draft)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
