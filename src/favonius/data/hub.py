"""Dataset repositories of the Hugging Face hub: which files hold a config's split, fetched one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, hf_hub_download

from favonius.data.folders import KINDS, of_split, only_rows
from favonius.errors import UserError
from favonius.hub import hub_failures

PREFIX = "hf://"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SPEC = re.compile(
    rf"hf://(?:datasets/)?(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[A-Za-z0-9._-]+))?(?:/(?P<config>[^/]+))?"
)
_CARD = re.compile(r"---\s*\n(?P<head>.*?)\n---\s*(?:\n|$)", re.DOTALL)


@dataclass(frozen=True)
class HubDataset:
    """`hf://owner/name[@revision][/config]`."""

    repository: str
    revision: str | None = None
    config: str | None = None

    @classmethod
    def parse(cls, spec: str) -> HubDataset:
        if not (match := _SPEC.fullmatch(spec)):
            raise UserError(f"{spec}: write a hub dataset as hf://owner/name[@revision][/config]")
        return cls(match["repository"], match["revision"], match["config"])


@dataclass(frozen=True)
class HubFiles:
    """The chosen files of one commit; `fetched` yields their paths on this machine as they are asked for."""

    repository: str
    commit: str
    names: tuple[str, ...]

    def fetched(self) -> Iterator[Path]:
        for name in self.names:
            yield _download(self.repository, name, self.commit)


def find(dataset: HubDataset, split: str | None) -> HubFiles:
    """The files of a config's split, all of one commit, even where the branch moves on meanwhile.

    The dataset card decides where it says (`configs:` with `data_files:`), else names do: a config is a folder. Where
    Parquet and text files stand side by side, they are taken for the same rows and only Parquet is read. UserError
    where repository, revision, config or split is not there; FavoniusError where the hub cannot be reached.
    """
    with hub_failures(dataset.repository, dataset.revision, _missing(dataset.repository)):
        info = HfApi().dataset_info(dataset.repository, revision=dataset.revision)
    commit, names = str(info.sha), [sibling.rfilename for sibling in info.siblings or ()]
    configs = _card_configs(dataset.repository, commit) if "README.md" in names else {}
    if configs:
        chosen = _by_card(dataset, configs, names, split)
    else:
        chosen = of_split(_of_config(dataset, only_rows(names)), split, dataset.repository)
    parquet = [name for name in chosen if name.endswith(".parquet")]
    if not chosen:
        raise UserError(f"{dataset.repository} holds no file of rows; known are {KINDS}")
    return HubFiles(dataset.repository, commit, tuple(parquet or chosen))


def fetch_file(repository: str, name: str) -> Path:
    """One file of a dataset repository as it is now, by its path there. UserError and FavoniusError as for `find`."""
    return _download(repository, name, None)


def _card_configs(repository: str, commit: str) -> dict[str, dict[str, list[str]]]:
    """Config → split → patterns of file names, as far as the dataset card says."""
    match = _CARD.match(_download(repository, "README.md", commit).read_text(encoding="utf-8", errors="replace"))
    try:
        head = yaml.safe_load(match["head"]) if match else None
    except yaml.YAMLError:
        return {}  # cards are written by hand; names then decide
    listed = head.get("configs") if isinstance(head, dict) else None
    configs = [config for config in listed or () if isinstance(config, dict) and config.get("data_files")]
    return {str(config.get("config_name", "default")): _split_patterns(config) for config in configs}


def _split_patterns(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """`data_files` is a pattern, a list of them, or a list of {split, path}."""
    files = config["data_files"]
    patterns: dict[str, list[str]] = {}
    for entry in files if isinstance(files, list) else [files]:
        split, path = (entry.get("split", "train"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        folder = f"{config['data_dir']}/" if config.get("data_dir") else ""
        paths = path if isinstance(path, list) else [path]
        patterns.setdefault(str(split), []).extend(f"{folder}{pattern}".removeprefix("./") for pattern in paths)
    return patterns


def _by_card(
    dataset: HubDataset, configs: Mapping[str, Mapping[str, list[str]]], names: list[str], split: str | None
) -> list[str]:
    config = dataset.config or ("default" if "default" in configs else next(iter(configs)) if len(configs) == 1 else "")
    if config not in configs:
        given = f"has no config {config}" if config else "has several configs"
        raise UserError(
            f"{dataset.repository} {given}; choose one with {PREFIX}{dataset.repository}/CONFIG: {', '.join(configs)}"
        )
    splits = configs[config]
    if split is not None and split not in splits:
        raise UserError(f"{dataset.repository} has no split {split}; its card lists {', '.join(splits)}")
    patterns = [pattern for name in splits for pattern in splits[name] if split in (None, name)]
    return [name for name in only_rows(names) if any(fnmatch(name, pattern) for pattern in patterns)]


def _of_config(dataset: HubDataset, names: list[str]) -> list[str]:
    if dataset.config is None:
        return names
    found = [name for name in names if dataset.config in name.split("/")[:-1]]
    if not found:
        folders = sorted({name.split("/")[0] for name in names if "/" in name}) or ["none"]
        raise UserError(
            f"{dataset.repository} has no config {dataset.config}, that is no folder of that name; "
            f"there are {', '.join(folders)}"
        )
    return found


def _download(repository: str, name: str, commit: str | None) -> Path:
    with hub_failures(repository, commit, _missing(repository)):
        return Path(hf_hub_download(repository, name, repo_type="dataset", revision=commit))


def _missing(repository: str) -> str:
    return f"there is no dataset {repository} on the hub that you may read"
