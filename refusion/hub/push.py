"""Publishing model folders on the Hub."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from refusion.hub.client_errors import hub_sentences
from refusion.hub.errors import ModelError
from refusion.hub.folder import PUBLISHED
from refusion.hub.names import CLIENT, HUB_ID

COLLECTION = "ReFusion: image fusion with a learnable loss"


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    message: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
) -> str:
    """Publish a model folder as one commit: what `refusion.hub.folder.PUBLISHED` names, and nothing else from the
    folder.

    Files of this list that the repository has and the folder lacks are deleted in the same commit.

    Args:
        folder: as `ReFusion.save_pretrained` writes it; what is in it was checked before, see
            `refusion.models.training_modules.check_training_modules`.
        repo_id: ``OWNER/NAME``; created if missing.
        message: first line of the commit.
        private: whether a new repository is private.
        token: access token; the stored one if not given.
        branch: branch to commit to, created if missing; main if not given.
        create_pr: propose the commit as a pull request.
        tag: name for the commit.

    Returns:
        The address of the commit.

    Raises:
        ModelError: the tag is taken, or the Hub refuses or cannot be reached.
    """
    if not HUB_ID.fullmatch(repo_id):
        raise ModelError(f"{repo_id!r} is not the id of a Hub repository; give OWNER/NAME.")
    if tag and create_pr:
        raise ModelError("A pull request cannot be tagged; leave tag or create_pr out.")
    api = HfApi(token=token, **CLIENT)
    with hub_sentences(repo_id, branch, what="repository"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if tag:
            _refuse_taken_tag(api, repo_id, tag)
        if branch:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        there = set(api.list_repo_files(repo_id, revision=branch))
        names = [name for name in PUBLISHED if (folder / name).is_file()]
        stale = sorted(there & set(PUBLISHED) - set(names))
        commit = api.create_commit(
            repo_id,
            operations=[
                *(CommitOperationAdd(name, folder / name) for name in names),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message or f"Weights, configuration and card of {repo_id.split('/')[1]}",
            revision=branch,
            create_pr=create_pr,
        )
        if tag:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return str(commit.pr_url or commit.commit_url)


def push_collection(owner: str, repo_ids: Iterable[str], *, private: bool = False, token: str | None = None) -> str:
    """Put repositories into the owner's collection of this library's models, created if missing.

    Returns:
        The address of the collection.

    Raises:
        ModelError: the Hub refuses or cannot be reached.
    """
    api = HfApi(token=token, **CLIENT)
    with hub_sentences(owner, what="collection of"):
        collection = api.create_collection(COLLECTION, namespace=owner, private=private, exists_ok=True)
    for repo_id in repo_ids:
        with hub_sentences(repo_id, what="repository"):
            api.add_collection_item(collection.slug, repo_id, "model", exists_ok=True)
    return collection.url


def _refuse_taken_tag(api: HfApi, repo_id: str, tag: str) -> None:
    if tag in {ref.name for ref in api.list_repo_refs(repo_id).tags}:
        raise ModelError(f"{repo_id} already has the tag {tag}, and existing tags are not moved; choose another name.")
