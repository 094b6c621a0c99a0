"""One file of a model on the hub: from the local model cache, or else over the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.errors import MachineError, UserError


@dataclass
class _Hub:
    """What this process knows of the hub; `silence` says why it did not answer, "" while nothing is wrong."""

    silence: str = ""


# The hub's client tries for 24 seconds before it gives up, and a model has a dozen optional files: one
# failure in a process is enough.
_HUB = _Hub()


class HubUnreachableError(UserError):
    """A file is not in the local model cache and the hub does not answer, or offline mode is on."""


def fetch(model: str, name: str, revision: str) -> Path | None:
    """The file's path in the local model cache (.../snapshots/COMMIT/NAME); None where the model has none.

    The cache is asked first, so a model that is there needs no network and stays at the commit it was
    fetched at. Raises HubUnreachableError, UserError for a model or revision that is not on the hub, and
    MachineError where a download breaks off.
    """
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(model, name, revision=revision)
        if cached is _CACHED_NO_EXIST:
            return None
        if isinstance(cached, str):
            return Path(cached)
        return Path(hf_hub_download(model, name, revision=revision, local_files_only=is_silent()))
    except errors.LocalEntryNotFoundError as reason:
        _HUB.silence = _HUB.silence or first_line(reason)
        raise HubUnreachableError(
            f"model {model!r} is no folder here, its {name} is not in the local model cache, and the hub "
            f"could not be reached ({_HUB.silence}); correct the path, or run `hf download {model}` "
            "where there is a network and bring the model here"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as reason:
        raise UserError(_explain(model, revision, reason)) from None
    except Exception as reason:  # a full disk, or an error of whichever HTTP library the client uses
        raise MachineError(
            f"{name} of hub model {model} could not be fetched ({first_line(reason)}); "
            "run the command again, it goes on with what is there"
        ) from reason


def _explain(model: str, revision: str, reason: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(reason, errors.GatedRepoError):
        return (
            f"hub model {model} wants its terms accepted: accept them on its page, "
            "then log in with `hf auth login`"
        )
    if isinstance(reason, errors.RevisionNotFoundError):
        return (
            f"hub model {model} has no revision {revision!r}; "
            "give a branch, a tag or a full commit, or leave revision empty"
        )
    return (
        f"model {model!r} is neither a folder here nor a model on the hub ({first_line(reason)}); "
        "check the name, and log in with `hf auth login` if it is private"
    )


def exists(model: str, name: str, revision: str) -> bool:
    """Whether the model has the file, without fetching it; False where nobody can say."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(model, name, revision=revision)
    if cached is not None:
        return isinstance(cached, str)
    if is_silent():
        return False
    try:
        get_hf_file_metadata(hf_hub_url(model, name, revision=revision))
    except Exception:  # not there, or an error of whichever HTTP library the client uses
        return False
    return True


def is_silent() -> bool:
    """Whether the hub failed to answer before in this process, so that it is not asked again."""
    return bool(_HUB.silence)


def first_line(reason: Exception) -> str:
    return (str(reason).strip() or type(reason).__name__).splitlines()[0]
