"""Pushing an exported directory to the Hugging Face hub: one commit, which replaces the files of rows there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rowmill.errors import RowmillError, UsageError
from rowmill.export.directory import MANIFEST
from rowmill.secret import keep_secret


def push_to_hub(
    directory: Path, repository: str, *, private: bool = False, endpoint: str | None = None, message: str
) -> str:
    """Uploads the files of ``directory`` to the dataset ``repository`` (``USER/NAME``), which is made if need be.

    What lies in ``data/`` or ``files/`` there and not here is deleted in the same commit; files that are the same are
    not sent again. The token is that of the environment (``HF_TOKEN``) or of the hub's own login. Returns the address
    of the commit.
    Raises UsageError when the extra is missing, the hub does not know the token, or the name is none; RowmillError when
    the hub cannot be reached.
    """
    hub = _library()
    token = os.environ.get("HF_TOKEN") or None
    if token is not None:
        keep_secret(token)
    api = hub.HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        done = api.upload_folder(
            folder_path=directory,
            repo_id=repository,
            repo_type="dataset",
            commit_message=message,
            delete_patterns=["data/*", "files/*"],
            ignore_patterns=[MANIFEST, ".*"],
        )
    except hub.errors.HFValidationError as error:
        raise UsageError(f"'{repository}' is no name of a dataset: {_line(error)}") from error
    except hub.errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in {401, 403}:
            raise UsageError(
                f"The hub refuses to write to '{repository}' ({status}): set HF_TOKEN to a token that may."
            ) from error
        raise RowmillError(f"The push to '{repository}' failed: {_line(error)}. Push again.") from error
    except OSError as error:
        raise RowmillError(f"The hub cannot be reached: {_line(error)}. Push again.") from error
    return str(done.commit_url)


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError("Pushing to the Hugging Face hub needs an extra: pip install 'rowmill[hf]'") from None
    return huggingface_hub


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
