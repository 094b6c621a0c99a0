"""An evaluation's figures: files, tables, comparisons."""
