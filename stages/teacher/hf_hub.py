"""One file of a model on the hub: from the local model cache, or else over the network."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError


class HubUnreachableError(UserError):
    """A file is not in the local model cache and the hub does not answer, or offline mode is on."""


def fetch(model: str, name: str, revision: str) -> Path | None:
    """The file's path in the local model cache (.../snapshots/COMMIT/NAME); None where the model has none.

    The cache is asked first, so a model that is there needs no network and stays at the commit it was
    fetched at. Raises HubUnreachableError, and UserError for a model or revision that is not on the hub.
    """
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(model, name, revision=revision)
        if cached is _CACHED_NO_EXIST:
            return None
        return Path(cached if isinstance(cached, str) else hf_hub_download(model, name, revision=revision))
    except errors.LocalEntryNotFoundError as reason:
        raise HubUnreachableError(
            f"model {model!r} is no folder here, its {name} is not in the local model cache, and the hub "
            f"could not be reached ({first_line(reason)}); correct the path, or run `hf download {model}` "
            "where there is a network and bring the model here"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as reason:
        raise UserError(_explain(model, name, revision, reason)) from None


def _explain(model: str, name: str, revision: str, reason: Exception) -> str:
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
    if isinstance(reason, errors.RepositoryNotFoundError | errors.HFValidationError):
        return (
            f"model {model!r} is neither a folder here nor a model on the hub ({first_line(reason)}); "
            "check the name, and log in with `hf auth login` if it is private"
        )
    return f"{name} of hub model {model} could not be fetched ({first_line(reason)}); try again"


def exists(model: str, name: str, revision: str) -> bool:
    """Whether the model has the file, without fetching it; False where nobody can say."""
    from huggingface_hub import errors, file_exists, try_to_load_from_cache

    cached = try_to_load_from_cache(model, name, revision=revision)
    if cached is not None:
        return isinstance(cached, str)
    try:
        return file_exists(model, name, revision=revision)
    except (errors.HfHubHTTPError, OSError):
        return False


def first_line(reason: Exception) -> str:
    return (str(reason).strip() or type(reason).__name__).splitlines()[0]
