"""The teacher-knowledge store: the only contract between the two stages.

Imports neither torch nor vLLM, nor anything of `stages` or `pipeline`, so that a store can be read,
checked and searched on a machine that has neither.
"""
