"""Measurements that anyone can repeat; each writes JSON with machine, versions and threads."""
