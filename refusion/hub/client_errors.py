"""Errors of the Hub client, each as one sentence. None of them repeats a token."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    # The client's own HTTP library differs between its versions; this is its base class of errors in all of them.
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from refusion.hub.errors import HubError, UnknownModelError

LOG_IN = "log in with `hf auth login`, set HF_TOKEN or pass token="


@contextmanager
def hub_sentences(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub client raises in the block into a `ModelError`.

    Raises:
        UnknownModelError: there is no such repository or revision, or no access to it.
        HubError: the Hub cannot be reached, answered with an error, or the connection broke off.
    """
    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise UnknownModelError(_sentence(error, repo_id, revision)) from error
    except HfHubHTTPError as error:
        raise HubError(_sentence(error, repo_id, revision)) from error
    except HTTPError as error:
        # Not chained: some of these messages quote the request's headers.
        raise HubError(_sentence(error, repo_id, revision)) from None
    except UnicodeEncodeError:
        raise HubError(_bad_token(repo_id)) from None
    except OSError as error:
        raise HubError(_sentence(error, repo_id, revision)) from error


def _sentence(error: BaseException, repo_id: str, revision: str | None) -> str:
    where = f"{repo_id} (revision {revision})" if revision else repo_id
    if isinstance(error, OfflineModeIsEnabled):
        return f"{where} needs the network, and HF_HUB_OFFLINE forbids it; unset HF_HUB_OFFLINE."
    if isinstance(error, LocalEntryNotFoundError):
        return _not_cached(error, repo_id, revision, where)
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision}; give one of its branches, tags or commits."
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: ask for access on its page on the Hub, then {LOG_IN}."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no repository {repo_id} on the Hub, or it is private and the token is missing or not allowed "
            f"to see it ({LOG_IN}). Nor is there a folder {repo_id} here."
        )
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} cannot be the name of a repository on the Hub: {error}"
    if isinstance(error, HfHubHTTPError):
        return _refused(error, where)
    if type(error).__name__ == "LocalProtocolError":
        return _bad_token(where)
    if isinstance(error, HTTPError):
        return (
            f"The connection to the Hub failed ({type(error).__name__}) during the transfer of {where}; try again. "
            "Finished files are kept."
        )
    return f"{where}: {error}"


def _bad_token(where: str) -> str:
    return f"The request for {where} cannot be sent; the token holds a line break or a letter that no token has."


def _not_cached(error: BaseException, repo_id: str, revision: str | None, where: str) -> str:
    absent = f"There is no folder {repo_id} here, and {where} is not in the cache, or only a part of it"
    command = f"hf download {repo_id}" + (f" --revision {revision}" if revision else "")
    if isinstance(error.__cause__, OfflineModeIsEnabled):
        return (
            f"{absent}, and it cannot be downloaded because HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE, or run "
            f"`{command}` before."
        )
    if error.__cause__ is None:
        return f"{absent}, and it cannot be downloaded because of local_files_only; run `{command}` before."
    return f"{absent}, and it cannot be downloaded. {_sentence(error.__cause__, repo_id, revision)}"


def _refused(error: HfHubHTTPError, where: str) -> str:
    status = error.response.status_code
    said = f": {error.server_message}" if error.server_message else ""
    if status in (401, 403):
        return f"The Hub refuses {where} ({status}{said}); {LOG_IN}, with a token that is allowed to do this."
    advice = "; try again later." if status >= 500 or status == 429 else "."
    return f"The Hub answered {status} for {where}{said}{advice}"
