"""Where seed files are: on this machine, or behind a URL that an fsspec file system understands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from rowmill.errors import Problem, SeedMissing, SpecError
from rowmill.spec.secret_reference import is_secret_reference, resolve_secret
from rowmill.spec.seed import SeedDatasetConfig

_EXTRA = "pip install 'rowmill[{extra}]'"


class Openable(Protocol):
    """Where files can be read."""

    def open(self, name: str) -> BinaryIO:
        """The content of a file. Raises OSError."""
        ...


class Location(Openable, Protocol):
    """A file system as far as seed data needs one. Names are what :meth:`matches` and :meth:`under` return."""

    filesystem: Any
    """The fsspec file system the engine has to read through; None: it reads the files itself."""

    def matches(self) -> list[str]:
        """The files of the configuration's paths, globs expanded in sorted order, each once. Raises SpecError."""
        ...

    def under(self) -> list[tuple[str, str]]:
        """Name and relative path of the files of the configuration's directory that fit its pattern, sorted."""
        ...

    def mark(self, name: str) -> str:
        """What is cheap to know of a file and differs when its content does. Raises OSError."""
        ...


class LocalLocation:
    """Files of this machine; relative paths start at ``directory``."""

    filesystem = None

    def __init__(self, config: SeedDatasetConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory

    def matches(self) -> list[str]:
        """See :class:`Location`."""
        return [str(file) for file in self._config.files(self._directory)]

    def under(self) -> list[tuple[str, str]]:
        """See :class:`Location`. Links to directories are not followed."""
        (path,) = self._config.paths
        root = self._directory / Path(path).expanduser()
        if not root.is_dir():
            kind, what = (SpecError, "is a file, not a directory") if root.exists() else (SeedMissing, "does not exist")
            raise kind([Problem("seed_dataset.path", f"'{root}' {what}; name a directory.")])
        found = []
        for here, directories, names in os.walk(root, onerror=_raise):
            if not self._config.recursive:
                directories.clear()
            for name in names:
                file = Path(here) / name
                if fnmatchcase(name, self._config.pattern) and file.is_file():
                    found.append((str(file), file.relative_to(root).as_posix()))
        return _sorted_or_none(found, str(root), self._config)

    def open(self, name: str) -> BinaryIO:
        """See :class:`Location`."""
        return Path(name).open("rb")

    def mark(self, name: str) -> str:
        """Size and time of the last change."""
        status = Path(name).stat()
        return f"{status.st_size}:{status.st_mtime_ns}"


class RemoteLocation:
    """Files behind URLs, through fsspec."""

    def __init__(self, config: SeedDatasetConfig, filesystem: Any) -> None:
        self.filesystem = _with_times(filesystem)
        self._config = config

    def matches(self) -> list[str]:
        """See :class:`Location`."""
        found: dict[str, None] = {}
        problems = []
        for position, path in enumerate(self._config.paths):
            names = [self._url(match) for match in sorted(self._found(path))]
            if not names:
                problems.append(Problem(self._config.place(position), f"There is no file '{path}'."))
            found.update(dict.fromkeys(names))
        if problems:
            raise SeedMissing(problems)
        return list(found)

    def under(self) -> list[tuple[str, str]]:
        """See :class:`Location`."""
        (path,) = self._config.paths
        if not self.filesystem.isdir(path):
            raise SeedMissing([Problem("seed_dataset.path", f"'{path}' is no directory, or there is none there.")])
        root = str(self.filesystem._strip_protocol(path)).rstrip("/")
        files = self.filesystem.find(path, maxdepth=None if self._config.recursive else 1)
        fitting = [str(file) for file in files if fnmatchcase(Path(file).name, self._config.pattern)]
        found = [(self._url(file), file.removeprefix(root).lstrip("/")) for file in fitting]
        return _sorted_or_none(found, path, self._config)

    def open(self, name: str) -> BinaryIO:
        """See :class:`Location`."""
        return cast(BinaryIO, self.filesystem.open(name, "rb"))

    def mark(self, name: str) -> str:
        """What the file system takes for the identity of a file's content."""
        return str(self.filesystem.ukey(name))

    def _found(self, path: str) -> list[str]:
        if "*" in path or "?" in path or "[" in path:
            return [match for match in self.filesystem.glob(path) if self.filesystem.isfile(match)]
        try:
            return [path] if self.filesystem.info(path)["type"] == "file" else []
        except FileNotFoundError:
            return []

    def _url(self, name: str) -> str:
        return str(self.filesystem.unstrip_protocol(name))


def open_location(config: SeedDatasetConfig, directory: Path, environ: Mapping[str, str]) -> Location:
    """Where the files of a configuration are. Raises SpecError for what is not installed or not set."""
    if config.seed_type == "hf":
        return RemoteLocation(config.model_copy(update={"path": _hub_urls(config)}), _hub(config, environ))
    if not config.is_remote:
        return LocalLocation(config, directory)
    return RemoteLocation(config, _filesystem(config, environ))


def _hub_urls(config: SeedDatasetConfig) -> tuple[str, ...]:
    return tuple(path if path.startswith("hf://") else f"hf://{path}" for path in config.paths)


def _hub(config: SeedDatasetConfig, environ: Mapping[str, str]) -> Any:
    try:
        from huggingface_hub import HfFileSystem
    except ImportError:
        raise _missing("Reading from the Hugging Face hub", "hf") from None
    token = resolve_secret(config.token, environ, "seed_dataset.token") if config.token is not None else None
    return HfFileSystem(endpoint=config.endpoint, token=token, skip_instance_cache=True)


def _filesystem(config: SeedDatasetConfig, environ: Mapping[str, str]) -> Any:
    protocol = config.paths[0].partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise _missing(f"Reading from {protocol}:// URLs", "remote") from None
    try:
        return fsspec.filesystem(protocol, skip_instance_cache=True, **_options(config, environ))
    except ValueError as error:
        problem = Problem("seed_dataset.path", f"No file system is known for '{protocol}://' URLs: {error}")
        raise SpecError([problem]) from error
    except ImportError as error:
        problem = Problem("seed_dataset.path", f"'{protocol}://' URLs need another package: {error}")
        raise SpecError([problem]) from error
    except Exception as error:  # of somebody else's file system: its options are wrong, or it cannot be reached
        message = f"The file system of '{protocol}://' cannot be opened: {type(error).__name__}: {error}"
        raise SpecError([Problem("seed_dataset.storage_options", message)]) from error


def _with_times(filesystem: Any) -> Any:
    """The file system with a time for every file: the engine asks for one, and not all of them know any."""
    known = filesystem.modified

    def modified(path: str) -> datetime:
        try:
            return cast(datetime, known(path))
        except NotImplementedError:
            return datetime(1970, 1, 1, tzinfo=UTC)

    filesystem.modified = modified
    return filesystem


def _options(config: SeedDatasetConfig, environ: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: resolve_secret(option, environ, f"seed_dataset.storage_options.{name}")
        if isinstance(option, str) and is_secret_reference(option)
        else option
        for name, option in config.storage_options.items()
    }


def _missing(what: str, extra: str) -> SpecError:
    return SpecError([Problem("seed_dataset.path", f"{what} needs an extra: {_EXTRA.format(extra=extra)}")])


def _sorted_or_none(found: list[tuple[str, str]], root: str, config: SeedDatasetConfig) -> list[tuple[str, str]]:
    if not found:
        below = "under" if config.recursive else "directly in"
        message = f"There is no file named like '{config.pattern}' {below} '{root}'."
        raise SeedMissing(
            [Problem("seed_dataset.file_pattern" if config.file_pattern else "seed_dataset.path", message)]
        )
    return sorted(found, key=lambda file: file[1])


def _raise(error: OSError) -> None:
    raise error
