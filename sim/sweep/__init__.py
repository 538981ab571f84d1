"""Many scenarios at once: a grid or a list, over processes or a cluster; each cell whole or not at all, and never twice."""
