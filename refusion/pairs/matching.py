"""Match the files of two folders by name, with a reason for every file that is left out; shared by all commands."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from refusion.images.video import VIDEO_SUFFIXES
from refusion.pairs.errors import DataError
from refusion.pairs.failures import FAILURES
from refusion.pairs.suffixes import OTHER_IMAGES, SUFFIXES, is_read
from refusion.system.files import broken_link, nfc, printable

RECORD = ".refusion.jsonl"
"""A file that a run leaves among its results, see `refusion.inference.folder_record`; nothing is said of it, nor of
`FAILURES`."""

_BESIDE_AN_IMAGE = "lies beside another image of the same name, which is used"

_SHOWN = 3


@dataclass(frozen=True)
class LeftOut:
    """A file that is left out, and why.

    Attributes:
        file: its path.
        where: name of its folder or group.
        reason: the rest of a sentence that starts with the name of the file.
        matters: whether it may be an image that should be fused, unlike hidden files and text files.
        folder: its folder, to name it by its path below; by its own name if not given.
        pattern: the pattern that its name does not match, if that is the reason.
    """

    file: Path
    where: str
    reason: str
    matters: bool = True
    folder: Path | None = None
    pattern: str = ""

    def __str__(self) -> str:
        return printable(f"{_below(self.folder, self.file)} in {self.where} {self.reason}")


@dataclass(frozen=True)
class Files:
    """The files of one folder or group, by the names that are matched.

    Attributes:
        where: name of the folder or group.
        by_name: the images.
        left_out: the other files.
        doubles: names that two files have, with both; by_name has the first of them.
        folder: the folder; None for a group of files from anywhere.
        pattern: the pattern of their names.
    """

    where: str
    by_name: dict[str, Path]
    left_out: tuple[LeftOut, ...] = ()
    doubles: tuple[tuple[str, Path, Path], ...] = ()
    folder: Path | None = None
    pattern: str = "*"

    def shown(self, file: Path) -> str:
        """The name of one of the files in messages: its path below the folder."""
        return _below(self.folder, file)

    def without(self, file: Path, reason: str) -> LeftOut:
        """One of the files, to be left out for this reason."""
        return LeftOut(file, self.where, reason, folder=self.folder)


@dataclass(frozen=True)
class Matched:
    """The result of matching two groups of files.

    Attributes:
        pairs: name, first file and second file, sorted by name.
        left_out: all other files.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    left_out: tuple[LeftOut, ...]

    @property
    def problems(self) -> list[str]:
        """Images that were left out, one sentence each."""
        return [str(one) for one in self.left_out if one.matters]

    @property
    def notes(self) -> list[str]:
        """Files that were left out because they are not images to fuse, one sentence per folder and reason."""
        groups: dict[tuple[str, str], list[str]] = {}
        for one in self.left_out:
            if not one.matters:
                groups.setdefault((one.where, one.reason), []).append(_below(one.folder, one.file))
        return [_note(where, reason, names) for (where, reason), names in groups.items()]


