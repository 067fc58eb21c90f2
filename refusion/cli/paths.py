"""Checks of the paths of a command, before any long work."""

from collections.abc import Iterable
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryFile

from refusion.system.files import broken_link, files_matching, is_stream, is_there


def check_there(*paths: Path, what: str | None = None) -> None:
    """Refuse missing paths, before any long work.

    Args:
        *paths: files or folders.
        what: which of both; a file if it has a suffix, else either, if not given.

    Raises:
        ValueError: the first one that is missing, by its name.
    """
    for path in paths:
        if not path.exists():
            if path.parts and path.parts[0] in ("http:", "https:"):
                raise ValueError(f"{path.name} is given by a URL; download it, and give the file.")
            if broken := broken_link(path):
                raise ValueError(f"{path.name} {broken}.")
            kind = what or ("file" if path.suffix else "file or folder")
            raise ValueError(f"There is no {kind} {path.name} in {path.parent}; check the path.")


def check_writable(path: Path | None) -> None:
    """Refuse an output file that cannot be written, before any long work.

    Raises:
        ValueError: it is a folder, or its folder is not there or takes no new files.
    """
    if path is None or is_stream(path):
        return
    if path.is_dir():
        raise ValueError(f"{path.name or path} is a folder; give the name of a file to write.")
    if is_there(path.parent) and not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: {path.parent} is a file, not a folder; choose another.")
    if not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: there is no folder {path.parent}; create it first.")
    # Images are written where a symbolic link leads, and reports in its place.
    if not path.is_symlink():
        _refuse_read_only(path.parent)


def check_folder(path: Path, *, writable: bool = False) -> None:
    """Refuse an output folder that is a file, or lies below one, before any long work.

    Args:
        path: the folder; it need not exist.
        writable: also check that files can be created in it, or else in the folder that it will be created in.

    Raises:
        ValueError: the folder cannot be used.
    """
    there = next(place for place in (path, *path.absolute().parents) if is_there(place))
    if not there.is_dir():
        raise ValueError(f"The output {there.name} is a file, but a folder is needed; choose another.")
    if writable:
        _refuse_read_only(there)


def make_folder(path: Path) -> None:
    """Create an output folder and check that files can be created in it, before any long work.

    Raises:
        ValueError: one of both is impossible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _read_only(path, error) from error
    _refuse_read_only(path)


def _refuse_read_only(folder: Path) -> None:
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _read_only(folder, error) from error


def _read_only(folder: Path, error: OSError) -> ValueError:
    return ValueError(f"Nothing can be written to the folder {folder}: {error.strerror or error}; choose another.")


def expanded(sources: list[Path]) -> list[Path]:
    """Expand patterns such as frame*.jpg that the shell left unexpanded, as those of Windows do.

    Raises:
        ValueError: no file fits.
    """
    found: list[Path] = []
    for source in sources:
        if source.exists() or not has_magic(source.name if is_there(source.parent) else str(source)):
            found.append(source)
            continue
        fitting = files_matching(source)
        if not fitting:
            raise ValueError(f"No file matches {source.name}; check the pattern and its folder.")
        found += fitting
    return found


def refuse_overwriting(output: Path, sources: Iterable[Path], what: str = "sources") -> None:
    """Refuse to write over a source.

    Args:
        output: the file to write.
        sources: the files that are read.
        what: what they are.

    Raises:
        ValueError: `output` is one of them.
    """
    if not output.exists():
        return
    for source in sources:
        if source.exists() and output.samefile(source):
            raise ValueError(f"The output {output.name} is one of the {what}; choose another name.")


def refuse_same_names(outputs: Iterable[Path]) -> None:
    """Refuse two outputs that are one file.

    Raises:
        ValueError: there are two.
    """
    seen = set()
    for output in outputs:
        place = output.resolve()
        if place in seen:
            raise ValueError(f"Two outputs would be written to {output.name}; give each a name of its own.")
        if output.is_file() or not output.exists():  # Devices and pipes take several.
            seen.add(place)
