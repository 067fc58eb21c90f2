"""A Hugging Face Space assembled from this installation: package, bundled weights, examples."""

import shutil
from pathlib import Path

from huggingface_hub import HfApi, SpaceCard

from refusion.hub.client_errors import hub_sentences
from refusion.hub.errors import ModelError
from refusion.hub.folder import PUBLISHED
from refusion.hub.names import CLIENT, HUB_ID, bundled_folder
from refusion.system.files import check_empty, filling, write_text
from refusion.system.resources import PACKAGE, resource_folders
from refusion.tasks import TASKS

FILES = ("README.md", "app.py", "requirements.txt")
"""Top-level files of a Space, from the folder ``space``."""

FOLDERS = ("refusion", "hub_configs", "examples")
"""The folders of a Space."""

STATIC_FOLDERS = ("assets", "examples", "models", "ort")
"""The folders of a static Space."""

_NOT_PACKAGE = ("__pycache__", "hub_configs", "space", "*.pyc", ".*")


def assemble_space(folder: Path, *, owner: str | None = None, preload: bool = False) -> list[str]:
    """Write everything that a Space needs into a folder.

    Args:
        folder: created if missing; must be empty.
        owner: whose model repositories the front matter names.
        preload: have the Space download them when it is built; they must exist.

    Returns:
        The names of the bundled models.

    Raises:
        ValueError: the folder is not empty, or `preload` without an owner.
        ModelError: this version comes without weights.
        OSError: the folder cannot be written.
    """
    check_empty(folder)
    if preload and not owner:
        raise ValueError("To preload models, the owner of their repositories is needed; give ORG/NAME.")
    source = next((path for path in resource_folders("space") if (path / "app.py").is_file()), None)
    if source is None:
        raise ValueError("This installation has no folder space to make a Space from; use a wheel or a checkout.")
    models = {task.model: bundled_folder(task.model) for task in TASKS.values()}
    bundled = {name: path for name, path in models.items() if path is not None}
    if not bundled:
        raise ModelError("This version comes without weights, and a Space cannot fuse without them.")
    with filling(folder) as made:
        for name in FILES:
            shutil.copyfile(source / name, made / name)
        _add_models(made / "README.md", [f"{owner}/{name}" for name in bundled] if owner else [], preload)
        shutil.copytree(PACKAGE, made / "refusion", ignore=shutil.ignore_patterns(*_NOT_PACKAGE))
        shutil.copytree(source / "examples", made / "examples", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        for name, path in bundled.items():
            (made / "hub_configs" / name).mkdir(parents=True)
            for file in PUBLISHED:
                if (path / file).is_file():
                    shutil.copyfile(path / file, made / "hub_configs" / name / file)
    return list(bundled)


def upload_space(
    folder: Path, repo_id: str, *, static: bool = False, private: bool | None = None, token: str | None = None
) -> str:
    """Publish an assembled Space as one commit; earlier files that are not in the folder are deleted.

    Args:
        folder: as `assemble_space` writes it, or `refusion.demo.static_page.assemble_static_page`.
        repo_id: ``OWNER/NAME``; created if missing.
        static: whether it is a static Space.
        private: whether a new Space is private; by default, as the owner's settings say.
        token: access token; the stored one if not given.

    Returns:
        The address of the commit.

    Raises:
        ModelError: the id is invalid, or the Hub cannot be reached or refuses.
    """
    if not HUB_ID.fullmatch(repo_id):
        raise ModelError(f"{repo_id!r} is not the id of a Space; give ORG/NAME.")
    api = HfApi(token=token, **CLIENT)
    with hub_sentences(repo_id, what="Space"):
        sdk = "static" if static else "gradio"
        api.create_repo(repo_id, repo_type="space", space_sdk=sdk, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="space",
            folder_path=folder,
            commit_message="The demo, its weights and examples",
            delete_patterns=[f"{name}/**" for name in (STATIC_FOLDERS if static else FOLDERS)],
        )
    return str(commit.commit_url)


def _add_models(readme: Path, repositories: list[str], preload: bool) -> None:
    if not repositories:
        return
    card = SpaceCard(readme.read_text(encoding="utf-8"))
    card.data["models"] = repositories
    if preload:
        card.data["preload_from_hub"] = [f"{name} config.json,model.safetensors" for name in repositories]
    write_text(readme, str(card))
