"""A small server that speaks the Hub's protocol on 127.0.0.1, for the real client.

Models, data sets, Spaces, revisions, collections.

It keeps everything in memory, answers like the Hub, notes every request, and can be told to fail.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub import ModelCard

TOKEN = "hf_writerwriterwriterwriterwriterwr"
"""The token that may do everything."""

DATE = "2024-01-01T00:00:00.000Z"


@dataclass
class Repository:
    """Commits and refs of one model."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        """Add a commit and return its id."""
        content = json.dumps([len(self.commits), message, sorted(files)]).encode()
        sha = hashlib.sha1(content + b"".join(files[name] for name in sorted(files))).hexdigest()
        self.commits[sha] = files
        self.messages[sha] = message
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """Commit id of a branch, tag or commit."""
        return (
            self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)
        )


@dataclass
class Fault:
    """A failure of the next answers whose request line holds `match`: a status, a delay, or a body that breaks off."""

    match: str
    status: int | None = None
    times: int = 1_000
    until: threading.Event | None = None


class RefusalError(Exception):
    """An error as the Hub answers it."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class HubServer(ThreadingHTTPServer):
    """Serves until `shutdown`; `repositories`, `collections`, `requests` and `faults` are open to the tests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repo_id: str, files: dict[str, bytes], *, private: bool = False) -> Repository:
        """Make a repository with one commit on main."""
        repository = self.repositories[repo_id] = Repository(private)
        repository.commit("main", dict(files), "first")
        return repository

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer
    breaks_off = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        self.query = parse_qs(split.query)
        # As on the Hub, a revision with a slash in it comes quoted.
        self.parts = [unquote(part) for part in split.path.strip("/").split("/")]
        line = f"{self.command} {unquote(split.path)}"
        with self.server.lock:
            self.server.requests.append((line, dict(self.headers)))
            fault = next((f for f in self.server.faults if f.match in line and f.times > 0), None)
            if fault:
                fault.times -= 1
        if fault and fault.until:
            fault.until.wait()
            fault = None
        self.breaks_off = fault is not None and fault.status is None
        try:
            if fault and fault.status:
                raise RefusalError(fault.status, message="out of order")
            self._route()
        except RefusalError as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            if refusal.message:
                headers["X-Error-Message"] = refusal.message
            self._send(refusal.status, b"" if self.command == "HEAD" else b"{}", headers)

    def _route(self) -> None:
        parts = self.parts
        if parts[:1] == ["api"] and parts[1:2] in (["models"], ["spaces"], ["datasets"]) and len(parts) >= 4:
            repo_id = "/".join(([] if parts[1] == "models" else [parts[1]]) + parts[2:4])
            action, rest = (parts[4], parts[5:]) if len(parts) > 4 else ("revision", ["main"])
            handler = getattr(self, f"_{self.command.lower()}_{action.replace('-', '_')}", None)
            if handler is None:
                raise RefusalError(404)
            handler(repo_id, self._visible(repo_id), *rest)
        elif len(parts) > 5 and parts[0] == "datasets" and parts[3] == "resolve":
            repo_id = "/".join(parts[:3])
            self._resolve(repo_id, self._visible(repo_id), parts[4], "/".join(parts[5:]))
        elif len(parts) > 4 and parts[2] == "resolve":
            repo_id = "/".join(parts[:2])
            self._resolve(repo_id, self._visible(repo_id), parts[3], "/".join(parts[4:]))
        elif parts == ["api", "repos", "create"]:
            self._create()
        elif parts == ["api", "validate-yaml"]:
            self._validate_yaml()
        elif parts[:2] == ["api", "collections"]:
            self._collection("/".join(parts[2:4]), parts[4:])
        else:
            raise RefusalError(404)

    @property
    def _authorised(self) -> bool:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise RefusalError(401, message="Invalid credentials in Authorization header")
        return given is not None

    def _visible(self, repo_id: str) -> Repository:
        repository = self.server.repositories.get(repo_id)
        if repository is None or (repository.private and not self._authorised):
            raise RefusalError(404 if self._authorised else 401, "RepoNotFound", "Repository not found")
        return repository

    def _must_be_authorised(self) -> None:
        if not self._authorised:
            raise RefusalError(401, message="Invalid username or password.")

    def _commit_of(self, repository: Repository, revision: str) -> str:
        sha = repository.resolve(revision)
        if sha is None:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def _create(self) -> None:
        self._must_be_authorised()
        asked = json.loads(self.body)
        repo_id = f"{asked['organization'] or 'me'}/{asked['name']}"
        if asked.get("type") == "space":
            if asked.get("sdk") not in ("gradio", "docker", "static"):
                raise RefusalError(400, message="Invalid SDK")
            repo_id = f"spaces/{repo_id}"
        url = f"{self.server.endpoint}/{repo_id}"
        if repo_id in self.server.repositories:
            self._send_json({"url": url, "error": "You already created this model repo"}, 409)
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.add(repo_id, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        self._send_json({"url": url, "name": repo_id})

    def _validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        errors = []
        data = ModelCard(content).data.to_dict()
        base = data.get("base_model", "a/b")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base):
            errors.append({"message": f'"base_model" with value "{base}" is not valid.'})
        if not isinstance(data.get("license"), str):
            errors.append({"message": '"license" is missing'})
        self._send_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _get_revision(self, repo_id: str, repository: Repository, revision: str = "main") -> None:
        sha = self._commit_of(repository, revision)
        # Sizes only where they are asked for, as on the Hub.
        sized = "blobs" in self.query
        siblings = [
            {"rfilename": name, **({"size": len(content)} if sized else {})}
            for name, content in repository.commits[sha].items()
        ]
        self._send_json({"id": repo_id, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []})

    def _get_tree(self, _: str, repository: Repository, revision: str, *folder: str) -> None:
        start = "".join(f"{part}/" for part in folder)
        files = repository.commits[self._commit_of(repository, revision)]
        entries = [_entry(name, content) for name, content in files.items() if name.startswith(start)]
        if folder and not entries:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        self._send_json(entries)

    def _post_paths_info(self, _: str, repository: Repository, revision: str) -> None:
        files = repository.commits[self._commit_of(repository, revision)]
        paths = parse_qs(self.body.decode()).get("paths") or json.loads(self.body)["paths"]
        self._send_json([_entry(path, files[path]) for path in paths if path in files])

    def _get_refs(self, _: str, repository: Repository) -> None:
        kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        answer = {
            kind: [{"name": n, "ref": f"refs/{path}/{n}", "targetCommit": sha} for n, sha in refs.items()]
            for kind, (path, refs) in kinds.items()
        }
        self._send_json({**answer, "converts": []})

    def _post_preupload(self, _: str, repository: Repository, revision: str) -> None:
        self._must_be_authorised()
        files = repository.commits[self._commit_of(repository, revision)]
        answer = []
        for asked in json.loads(self.body)["files"]:
            there = files.get(asked["path"])
            oid = None if there is None else _blob_id(there)
            answer.append({"path": asked["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": oid})
        self._send_json({"files": answer})

    def _post_commit(self, repo_id: str, repository: Repository, revision: str) -> None:
        self._must_be_authorised()
        files = dict(repository.commits[self._commit_of(repository, revision)])
        message = ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        pull_request = "create_pr" in self.query
        sha = repository.commit("refs/pr/1" if pull_request else revision, files, message)
        answer = {"commitUrl": f"{self.server.endpoint}/{repo_id}/commit/{sha}", "commitOid": sha}
        if pull_request:
            answer["pullRequestUrl"] = f"{self.server.endpoint}/{repo_id}/discussions/1"
        self._send_json(answer)

    def _post_tag(self, _: str, repository: Repository, revision: str) -> None:
        self._must_be_authorised()
        tag = json.loads(self.body)["tag"]
        if tag in repository.tags:
            raise RefusalError(409, message="Tag reference exists already")
        repository.tags[tag] = self._commit_of(repository, revision)
        self._send_json({})

    def _post_branch(self, _: str, repository: Repository, branch: str) -> None:
        self._must_be_authorised()
        if branch in repository.branches:
            raise RefusalError(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._send_json({})

    def _resolve(self, _: str, repository: Repository, revision: str, path: str) -> None:
        sha = self._commit_of(repository, revision)
        content = repository.commits[sha].get(path)
        if content is None:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{_blob_id(content)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if self.breaks_off and start:
            # Nothing at all after the first half, or the client would ask for ever.
            self.close_connection = True
            return
        if start:
            first = int(start.group(1))
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._send(206, content[first:], headers)
        else:
            self._send(200, content, headers)

    def _collection(self, slug: str, rest: list[str]) -> None:
        if self.command == "POST":
            self._must_be_authorised()
        if self.command == "POST" and not slug:
            asked = json.loads(self.body)
            slug = f"{asked['namespace']}/{re.sub('[^a-z]+', '-', asked['title'].lower())}-0123456789abcdef01234567"
            if slug in self.server.collections:
                self._send_json({"slug": slug}, 409)
                return
            self.server.collections[slug] = {
                "slug": slug,
                "title": asked["title"],
                "owner": {"name": asked["namespace"]},
                "items": [],
                "lastUpdated": DATE,
                "position": 0,
                "private": asked["private"],
                "theme": "blue",
                "upvotes": 0,
            }
        collection = self.server.collections.get(slug)
        if collection is None:
            raise RefusalError(404)
        if self.command == "POST" and rest[:1] == ["items"]:
            item = json.loads(self.body)["item"]
            self._visible(item["id"])
            if item["id"] in {i["id"] for i in collection["items"]}:
                raise RefusalError(409, message="Item already in collection")
            entry = {"_id": item["id"], "id": item["id"], "type": item["type"], "position": len(collection["items"])}
            collection["items"].append(entry)
        self._send_json(collection)

    def _send_json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.breaks_off:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}


def _blob_id(content: bytes) -> str:
    """Id of a file as git computes it; the client compares it with its own."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
