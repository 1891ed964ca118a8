"""The Hugging Face Hub: push a folder, pull a revision, download one file by content.

The only module that imports huggingface_hub, and only inside functions. It knows nothing of what a folder
holds; whoever writes a folder writes its card. Tokens come from where the official client looks (`HF_TOKEN`,
`hf auth login`) and never appear in a message.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advcore import ConfigError, DataError

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")
# For the first answer of the Hub: where the network is closed, waiting longer changes nothing.
_PATIENCE_S = 3.0


def push(
    folder: Path,
    repo: str,
    *,
    private: bool,
    tag: str | None,
    repo_type: str = "dataset",
    message: str = "Upload with advdistill",
) -> str:
    """Upload `folder` in one commit, creating `repo` if it is not there; returns the URL of the commit.

    Files of earlier pushes that `folder` lacks stay. `tag` is made, or moved, to the new commit.
    Raises ConfigError without a token that may write, and when `private` is asked of a public repository;
    DataError when there is nothing to push or the Hub fails.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise DataError(f"{folder} is not a folder with files, so there is nothing to push")
    library = _library()
    token = library.get_token()
    if not token:
        raise ConfigError("pushing needs a Hugging Face token: set HF_TOKEN, or run `hf auth login`")
    api = library.HfApi(endpoint=_endpoint(), token=token)
    with _explained(f"pushing to {repo}"):
        _prepare(api, repo, repo_type, private)
        commit = api.upload_folder(
            folder_path=folder, repo_id=repo, repo_type=repo_type, commit_message=message
        )
        if tag:
            _move_tag(api, repo, repo_type, tag, commit.oid)
    return str(commit.commit_url)


def pull(spec: str, *, repo_type: str = "dataset") -> Path:
    """The snapshot folder of `user/name` or `user/name@revision` in the Hub client's own cache.

    Raises DataError when the repository or revision is not there or may not be read.
    """
    if not is_hub_id(spec):
        raise DataError(f"{spec} is not a Hub id (user/name or user/name@revision)")
    repo, _, revision = spec.partition("@")
    with _explained(f"reading {spec}", revision=revision):
        folder = _library().snapshot_download(
            repo, repo_type=repo_type, revision=revision or None, endpoint=_endpoint()
        )
    return Path(folder)


def files(repo: str, *, repo_type: str = "dataset") -> list[str]:
    """The paths in the newest revision of `user/name`; none where there is no such repository. Raises DataError."""
    library = _library()
    api = library.HfApi(endpoint=_endpoint(), token=library.get_token())
    with _explained(f"looking into {repo}"):
        if not api.repo_exists(repo, repo_type=repo_type):
            return []
        return list(api.list_repo_files(repo, repo_type=repo_type))


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form `user/name` or `user/name@revision`; a relative path can have it too."""
    return _ID.fullmatch(text) is not None


def resolve(spec: str, *, repo_type: str = "dataset") -> Path:
    """A local folder as it is, else the pulled Hub id. Raises DataError when it is neither."""
    if Path(spec).is_dir():
        return Path(spec)
    if not is_hub_id(spec):
        raise DataError(f"{spec} is neither a folder nor a Hub id (user/name or user/name@revision)")
    return pull(spec, repo_type=repo_type)


def dataset(spec: str) -> Path:
    """The folder with the configs: of a run folder its `dataset`, else as `resolve`. Raises DataError."""
    folder = resolve(spec)
    return folder / "dataset" if (folder / "dataset").is_dir() else folder


def download_file(repo: str, file: str, folder: Path, *, sha256: str) -> Path:
    """Download `file` of the model repository `repo` into `folder`, if the Hub announces content `sha256`.

    Gives up within seconds where there is no Hub to reach; that, and any other reason, raises DataError. Only
    for files the Hub keeps in its large-file store: others are not announced by SHA-256. The bytes that come
    are not checked here.
    """
    if not repo:
        raise DataError("no repository is known to hold it")
    library = _library()
    set_now = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    if set_now or library.is_offline_mode():  # the client reads the variable once, at its import
        raise DataError("HF_HUB_OFFLINE is set")
    if _announced_content(library, repo, file) != sha256:
        raise DataError(f"{repo} holds another version of {file}")
    with _explained(f"downloading {file}"):
        return Path(library.hf_hub_download(repo, file, local_dir=folder, endpoint=_endpoint()))


def _library() -> Any:
    """huggingface_hub, imported with its telemetry off."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub

    return huggingface_hub


def _endpoint() -> str | None:
    # The client reads the variable once, at its import; whoever sets it later means it too.
    return os.environ.get("HF_ENDPOINT") or None


def _announced_content(library: Any, repo: str, file: str) -> str:
    """What the Hub says the content's hash is. Asked in a thread because a name look-up knows no timeout."""
    answer: list[str | DataError] = []

    def ask() -> None:
        try:
            with _explained("asking the Hub"):
                url = library.hf_hub_url(repo, file, endpoint=_endpoint())
                answer.append(library.get_hf_file_metadata(url, timeout=_PATIENCE_S).etag or "")
        except DataError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S + 1)
    if not answer:
        raise DataError("the Hub does not answer")
    if isinstance(answer[0], DataError):
        raise answer[0]
    return answer[0]


def _prepare(api: Any, repo: str, repo_type: str, private: bool) -> None:
    """Create the repository, or make sure that what is pushed as private does not go into a public one."""
    if not api.repo_exists(repo, repo_type=repo_type):
        api.create_repo(repo, repo_type=repo_type, private=private)
    elif private and not api.repo_info(repo, repo_type=repo_type).private:
        raise ConfigError(f"{repo} is public on the Hub: make it private there, or push with --public")


def _move_tag(api: Any, repo: str, repo_type: str, tag: str, commit: str) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_tag(repo, tag=tag, revision=commit, repo_type=repo_type)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:  # 409: there is one already, and the Hub has no call to move it
            raise
        api.delete_tag(repo, tag=tag, repo_type=repo_type)
        api.create_tag(repo, tag=tag, revision=commit, repo_type=repo_type)


@contextmanager
def _explained(doing: str, revision: str = "") -> Iterator[None]:
    """Turn what the client raises into DataError or ConfigError with one line."""
    from huggingface_hub import errors

    # of httpx, from huggingface_hub 2.0 on of httpx2
    http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]

    try:
        yield
    except errors.GatedRepoError:
        raise DataError(f"{doing}: access must be asked for on the Hub first") from None
    except errors.RepositoryNotFoundError:
        hint = "check the name, or set HF_TOKEN to a token that may read it"
        raise DataError(f"{doing}: the Hub shows no such repository; {hint}") from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{doing}: the repository has no revision {revision}") from None
    except errors.HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403):
            raise ConfigError(
                f"{doing}: the Hub refuses the token; check HF_TOKEN and what it may do"
            ) from None
        raise DataError(f"{doing}: {_one_line(error)}") from None
    except (ConfigError, DataError):
        raise
    except (http_error, OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{doing}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """The first line of a message, without anything that looks like a token."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"hf_\w{8,}", "hf_…", lines[0] if lines else type(error).__name__)