def _note(where: str, reason: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(f"Skipped in {where}, since each {reason}: {', '.join(names[:_SHOWN])}{more}.")


def _below(folder: Path | None, file: Path) -> str:
    return file.name if folder is None else file.relative_to(folder).as_posix()


def files_of(folder: Path, pattern: str = "*", *, leave: Path | None = None) -> Files:
    """Return all files of a folder and its subfolders.

    Args:
        folder: the folder.
        pattern: see `refusion.pairs.jobs.match_folders`.
        leave: a subfolder to leave out.

    Raises:
        OSError: the folder cannot be read.
        ValueError: the pattern does not have exactly one ``*``, or has a folder in it.
    """
    if "/" in pattern:
        raise ValueError(
            f"The pattern {pattern} has a folder in it, but only the names of files are matched; give the folder as a "
            'source, and a pattern of the names in it, such as "*_ir.*".'
        )
    if pattern != "*" and pattern.removesuffix(".*").count("*") != 1:
        raise ValueError(f'The pattern {pattern} needs one * for the common part of both names, as in "*_ir.*".')
    parts = [re.escape(nfc(part)) for part in pattern.removesuffix(".*").split("*")]
    expression = re.compile("(.+)".join(parts), re.DOTALL)
    by_stem = pattern == "*" or pattern.endswith(".*")

    named, misfits = [], []
    skipped: list[LeftOut] = []
    for file in _walk(folder, leave, folder, skipped):
        inner = file.relative_to(folder).parent
        # The names of DICOM files without a suffix are often numbers with dots. A packed volume has two suffixes.
        has_suffix = by_stem and not file.suffix[1:].isdigit() and not _is_packed_volume(file)
        name = nfc(file.stem if has_suffix else file.name)
        fits = expression.fullmatch(name)
        if fits is not None:
            named.append(((inner / fits.group(1)).as_posix(), file))
        else:
            misfits.append(_misfit(file, folder, name, parts, pattern))
    found = name_files(named, folder.name, folder)
    return replace(found, left_out=(*found.left_out, *misfits, *skipped), pattern=pattern)


def files_of_both(
    folders: tuple[Path, Path], patterns: tuple[str, str] = ("*", "*"), *, leave: Path | None = None
) -> tuple[Files, Files]:
    """Return `files_of` both folders, or of one folder with two patterns.

    Raises:
        OSError: a folder cannot be read.
        ValueError: see `files_of`; or the patterns for one folder are the same.
    """
    if folders[0] == folders[1] and patterns[0] == patterns[1]:
        raise ValueError('Pairs in one folder need two different patterns, such as --match "*_ir.*" "*_vis.*".')
    first, second = (files_of(folder, one, leave=leave) for folder, one in zip(folders, patterns, strict=True))
    return first, second


def _misfit(file: Path, folder: Path, name: str, parts: Sequence[str], pattern: str) -> LeftOut:
    """A file whose name does not match a pattern, which matters if it nearly does.

    Args:
        file: the file.
        folder: the folder of the pairs.
        name: the name that is matched.
        parts: what is before and after the ``*`` of the pattern, as regular expressions.
        pattern: the pattern.
    """
    why = ""
    if re.fullmatch("(.*)".join(parts), name, re.DOTALL):
        why = f"leaves nothing for the * of {pattern}, which must stand for at least one character"
    elif re.fullmatch("(.+)".join(parts), name, re.DOTALL | re.IGNORECASE):
        why = f"does not match {pattern}, but differs only in upper and lower case"
    if why and _not_an_image(file) is None:
        return LeftOut(file, folder.name, why, folder=folder)
    return LeftOut(file, folder.name, f"does not match {pattern}", False, folder, pattern)


def _walk(
    folder: Path, leave: Path | None, top: Path, left_out: list[LeftOut], above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Yield the files, sorted by name; what is neither yielded nor entered is listed, except the folder to leave."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.name not in (RECORD, FAILURES))
    except PermissionError as error:
        if not above:
            raise
        why = f"is a folder that cannot be opened ({error.strerror})"
        left_out.append(LeftOut(folder, top.name, why, folder=top))
        return
    above = (*above, folder.resolve())
    for path in (folder / name for name in found):
        try:
            is_folder = path.is_dir()
        except PermissionError as error:
            left_out.append(LeftOut(path, top.name, f"cannot be opened ({error.strerror})", folder=top))
            continue
        if not is_folder:
            yield path
        elif leave is not None and leave.exists() and leave.samefile(path):
            continue
        elif path.name.startswith("."):
            left_out.append(LeftOut(path, top.name, "is a hidden folder", False, top))
        elif path.is_symlink() and any(one.is_relative_to(path.resolve()) for one in above):
            left_out.append(LeftOut(path, top.name, "is a link to a folder that holds the link", False, top))
        else:
            yield from _walk(path, leave, top, left_out, above)


def name_files(named: Iterable[tuple[str, Path]], where: str, folder: Path | None = None) -> Files:
    """Index the files that may be images by name.

    Names that differ only in how accents are stored (macOS decomposes them) are the same name.

    Args:
        named: name and path of each file.
        where: name of the folder or group.
        folder: the folder, if all of them lie below it.
    """
    by_name: dict[str, Path] = {}
    left_out: list[LeftOut] = []
    doubles: list[tuple[str, Path, Path]] = []
    for given, file in named:
        if why := _not_an_image(file):
            left_out.append(LeftOut(file, where, *why, folder))
            continue
        name = nfc(given)
        other = by_name.get(name)
        if other is None:
            by_name[name] = file
        elif not is_read(file):
            left_out.append(LeftOut(file, where, _BESIDE_AN_IMAGE, False, folder))
        elif not is_read(other):
            left_out.append(LeftOut(other, where, _BESIDE_AN_IMAGE, False, folder))
            by_name[name] = file
        else:
            doubles.append((name, other, file))
    return Files(where, by_name, tuple(left_out), tuple(doubles), folder)


def refuse_doubles(files: Files) -> None:
    """Refuse a folder in which two images have the same name.

    Raises:
        DataError: there are such images.
    """
    for _, one, other in files.doubles:
        raise DataError(f"{files.where} holds both {files.shown(one)} and {files.shown(other)}; keep only one of them.")


def match(first: Files, second: Files) -> Matched:
    """Pair the files of two groups by name; a name that two files of a group have is left out."""
    ambiguous = {name for files in (first, second) for name, *_ in files.doubles}
    names = sorted((first.by_name.keys() & second.by_name.keys()) - ambiguous)
    shown = _without_suffix(names) if _takes_suffix(first.pattern) and _takes_suffix(second.pattern) else names
    pairs = tuple((plain, first.by_name[name], second.by_name[name]) for plain, name in zip(shown, names, strict=True))
    # With two patterns in one folder, each leaves out the files that the other matches.
    taken = {*first.by_name.values(), *second.by_name.values()}
    left_out: dict[Path, LeftOut] = {}
    for one in (*first.left_out, *second.left_out):
        if one.file not in taken:
            before = left_out.get(one.file)
            left_out[one.file] = _one_reason(before, one) if before else one
    for mine, other in ((first, second), (second, first)):
        left_out |= {one.file: one for one in (*_doubled(mine, other), *_alone(mine, other, ambiguous))}
    return Matched(pairs, tuple(left_out.values()))


def _takes_suffix(pattern: str) -> bool:
    """Whether the ``*`` of a pattern stands for the suffix, too, as in ``IR_*``."""
    return pattern.endswith("*") and pattern != "*" and not pattern.endswith(".*")


def _without_suffix(names: list[str]) -> list[str]:
    """Names without the suffix of an image; a name that another pair would have, too, is kept whole."""
    plain = [name.removesuffix(suffix) if (suffix := Path(name).suffix).lower() in SUFFIXES else name for name in names]
    counts = Counter(plain)
    return [short if counts[short] == 1 else name for name, short in zip(names, plain, strict=True)]


def no_pair(first: Files, second: Files, matched: Matched, advice: str = "") -> str:
    """Say that two groups have no pair, and the first reasons.

    Args:
        first: the files of one folder.
        second: the files of the other one, or of the same one.
        matched: how they match.
        advice: how else files can be matched, the end of a sentence.
    """
    if first.pattern == second.pattern == "*":
        what = f"No file in {first.where} has a partner in {second.where}: they are matched by stem{advice}."
    else:
        where = "there" if first.folder == second.folder else f"in {second.where}"
        what = (
            f"No file in {first.where} that matches {first.pattern} has a partner {where} that matches "
            f"{second.pattern}: the * must stand for the same text in both names."
        )
    return " ".join([what, *[*(f"{problem}." for problem in matched.problems), *matched.notes][:3]])


def _one_reason(first: LeftOut, second: LeftOut) -> LeftOut:
    """Why a file was left out by two patterns in one folder: that it does not match one of them says the least."""
    if first.pattern and second.pattern:
        return replace(first, reason=f"matches neither {first.pattern} nor {second.pattern}")
    return second if first.pattern else first


def _doubled(mine: Files, other: Files) -> Iterator[LeftOut]:
    for name, *two in mine.doubles:
        one, another = map(mine.shown, two)
        yield mine.without(two[0], f"has the same name as {another}; keep only one of them")
        yield mine.without(two[1], f"has the same name as {one}; keep only one of them")
        if name in other.by_name:
            partners = f"{one} and {another} in {mine.where}"
            yield other.without(other.by_name[name], f"has two partners, {partners}; keep only one of them")


def _alone(mine: Files, other: Files, ambiguous: Set[str]) -> Iterator[LeftOut]:
    unmatched = {name.casefold(): file for name, file in other.by_name.items() if name not in mine.by_name}
    in_one_folder = mine.folder is not None and mine.folder == other.folder
    partner = f"that matches {other.pattern}" if in_one_folder else f"in {other.where}"
    for name in sorted(mine.by_name.keys() - other.by_name.keys() - ambiguous):
        near = unmatched.get(name.casefold())
        why = f"; {other.shown(near)} differs in upper and lower case: rename one of them" if near else ""
        yield mine.without(mine.by_name[name], f"has no partner {partner}{why}")


def _not_an_image(file: Path) -> tuple[str, bool] | None:
    """Why a file is left out, and whether that matters; None if it may be an image."""
    if file.name.startswith("."):
        return "is a hidden file", False
    if not is_read(file) and file.suffix.lower() not in OTHER_IMAGES and not _is_packed_volume(file):
        if file.suffix.lower() in VIDEO_SUFFIXES:
            return "is a video, and videos are fused two at a time, given by their names", False
        return "does not have the suffix of an image", False
    if broken := broken_link(file):
        return broken, True
    return None if file.is_file() else ("is not a regular file", True)


def _is_packed_volume(file: Path) -> bool:
    return file.name.lower().endswith(".nii.gz")
