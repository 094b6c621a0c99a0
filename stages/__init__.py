"""The two stages, `teacher` and `student`, and the `data` both read.

`stages.teacher` and `stages.student` never import each other: they meet only in `cache`.
"""
