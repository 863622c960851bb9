"""A loopback double of the Hugging Face hub's HTTP interface: datasets that can be listed, read and committed to.

It keeps the files of every repository in memory and speaks what ``huggingface_hub`` does over plain HTTP: information,
trees, ranges of files, creating a repository, uploading large files by their digest, and commits.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_server import LoopbackHandler, LoopbackServer, serving

TOKEN = "hf_the_right_token"
"""The only token the double takes, for whatever needs one."""


@dataclass
class Hold:
    """A request that is never answered: ``step`` is that of :data:`STEPS`."""

    step: str
    does_it: bool = False
    """What is asked for is done all the same."""
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


class Hub(LoopbackServer):
    """The server. ``repositories`` are files by repository id, ``requests`` what was asked."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.commits: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[int] = []
        """Status codes for the next requests of a commit, in order."""
        self.hold: Hold | None = None
        """Where the next client is kept waiting until it is gone."""


@contextmanager
def hub() -> Iterator[Hub]:
    """A running hub, gone after the block."""
    with serving(Hub()) as server:
        yield server


class _Handler(LoopbackHandler):
    server: Hub

    def respond(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        for pattern, method in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                act = partial(getattr(self, method), body, **match.groupdict())
                hold = self.server.hold
                if hold is not None and method == STEPS[hold.step]:
                    self._hold(hold, act)
                else:
                    act()
                return
        self.answer(404, b"")

    def _hold(self, hold: Hold, act: Callable[[], None]) -> None:
        self.server.hold = None
        self.close_connection = True
        if hold.does_it:
            answer, self.wfile = self.wfile, io.BytesIO()
            act()
            self.wfile = answer
        hold.reached.set()
        hold.released.wait(60)

    def _is_signed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _files(self, repository: str) -> dict[str, bytes] | None:
        files = self.server.repositories.get(repository)
        if files is None or (repository in self.server.private and not self._is_signed()):
            self.answer(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found.")
            return None
        return files

    def _information(self, body: bytes, repository: str) -> None:
        files = self._files(repository)
        if files is not None:
            siblings = [{"rfilename": name} for name in sorted(files)]
            self.answer_json({"id": repository, "sha": _sha(files), "siblings": siblings, "tags": [], "downloads": 0})

    def _tree(self, body: bytes, repository: str, path: str | None) -> None:
        files = self._files(repository)
        if files is None:
            return
        start = f"{path}/" if path else ""
        recursive = "recursive=True" in self.path or "recursive=true" in self.path
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(files):
            if not name.startswith(start):
                continue
            parts = name[len(start) :].split("/")
            for depth in range(1, len(parts)):
                folder = start + "/".join(parts[:depth])
                if recursive or depth == 1:
                    found[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if recursive or len(parts) == 1:
                found[name] = _described(name, files[name])
        if not found and path:
            self.answer(404, b"{}", X_Error_Code="EntryNotFound", X_Error_Message="No such entry.")
        else:
            self.answer_json(list(found.values()))

    def _paths(self, body: bytes, repository: str) -> None:
        files = self._files(repository)
        if files is None:
            return
        asked = parse_qs(body.decode())["paths"]
        told = [_described(name, files[name]) for name in asked if name in files]
        told += [
            {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
            for name in asked
            if any(file.startswith(f"{name}/") for file in files)
        ]
        self.answer_json(told)

    def _resolve(self, body: bytes, repository: str, path: str) -> None:
        files = self._files(repository)
        if files is None:
            return
        if path not in files:
            self.answer(404, b"", X_Error_Code="EntryNotFound", X_Error_Message="No such entry.")
            return
        content = files[path]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": _sha(files)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if asked:
            part = content[int(asked[1]) : int(asked[2]) + 1]
            told = f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}"
            self.answer(206, part, Content_Range=told, **headers)
        else:
            self.answer(200, content, **headers)

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        repository = f"{asked['organization'] or 'me'}/{asked['name']}"
        if not self._is_signed():
            self.answer_json({"error": "Invalid user token."}, 401)
        elif repository in self.server.repositories:
            self.answer_json({"url": f"{self.server.url}/datasets/{repository}", "error": "exists"}, 409)
        else:
            self.server.repositories[repository] = {}
            if asked.get("visibility") == "private" or asked.get("private"):
                self.server.private.add(repository)
            self.answer_json({"url": f"{self.server.url}/datasets/{repository}", "name": repository})

    def _validate(self, body: bytes) -> None:
        self.answer_json({"warnings": [], "errors": []})

    def _preupload(self, body: bytes, repository: str) -> None:
        files = self._files(repository)
        if files is None:
            return
        self.answer_json(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["path"].endswith(".parquet") else "regular",
                        "shouldIgnore": False,
                        "oid": _oid(files[each["path"]]) if each["path"] in files else None,
                    }
                    for each in json.loads(body)["files"]
                ]
            }
        )

    def _batch(self, body: bytes, repository: str) -> None:
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {"href": f"{self.server.url}/blobs/{each['oid']}"}
            known = each["oid"] in self.server.blobs
            objects.append({**each, "authenticated": True, **({} if known else {"actions": {"upload": upload}})})
        self.answer_json({"transfer": "basic", "objects": objects})

    def _blob(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.answer(422, b"")
        else:
            self.server.blobs[oid] = body
            self.answer(200, b"")

    def _commit(self, body: bytes, repository: str) -> None:
        if self.server.failures:
            self.answer(self.server.failures.pop(0), b"")
            return
        if not self._is_signed():
            self.answer_json({"error": "Invalid user token."}, 401)
            return
        files = self._files(repository)
        if files is None:
            return
        changed = {}
        for line in body.decode().splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "header":
                self.server.commits.append(value)
            elif told["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif told["key"] == "lfsFile":
                changed[value["path"]] = self.server.blobs[value["oid"]]
            elif told["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif told["key"] == "deletedFolder":
                for name in [name for name in files if name.startswith(value["path"])]:
                    del files[name]
        files.update(changed)
        sha = _sha(files)
        url = f"{self.server.url}/datasets/{repository}/commit/{sha}"
        self.answer_json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})


def _described(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sha(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted((name, _oid(content)) for name, content in files.items())).encode()).hexdigest()


STEPS = {
    "creating": "_create",
    "announcing": "_preupload",
    "asking where to": "_batch",
    "uploading": "_blob",
    "committing": "_commit",
}
"""What a push asks for, in order, and what does it here."""
_REPOSITORY = r"(?P<repository>[^/]+/[^/]+)"
_ROUTES = (
    (rf"/api/datasets/{_REPOSITORY}(?:/revision/[^/]+)?", "_information"),
    (rf"/api/datasets/{_REPOSITORY}/tree/[^/]+(?:/(?P<path>.+))?", "_tree"),
    (rf"/api/datasets/{_REPOSITORY}/paths-info/[^/]+", "_paths"),
    (rf"/datasets/{_REPOSITORY}/resolve/[^/]+/(?P<path>.+)", "_resolve"),
    (r"/api/repos/create", "_create"),
    (r"/api/validate-yaml", "_validate"),
    (rf"/api/datasets/{_REPOSITORY}/preupload/[^/]+", "_preupload"),
    (rf"/datasets/{_REPOSITORY}\.git/info/lfs/objects/batch", "_batch"),
    (r"/blobs/(?P<oid>[0-9a-f]+)", "_blob"),
    (rf"/api/datasets/{_REPOSITORY}/commit/[^/]+", "_commit"),
)
