"""Errors of the Hub client, each as one sentence. None of them repeats a token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

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

What: TypeAlias = Literal["model", "repository", "data set", "Space", "collection of"]
"""What is asked for, as messages call it in front of its name."""


@contextmanager
def hub_sentences(name: str, revision: str | None = None, what: What = "model") -> Iterator[None]:
    """Turn what the Hub client raises in the block into a `ModelError`.

    Args:
        name: id of the repository, or owner of the collection.
        revision: branch, tag or commit, if one is asked for.
        what: what is asked for; a model is one that is loaded, which may be a folder on this machine as well.

    Raises:
        UnknownModelError: there is no such repository or revision, or no access to it.
        HubError: the Hub cannot be reached, answered with an error, or the connection broke off.
    """
    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise UnknownModelError(_sentence(error, name, revision, what)) from error
    except HfHubHTTPError as error:
        raise HubError(_sentence(error, name, revision, what)) from error
    except HTTPError as error:
        # Not chained: some of these messages quote the request's headers.
        raise HubError(_sentence(error, name, revision, what)) from None
    except UnicodeEncodeError:
        raise HubError(_bad_token(_where(name, revision, what))) from None
    except OSError as error:
        raise HubError(_sentence(error, name, revision, what)) from error


def _where(name: str, revision: str | None, what: What) -> str:
    return (name if what == "model" else f"the {what} {name}") + (f" (revision {revision})" if revision else "")


def _sentence(error: BaseException, name: str, revision: str | None, what: What) -> str:
    where = _where(name, revision, what)
    if isinstance(error, OfflineModeIsEnabled):
        return f"The network is needed for {where}, and HF_HUB_OFFLINE forbids it; unset HF_HUB_OFFLINE."
    if isinstance(error, LocalEntryNotFoundError):
        return _not_cached(error, name, revision, what)
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision}; give one of its branches, tags or commits."
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: ask for access on its page on the Hub, then {LOG_IN}."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no {what} {name} on the Hub, or it is private and the token is missing or not allowed to see it "
            f"({LOG_IN})." + (f" Nor is there a folder {name} here." if what == "model" else "")
        )
    if isinstance(error, HFValidationError):
        return f"{name!r} cannot be the name of a repository on the Hub: {error}"
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


def _not_cached(error: BaseException, name: str, revision: str | None, what: What) -> str:
    where = _where(name, revision, what)
    absent = f"There is no folder {name} here. As a repository on the Hub, {where} is not in the cache, or only in part"
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    if isinstance(error.__cause__, OfflineModeIsEnabled):
        return (
            f"{absent}, and it cannot be downloaded because HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE, or run "
            f"`{command}` before."
        )
    if error.__cause__ is None:
        return f"{absent}, and it cannot be downloaded because of local_files_only; run `{command}` before."
    return f"{absent}, and it cannot be downloaded. {_sentence(error.__cause__, name, revision, what)}"


def _refused(error: HfHubHTTPError, where: str) -> str:
    status = error.response.status_code
    said = f": {error.server_message}" if error.server_message else ""
    if status in (401, 403):
        return f"The Hub refuses {where} ({status}{said}); {LOG_IN}, with a token that is allowed to do this."
    advice = "; try again later." if status >= 500 or status == 429 else "."
    return f"The Hub answered {status} for {where}{said}{advice}"
